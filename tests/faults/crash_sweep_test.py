"""A run is ended at every single call that changes its folder, and refused space at every one that needs some: whatever was committed
loads, nothing that is left blocks, and the finished run has the bytes of an undisturbed one."""

import errno
import json
import os
import re
import signal
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

PROGRAM = os.environ["DORMER_PROGRAM"]
BUILD = Path(os.environ["DORMER_BUILD"])
SHIM = BUILD / "tests" / "io_shim.so"
WORKERS = 2

# Small, but with everything that writes: checkpoints that retire others, the best one, metrics, an export, the report. Magnitudes move.
CONFIG = """
run: {{directory: {run}, seed: 3, steps: 6, threads: 1, device: cpu}}
model: {{path: {folder}/model, dtype: float32}}
adapter: {{kind: lora, rank: 4, alpha: 8, decompose: {{axis: auto}}, targets: all-linear}}
data: {{train: {folder}/train.h5, validation: {folder}/validation.h5, sequence_length: 16}}
batch: {{global: 4, micro: 2}}
optimizer: {{learning_rate: 1.0e-2}}
schedule: {{kind: cosine, warmup: 1}}
validation: {{every: 3, samples: 4}}
checkpoint: {{every: 2, background: {background}, keep: {{last: 1, best: 1}}}}
export: [{{for: peft}}]
"""


class Life:
    """One start of the program."""

    def __init__(self, run, folder, background=False, **shim):
        config = run.parent / f"{run.name}.yaml"
        config.write_text(CONFIG.format(run=run, folder=folder, background=str(background).lower()))
        environment = dict(os.environ)
        if shim:
            environment["LD_PRELOAD"] = str(SHIM)
            environment["DORMER_SHIM_ROOT"] = str(run)
            environment |= {f"DORMER_SHIM_{key.upper()}": str(value) for key, value in shim.items()}
        done = subprocess.run([PROGRAM, "train", str(config)], env=environment, capture_output=True, text=True, timeout=120)
        self.code = done.returncode
        self.errors = done.stderr


def calls(log):
    """The counted calls of a life: (number, call, path)."""
    return [(int(number), call, path) for number, call, path in (line.split(" ", 2) for line in log.read_text().splitlines())]


def results(run):
    metrics = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    for line in metrics:
        line.pop("tokens_per_second", None)
    checkpoints = sorted(path.name for path in (run / "checkpoints").iterdir())
    return (run / "export" / "peft" / "adapter_model.safetensors").read_bytes(), metrics, checkpoints


def leftovers(run):
    return [str(path.relative_to(run)) for path in run.rglob("*") if re.search(r"^\.tmp|^\.del|^\.probe|\.tmp-|\.corrupt|\.old$", path.name)]


def committed(made):
    """The newest step whose folder was renamed into place by these calls."""
    steps = [int(found[1]) for _, call, path in made if call == "rename" and (found := re.search(r"/checkpoints/step-(\d+)$", path))]
    return max(steps, default=0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tiny")
    subprocess.run([BUILD / "tests" / "make_tiny_run", folder], check=True)
    return folder


@pytest.fixture(scope="module")
def whole(folder):
    """An undisturbed life: its calls and what it leaves."""
    run, log = folder / "whole", folder / "whole.log"
    life = Life(run, folder, log=log)
    assert life.code == 0, life.errors
    made = calls(log)
    assert {call for _, call, _ in made} >= {"open", "write", "fsync", "rename", "mkdir", "unlink"}
    assert not leftovers(run)
    return made, results(run)


def finish_and_compare(folder, run, expected_step, wanted):
    """The next life of a run. Returns what is wrong, or nothing."""
    life = Life(run, folder)
    if life.code != 0:
        return f"the next life ended with {life.code}: {life.errors[-500:]}"
    resumed = re.search(r"updates (\d+) to", life.errors)
    if expected_step < 6 and (not resumed or int(resumed[1]) != expected_step + 1):
        return f"committed step {expected_step}, but: {resumed and resumed[0]}"
    if results(run) != wanted:
        return "other bytes, metrics or checkpoints than the undisturbed run"
    if left := leftovers(run):
        return f"left behind: {left}"
    return None


def sweep(points, attempt):
    with ThreadPoolExecutor(WORKERS) as pool:
        wrong = [f"{point}: {problem}" for point, problem in zip(points, pool.map(attempt, points)) if problem]
    assert not wrong, f"{len(wrong)} of {len(points)}:\n" + "\n".join(wrong[:20])
    print(f"{len(points)} of {len(points)}")


@pytest.mark.parametrize("action", ["kill", "half"])
def test_killed_at_every_call(folder, whole, action):
    made, wanted = whole
    points = [point for point in made if action == "kill" or point[1] in ("write", "writev", "pwrite")]

    def attempt(point):
        number = point[0]
        run, log = folder / f"{action}-{number}", folder / f"{action}-{number}.log"
        life = Life(run, folder, log=log, call=number, action=action)
        if life.code != -signal.SIGKILL:
            return f"was not killed but ended with {life.code}"
        before = calls(log)[: number - 1]
        if [call for _, call, _ in before] != [call for _, call, _ in made[: number - 1]]:
            return "made other calls than the undisturbed run"
        return finish_and_compare(folder, run, committed(before), wanted)

    sweep(points, attempt)


# Training goes on while a checkpoint is written, so the n-th call is not the same one in every life: the calls of the life itself tell what
# was committed.
@pytest.mark.parametrize("action", ["kill", "half"])
def test_killed_while_writing_beside_the_training(folder, whole, action):
    made, wanted = whole
    points = range(2 if action == "kill" else 3, len(made), 3)

    def attempt(number):
        run, log = folder / f"beside-{action}-{number}", folder / f"beside-{action}-{number}.log"
        life = Life(run, folder, background=True, log=log, call=number, action=action)
        if life.code != -signal.SIGKILL:
            return f"was not killed but ended with {life.code}"
        return finish_and_compare(folder, run, committed(calls(log)[: number - 1]), wanted)

    sweep(points, attempt)


@pytest.mark.parametrize("code, every", [(errno.ENOSPC, 1), (errno.EDQUOT, 5)])
def test_no_space_from_every_call_on(folder, whole, code, every):
    made, wanted = whole
    points = [point for point in made if point[1] in ("open", "write", "writev", "mkdir")][::every]

    def attempt(point):
        number = point[0]
        run = folder / f"full-{code}-{number}"
        life = Life(run, folder, call=number, action=f"full:{code}")
        if life.code < 0:
            return f"died of signal {-life.code}: {life.errors[-500:]}"
        if life.code != 0 and os.strerror(code) not in life.errors:
            return f"ended with {life.code} without the reason: {life.errors[-500:]}"
        return finish_and_compare(folder, run, expected_step_of(run), wanted)

    sweep(points, attempt)


def expected_step_of(run):
    steps = [int(path.name[5:]) for path in (run / "checkpoints").glob("step-*")] if (run / "checkpoints").exists() else []
    return max(steps, default=0)
