"""Runs of the program on small generated models: losses against the CPU's, and bytes against other ways to the same run."""
import json
import os
import re
import signal
import subprocess
import threading
from pathlib import Path

from random_model import DRY_SHAPE, Shape, write_model
from steps import Context, Finding, StepFailed, table

CONFIG = """
run: {{directory: {run}, seed: 3, steps: {steps}, threads: {threads}}}
model: {{path: {model}, dtype: {dtype}}}
adapter: {{kind: lora, rank: 16, alpha: 32, dropout: 0.05, decompose: {{axis: auto}}, targets: all-linear}}
data: {{train: {data}/train.h5, validation: {data}/validation.h5, sequence_length: 128}}
batch: {{global: 4, micro: 1}}
optimizer: {{learning_rate: 2.0e-3}}
schedule: {{kind: constant}}
parallel: {{reduction: exact}}
validation: {{every: {cadence}, samples: 4}}
checkpoint: {{every: {cadence}}}
export: [{{for: peft}}]
"""
# Largest relative difference of a loss between CPU and GPU: the same operations add in another order, and AdamW carries the difference from
# update to update. Between two libraries for the products on one CPU, 40 updates like these were 1.7e-7 (float32) and 5e-4 (bfloat16) apart;
# GPU kernels order every sum anew, so 60 and 10 times that is allowed. Another seed, whose losses look alike, is 7e-2 away.
TOLERANCE = {"float32": 1e-5, "bfloat16": 5e-3}
LIMIT = 120  # seconds until the first checkpoint
LEARNS = 0.9  # the last loss over the first, at most: a run that stands still would agree with anything


def steps_of(context: Context) -> int:
    return 12 if context.dry else 40


def prepare(context: Context) -> Finding:
    """Token sets by the program's own writer, and a model by torch."""
    data = context.work / "data"
    context.test_program("make_tiny_run", data, 20001)
    shape = DRY_SHAPE if context.dry else Shape(vocab_size=4096, num_hidden_layers=8)
    write_model(context.work / "small", shape, data / "model" / "tokenizer.json")
    facts = context.dormer("inspect", context.work / "small").stdout.strip().splitlines()
    return Finding(f"a Llama of {shape.num_hidden_layers} blocks, {shape.hidden_size} wide, and 20,000 tokens", "```\n" + "\n".join(facts[:12]) + "\n```")


def command(context: Context, run: str, device: str, dtype: str, *settings: str) -> list[str]:
    steps = steps_of(context)
    config = context.work / f"{run}.yaml"
    config.write_text(CONFIG.format(run=context.work / run, steps=steps, threads=context.threads, model=context.work / "small",
                                    dtype=dtype, data=context.work / "data", cadence=steps // 4))
    # Where the version knows it: only deterministic kernels, which same bytes rest on.
    fixed = ["run.deterministic=true"] if "run.deterministic" in context.known.get("keys", ()) else []
    sets = [word for setting in [f"run.device={device}", *fixed, *settings] for word in ("--set", setting)]
    return [str(context.bundle / "bin" / "dormer"), "train", str(config), *sets]


def train(context: Context, run: str, device: str, dtype: str, *settings: str) -> None:
    context.run(command(context, run, device, dtype, *settings))


def metrics(context: Context, run: str) -> list[dict]:
    return [json.loads(line) for line in (context.work / run / "metrics.jsonl").read_text().splitlines()]


def adapter(context: Context, run: str) -> bytes:
    return (context.work / run / "export" / "peft" / "adapter_model.safetensors").read_bytes()


def compare_losses(expected: list[dict], actual: list[dict]) -> tuple[float, list[list]]:
    """Largest relative difference, and rows of update, loss there and here."""
    if [line["step"] for line in expected] != [line["step"] for line in actual]:
        raise StepFailed("the two runs have other updates")
    worst, rows = 0.0, []
    for there, here in zip(expected, actual):
        for key in ("loss", "validation_loss"):
            if there.get(key) is None:
                continue
            difference = abs(here[key] - there[key]) / abs(there[key])
            worst = max(worst, difference) if difference == difference else float("inf")
            rows.append([there["step"], key, f"{there[key]:.6f}", f"{here[key]:.6f}", f"{difference:.1e}"])
    return worst, rows


def compare_devices(dtype: str):
    """A step: the same configuration on the CPU and on the device."""

    def run(context: Context) -> Finding:
        train(context, f"cpu-{dtype}", "cpu", dtype)
        train(context, f"device-{dtype}", context.device, dtype)
        worst, rows = compare_losses(metrics(context, f"cpu-{dtype}"), metrics(context, f"device-{dtype}"))
        losses = [float(row[2]) for row in rows if row[1] == "loss"]
        context.note(f"largest relative difference {worst:.3e}, losses {losses}")
        if losses[-1] > LEARNS * losses[0]:
            raise StepFailed(f"the loss only went from {losses[0]:.4f} to {losses[-1]:.4f} on the CPU")
        if not worst <= TOLERANCE[dtype]:
            raise StepFailed(f"losses differ by up to {worst:.1e} of themselves, allowed {TOLERANCE[dtype]:.0e}")
        shown = rows if len(rows) <= 20 else rows[:8] + rows[-8:]
        return Finding(f"losses from {losses[0]:.3f} to {losses[-1]:.3f} agree within {worst:.1e} (allowed {TOLERANCE[dtype]:.0e})",
                       table(["update", "what", "CPU", context.where, "relative difference"], shown))

    return run


def require_same_bytes(context: Context, run: str) -> Finding:
    whole, other = adapter(context, "device-bfloat16"), adapter(context, run)
    if whole != other:
        worst, _ = compare_losses(metrics(context, "device-bfloat16"), metrics(context, run))
        raise StepFailed(f"another adapter than the first run's; losses differ by up to {worst:.1e}")
    return Finding(f"{len(whole)} bytes of adapter_model.safetensors, bfloat16, on the {context.where}")


def run_again(context: Context) -> Finding:
    train(context, "again", context.device, "bfloat16")
    return require_same_bytes(context, "again")


def recompute(context: Context) -> Finding:
    """Blocks computed again in the backward pass."""
    train(context, "recomputed", context.device, "bfloat16", "run.recompute=true")
    return require_same_bytes(context, "recomputed")


def kill_and_resume(context: Context) -> Finding:
    """SIGKILL as soon as the first checkpoint is there, and the same line once more."""
    words = command(context, "killed", context.device, "bfloat16")
    saved = f"step {steps_of(context) // 4}: saved"
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=context.environment(), cwd=context.work,
                               start_new_session=True)
    late = threading.Timer(LIMIT, os.killpg, (process.pid, signal.SIGKILL))
    late.start()
    lines = []
    for line in process.stderr:
        lines.append(line)
        if saved in line:
            os.killpg(process.pid, signal.SIGKILL)
            break
    code = process.wait()
    late.cancel()
    process.stderr.close()
    context.note("".join(lines) + f"[exit code {code}]")
    if code != -signal.SIGKILL or not lines or saved not in lines[-1]:
        raise StepFailed(f"the run ended with exit code {code} before it was killed at '{saved}'")
    resumed = re.search(r"updates (\d+) to (\d+)$", context.run(words).stderr, re.MULTILINE)
    if not resumed or int(resumed[1]) <= steps_of(context) // 4:
        raise StepFailed("the second start did not go on where the first was killed; the log has what it said")
    finding = require_same_bytes(context, "killed")
    return Finding(finding.summary + f", killed at '{saved}', went on with {resumed[0]}")
