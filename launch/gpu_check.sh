#!/usr/bin/env bash
# Checks dormer on a machine with an NVIDIA GPU, from a bundle that launch/bundle.sh made elsewhere: needs no network, only a python3 that
# has torch. Runs the GPU tests, trains on CPU and GPU and compares, runs NCCL on one rank, measures tokens/s and bytes/s, and writes one
# report. Every step runs, whatever became of those before it. The last line is `N passed, N failed, N need a GPU`.
#
#   gpu_check.sh [OPTIONS] [BUNDLE]
#     BUNDLE           the archive, or the folder that it was unpacked to (default: the folder of this script, in a bundle)
#     --dry            everything but the device: trains and measures on the CPU, with smaller sizes
#     --output FOLDER  report.md and the logs (default: gpu-check)
#     --torch PATH     this LibTorch, the folder that holds lib/ (default: the one that python3 imports); PYTHON names another Python
#     --only PATTERN   only the steps whose names match this regular expression
#     --limit SECONDS  steps that have not begun by then fail (default: 480)
#     --help           this text
set -euo pipefail

fail() { printf 'error: %s\n' "$*" >&2; exit 2; }

bundle='' output=gpu-check torch='' python=${PYTHON:-python3} arguments=()
while [ $# -gt 0 ]; do
  case $1 in
    --dry) arguments+=(--dry) ;;
    --output | --torch | --only | --limit)
      [ $# -gt 1 ] || fail "gpu_check: $1 needs a value"
      case $1 in
        --output) output=$2 ;;
        --torch) torch=$2 ;;
        *) arguments+=("$1" "$2") ;;
      esac
      shift ;;
    -h | --help) sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p}' "${BASH_SOURCE[0]}"; exit 0 ;;
    -*) fail "gpu_check: unknown option $1; gpu_check.sh --help lists them" ;;
    *) [ -z "$bundle" ] || fail "gpu_check: one bundle, not also $1"; bundle=$1 ;;
  esac
  shift
done

[ -n "$bundle" ] || bundle=$(dirname "${BASH_SOURCE[0]}")
command -v "$python" > /dev/null || fail "gpu_check: no $python; PYTHON=/path/to/python3 names one"
found=$("$python" -c 'import importlib.util, os; print(os.path.dirname(importlib.util.find_spec("torch").origin))' 2> /dev/null) ||
  fail "gpu_check: $python has no torch; PYTHON=/path/to/python3 names another"
[ -n "$torch" ] || torch=$found
[ -f "$torch/lib/libtorch_cpu.so" ] || fail "gpu_check: no LibTorch in $torch (lib/libtorch_cpu.so); --torch names the folder that holds lib/"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
if [ -f "$bundle" ]; then
  tar -xzf "$bundle" -C "$work" || fail "gpu_check: $bundle cannot be unpacked; make it again with launch/bundle.sh"
  bundle=$work/dormer-bundle
fi
[ -f "$bundle/manifest.json" ] || fail "gpu_check: $bundle is no bundle (manifest.json is missing); launch/bundle.sh makes one"
mkdir -p "$output"
"$python" "$bundle/check/run_checks.py" --bundle "$(cd "$bundle" && pwd)" --torch "$torch" --output "$output" --work "$work" "${arguments[@]}"
