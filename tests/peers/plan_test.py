"""`dormer plan` beside the training that it plans: memory, bytes of files, and updates, on every family."""

import json
import re

import pytest

from dormer_run import Training, run
from models import AdapterCase

ALLOWED = 0.1  # of what is measured
MEASURED = re.compile(r"memory of rank 0: (\d+) bytes of tensors at most, (\d+) bytes resident at most")
DORA = AdapterCase("dora", True)


def folder_bytes(folder):
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def expect_within(planned, measured, what):
    print(f"{what}: planned {planned}, measured {measured} ({planned / measured:.3f})")
    assert abs(planned - measured) <= ALLOWED * measured, what


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_plan_is_what_training_takes(program, model_case, model_folder, token_files, tmp_path, dtype):
    training = Training(tmp_path, model_folder, "unused", DORA, token_files, run={"steps": 4},
                        schedule={"warmup": 0}, validation={"every": 2}, checkpoint={"every": 1})
    training.groups["model"]["dtype"] = dtype
    del training.groups["adapter"]["init_from"]
    training.write()
    plan = json.loads(run(program, "plan", training.config, "--json"))
    training.train(program)
    tensors, _ = map(int, MEASURED.search((training.directory / "log.txt").read_text()).groups())
    expect_within(plan["ranks"][0]["memory"]["tensors"], tensors, f"{model_case.name} in {dtype}")
    assert plan["updates"] == 4 and plan["samples"] == 16
    files = {entry["name"]: entry for entry in plan["files"]}
    checkpoints = sorted((training.directory / "checkpoints").glob("step-*"))
    assert len(checkpoints) <= files["checkpoints"]["count"]
    expect_within(files["checkpoints"]["bytes"], folder_bytes(checkpoints[0]), "a checkpoint")
    expect_within(files["export/peft"]["bytes"], folder_bytes(training.export), "the export")
    spared = (files["checkpoints"]["count"] - len(checkpoints)) * files["checkpoints"]["bytes"]  # the best may be the last
    expect_within(plan["disk"] - spared, folder_bytes(training.directory), "the run directory")
