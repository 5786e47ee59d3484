#!/usr/bin/env python3
"""Seconds of updates of PEFT's LoRA and DoRA on the same work as `dormer bench`, as JSON. Exit code 3: PEFT is not installed.

A job is dtype:samples:length, such as bfloat16:4:256; a result is [seconds of LoRA, seconds of DoRA], job by job.
"""
import argparse
import json
import sys
import time

try:
    import peft
    import torch
    import transformers
except ImportError as error:
    print(error, file=sys.stderr)
    sys.exit(3)

TARGETS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


def measure(arguments, dtype: str, size: tuple[int, int], decompose: bool) -> list[float]:
    torch.manual_seed(7)
    model = transformers.AutoModelForCausalLM.from_pretrained(arguments.model, dtype=getattr(torch, dtype))
    model = peft.get_peft_model(model, peft.LoraConfig(r=arguments.rank, lora_alpha=arguments.rank, target_modules=TARGETS,
                                                       use_dora=decompose, task_type="CAUSAL_LM")).to(arguments.device)
    model.train()
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=5e-4, weight_decay=0.0)
    tokens = torch.randint(0, model.config.vocab_size, (size[0], size[1] + 1), device=arguments.device)
    wait = torch.cuda.synchronize if arguments.device == "cuda" else lambda: None

    def update() -> float:
        wait()
        start = time.perf_counter()
        logits = model(input_ids=tokens[:, :-1]).logits
        loss = torch.nn.functional.cross_entropy(logits.float().flatten(0, 1), tokens[:, 1:].flatten())
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        wait()
        return time.perf_counter() - start

    update()  # pays for pages, kernels and choices
    update()
    return [update() for _ in range(arguments.rounds)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", required=True)
    parser.add_argument("--job", required=True, action="append")
    parser.add_argument("--device", required=True, choices=["cpu", "cuda"])
    for name in ("rank", "rounds", "threads"):
        parser.add_argument(f"--{name}", type=int, required=True)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    seconds = []
    for dtype, samples, length in (job.split(":") for job in arguments.job):
        seconds.append([measure(arguments, dtype, (int(samples), int(length)), decompose) for decompose in (False, True)])
    print(json.dumps({"versions": f"peft {peft.__version__}, transformers {transformers.__version__}, torch {torch.__version__}", "seconds": seconds}))


if __name__ == "__main__":
    main()
