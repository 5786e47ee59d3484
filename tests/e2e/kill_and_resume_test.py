"""Every rank is killed with SIGKILL at some update, and the run is started again with another number of ranks: the same bytes."""

import json
import os
import signal
import subprocess
from pathlib import Path

import pytest

PROGRAM = os.environ["DORMER_PROGRAM"]
BUILD = Path(os.environ["DORMER_BUILD"])
MPIRUN = Path(__file__).parents[1] / "support" / "mpirun.sh"
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


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tiny")
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


def train_and_kill(folder, run, ranks, after):
    """Starts a run and kills its launcher and every rank as soon as it says `after`. Returns the last saved step."""
    process = subprocess.Popen(command(folder, run, ranks), stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    lines = []
    for line in process.stderr:
        lines.append(line)
        if after in line:
            break
    else:
        pytest.fail("the run ended before it was killed:\n" + "".join(lines))
    for pid in [*descendants(process.pid), process.pid]:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
    process.wait()
    process.stderr.close()


def adapter(folder, run):
    return (folder / run / "export" / "peft" / "adapter_model.safetensors").read_bytes()


def metrics(folder, run):
    lines = [json.loads(line) for line in (folder / run / "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in line.items() if key != "tokens_per_second"} for line in lines]


def test_killed_and_resumed_with_other_ranks_gives_the_same_bytes(folder):
    train(folder, "whole", 1)
    train_and_kill(folder, "killed", 2, after="step 40: saved")
    train_and_kill(folder, "killed", 3, after="step 120: saved")
    train_and_kill(folder, "killed", 1, after="step 200: saved")
    train(folder, "killed", 4)
    assert adapter(folder, "killed") == adapter(folder, "whole")
    assert metrics(folder, "killed") == metrics(folder, "whole")
    assert [line["step"] for line in metrics(folder, "killed")] == list(range(STEPS + 1))


def test_a_signal_to_the_launcher_saves_and_asks_for_a_requeue(folder):
    process = subprocess.Popen(command(folder, "stopped", 2), stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    for line in process.stderr:
        if "step 60: saved" in line:
            break
    process.send_signal(signal.SIGUSR1)
    errors = process.stderr.read()
    assert process.wait() == 85, errors
    train(folder, "stopped", 3)
    assert adapter(folder, "stopped") == adapter(folder, "whole")
    assert metrics(folder, "stopped") == metrics(folder, "whole")


def test_every_number_of_ranks_exports_the_same_bytes(folder):
    for ranks in (2, 3, 4):
        train(folder, f"ranks-{ranks}", ranks)
        assert adapter(folder, f"ranks-{ranks}") == adapter(folder, "whole"), ranks
        assert metrics(folder, f"ranks-{ranks}") == metrics(folder, "whole"), ranks
