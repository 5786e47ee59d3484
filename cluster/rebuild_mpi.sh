#!/usr/bin/env bash
# Rebuilds the one source file that knows MPI with this site's own MPI: libdormer_mpi.so, in a source tree with a build, or in an unpacked
# bundle, which comes without. Two ranks must load it and exchange messages before it takes the place of the old one, which stays beside it
# as libdormer_mpi.so.before.
#
#   cluster/rebuild_mpi.sh [OPTIONS]
#     --mpicxx COMMAND    the site's compiler for MPI (default: mpicxx in PATH): mpicxx.mpich, mpiicpx, CC
#     --launcher WORDS    what starts two ranks (default: the mpiexec beside the compiler, with -n 2): 'srun --mpi=pmix -n 2'
#     --no-check          start no rank, where none may run; the program still refuses a module that does not fit
#     --build FOLDER      the build of a source tree (default: build/release)
#     --output FILE       put the module there, where the build is read-only; DORMER_MPI_MODULE=FILE names it to the program
#     --help              this text
#
# The compiler must know C++20: GCC 11, Clang 16 or newer, with GCC's standard library. In a bundle, DORMER_TORCH names LibTorch as always.
set -euo pipefail

say() { printf 'rebuild_mpi: %s\n' "$*"; }
fail() { printf 'rebuild_mpi: %s\n' "$*" >&2; exit 1; }

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
mpicxx=mpicxx launcher='' check=yes build='' output=''
while [ $# -gt 0 ]; do
  case $1 in
    --mpicxx | --launcher | --build | --output)
      [ -n "${2:-}" ] || fail "$1 needs a value; --help explains it"
      case $1 in
        --mpicxx) mpicxx=$2 ;;
        --launcher) launcher=$2 ;;
        --build) build=$2 ;;
        --output) output=$2 ;;
      esac
      shift ;;
    --no-check) check='' ;;
    -h | --help) sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p}' "${BASH_SOURCE[0]}"; exit 0 ;;
    *) fail "unknown option $1; --help lists them" ;;
  esac
  shift
done
# A bundle has the layout of a source tree, and is its own build.
if [ -z "$build" ] && [ -f "$root/mpi-interface.txt" ]; then build=$root; fi
build=${build:-$root/build/release}
[ -f "$build/lib/libdormer.so" ] && [ -x "$build/bin/dormer" ] && [ -f "$build/mpi-interface.txt" ] ||
  fail "$build holds no built dormer (bin/dormer, lib/libdormer.so, mpi-interface.txt); build it with launch/setup.sh, or --build names another folder"
build=$(cd "$build" && pwd)
target=${output:-$build/lib/libdormer_mpi.so}
folder=$(cd "$(dirname "$target")" 2> /dev/null && pwd) && [ -w "$folder" ] ||
  fail "cannot write to $(dirname "$target"); --output puts the module elsewhere, and DORMER_MPI_MODULE names it to the program"
