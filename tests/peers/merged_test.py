"""Adapters of every kind and axis train a real run, and transformers computes our held-out loss from the merged export, in fp32."""

import pytest
import torch

import reference
from dormer_run import Training
from models import MODEL_CASES, AdapterCase, load_model, make_model, make_tokens

CASES = [case for case in MODEL_CASES if case.name in ("odd_sizes_in_shards", "qwen2")]
ADAPTERS = {
    "lora": {"kind": "lora", "rank": 4},
    "dora_output": {"kind": "lora", "rank": 4, "decompose": {"axis": "output"}},
    "dora_input": {"kind": "lora", "rank": 4, "decompose": {"axis": "input"}},
    "loha": {"kind": "loha", "rank": 4},
    "doha_input": {"kind": "loha", "rank": 4, "decompose": {"axis": "input"}},
    "lokr": {"kind": "lokr", "rank": 2},
    "dokr_output": {"kind": "lokr", "rank": 2, "factor": 4, "decompose": {"axis": "output"}},
    "dokr_whole_input": {"kind": "lokr", "full_matrix": True, "decompose": {"axis": "input", "epsilon": 1.1920929e-07, "norm_gradient": True}},
    "mixed": {"kind": "loha", "rank": 4, "overrides": [{"match": "q_proj", "kind": "full"}, {"match": "v_proj", "kind": "lokr"}]},
}


@pytest.mark.parametrize("name", ADAPTERS)
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_transformers_computes_the_merged_models_loss(case, name, tmp_path, program):
    folder = make_model(case, tmp_path / "model")
    tokens = [make_tokens(tmp_path / f"{part}.h5", 60, case.sizes["vocab_size"], seed) for part, seed in (("train", 23), ("validation", 24))]
    training = Training(tmp_path, folder, "unused", AdapterCase("lora", False), tokens, run={"steps": 8}, schedule={"warmup": 0},
                        optimizer={"learning_rate": 3.0e-2}, validation={"every": 8, "keep_best": False})
    training.groups["adapter"] = ADAPTERS[name]
    training.groups["export"] = [{"for": "merged", "dtype": "float32"}]
    training.write()
    training.train(program)
    held_out = [line["validation_loss"] for line in training.metrics() if "validation_loss" in line]
    batch = training.validation_batch(tokens[1])
    with torch.no_grad():
        merged = reference.loss_of(load_model(training.directory / "export" / "merged"), batch).item()
        before = reference.loss_of(load_model(folder), batch).item()
    assert held_out[0] == pytest.approx(before, rel=1e-5)
    assert abs(before - merged) > 1e-2, "nothing was learned: the comparison says nothing"
    assert held_out[-1] == pytest.approx(merged, rel=1e-5)
