"""Our files as the safetensors wheel and h5py read them, and theirs as we do."""

import json
import os
import struct
import subprocess
from pathlib import Path

import h5py
import numpy as np
import pytest
import safetensors
import safetensors.torch
import torch

TOOL = Path(os.environ["DORMER_BUILD"]) / "tests" / "storage_peer_files"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("files")
    subprocess.run([TOOL, "write", path], check=True)
    return path


def rows(folder):
    for line in (folder / "verdicts.tsv").read_text().splitlines():
        file, name, ours, reference = line.split("\t")
        yield file, name, ours == "1", reference == "1"


def test_the_table_says_what_the_reference_says(folder):
    wrong = []
    for file, name, ours, claimed in rows(folder):
        try:
            safetensors.deserialize((folder / file).read_bytes())
            accepted = True
        except safetensors.SafetensorError:
            accepted = False
        if accepted != claimed or (ours and not accepted):
            wrong.append((name, accepted, claimed, ours))
    assert not wrong


def test_the_wheel_reads_our_file_and_writes_the_same_bytes(folder):
    path = folder / "written.safetensors"
    ours = path.read_bytes()
    length = struct.unpack("<Q", ours[:8])[0]
    header = json.loads(ours[8 : 8 + length])
    assert header.pop("__metadata__") == {"format": "pt"}
    data = ours[8 + length :]
    with safetensors.safe_open(path, framework="pt") as file:
        assert sorted(file.keys()) == sorted(header)
        assert file.metadata() == {"format": "pt"}
    types = {"BOOL": torch.bool, "F8_E4M3": torch.float8_e4m3fn, "BF16": torch.bfloat16, "F16": torch.float16,
             "F32": torch.float32, "F64": torch.float64}
    types |= {f"{sign}{bits}": getattr(torch, f"{'u' if sign == 'U' else ''}int{bits}") for sign in "IU" for bits in (8, 16, 32, 64)}
    tensors = {}
    for name, entry in header.items():
        content = torch.tensor(list(data[slice(*entry["data_offsets"])]), dtype=torch.uint8)
        tensors[name] = content.view(types[entry["dtype"]]).reshape(entry["shape"])
    theirs = safetensors.torch.save(tensors, metadata={"format": "pt"})
    assert theirs == ours


def test_h5py_reads_a_shard(folder):
    with h5py.File(folder / "step-000000040" / "shard-00000-of-00001.h5") as shard:
        assert shard.attrs["step"] == 40
        assert bytes(shard.attrs["format"]).decode() == "dormer.checkpoint/1"
        data = bytes((place * 5 + 1) % 256 for place in range(48))
        single = shard['a.single "ü"']
        assert single.dtype == np.float32 and single.shape == (3, 4)
        assert single[()].tobytes() == data
        assert shard["u64"][()].tobytes() == data[:8] and shard["i64"][()].tobytes() == data[:8]
        assert shard["none"].shape == (0, 4)
        half = shard["b.half"]
        assert bytes(half.attrs["dtype"]).decode() == "BF16" and half.shape == (2, 3)
        expected = (np.frombuffer(data[:12], "<u2").astype(np.uint32) << 16).view(np.float32).reshape(2, 3)
        np.testing.assert_array_equal(half[()].astype(np.float32), expected)
        for name in shard:
            assert not shard[name].id.get_create_plist().get_obj_track_times()


def read(*arguments):
    run = subprocess.run([TOOL, "read", *map(str, arguments)], capture_output=True, text=True)
    return run.returncode, run.stdout.splitlines(), run.stderr


@pytest.mark.parametrize("options", [{}, {"chunks": (1000,)}, {"chunks": (1000,), "compression": "gzip", "shuffle": True},
                                     {"chunks": (777,), "fletcher32": True}, {"maxshape": (None,)}], ids=str)
@pytest.mark.parametrize("dtype", ["<u4", ">i8", "<f2", "<f8", "u1", "?"])
def test_we_read_what_h5py_writes(tmp_path, options, dtype):
    values = (np.arange(5000) % 251 if dtype != "?" else np.arange(5000) % 3 == 0).astype(dtype)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("group/values", data=values, **options)
        file.attrs["note"] = "größer"
    little = values.astype(values.dtype.newbyteorder("<"))
    code, lines, _ = read(tmp_path / "a.h5", "group/values")
    assert code == 0
    assert lines[0].split()[2] == little.tobytes().hex() and lines[0].split()[1] == "[5000]"
    assert lines[1] == "größer"
    code, lines, _ = read(tmp_path / "a.h5", "group/values", 990, 2010)
    assert code == 0 and lines[0].split()[2] == little[990:2010].tobytes().hex()


def test_filters_that_hdf5_lacks_are_refused_by_name(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("values", data=np.arange(5000), chunks=(1000,), compression="lzf")
    code, _, message = read(tmp_path / "a.h5", "values")
    assert code == 3 and "lzf" in message and "gzip" in message
