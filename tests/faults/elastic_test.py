"""Four ranks, then two, then three, then one: each life is killed with SIGKILL on every rank after magnitudes have moved, and the last one
ends with the bytes of a run of one rank that nothing disturbed: exports, parameters, magnitudes and both moments of every update saved."""

import json
import struct
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))
from launched_run import STEPS, adapter, make_tiny, metrics, train, train_and_kill  # noqa: E402

LIVES = [(4, 40), (2, 120), (3, 200)]  # ranks, and the save after which they are killed


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_tiny(tmp_path_factory.mktemp("tiny"))


def newest_checkpoint(folder, run):
    return max((folder / run / "checkpoints").glob("step-*"))


def arrays(place):
    """Every array of a checkpoint, as the bits that lie in its file."""
    with h5py.File(place / "shard-00000-of-00001.h5") as file:
        found = {}
        file.visititems(lambda name, item: found.__setitem__(name, item[()].view(np.uint32)) if isinstance(item, h5py.Dataset) else None)
        return found


def base_weights(folder):
    """The model's own matrices, read without the program."""
    data = (folder / "model" / "model.safetensors").read_bytes()
    length = struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8:8 + length])
    header.pop("__metadata__", None)
    return {name: np.frombuffer(data[8 + length:], np.float32)[entry["data_offsets"][0] // 4:entry["data_offsets"][1] // 4].reshape(entry["shape"])
            for name, entry in header.items()}


def magnitudes(found):
    return {name: bits.view(np.float32) for name, bits in found.items() if name.startswith("parameters/") and "magnitude" in name}


def moved_magnitudes(folder, found):
    """How far each magnitude is from the norm that it started as."""
    weights = base_weights(folder)
    moved = {}
    for name, values in magnitudes(found).items():
        layer = name.removeprefix("parameters/").rsplit(".", 1)[0]
        norms = np.linalg.norm(weights[f"{layer}.weight"].astype(np.float64), axis=1)
        moved[name] = float(np.max(np.abs(values - norms) / norms))
    return moved


def test_ranks_come_and_go_and_every_bit_stays(folder):
    train(folder, "whole", 1)
    for ranks, step in LIVES:
        train_and_kill(folder, "killed", ranks, after=f"step {step}: saved")
        moved = moved_magnitudes(folder, arrays(newest_checkpoint(folder, "killed")))
        assert moved and min(moved.values()) > 1e-4, moved  # a thousand roundings: it is learned what is carried over
    train(folder, "killed", 1)
    assert adapter(folder, "killed") == adapter(folder, "whole")
    assert metrics(folder, "killed") == metrics(folder, "whole")

    steps = sorted(path.name for path in (folder / "whole" / "checkpoints").glob("step-*"))
    assert sorted(path.name for path in (folder / "killed" / "checkpoints").glob("step-*")) == steps
    assert f"step-{STEPS:09d}" in steps
    for name in steps:
        expected, found = (arrays(folder / run / "checkpoints" / name) for run in ("whole", "killed"))
        assert expected.keys() == found.keys()
        kinds = {key.split("/")[0] + "/" + key.split("/")[1] if key.startswith("moments/") else "parameters" for key in found}
        assert len(kinds) == 3, kinds  # parameters and the two moments of AdamW
        for key, bits in expected.items():
            assert np.array_equal(bits, found[key]), f"{key} of {name}"
            assert not key.startswith("moments/") or bits.any(), f"{key} of {name} never moved"
