"""Lives of a tiny run, for tests of faults: start it, disturb it, and look at what it leaves."""

import json
import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))
from preload import preload  # noqa: E402

PROGRAM = os.environ["DORMER_PROGRAM"]
BUILD = Path(os.environ["DORMER_BUILD"])
SHIM = preload(BUILD / "tests" / "io_shim.so", PROGRAM)
WORKERS = 2

# Small, but with everything that writes: checkpoints that retire others, the best one, metrics, an export, the report. Magnitudes move.
CONFIG = """
run: {{directory: {run}, seed: {seed}, steps: {steps}, threads: 1, device: cpu}}
model: {{path: {folder}/model, dtype: float32}}
adapter: {{kind: lora, rank: 4, alpha: 8, decompose: {{axis: auto}}, targets: all-linear}}
data: {{train: {folder}/train.h5, validation: {folder}/validation.h5, sequence_length: 16}}
batch: {{global: 4, micro: 2}}
optimizer: {{learning_rate: 1.0e-2}}
schedule: {{kind: cosine, warmup: 1}}
validation: {{every: {validate}, samples: 4}}
checkpoint: {{every: {every}, background: {background}, keep: {{last: {keep}, best: 1}}}}
export: [{{for: peft}}]
"""
DEFAULTS = {"seed": 3, "steps": 6, "every": 2, "validate": 3, "keep": 1, "background": "true"}


def make_tiny(folder):
    subprocess.run([BUILD / "tests" / "make_tiny_run", folder], check=True)
    return folder


def command(run, folder, **settings):
    """The line that starts a run; its file lies in `folder`, whatever may become of the run's own place."""
    config = folder / f"{run.name}.yaml"
    config.write_text(CONFIG.format(run=run, folder=folder, **(DEFAULTS | settings)))
    return [PROGRAM, "train", str(config)]


class Life:
    """One start of the program, to its end. `shim` are the settings of io_shim.cpp."""

    def __init__(self, run, folder, settings=None, **shim):
        environment = dict(os.environ)
        if shim:
            environment["LD_PRELOAD"] = SHIM
            environment["DORMER_SHIM_ROOT"] = str(run)
            environment |= {f"DORMER_SHIM_{key.upper()}": str(value) for key, value in shim.items()}
        done = subprocess.run(command(run, folder, **(settings or {})), env=environment, capture_output=True, text=True, timeout=120)
        self.code = done.returncode
        self.errors = done.stderr

    def lines(self, begin):
        """What it said in lines that begin so: "warning: ", "error: "."""
        return [line for line in self.errors.splitlines() if line.startswith(begin)]

    def resumed_from(self):
        """The update that it went on from; nothing if it did not come so far."""
        found = re.search(r"updates (\d+) to", self.errors)
        return int(found[1]) - 1 if found else None


def calls(log):
    """The counted calls of a life under the shim: (number, call, path)."""
    return [(int(number), call, path) for number, call, path in (line.split(" ", 2) for line in log.read_text().splitlines())]


def undisturbed(run, folder, settings=None):
    """The calls of a life that nothing disturbs."""
    log = folder / f"{run.name}.log"
    life = Life(run, folder, settings, log=log)
    assert life.code == 0, life.errors
    return calls(log)


def commit_of(made, step):
    """The number of the call that commits the checkpoint of so many updates."""
    return next(number for number, call, path in made if call == "rename" and path.endswith(f"/checkpoints/step-{step:09d}"))


def results(run):
    """What a finished run is compared by: the exported bytes, the metrics but for the speed, the checkpoints that count."""
    metrics = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    for line in metrics:
        for key in ("tokens_per_second", "straggler", "straggler_ratio"):
            line.pop(key, None)
    checkpoints = sorted(path.name for path in (run / "checkpoints").iterdir() if ".corrupt" not in path.name)
    return (run / "export" / "peft" / "adapter_model.safetensors").read_bytes(), metrics, checkpoints


def leftovers(run):
    return [str(path.relative_to(run)) for path in run.rglob("*") if re.search(r"^\.tmp|^\.del|^\.probe|\.tmp-|\.corrupt|\.old$", path.name)]


def sweep(points, attempt):
    """Tries every point on all workers; `attempt` returns what is wrong, or nothing."""
    with ThreadPoolExecutor(WORKERS) as pool:
        wrong = [f"{point}: {problem}" for point, problem in zip(points, pool.map(attempt, points)) if problem]
    assert not wrong, f"{len(wrong)} of {len(points)}:\n" + "\n".join(wrong[:20])
    print(f"{len(points)} of {len(points)}")
