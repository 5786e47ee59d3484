"""`dormer plan` beside runs of diffusion models: bytes of tensors and of files."""

import json
import re

import pytest

import diffusion_run
from dormer_run import run

ALLOWED = 0.1  # of what is measured
MEASURED = re.compile(r"memory of rank 0: (\d+) bytes of tensors at most")
CASES = {
    "dora": {},
    "micro": {"batch": "{global: 4, micro: 4}"},
    "large": {"data.resolution": "[128]"},
    "bfloat16": {"model.dtype": "bfloat16"},
    "convolutions": {"adapter.kind": "locon", "adapter.targets": "[full]"},
    "captions": {"data.captions.shuffle": "true"},
    "text": {"text.max_tokens": "225"},
    "dropout": {"adapter.kind": "lokr", "adapter.dropout": "0.2", "export": "[{for: kohya}]"},
    "encoders": {"model.train": "[unet, text_encoder]", "text.max_tokens": "150"},
    "pictures": {"samples": '{every: 2, prompts: ["a --w 192 --h 128"], steps: 2}'},
    "lion": {"optimizer.kind": "lion"},
    "recomputed": {"run.recompute": "true", "data.resolution": "[128]", "batch": "{global: 4, micro: 4}"},
}


@pytest.fixture(scope="module", params=["sd1", "sdxl"])
def folder(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param)
    diffusion_run.make_pipeline(request.param, folder / "model")
    diffusion_run.make_pictures(folder / "pictures", 5, 1)
    return folder


@pytest.mark.parametrize("case", CASES)
def test_a_plan_is_what_training_takes(program, folder, case, tmp_path):
    (tmp_path / "run.yaml").write_text(f"""
run: {{directory: {tmp_path}/run, steps: 3, threads: 1, device: cpu}}
model: {{path: {folder}/model, dtype: float32}}
adapter: {{kind: lora, rank: 4, decompose: {{axis: output}}, targets: attention-mlp}}
data: {{kind: images, resolution: [64], cache: {tmp_path}/cache, concepts: [{{path: {folder}/pictures}}]}}
batch: {{global: 2}}
objective: {{kind: denoise}}
export: [{{for: kohya}}]
""")
    changes = [word for key, value in CASES[case].items() for word in ("--set", f"{key}={value}")]
    plan = json.loads(run(program, "plan", tmp_path / "run.yaml", "--json", *changes))
    run(program, "train", tmp_path / "run.yaml", *changes)
    measured = int(MEASURED.search((tmp_path / "run" / "log.txt").read_text()).group(1))
    planned = plan["ranks"][0]["memory"]["tensors"]
    print(f"{folder.name} {case}: planned {planned}, measured {measured} ({planned / measured:.3f})")
    assert abs(planned - measured) <= ALLOWED * measured
    files = {entry["name"]: entry["bytes"] for entry in plan["files"]}
    written = sum(path.stat().st_size for path in (tmp_path / "run" / "export" / "kohya").rglob("*") if path.is_file())
    assert abs(files["export/kohya"] - written) <= ALLOWED * written
    assert plan["training_samples"] == 5 and plan["updates"] == 3


def test_what_does_not_fit_a_gpu_is_told_with_what_would_help(program, folder, tmp_path):
    (tmp_path / "run.yaml").write_text(f"""
run: {{directory: {tmp_path}/run, steps: 3}}
model: {{path: {folder}/model, dtype: float32}}
adapter: {{kind: lora, rank: 4}}
data: {{kind: images, resolution: [256], cache: {tmp_path}/cache, concepts: [{{path: {folder}/pictures}}]}}
batch: {{global: 4, micro: 4}}
objective: {{kind: denoise}}
""")
    fit = json.loads(run(program, "plan", tmp_path / "run.yaml", "--gpu-memory", "1.05GiB", "--json"))["gpu"]
    assert not fit["fits"]
    changes = {change["change"]: change["peak"] for change in fit["changes"]}
    assert {"run.recompute: true", "batch.micro: 2"} <= set(changes), changes
    assert not any("sequence_length" in change for change in changes)
