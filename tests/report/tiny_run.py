"""A tiny model, its data, and runs of the program on them."""

import json
import os
import subprocess
from pathlib import Path

PROGRAM = os.environ["DORMER_PROGRAM"]
BUILD = Path(os.environ["DORMER_BUILD"])

CONFIG = """
run: {directory: run, seed: 3, steps: 60, threads: 1, device: cpu}
model: {path: model, dtype: float32}
adapter: {kind: lora, rank: 4, alpha: 8, decompose: {axis: auto}, targets: all-linear}
data: {train: train.h5, validation: validation.h5, sequence_length: 16}
batch: {global: 8, micro: 2}
optimizer: {learning_rate: 1.0e-2}
validation: {every: 10, samples: 8, keep_best: false}
checkpoint: {every: 20}
"""


def prepare(folder: Path) -> None:
    subprocess.run([BUILD / "tests" / "make_tiny_run", folder], check=True)
    (folder / "run.yaml").write_text(CONFIG)


def dormer(folder: Path, *arguments: str) -> str:
    done = subprocess.run([PROGRAM, *arguments], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def metrics(run: Path) -> list[dict]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
