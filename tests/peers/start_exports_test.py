"""Runs whose factors started from the weight: PEFT loads the export, which holds the change as a LoRA of twice the rank, and computes our
held-out loss."""

import json

import pytest
import torch

import reference
from dormer_run import Training
from models import MODEL_CASES, AdapterCase, load_model, make_model, make_tokens

MODEL = next(case for case in MODEL_CASES if case.name == "qwen2")
WAYS = {"plain": {}, "stabilized": {"rank_stabilized": True, "alpha": 8}, "decomposed": {"decompose": {"axis": "output"}}}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("start", ["pissa", "pissa_fast", "olora"])
def test_peft_computes_the_loss_of_a_moved_change(start, way, tmp_path, program):
    folder = make_model(MODEL, tmp_path / "model")
    tokens = [make_tokens(tmp_path / f"{part}.h5", 60, MODEL.sizes["vocab_size"], seed) for part, seed in (("train", 23), ("validation", 24))]
    training = Training(tmp_path, folder, "unused", AdapterCase("lora", False), tokens, run={"steps": 8}, schedule={"warmup": 0},
                        optimizer={"learning_rate": 2.0e-2}, validation={"every": 8, "keep_best": False})
    training.groups["adapter"] = {"kind": "lora", "rank": 4, "start": start} | WAYS[way]
    training.write()
    training.train(program)
    held_out = [line["validation_loss"] for line in training.metrics() if "validation_loss" in line]
    settings = json.loads((training.export / "adapter_config.json").read_text())
    assert settings["r"] == 8 and settings["use_dora"] == (way == "decomposed")
    batch = training.validation_batch(tokens[1])
    with torch.no_grad():
        before = reference.loss_of(load_model(folder), batch).item()
        theirs = reference.loss_of(reference.adapted(folder, training.export), batch).item()
    assert held_out[0] == pytest.approx(before, rel=1e-5), "the start is not the base"
    assert abs(before - theirs) > 1e-2, "nothing was learned: the comparison says nothing"
    assert held_out[-1] == pytest.approx(theirs, rel=1e-5)
