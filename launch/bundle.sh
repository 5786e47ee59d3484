#!/usr/bin/env bash
# Packs what was built for a machine without a package registry: program, modules, GPU tests, the shared libraries that such a machine lacks,
# and the checks that launch/gpu_check.sh runs there. LibTorch is not in it: that machine's own is used.
#
#   launch/bundle.sh [OPTIONS]
#     --output FILE    the archive (default: build/dormer-bundle.tar.gz)
#     --build FOLDER   the build to pack (default: build/release), made with its tests: launch/setup.sh --tests
#     --help           this text
#
# On the other machine: launch/gpu_check.sh FILE, or unpack it and start bin/dormer, which asks python3 for LibTorch or takes DORMER_TORCH.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source launch/progress.sh

readonly limit=$((60 * 1000 * 1000))  # bytes of the archive: what is still easily carried along
output=build/dormer-bundle.tar.gz build=build/release

while [ $# -gt 0 ]; do
  case $1 in
    --output) [ $# -gt 1 ] || fail "bundle: --output needs a file"; output=$2; shift ;;
    --build) [ $# -gt 1 ] || fail "bundle: --build needs a folder"; build=$2; shift ;;
    -h | --help) sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p}' "${BASH_SOURCE[0]}"; exit 0 ;;
    *) fail "bundle: unknown option $1; launch/bundle.sh --help lists them" ;;
  esac
  shift
done
for part in bin/dormer lib/libdormer.so tests/make_tiny_run cmake_install.cmake; do
  [ -e "$build/$part" ] || fail "bundle: $build/$part is missing; launch/setup.sh --tests builds it, --build names another folder"
done
if [ ! -s "$build/gpu-tests.txt" ]; then
  say "bundle: no CUDA module in $build (no CUDA toolkit where it was built): the bundle computes on CPUs alone"
fi

python=.venv/bin/python
[ -x "$python" ] || python=python3
cmake=.venv/bin/cmake
[ -x "$cmake" ] || cmake=cmake
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
bundle=$folder/dormer-bundle

# Also strips, and sets the search paths of what is packed: to the bundle's own lib, and nothing of this machine.
"$cmake" --install "$build" --component bundle --prefix "$bundle" > "$folder/install.log" || {
  tail -n 20 "$folder/install.log" >&2
  fail "bundle: $build is not built to the end; launch/setup.sh --tests builds it"
}
mkdir -p "$bundle/bin" "$bundle/check"
install -m 755 launch/bundled_program.sh "$bundle/bin/dormer"
install -m 755 launch/gpu_check.sh "$bundle/gpu_check.sh"
install -m 644 launch/gpu_check/*.py "$bundle/check/"
install -m 644 LICENSE docs/gpu.md "$bundle/"
if [ -f "$build/share/dormer/plotly.min.js" ]; then
  install -D -m 644 "$build/share/dormer/plotly.min.js" "$bundle/share/dormer/plotly.min.js"
fi
commit=$(git describe --always --dirty --abbrev=12 2> /dev/null || echo unknown)
torch=$(sed -n 's/^DORMER_TORCH:PATH=//p' "$build/CMakeCache.txt")
"$python" launch/bundle_contents.py "$bundle" --torch "$torch" --commit "$commit"

mkdir -p "$(dirname "$output")"
tar --sort=name --owner=0 --group=0 --numeric-owner --mtime=@0 -C "$folder" -cf - dormer-bundle | gzip -9n > "$output.part"
bytes=$(stat -c %s "$output.part")
if [ "$bytes" -ge "$limit" ]; then
  rm "$output.part"
  fail "bundle: $bytes bytes, the limit is $limit; its largest files stand above"
fi
mv "$output.part" "$output"
say "bundle: $output, $(awk "BEGIN {printf \"%.1f\", $bytes / 1e6}") MB"
