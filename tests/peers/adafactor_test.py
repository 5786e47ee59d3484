"""Adafactor beside PyTorch's and transformers'."""

import pytest
import torch
from transformers.optimization import Adafactor

from optimizer_peers import expect_close, ours, theirs


@pytest.mark.parametrize("scale", [False, True])
@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_fixed_rates_of_transformers(tmp_path, scale, decay):
    actual = ours(tmp_path, kind="adafactor", learning_rate=2e-2, relative_step=0, scale_parameter=int(scale), weight_decay=decay, slope=0.05)
    _, expected = theirs(
        lambda parameters: Adafactor(parameters, lr=2e-2, relative_step=False, scale_parameter=scale, weight_decay=decay), slope=0.05)
    expect_close(actual, expected)


def test_relative_steps_of_transformers(tmp_path):
    actual = ours(tmp_path, kind="adafactor", learning_rate=1e-2)
    _, expected = theirs(lambda parameters: Adafactor(parameters), slope=0.0)
    expect_close(actual, expected)


def test_relative_steps_of_pytorch(tmp_path):
    """Its epsilon bounds means from below where the paper's is added: gradients here are far above both. 1 / sqrt(t) is smaller from t = 5."""
    actual = ours(tmp_path, kind="adafactor", learning_rate=0.5)
    _, expected = theirs(lambda parameters: torch.optim.Adafactor(parameters, lr=0.5, eps=(1e-30, 1e-3)))
    expect_close(actual, expected)
