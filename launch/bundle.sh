#!/usr/bin/env bash
# Packs what was built for a machine without a package registry: program, modules, GPU tests, the shared libraries that such a machine lacks,
# and the checks that launch/gpu_check.sh runs there. LibTorch is not in it: that machine's own is used.
#
#   launch/bundle.sh [OPTIONS]
#     --output FILE    the archive (default: build/dormer-bundle.tar.gz)
#     --squashfs FILE  also an image of the same files, to be mounted or bound into a container (needs mksquashfs of squashfs-tools)
#     --images         also the image module with libvips and all that it needs: training on pictures there
#     --glibc VERSION  fail where a file asks for a newer glibc than the other machine's, and name the symbols: 2.34
#     --build FOLDER   the build to pack (default: build/release), made with its tests: launch/setup.sh --tests
#     --help           this text
#
# On the other machine: launch/gpu_check.sh FILE, or unpack it and start bin/dormer, which asks python3 for LibTorch or takes DORMER_TORCH.
# It starts one rank; cluster/rebuild_mpi.sh in the bundle gives it the MPI of that machine.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source launch/progress.sh

readonly limit=$((60 * 1000 * 1000))  # bytes of the archive: what is still easily carried along
output=build/dormer-bundle.tar.gz image='' glibc='' images='' build=build/release

while [ $# -gt 0 ]; do
  case $1 in
    --output) [ $# -gt 1 ] || fail "bundle: --output needs a file"; output=$2; shift ;;
    --squashfs) [ $# -gt 1 ] || fail "bundle: --squashfs needs a file"; image=$2; shift ;;
    --glibc) [[ ${2:-} =~ ^2\.[0-9]+$ ]] || fail "bundle: --glibc needs a version such as 2.34"; glibc=$2; shift ;;
    --images) images=yes ;;
    --build) [ $# -gt 1 ] || fail "bundle: --build needs a folder"; build=$2; shift ;;
    -h | --help) sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p}' "${BASH_SOURCE[0]}"; exit 0 ;;
    *) fail "bundle: unknown option $1; launch/bundle.sh --help lists them" ;;
  esac
  shift
done
for part in bin/dormer lib/libdormer.so tests/make_tiny_run cmake_install.cmake; do
  [ -e "$build/$part" ] || fail "bundle: $build/$part is missing; launch/setup.sh --tests builds it, --build names another folder"
done
[ -z "$images" ] || [ -e "$build/lib/libdormer_vips.so" ] || fail "bundle: --images needs $build/lib/libdormer_vips.so, which is built where libvips is found (apt-get install libvips-dev)"
[ -z "$image" ] || command -v mksquashfs > /dev/null || fail "bundle: --squashfs needs mksquashfs; apt-get install squashfs-tools (or spack install squashfs)"
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
for component in bundle ${images:+bundle_images}; do
  "$cmake" --install "$build" --component "$component" --prefix "$bundle" > "$folder/install.log" || {
    tail -n 20 "$folder/install.log" >&2
    fail "bundle: $build is not built to the end; launch/setup.sh --tests builds it"
  }
done
mkdir -p "$bundle/bin" "$bundle/check" "$bundle/cluster"
install -m 755 launch/bundled_program.sh "$bundle/bin/dormer"
install -m 755 launch/gpu_check.sh "$bundle/gpu_check.sh"
install -m 644 launch/gpu_check/*.py "$bundle/check/"
[ -z "$images" ] || install -m 644 tests/peers/diffusion_models.py tests/peers/diffusion_run.py "$bundle/check/"
install -m 644 LICENSE docs/gpu.md "$bundle/"
install -m 755 cluster/rebuild_mpi.sh "$bundle/cluster/rebuild_mpi.sh"
if [ -f "$build/share/dormer/plotly.min.js" ]; then
  install -D -m 644 "$build/share/dormer/plotly.min.js" "$bundle/share/dormer/plotly.min.js"
fi
commit=$(git describe --always --dirty --abbrev=12 2> /dev/null || echo unknown)
torch=$(sed -n 's/^DORMER_TORCH:PATH=//p' "$build/CMakeCache.txt")
"$python" launch/bundle_contents.py "$bundle" --torch "$torch" --commit "$commit" ${glibc:+--glibc "$glibc"}
chmod -R u=rwX,go=rX "$bundle"  # whatever the umask here

# publish FILE: FILE.part becomes FILE if it is small enough.
publish() {
  local bytes
  bytes=$(stat -c %s "$1.part")
  if [ "$bytes" -ge "$limit" ]; then
    rm "$1.part"
    fail "bundle: $1 would have $bytes bytes, the limit is $limit; its largest files stand above"
  fi
  mv "$1.part" "$1"
  say "bundle: $1, $(awk "BEGIN {printf \"%.1f\", $bytes / 1e6}") MB"
}

mkdir -p "$(dirname "$output")"
tar --sort=name --owner=0 --group=0 --numeric-owner --mtime=@0 -C "$folder" -cf - dormer-bundle | gzip -9n > "$output.part"
publish "$output"
if [ -n "$image" ]; then
  mkdir -p "$(dirname "$image")"
  # gzip, which every kernel and every squashfuse reads; no time of this day, so that the same files give the same bytes.
  env -u SOURCE_DATE_EPOCH mksquashfs "$bundle" "$image.part" -noappend -all-root -no-xattrs -mkfs-time 0 -all-time 0 -comp gzip -no-progress -quiet > "$folder/squashfs.log" 2>&1 || {
    tail -n 5 "$folder/squashfs.log" >&2
    fail "bundle: mksquashfs cannot write $image (version 4.4 or newer is needed); the reason stands above"
  }
  publish "$image"
fi
