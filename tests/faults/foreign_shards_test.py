"""A checkpoint that another program wrote, from docs/checkpoint_format.md alone and into several shards, is as good as ours: the run goes on
from it to the bytes of an undisturbed one. A slice that is missing, twice there or of other bytes is none."""

import json
import re
import shutil

import h5py
import numpy as np
import pytest
import xxhash

from lives import Life, commit_of, make_tiny, results, undisturbed

SETTINGS = {"steps": 4, "every": 2, "validate": 2, "keep": 2}
SHARDS = 3


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_tiny(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def whole(folder):
    """The results of a run that nothing disturbed, and the call at which it commits its last checkpoint."""
    run = folder / "whole"
    commit = commit_of(undisturbed(run, folder, SETTINGS), 4)
    return results(run), commit


@pytest.fixture
def place(folder, whole, request):
    """The only checkpoint of a run that was killed half-way."""
    run = folder / re.sub(r"\W+", "-", request.node.name)
    Life(run, folder, SETTINGS, call=whole[1], action="kill")
    return run / "checkpoints" / "step-000000002"


def digest(data):
    return xxhash.xxh3_128_hexdigest(data)


def sealed(manifest):
    manifest.pop("manifest_xxh3_128", None)
    text = json.dumps(manifest, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return json.dumps(manifest | {"manifest_xxh3_128": digest(text.encode())})


def write_again(place, count=SHARDS):
    """Every array in `count` pieces as even as they can be, one for each shard, out of order. Returns the manifest."""
    manifest = json.loads((place / "manifest.json").read_text())
    with h5py.File(place / manifest["files"][0]["name"]) as file:
        arrays = [(entry, file[entry["name"]][()].reshape(-1)) for entry in manifest["arrays"]]
    slices = []
    names = [f"shard-{index:05d}-of-{count:05d}.h5" for index in range(count)]
    shutil.rmtree(place)
    place.mkdir()
    for index, name in enumerate(names):
        with h5py.File(place / name, "w") as file:
            file.attrs["format"], file.attrs["step"] = manifest["format"], manifest["step"]
            for entry, values in arrays:
                ends = [values.size * part // count for part in range(count + 1)]
                piece = np.ascontiguousarray(values[ends[index]:ends[index + 1]])
                stored = file.create_dataset(entry["name"], data=piece)
                stored.attrs["dtype"], stored.attrs["offset"] = entry["dtype"], ends[index]
                stored.attrs["global_shape"] = ",".join(map(str, entry["shape"]))
                slices.append(entry | {"offset": ends[index], "count": piece.size, "file": name, "xxh3_128": digest(piece.tobytes())})
    manifest["arrays"] = slices[::-1]
    manifest["files"] = [{"name": name, "bytes": (place / name).stat().st_size, "xxh3_128": digest((place / name).read_bytes())} for name in names]
    (place / "manifest.json").write_text(sealed(manifest))
    return manifest


def test_a_run_goes_on_from_several_shards(folder, whole, place):
    run = place.parents[1]
    write_again(place)
    life = Life(run, folder, SETTINGS)
    assert life.code == 0 and life.resumed_from() == 2, life.errors
    assert results(run) == whole[0]


def without_a_slice(slices):
    return slices[1:]


def with_one_twice(slices):
    return [*slices, slices[0]]


def with_another_offset(slices):
    return [slices[0] | {"offset": slices[0]["offset"] - 1}, *slices[1:]]


@pytest.mark.parametrize("spoil", [without_a_slice, with_one_twice, with_another_offset])
def test_slices_that_do_not_make_the_array_are_set_aside(folder, whole, place, spoil):
    manifest = write_again(place)
    manifest["arrays"] = spoil(manifest["arrays"])
    (place / "manifest.json").write_text(sealed(manifest))
    life = Life(place.parents[1], folder, SETTINGS)
    assert life.code == 3, life.errors
    assert "leave a hole or overlap" in life.errors or "its slices hold" in life.errors, life.errors
