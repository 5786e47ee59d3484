#!/bin/sh
# bin/dormer of a bundle: starts libexec/dormer, or the program named in DORMER_START, with this machine's LibTorch.
# LibTorch is the folder in DORMER_TORCH (the one that holds lib/), else the one that python3 (or $PYTHON) would import.
bundle=$(cd "$(dirname "$(readlink -f "$0")")/.." && pwd) || exit
if [ -z "${DORMER_TORCH:-}" ]; then
  DORMER_TORCH=$("${PYTHON:-python3}" -c 'import importlib.util, os; print(os.path.dirname(importlib.util.find_spec("torch").origin))' 2> /dev/null)
fi
if [ ! -f "$DORMER_TORCH/lib/libtorch_cpu.so" ]; then
  echo "error: no LibTorch in '$DORMER_TORCH' (lib/libtorch_cpu.so); set DORMER_TORCH to the folder that holds lib/, such as site-packages/torch" >&2
  exit 2
fi
# All other libraries are found from where the program lies.
LD_LIBRARY_PATH=$DORMER_TORCH/lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
export LD_LIBRARY_PATH DORMER_TORCH
exec "$bundle/${DORMER_START:-libexec/dormer}" "$@"
