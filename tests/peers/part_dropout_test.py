"""Dropout of rows of a change and of whole layers beside LyCORIS's and PEFT's modules, whose draws are ours: outputs, gradients and ten
updates of the layers of layers_test.py, within its tolerances."""

import pytest
import torch
from peft import LoHaConfig, LoKrConfig, get_peft_model

from layers_test import LYCORIS, UPDATES, Case, _Holder, compare, from_lycoris, from_peft, make_layer

RATES = {"rank_dropout": 0.4, "module_dropout": 0.3}


class Draws:
    """In the place of torch.rand: numbers above every rate for what we keep, 0 for what we leave out."""

    def __init__(self):
        self.rows, self.left_out, self.seen = None, False, []

    def __call__(self, count, **_):
        if count == 1:
            return torch.full((1,), 0.0 if self.left_out else 1.0)
        return torch.ones(count) if self.rows is None else self.rows.gt(0).float()

    def before_update(self, ours, step):
        self.rows, self.left_out = ours[f"rows.{step}"], bool(ours[f"left_out.{step}"])
        assert 0 < self.rows.gt(0).float().mean() < 1
        self.seen.append(self.left_out)


def compare_dropped(tmp_path, monkeypatch, layer, module, parameters, ours_of, x, keys):
    draws = Draws()
    monkeypatch.setattr(torch, "rand", draws)
    compare(tmp_path, layer, module, parameters, ours_of, x, keys | RATES, before_update=draws.before_update)
    assert len(draws.seen) == UPDATES and 0 < sum(draws.seen) < UPDATES, "all updates were alike"


@pytest.mark.parametrize("scaled", [False, True], ids=["", "scaled"])
@pytest.mark.parametrize("axis", ["none", "output", "input"])
@pytest.mark.parametrize("kind,layer_name", [("locon", "linear"), ("locon", "conv2d"), ("loha", "linear"), ("loha", "conv2d"),
                                             ("lokr", "linear"), ("lokr", "grouped")])
def test_like_lycoris(kind, layer_name, axis, scaled, tmp_path, monkeypatch):
    rank = 2 if kind == "lokr" else 4
    layer, x = make_layer(layer_name)
    module = LYCORIS[kind]("lora", layer, 1.0, rank, 2 * rank, weight_decompose=axis != "none", wd_on_out=axis == "output",
                           rank_dropout_scale=scaled, **RATES)
    module.apply_to()
    parameters = {name: parameter for name, parameter in module.named_parameters() if parameter.requires_grad}
    keys = {"kind": kind, "rank": rank, "alpha": 2 * rank, "axis": axis, "profile": "lycoris", "rank_dropout_scale": int(scaled)}
    compare_dropped(tmp_path, monkeypatch, layer, layer, parameters, from_lycoris(layer, False), x, keys)


@pytest.mark.parametrize("case,scaled", [(Case("loha", "linear"), True), (Case("loha", "conv2d"), True), (Case("lokr", "linear", rank=2), False),
                                         (Case("lokr", "linear", rank=2), True)], ids=str)
def test_like_peft(case, scaled, tmp_path, monkeypatch):
    layer, x = make_layer(case.layer)
    shared = {"r": case.rank, "alpha": 2 * case.rank, "target_modules": ["layer"]} | RATES
    config = LoHaConfig(**shared) if case.kind == "loha" else LoKrConfig(rank_dropout_scale=scaled, **shared)
    wrapped = get_peft_model(_Holder(layer), config).train()
    parameters = {name: parameter for name, parameter in wrapped.named_parameters() if parameter.requires_grad}
    keys = {"kind": case.kind, "rank": case.rank, "alpha": 2 * case.rank, "profile": "peft", "rank_dropout_scale": int(scaled)}
    compare_dropped(tmp_path, monkeypatch, layer, wrapped, parameters, from_peft(layer, False), x, keys)
