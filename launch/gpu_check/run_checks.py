#!/usr/bin/env python3
"""Runs the steps of gpu_check.sh and writes report.md. Started by gpu_check.sh."""
import argparse
import json
import os
import re
import shutil
import sys
import time
from datetime import datetime, timezone
from pathlib import Path

from diffusion import diffusion
from machine import check_bundle, describe_gpu, describe_machine, gpu_test, start_program
from report import counts, report
from steps import FAIL, Context, Step, run_step
from throughput import kernels, throughput
from training import compare_devices, kill_and_resume, prepare, recompute, run_again

TESTED = {"nccl_gpu_test": "NCCL on one rank", "operations_gpu_test": "every kernel and a whole update", "train_gpu_test": "whole runs"}


def all_steps(manifest: dict) -> list[Step]:
    """In order. What later steps read is made by earlier ones."""
    tests = [(f"test {name}", gpu_test(name, TESTED.get(name, "the GPU"))) for name in manifest["gpu_tests"]]
    images = [("diffusion models on CPU and GPU", diffusion)] if manifest["image_module"] else []
    return [
        ("bundle", check_bundle),
        ("machine", describe_machine),
        ("program", start_program),
        ("gpu", describe_gpu),
        *tests,
        ("generated model and tokens", prepare),
        ("train float32 on CPU and GPU", compare_devices("float32")),
        ("train bfloat16 on CPU and GPU", compare_devices("bfloat16")),
        ("same bytes: run again", run_again),
        ("same bytes: blocks recomputed", recompute),
        ("same bytes: killed and resumed", kill_and_resume),
        *images,
        ("tokens/s", throughput),
        ("bytes/s of kernels", kernels),
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("bundle", "torch", "output", "work"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--dry", action="store_true")
    parser.add_argument("--only", default="")
    parser.add_argument("--limit", type=float, default=480.0)
    arguments = parser.parse_args()
    manifest = json.loads((arguments.bundle / "manifest.json").read_text())
    logs = arguments.output / "logs"
    shutil.rmtree(logs, ignore_errors=True)
    logs.mkdir(parents=True)
    steps = [step for step in all_steps(manifest) if re.search(arguments.only, step[0])]
    if not steps:
        print(f"error: no step matches '{arguments.only}': {', '.join(name for name, _ in all_steps(manifest))}", file=sys.stderr)
        return 2
    begin = time.monotonic()
    context = Context(bundle=arguments.bundle, torch=arguments.torch, work=arguments.work, manifest=manifest, dry=arguments.dry,
                      python=sys.executable, deadline=begin + arguments.limit)
    outcomes = []
    for number, step in enumerate(steps, 1):
        outcome = run_step(context, number, step, logs)
        outcomes.append(outcome)
        print(f"{outcome.result:11} {outcome.seconds:6.1f} s  {outcome.name}: {outcome.finding.summary}", flush=True)
    facts = [["bundle", f"{manifest['program']}, commit {manifest['commit']}"], ["LibTorch", arguments.torch],
             ["date", datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC")], ["host", os.uname().nodename],
             ["seconds", f"{time.monotonic() - begin:.0f}"]]
    (arguments.output / "report.md").write_text(report(outcomes, facts, arguments.dry))
    print(f"report: {arguments.output / 'report.md'}")
    print(counts(outcomes))
    return int(any(outcome.result == FAIL for outcome in outcomes))


if __name__ == "__main__":
    sys.exit(main())
