#!/usr/bin/env bash
# Builds everything and runs every test that needs no GPU. The last line is `N passed, N failed`.
#
#   launch/test.sh [--werror] [--label LABEL] [SETUP OPTIONS]
#     --label LABEL    only tests of this kind: unit, mpi, peers, faults, e2e, repo (a regular expression)
#     --werror, --torch PATH, --jobs N, --no-system   as in launch/setup.sh
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source launch/progress.sh

setup_options=(--tests --quickstart) label='.'
while [ $# -gt 0 ]; do
  case $1 in
    --label) [ $# -gt 1 ] || fail "test: --label needs a word"; label=$2; shift ;;
    -h | --help) sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p}' "${BASH_SOURCE[0]}"; exit 0 ;;
    *) setup_options+=("$1") ;;
  esac
  shift
done

launch/setup.sh "${setup_options[@]}"

if [ "$EUID" -eq 0 ]; then export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1; fi
results=$PWD/build/release
rm -rf "$results/ctest.xml" "$results/reports"
begin=$SECONDS
status=0
[ -t 1 ] || say "Tests …"
PATH="$PWD/.venv/bin:$PATH" .venv/bin/ctest --test-dir "$results" --label-regex "$label" --label-exclude '^gpu$' --output-on-failure --no-tests=error \
  --parallel "$(nproc)" --output-junit "$results/ctest.xml" 2>&1 | follow_output Tests "$results/ctest.log" || status=${PIPESTATUS[0]}
[ ! -t 1 ] || printf '\r\033[K'
[ "$status" -eq 0 ] || grep -v ' Passed \|^ *Start ' "$results/ctest.log" | tail -n 200
say "Tests: done in $((SECONDS - begin)) s (the log: build/release/ctest.log)"
gpu=0
if [ -f "$results/gpu-tests-not-registered.txt" ]; then
  while read -r program; do gpu=$((gpu + $("$program" --gtest_list_tests | grep -c '^  '))); done < "$results/gpu-tests-not-registered.txt"
fi
say "GPU tests not registered on this machine: $gpu"
[ -f "$results/ctest.xml" ] || { say "0 passed, 1 failed"; exit 1; }
.venv/bin/python launch/summary.py "$results/ctest.xml" "$results/reports" || status=1
exit "$status"
