"""Gradients of A, B and the magnitudes against those of PEFT's autograd, in fp32: within 1e-4 of each tensor's largest.

The peers' own fp32 gradients are up to 1e-5 away from their fp64 ones on these models."""

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import reference
from dormer_run import expect_close, run


def test_gradients_equal_those_of_peft(probe, model_case, model_folder, adapter_folder, tmp_path):
    tokens = np.random.default_rng(51).integers(model_case.sizes["vocab_size"], size=(4, 41), dtype=np.int64)
    save_file({"tokens": tokens}, tmp_path / "tokens.safetensors")
    run(probe, "gradients", model_folder, adapter_folder, tmp_path / "tokens.safetensors", tmp_path / "gradients.safetensors")
    ours = load_file(tmp_path / "gradients.safetensors")
    model = reference.adapted(model_folder, adapter_folder, trainable=True)
    loss = reference.loss_of(model, tokens)
    loss.backward()
    assert float(ours.pop("loss")[0]) == pytest.approx(loss.item(), rel=1e-5)
    theirs = reference.parameters(model)
    ours = {reference.plain_name(name): values for name, values in ours.items()}
    assert set(ours) == set(theirs)
    for name, parameter in theirs.items():
        expect_close(ours[name], parameter.grad.numpy(), 1e-4, name)
