#!/usr/bin/env python3
"""Measures updates of dormer and of PEFT on the same work, alternately in one run: a base model, all linear layers, AdamW.

Example: tests/bench/against_peft.py --model models/smollm2-135m --dtype float32 --rounds 3
Prints best and median tokens/s of each and their ratios. PEFT runs with the allocator's defaults, dormer with its own
thresholds (the program sets them itself).
"""
import argparse
import json
import resource
import statistics
import subprocess
import time
from pathlib import Path

import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM

ROOT = Path(__file__).resolve().parents[2]
TARGETS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


def make_trainer(arguments, decompose):
    """Returns a function that runs one update of PEFT and gives its seconds."""
    torch.manual_seed(7)
    model = AutoModelForCausalLM.from_pretrained(arguments.model, dtype=getattr(torch, arguments.dtype))
    config = LoraConfig(r=arguments.rank, lora_alpha=arguments.rank, target_modules=TARGETS, use_dora=decompose, task_type="CAUSAL_LM")
    model = get_peft_model(model, config)
    model.train()
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=5e-4, weight_decay=0.0)
    tokens = torch.randint(0, model.config.vocab_size, (arguments.samples, arguments.length + 1))

    def update():
        start = time.perf_counter()
        logits = model(input_ids=tokens[:, :-1]).logits
        loss = torch.nn.functional.cross_entropy(logits.float().flatten(0, 1), tokens[:, 1:].flatten())
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        return time.perf_counter() - start

    update()  # the first pays for pages and kernels
    return update


def run_dormer(arguments):
    """One process of `dormer bench`: seconds of each row."""
    command = [str(arguments.program), "bench", "--model", arguments.model, "--dtype", arguments.dtype, "--json",
               "--samples", str(arguments.samples), "--length", str(arguments.length), "--rank", str(arguments.rank),
               "--threads", str(arguments.threads), "--rounds", "3"]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="models/smollm2-135m")
    parser.add_argument("--dtype", default="float32", choices=["float32", "bfloat16"])
    parser.add_argument("--program", type=Path, default=ROOT / "build/release/bin/dormer")
    for name, default in (("samples", 4), ("length", 256), ("rank", 16), ("threads", 2), ("rounds", 3)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--dora", action="store_true", help="measure PEFT's DoRA too (its memory is large)")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)

    seconds = {}
    peers = {"PEFT LoRA": make_trainer(arguments, False)}
    if arguments.dora:
        peers["PEFT DoRA"] = make_trainer(arguments, True)
    for _ in range(arguments.rounds):
        for name, values in run_dormer(arguments).items():
            seconds.setdefault(f"dormer {name}", []).extend(values)
        for name, update in peers.items():
            seconds.setdefault(name, []).extend(update() for _ in range(3))

    tokens = arguments.samples * arguments.length
    reference = statistics.median(seconds["PEFT LoRA"])
    print(f"{arguments.dtype}, {arguments.samples}x{arguments.length} tokens, rank {arguments.rank}, {arguments.threads} threads")
    print(f"{'':14} {'best tokens/s':>14} {'median':>10} {'x PEFT LoRA (median)':>22}")
    for name, values in seconds.items():
        median = statistics.median(values)
        print(f"{name:14} {tokens / min(values):14.1f} {tokens / median:10.1f} {reference / median:22.2f}")
    ratio = statistics.median(seconds["dormer dora"]) / statistics.median(seconds["dormer lora"])
    print(f"one DoRA update costs {ratio:.3f} of one LoRA update (medians)")
    print(f"peak memory of this process: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6:.2f} GB")


if __name__ == "__main__":
    main()