target=$folder/${target##*/}

work=$(mktemp -d)
log=$work/log
new=$folder/.libdormer_mpi.so.$$
trap 'rm -rf "$work"; rm -f "$new"' EXIT
read -ra compiler <<< "$mpicxx"

# What a failed command said, as one line; everything stays in a file.
reason() {
  local line kept
  kept=$(mktemp "${TMPDIR:-/tmp}/rebuild_mpi.XXXXXX.log")
  cp "$log" "$kept"
  line=$(grep -m 1 '^error: ' "$log" || grep -m 1 -iE 'error|undefined|not found|unable|cannot' "$log" || grep -m 1 . "$log" || echo "it said nothing")
  line=${line#error: }
  printf '%.400s [all of it: %s]' "$line" "$kept"
}

# compiles WORDS…: whether the compiler takes standard input.
compiles() { "${compiler[@]}" -x c++ -std=c++20 -DOMPI_SKIP_MPICXX -DMPICH_SKIP_MPICXX "$@" - > "$log" 2>&1; }

# --- the compiler and its MPI ---------------------------------------------------------------------------------------------------------------

command -v "${compiler[0]}" > /dev/null ||
  fail "no MPI: there is no ${compiler[0]}; load the site's MPI (module load …) or name its compiler with --mpicxx"
compiles -fsyntax-only <<< $'#include <source_location>\n#include <span>' ||
  fail "no compiler: $mpicxx compiles no C++20; load GCC 11, Clang 16 or newer: $(reason)"
compiles -fsyntax-only <<< '#include <mpi.h>' || fail "no MPI: $mpicxx finds no mpi.h; name the site's MPI compiler with --mpicxx: $(reason)"
compiles -fsyntax-only <<< $'#include <mpi.h>\n#if MPI_VERSION < 3\n#error MPI 3 is needed\n#endif' || fail "this MPI is too old: $(reason)"
compiles -fsyntax-only <<< $'#include <string>\nstatic_assert(sizeof(std::string) == 32, "this is another std::string than the program\'s");' ||
  fail "wrong ABI: $mpicxx compiles for another standard library than GCC's libstdc++ with its C++11 ABI; use GCC, or Clang with it: $(reason)"

mpi_name() {
  compiles -E -dM <<< '#include <mpi.h>'
  awk '$1 == "#define" { gsub(/"/, "", $3); value[$2] = $3 }
    END {
      if ("CRAY_MPICH_VERSION" in value) print "Cray MPICH " value["CRAY_MPICH_VERSION"]
      else if ("I_MPI_VERSION" in value) print "Intel MPI " value["I_MPI_VERSION"]
      else if ("MVAPICH2_VERSION" in value) print "MVAPICH " value["MVAPICH2_VERSION"]
      else if ("MPICH_VERSION" in value) print "MPICH " value["MPICH_VERSION"]
      else if ("OMPI_MAJOR_VERSION" in value) print "Open MPI " value["OMPI_MAJOR_VERSION"] "." value["OMPI_MINOR_VERSION"] "." value["OMPI_RELEASE_VERSION"]
      else print "MPI " value["MPI_VERSION"] "." value["MPI_SUBVERSION"]
    }' "$log"
}

find_launcher() {
  local place candidate
  place=$(command -v "${compiler[0]}")
  for candidate in "${place/mpicxx/mpiexec}" "${place%/*}/mpiexec" "${place%/*}/mpirun" mpiexec mpirun; do
    if [ "$candidate" != "$place" ] && command -v "$candidate" > /dev/null; then echo "$candidate -n 2"; return; fi
  done
  return 1
}

if [ -n "$check" ]; then
  [ -n "$launcher" ] || launcher=$(find_launcher) ||
    fail "no launcher: neither beside $mpicxx nor in PATH is an mpiexec or mpirun; give --launcher 'srun --mpi=pmix -n 2', or --no-check"
  read -ra words <<< "$launcher"
  command -v "${words[0]}" > /dev/null || fail "no launcher: there is no ${words[0]}; --launcher names another"
fi

# --- the module -----------------------------------------------------------------------------------------------------------------------------

# The hash of the headers, as cmake/rooms.cmake computes it: a module of other headers must not carry the program's id.
headers_hash() {
  local header hashes=''
  while read -r header; do
    hashes+=$(sha256sum "$root/include/dormer/$header.hpp" | cut -c 1-64)
  done < <(tail -n +2 "$build/mpi-interface.txt")
  printf '%s' "$hashes" | sha256sum | cut -c 1-16
}

id=$(head -n 1 "$build/mpi-interface.txt")
hash=$(headers_hash 2> "$log") || fail "the module's headers are not in $root/include: $(reason)"
[ "${id##*-}" = "$hash" ] ||
  fail "another build: the program in $build is of $id, the headers in $root/include are of ${id%-*}-$hash; build the program again"

"${compiler[@]}" -std=c++20 -O2 -fPIC -shared -ffp-contract=off -I "$root/include" -isystem "$build/headers" -DFMT_HEADER_ONLY \
  -DOMPI_SKIP_MPICXX -DMPICH_SKIP_MPICXX "-DDORMER_MPI_BUILD_ID=\"$id\"" "$root/src/mpi/mpi_communicator.cpp" -o "$new" \
  -Wl,-z,defs "$build/lib/libdormer.so" > "$log" 2>&1 || {
  if grep -q 'undefined.*dormer::' "$log"; then fail "wrong ABI: the program lacks what $mpicxx made of its headers: $(reason)"; fi
  fail "$mpicxx cannot build src/mpi/mpi_communicator.cpp: $(reason)"
}
chmod 755 "$new"

# --- two ranks ------------------------------------------------------------------------------------------------------------------------------

run_two_ranks() {
  if [ "$EUID" -eq 0 ]; then
    export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 PRTE_ALLOW_RUN_AS_ROOT=1 PRTE_ALLOW_RUN_AS_ROOT_CONFIRM=1
  fi
  # Where there is one core for both.
  export OMPI_MCA_rmaps_base_oversubscribe=1 OMPI_MCA_mpi_yield_when_idle=1 PRTE_MCA_rmaps_default_mapping_policy=:oversubscribe
  DORMER_MPI_MODULE=$new timeout 120 "${words[@]}" "$build/bin/dormer" bench comm --mebibytes 1 --rounds 3 > "$log" 2>&1
}

told=''
if [ -n "$check" ]; then
  code=0
  run_two_ranks || code=$?
  [ "$code" -ne 124 ] || fail "two ranks by '$launcher' did not meet within 120 seconds: $(reason)"
  [ "$code" -eq 0 ] || fail "two ranks by '$launcher' ended with exit code $code: $(reason)"
  grep -q '^2 ranks, transport mpi' "$log" ||
    fail "two processes by '$launcher' did not meet: it belongs to another MPI than $mpicxx, or starts another number; --launcher names the right one: $(reason)"
  told=", $(sed -n 's/^ *\(all_reduce\) of all ranks: /\1 of two ranks /p' "$log")"
fi

# --- its place ------------------------------------------------------------------------------------------------------------------------------

kept=''
if [ -f "$target" ]; then
  ln -f "$target" "$target.before" 2> /dev/null || cp -p "$target" "$target.before"
  kept="; the old one is ${target##*/}.before"
fi
name=$(mpi_name)
mv -fT "$new" "$target"
say "$target, build $id, with $name$told$kept"
