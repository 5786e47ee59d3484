"""Runs our program and reads what it wrote."""

import json
import subprocess
from pathlib import Path

import h5py
import numpy as np
from safetensors.numpy import load_file


def run(program, *arguments):
    """Runs to success and returns standard output; a failure shows what the program said."""
    done = subprocess.run([str(program), *map(str, arguments)], capture_output=True, text=True)
    assert done.returncode == 0, f"{program} {' '.join(map(str, arguments))}: exit {done.returncode}\n{done.stderr}"
    return done.stdout


class Training:
    """One run directory and its configuration."""

    LENGTH = 24
    GLOBAL = 4

    def __init__(self, folder: Path, model: Path, adapter: Path, case, tokens, **groups):
        self.folder = folder
        self.directory = folder / "run"
        self.groups = {
            "run": {"directory": str(self.directory), "seed": 5, "steps": 20, "resume": "never", "device": "cpu", "threads": 1},
            "model": {"path": str(model), "dtype": "float32"},
            "adapter": {"kind": "lora", "rank": case.rank, "alpha": case.alpha,
                        "targets": case.targets if isinstance(case.targets, str) else list(case.targets), "init_from": str(adapter)},
            "data": {"kind": "tokens", "train": str(tokens[0]), "validation": str(tokens[1]), "sequence_length": self.LENGTH,
                     "packing": "blocks", "shuffle": True},
            "batch": {"global": self.GLOBAL, "micro": 2},
            "objective": {"kind": "next_token"},
            "optimizer": {"kind": "adamw", "learning_rate": 5.0e-3, "betas": [0.9, 0.98], "epsilon": 1.0e-8, "weight_decay": 0.01,
                          "max_gradient_norm": 1.0},
            "schedule": {"kind": "cosine", "warmup": 5},
            "validation": {"every": 20, "samples": 8},
            "checkpoint": {"every": None},
            "export": [{"for": "peft", "dtype": "float32"}],
        }
        if case.rank_stabilized:
            self.groups["adapter"]["rank_stabilized"] = True
        if case.overrides or case.whole:
            self.groups["adapter"]["overrides"] = [*case.overrides, *({"match": pattern, "kind": "full"} for pattern in case.whole)]
        if case.decompose:
            self.groups["adapter"]["decompose"] = {"axis": "output"}
        for name, changes in groups.items():
            self.groups[name] = {**self.groups[name], **changes}
        self.config = folder / "train.yaml"
        self.write()

    def write(self):
        self.config.write_text(json.dumps(self.groups, indent=1))  # JSON is YAML

    def train(self, program, *arguments):
        return run(program, "train", self.config, *arguments)

    def metrics(self):
        return [json.loads(line) for line in (self.directory / "metrics.jsonl").read_text().splitlines()]

    def trace(self, update: int) -> dict[str, np.ndarray]:
        return load_file(self.directory / "trace" / f"update-{update:09d}.safetensors")

    def validation_batch(self, tokens: Path) -> np.ndarray:
        """The rows that a run measures its held-out loss on, with the token after each."""
        with h5py.File(tokens) as file:
            stream = file["tokens"][:].astype(np.int64)
        samples = min((len(stream) - 1) // self.LENGTH, self.groups["validation"]["samples"])
        return np.stack([stream[s * self.LENGTH : (s + 1) * self.LENGTH + 1] for s in range(samples)])

    @property
    def export(self) -> Path:
        return self.directory / "export" / "peft"


def difference(ours, theirs) -> float:
    """Largest difference as a share of the largest value."""
    ours, theirs = np.asarray(ours, dtype=np.float64), np.asarray(theirs, dtype=np.float64)
    assert ours.shape == theirs.shape
    return float(np.abs(ours - theirs).max() / np.abs(theirs).max())


def expect_close(ours, theirs, tolerance: float, what: str) -> None:
    distance = difference(ours, theirs)
    assert distance < tolerance, f"{what}: differs by {distance:.3g} of the largest value; {tolerance:.3g} is allowed"
