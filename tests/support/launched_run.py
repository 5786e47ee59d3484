"""Runs of a tiny model under a launcher, killed whole where a test wants it."""

import json
import os
import signal
import subprocess
from pathlib import Path

import pytest

PROGRAM = os.environ["DORMER_PROGRAM"]
BUILD = Path(os.environ["DORMER_BUILD"])
MPIRUN = Path(__file__).with_name("mpirun.sh")
STEPS = 300

CONFIG = """
run: {{directory: {folder}/{run}, seed: 3, steps: {steps}, threads: 1, device: cpu}}
model: {{path: {folder}/model, dtype: float32}}
adapter: {{kind: lora, rank: 4, alpha: 8, decompose: {{axis: auto}}, targets: all-linear}}
data: {{train: {folder}/train.h5, validation: {folder}/validation.h5, sequence_length: 16}}
batch: {{global: 8, micro: 1}}
optimizer: {{learning_rate: 1.0e-3}}
schedule: {{kind: cosine, warmup: 3%}}
validation: {{every: 50, samples: 8}}
checkpoint: {{every: 20}}
export: [{{for: peft}}]
"""


def make_tiny(folder):
    subprocess.run([BUILD / "tests" / "make_tiny_run", folder], check=True)
    return folder


def command(folder, run, ranks):
    config = folder / f"{run}.yaml"
    config.write_text(CONFIG.format(folder=folder, run=run, steps=STEPS))
    return [str(MPIRUN), str(ranks), PROGRAM, "train", str(config)]


def train(folder, run, ranks):
    subprocess.run(command(folder, run, ranks), check=True, capture_output=True, text=True)


def descendants(pid):
    """Process ids below `pid`, from the kernel's tables."""
    parents = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rsplit(")", 1)[1].split()
            except OSError:  # it ended meanwhile
                continue
            parents.setdefault(int(fields[1]), []).append(int(entry.name))
    found, todo = [], [pid]
    while todo:
        children = parents.get(todo.pop(), [])
        found += children
        todo += children
    return found


def kill_all(process):
    """SIGKILL to a process and to all below it."""
    for pid in [*descendants(process.pid), process.pid]:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
    process.wait()


def kill_when(line_of_run, says):
    """Starts a run by this command line and kills its launcher and every rank as soon as it says that."""
    process = subprocess.Popen(line_of_run, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    lines = []
    for line in process.stderr:
        lines.append(line)
        if says in line:
            break
    else:
        pytest.fail(f"the run ended before it said {says!r}:\n" + "".join(lines))
    kill_all(process)
    process.stderr.close()


def train_and_kill(folder, run, ranks, after):
    kill_when(command(folder, run, ranks), after)


def adapter(folder, run):
    return (folder / run / "export" / "peft" / "adapter_model.safetensors").read_bytes()


def metrics(folder, run):
    lines = [json.loads(line) for line in (folder / run / "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in line.items() if key != "tokens_per_second"} for line in lines]
