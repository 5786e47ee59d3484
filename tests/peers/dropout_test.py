"""Dropout against PEFT's, whose dropout modules multiply with our exported masks: logits, loss and gradients in fp32.

Tolerances are those of logits_test.py and gradients_test.py."""

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file

import reference
from dormer_run import difference, expect_close, run


class Mask(torch.nn.Module):
    def __init__(self, values):
        super().__init__()
        self.values = torch.from_numpy(values)

    def forward(self, x):
        return x * self.values


def test_dropout_stands_where_peft_has_it(probe, model_case, model_folder, adapter_folder, tmp_path):
    tokens = np.random.default_rng(61).integers(model_case.sizes["vocab_size"], size=(3, 38), dtype=np.int64)
    save_file({"tokens": tokens}, tmp_path / "tokens.safetensors")
    run(probe, "dropout", model_folder, adapter_folder, tmp_path / "tokens.safetensors", tmp_path / "out.safetensors")
    ours = load_file(tmp_path / "out.safetensors")
    masks = {name.removeprefix("mask."): ours.pop(name) for name in list(ours) if name.startswith("mask.")}
    for site, mask in masks.items():
        assert 0.1 < (mask == 0).mean() < 0.5 and mask.max() == pytest.approx(1 / 0.7), site
    model = reference.adapted(model_folder, adapter_folder, trainable=True)
    undropped = reference.logits_of(model, tokens[:, :-1])
    for name, module in model.named_modules():
        if hasattr(module, "lora_dropout"):
            module.lora_dropout["default"] = Mask(masks.pop(name.removeprefix("base_model.model.")))
    assert not masks, f"PEFT adapts no {list(masks)}"
    model.train()  # where PEFT asks its dropout modules; the models themselves have no dropout
    theirs = reference.logits_of(model, tokens[:, :-1])
    assert difference(undropped, theirs) > 0.05, "the dropout changes nothing"
    expect_close(ours.pop("logits"), theirs, 1e-5, "logits")
    loss = reference.loss_of(model, tokens)
    loss.backward()
    assert float(ours.pop("loss")[0]) == pytest.approx(loss.item(), rel=1e-5)
    ours = {reference.plain_name(name): values for name, values in ours.items()}
    expected = reference.parameters(model)
    assert set(ours) == set(expected)
    for name, parameter in expected.items():
        expect_close(ours[name], parameter.grad.numpy(), 1e-4, name)
