#!/usr/bin/env bash
# Puts CUDA's compiler into a folder, from NVIDIA's wheels, where there is no toolkit: of the version of .venv's LibTorch, 300 MB.
#
#   cluster/cuda_compiler.sh FOLDER
#   CUDA_HOME=FOLDER launch/setup.sh
#
# launch/setup.sh --no-build must have made .venv, with LibTorch's wheel. The folder is needed for the build alone.
set -euo pipefail
[ $# -eq 1 ] && [[ $1 != -* ]] || { sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p}' "${BASH_SOURCE[0]}"; exit 2; }
folder=$(realpath -m "$1")
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source launch/progress.sh

version=$(.venv/bin/python -c 'import importlib.metadata; print(importlib.metadata.version("cuda-toolkit"))' 2> /dev/null) ||
  fail "cuda_compiler: .venv has no LibTorch with CUDA; run launch/setup.sh --no-build first"
wheels=$(mktemp -d)
trap 'rm -rf "$wheels"' EXIT
watched "CUDA's compiler, $version" build/logs/cuda-compiler.log .venv/bin/python -m pip install --target "$wheels" --no-compile \
  --disable-pip-version-check --no-input --progress-bar off "cuda-toolkit[nvcc,crt,nvvm,cccl,cudart]==$version"
[ -x "$wheels"/nvidia/cu*/bin/nvcc ] || fail "cuda_compiler: the wheels of CUDA $version have another layout: no nvidia/cu*/bin/nvcc"
mkdir -p "$folder"
cp -a "$wheels"/nvidia/cu*/. "$folder/"
# What a toolkit has and wheels have not: names for the linker.
ln -sfn lib "$folder/lib64"
for library in "$folder"/lib/lib*.so.*; do
  ln -sf "${library##*/}" "${library%%.so.*}.so"
done
say "$folder: $("$folder/bin/nvcc" --version | sed -n 's/^Cuda compilation tools, //p')"
