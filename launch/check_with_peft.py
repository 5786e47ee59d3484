#!/usr/bin/env python3
"""Loads an exported adapter in PEFT and compares the held-out loss, and the logits of a sample, with those of `dormer evaluate`.

Example:
  dormer evaluate configs/quickstart.yaml --adapter runs/quickstart/export/peft --dtype float32 --logits logits.safetensors
  launch/check_with_peft.py --model models/smollm2-135m --adapter runs/quickstart/export/peft --data data/manpages/validation.h5 \\
      --sequence-length 256 --samples 64 --expect 2.3663 --logits logits.safetensors
"""

import argparse
import os
import sys
import time
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")
TOLERANCE = 1e-3  # of the mean loss
LOGITS_TOLERANCE = 1e-4  # of the largest logit, both sides in fp32


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, type=Path, metavar="FOLDER")
    parser.add_argument("--adapter", required=True, type=Path, metavar="FOLDER")
    parser.add_argument("--data", required=True, type=Path, metavar="FILE.h5", help="held-out token set")
    parser.add_argument("--sequence-length", type=int, default=256)
    parser.add_argument("--samples", type=int, default=64, help="the first blocks of the token set (default 64)")
    parser.add_argument("--dtype", default="float32", help="default float32")
    parser.add_argument("--expect", required=True, type=float, metavar="LOSS", help=f"the loss to reproduce within {TOLERANCE}")
    parser.add_argument("--logits", type=Path, metavar="FILE", help="what `dormer evaluate --dtype float32 --logits FILE` wrote")
    return parser.parse_args()


def read_blocks(path: Path, length: int, samples: int):
    """The first blocks of `length` tokens, each with the token that follows it, as `data.packing: blocks` cuts them."""
    import h5py
    import torch

    with h5py.File(path) as file:
        samples = min(samples, (len(file["tokens"]) - 1) // length)
        tokens = torch.from_numpy(file["tokens"][: samples * length + 1].astype("int64"))
    return tokens.unfold(0, length + 1, length)


def held_out_loss(model, blocks) -> float:
    """Mean loss per target, summed in double precision."""
    import torch

    total = 0.0
    with torch.inference_mode():
        for block in blocks.split(4):
            logits = model(input_ids=block[:, :-1]).logits.float()
            total += torch.nn.functional.cross_entropy(logits.flatten(0, 1), block[:, 1:].flatten(), reduction="sum").double().item()
    return total / (blocks.shape[0] * (blocks.shape[1] - 1))


def compare_logits(model, path: Path) -> bool:
    """Whether the model gives the file's logits for the file's tokens."""
    import torch
    from safetensors.torch import load_file

    file = load_file(path)
    with torch.inference_mode():
        theirs = model(input_ids=file["tokens"][None, :-1]).logits[0].float()
    difference = (theirs - file["logits"]).abs().max().item() / theirs.abs().max().item()
    verdict = "equal" if difference <= LOGITS_TOLERANCE else "NOT EQUAL"
    print(f"PEFT's logits and ours differ by {difference:.1e} of the largest: {verdict} within {LOGITS_TOLERANCE}")
    return difference <= LOGITS_TOLERANCE


def main() -> int:
    arguments = parse_arguments()
    begin = time.monotonic()
    from peft import PeftConfig, PeftModel
    from transformers import AutoModelForCausalLM
    import transformers

    transformers.utils.logging.disable_progress_bar()
    model = AutoModelForCausalLM.from_pretrained(arguments.model, dtype=arguments.dtype)
    added = getattr(PeftConfig.from_pretrained(arguments.adapter), "trainable_token_indices", None)
    if added:  # the adapter's rows take the place of whatever resizing puts there
        model.resize_token_embeddings(max(max(tokens) for tokens in added.values()) + 1, mean_resizing=False)
    model = PeftModel.from_pretrained(model, arguments.adapter).eval()
    blocks = read_blocks(arguments.data, arguments.sequence_length, arguments.samples)
    loss = held_out_loss(model, blocks)
    difference = abs(loss - arguments.expect)
    verdict = "equal" if difference <= TOLERANCE else "NOT EQUAL"
    print(f"PEFT's held-out loss {loss:.5f}, ours {arguments.expect:.5f}: {verdict} within {TOLERANCE} ({time.monotonic() - begin:.0f} s)")
    logits_agree = arguments.logits is None or compare_logits(model, arguments.logits)
    return 0 if difference <= TOLERANCE and logits_agree else 1


if __name__ == "__main__":
    sys.exit(main())
