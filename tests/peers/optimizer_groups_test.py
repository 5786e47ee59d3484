"""Separate rates and decay of magnitudes, LoRA+ and an expression for alpha, against PyTorch's parameter groups over PEFT's DoRA."""

import h5py
import numpy as np
import pytest

import reference
from dormer_run import Training, expect_close
from models import MODEL_CASES, AdapterCase, add_adapter, load_model, make_model, make_tokens

UPDATES = 20
CASE = AdapterCase("dora", True, rank=5, alpha=10.0)
OPTIMIZER = {"learning_rate": 2.0e-3, "loraplus_ratio": 4.0, "magnitude": {"learning_rate": 1.0e-2, "weight_decay": 0.2}}


def test_twenty_updates_with_every_group(tmp_path, program):
    model = make_model(MODEL_CASES[0], tmp_path / "model")
    add_adapter(load_model(model), CASE, seed=11).save_pretrained(tmp_path / "adapter")
    vocabulary = MODEL_CASES[0].sizes["vocab_size"]
    tokens = [make_tokens(tmp_path / f"{name}.h5", 60, vocabulary, seed) for name, seed in (("train", 27), ("validation", 28))]
    training = Training(tmp_path, model, tmp_path / "adapter", CASE, tokens, data={"shuffle": False}, optimizer=OPTIMIZER)
    training.groups["adapter"]["alpha"] = "2*rank"
    training.write()
    training.train(program, "--trace", str(UPDATES))
    with h5py.File(tokens[0]) as file:
        stream = file["tokens"][:].astype(np.int64)
    length, count = training.LENGTH, training.GLOBAL
    samples = (len(stream) - 1) // length
    batches = [np.stack([stream[s * length : s * length + length + 1] for s in (np.arange(count) + update * count) % samples])
               for update in range(UPDATES)]
    peer = reference.adapted(model, tmp_path / "adapter", trainable=True)
    metrics = [line for line in training.metrics() if "loss" in line]
    expected = list(reference.train(peer, batches, [line["learning_rate"] for line in metrics], training.groups["optimizer"]))
    for line, (loss, norm) in zip(metrics, expected, strict=True):
        assert line["loss"] == pytest.approx(loss, rel=1e-4), f"update {line['step']}"
        assert line["gradient_norm"] == pytest.approx(norm, rel=1e-3), f"update {line['step']}"
    trace = training.trace(UPDATES)
    for name, parameter in reference.parameters(peer).items():
        # Elements whose gradient is nearly zero move by rounding's sign: the groups show in the rest.
        expect_close(trace[f"after.{name}"], parameter.detach().numpy(), 5e-3, name)
