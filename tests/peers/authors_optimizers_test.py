"""Lion, CAME, Prodigy and schedule-free AdamW beside the programs of their authors."""

import pytest
from came_pytorch import CAME
from lion_pytorch import Lion
from prodigyopt import Prodigy
from schedulefree import AdamWScheduleFree

from optimizer_peers import expect_close, ours, theirs


def test_lion(tmp_path):
    actual = ours(tmp_path, kind="lion", learning_rate=1e-2, weight_decay=0.1, beta1=0.9, beta2=0.99, slope=0.05)
    _, expected = theirs(lambda parameters: Lion(parameters, lr=1e-2, betas=(0.9, 0.99), weight_decay=0.1), slope=0.05)
    expect_close(actual, expected)


def test_came(tmp_path):
    actual = ours(tmp_path, kind="came", learning_rate=1e-2, weight_decay=0.1, beta2=0.999, confidence_beta=0.998, slope=0.05)
    _, expected = theirs(lambda parameters: CAME(parameters, lr=1e-2, weight_decay=0.1, betas=(0.9, 0.999, 0.998)), slope=0.05)
    expect_close(actual, expected)


@pytest.mark.parametrize("options", [
    {},
    {"bias_correction": True},
    {"safeguard_warmup": True, "coefficient": 2.0},
    {"growth_rate": 1.5},
], ids=lambda options: "-".join(options) or "plain")
def test_prodigy(tmp_path, options):
    keys = {name: float(value) if name in ("coefficient", "growth_rate") else int(value) for name, value in options.items()}
    actual = ours(tmp_path, kind="prodigy", learning_rate=1.0, weight_decay=0.1, initial_distance=1e-4, slope=0.05, **keys)
    optimizer, expected = theirs(lambda parameters: Prodigy(
        parameters, lr=1.0, weight_decay=0.1, d0=1e-4, use_bias_correction=options.get("bias_correction", False),
        safeguard_warmup=options.get("safeguard_warmup", False), d_coef=options.get("coefficient", 1.0),
        growth_rate=options.get("growth_rate", float("inf"))), slope=0.05)
    assert optimizer.param_groups[0]["d"] > 1.2e-4, "an estimate was made"
    expect_close(actual, expected)


def test_schedule_free_adamw(tmp_path):
    actual = ours(tmp_path, kind="schedule_free_adamw", learning_rate=1e-2, weight_decay=0.1)

    def make(parameters):
        optimizer = AdamWScheduleFree(parameters, lr=1e-2, weight_decay=0.1, foreach=False)
        optimizer.train()
        return optimizer

    optimizer, expected = theirs(make)
    expect_close(actual, expected)
    optimizer.eval()
    averages = dict(zip(expected, (values.detach() for values in optimizer.param_groups[0]["params"]), strict=True))
    expect_close(actual, averages, prefix="average.")
