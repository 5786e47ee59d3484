"""The training of NVlabs' DoRA and of OneTrainer, of which no package is installed: their formulas written out here, with our dropout masks.
Outputs, gradients and ten updates, within the tolerances of layers_test.py."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from layers_test import compare, error, geometry, make_layer, probe

RANK = 4
ALPHA = 8


class Formula(nn.Module):
    """One layer of a program: `placement` and `axis` as in our configuration, `axis` none for a plain LoRA."""

    def __init__(self, layer, axis, placement, epsilon=0.0):
        super().__init__()
        self.layer, self.axis, self.placement, self.epsilon = layer, axis, placement, epsilon
        self.mask = torch.ones(())
        out, columns = layer.weight.shape[0], layer.weight[0].numel()
        self.lora_A = nn.Parameter(torch.zeros(RANK, columns))
        self.lora_B = nn.Parameter(torch.zeros(out, RANK))
        if axis != "none":
            self.magnitude = nn.Parameter(self.norm(layer.weight).clone())

    def norm(self, weight):
        """[out, 1] or [1, in], with the kernel's axes: NVlabs' over rows, OneTrainer's over all but its input channels."""
        kept = 0 if self.axis == "output" else 1
        return weight.pow(2).sum([axis for axis in range(weight.dim()) if axis != kept], keepdim=True).sqrt()

    def operation(self, x, weight):
        if isinstance(self.layer, nn.Linear):
            return functional.linear(x, weight)
        return functional.conv2d(x, weight, None, self.layer.stride, self.layer.padding, self.layer.dilation, self.layer.groups)

    def forward(self, x):
        weight, dropped = self.layer.weight, x * self.mask
        delta = ALPHA / RANK * (self.lora_B @ self.lora_A).reshape(weight.shape)
        seen = x if self.placement == "input" else dropped
        y = self.operation(seen, weight)
        if self.axis == "none":
            y = y + self.operation(dropped, delta)
        else:
            factor = self.magnitude / (self.norm((weight + delta).detach()) + self.epsilon)
            y = y + self.operation(dropped, factor * (weight + delta) - weight)
        bias = self.layer.bias
        return y if bias is None else y + bias.reshape(1, -1, *[1] * (y.dim() - 2))

    def before_update(self, ours, step):
        self.mask = ours[f"input_mask.{step}"]
        assert 0.1 < (self.mask == 0).float().mean() < 0.5


def ours_of(layer):
    kernel = list(layer.weight.shape[2:])

    def named(name, values):
        if name == "lora_A":
            return name, values.reshape(RANK, -1, *kernel)
        return name, values.T if name == "lora_B" else values.flatten()

    return named


def trained_like(tmp_path, layer, x, formula, keys, rate=0.3):
    keys = {"kind": "lora" if isinstance(layer, nn.Linear) else "locon", "rank": RANK, "alpha": ALPHA, "axis": formula.axis, "dropout": rate} | keys
    compare(tmp_path, layer, formula, dict(formula.named_parameters(recurse=False)), ours_of(layer), x, keys,
            before_update=formula.before_update if rate else None)


@pytest.mark.parametrize("rate", [0.0, 0.3])
@pytest.mark.parametrize("axis", ["none", "output"])
def test_nvlabs(axis, rate, tmp_path):
    """y = W x + b + (g - 1) W x~ + g s B A x~ with g = m / |W + s B A| by rows, a constant."""
    layer, x = make_layer("linear")
    trained_like(tmp_path, layer, x, Formula(layer, axis, "input"), {"profile": "nvlabs"}, rate)


@pytest.mark.parametrize("layer_name,rate", [("linear", 0.0), ("linear", 0.3), ("conv2d", 0.0)])
@pytest.mark.parametrize("axis", ["auto", "input", "output"])
def test_onetrainer(layer_name, rate, axis, tmp_path):
    """y = op(x~, m (W + s B A) / (|W + s B A| + epsilon), b), the norm a constant, by input channels unless "output axis" is on."""
    layer, x = make_layer(layer_name)
    formula = Formula(layer, "output" if axis == "output" else "input", "whole", epsilon=torch.finfo(torch.float32).eps)
    trained_like(tmp_path, layer, x, formula, {"profile": "onetrainer", "axis": axis}, rate)


@pytest.mark.parametrize("axis", ["input", "output"])
def test_onetrainers_epsilon_is_seen_on_tiny_weights(axis, tmp_path):
    layer, x = make_layer("linear")
    layer.weight.mul_(1e-6)
    layer.bias.zero_()
    formula = Formula(layer, axis, "whole", epsilon=torch.finfo(torch.float32).eps)
    first = formula(x).detach()
    keys = {"rank": RANK, "alpha": ALPHA, "axis": axis}
    arrays = {"weight": layer.weight, "x": x, "target": torch.zeros_like(first)}
    ours = probe(tmp_path, arrays, geometry(layer) | keys | {"profile": "onetrainer"})
    assert error(ours["y"], first) < 1e-5
    without = probe(tmp_path, arrays, geometry(layer) | keys)
    assert error(without["y"], first) > 1e-2


@pytest.mark.parametrize("axis", ["none", "input", "output"])
@pytest.mark.parametrize("placement", ["input", "whole"])
def test_either_placement_without_a_profile(placement, axis, tmp_path):
    layer, x = make_layer("linear")
    trained_like(tmp_path, layer, x, Formula(layer, axis, placement), {"dropout_placement": placement})
