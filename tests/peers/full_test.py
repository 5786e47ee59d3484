"""kind: full against PyTorch's AdamW on the same weights, in fp32: twenty updates, and the export loaded by PEFT."""

import h5py
import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

import reference
from dormer_run import Training, expect_close
from models import MODEL_CASES, AdapterCase, load_model, make_model, make_tokens

UPDATES = 20
TARGETS = ("q_proj", "v_proj", "down_proj")
CASES = [case for case in MODEL_CASES if case.name in ("odd_sizes_in_shards", "qwen2")]  # without biases and with


@pytest.fixture(params=CASES, ids=lambda case: case.name)
def trained(request, tmp_path, program):
    case = request.param
    model = make_model(case, tmp_path / "model")
    tokens = [make_tokens(tmp_path / f"{name}.h5", 60, case.sizes["vocab_size"], seed) for name, seed in (("train", 23), ("validation", 24))]
    training = Training(tmp_path, model, "unused", AdapterCase("full", False), tokens, data={"shuffle": False},
                        optimizer={"learning_rate": 1.0e-3})
    training.groups["adapter"] = {"kind": "full", "targets": list(TARGETS)}
    training.write()
    training.train(program, "--trace", "20")
    return training, model, tokens


def test_twenty_updates_equal_those_of_pytorch(trained):
    training, folder, tokens = trained
    model = load_model(folder)
    weights = {name: parameter for name, parameter in model.named_parameters()
               if any(f".{target}." in name for target in TARGETS)}
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name in weights)
    start = {name: parameter.detach().clone() for name, parameter in weights.items()}
    with h5py.File(tokens[0]) as file:
        stream = file["tokens"][:].astype(np.int64)
    length, count = training.LENGTH, training.GLOBAL
    samples = (len(stream) - 1) // length
    batches = [np.stack([stream[s * length : s * length + length + 1] for s in (np.arange(count) + update * count) % samples])
               for update in range(UPDATES)]
    metrics = [line for line in training.metrics() if "loss" in line]
    expected = list(reference.train(model, batches, [line["learning_rate"] for line in metrics], training.groups["optimizer"]))
    for line, (loss, norm) in zip(metrics, expected, strict=True):
        assert line["loss"] == pytest.approx(loss, rel=1e-4), f"update {line['step']}"
        assert line["gradient_norm"] == pytest.approx(norm, rel=1e-3), f"update {line['step']}"
    trace = training.trace(UPDATES)
    assert {name.removeprefix("after.") for name in trace if name.startswith("after.")} == set(weights)
    for name, parameter in weights.items():
        moved = (parameter.detach() - start[name]).abs().max().item()
        assert moved > 5e-3, f"{name} did not move: the comparison says nothing"
        expect_close(trace[f"after.{name}"], parameter.detach().numpy(), 1e-4, name)


def test_peft_loads_the_export(trained):
    training, folder, tokens = trained
    weights = load_file(training.export / "adapter_model.safetensors")
    trace = training.trace(UPDATES)
    for name, values in weights.items():
        assert np.array_equal(values, trace["after." + name.removeprefix("base_model.model.")]), name
    held_out = [line["validation_loss"] for line in training.metrics() if "validation_loss" in line]
    batch = training.validation_batch(tokens[1])
    with torch.no_grad():
        loss = reference.loss_of(reference.adapted(folder, training.export), batch).item()
        before = reference.loss_of(load_model(folder), batch).item()
    assert held_out[-1] == pytest.approx(loss, rel=1e-5)
    assert abs(before - loss) > 1e-2
