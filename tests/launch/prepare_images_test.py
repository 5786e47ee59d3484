"""launch/prepare_images.py: sets of captioned images as folders that data.concepts reads."""

import io
import json
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
from PIL import Image

SCRIPT = Path(__file__).resolve().parents[2] / "launch" / "prepare_images.py"


def picture(seed, kind="PNG"):
    """The bytes of a small image."""
    data = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (12, 16, 3), dtype=np.uint8)).save(data, kind)
    return data.getvalue()


def write_tar(path, files, mode="w"):
    with tarfile.open(path, mode) as tar:
        for name, data in files:
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))


def write_parquet(path, **columns):
    pyarrow.parquet.write_table(pyarrow.table(columns), path, row_group_size=3)


def unpack(output, *arguments, status=0):
    done = subprocess.run([sys.executable, SCRIPT, *map(str, arguments), "--output", str(output)], capture_output=True, text=True, check=False)
    assert done.returncode == status, done.stdout + done.stderr
    if status:
        assert not output.exists() and done.stderr.strip().splitlines()[-1].startswith("error: "), done.stderr
    assert list(output.parent.glob(f"{output.name}.tmp-*")) == []
    return done.stdout + done.stderr


def unpacked(folder):
    """Images by their bytes, with the lines of their captions."""
    images = sorted(path for path in folder.rglob("*") if path.is_file() and path.suffix != ".txt")
    return [(path.suffix, path.read_bytes(), path.with_suffix(".txt").read_text(encoding="utf-8").splitlines()) for path in images]


def test_tars_of_webdataset(tmp_path):
    """Captions as texts and as fields, in any order beside the image, plain and packed; names of the tar are never a path here."""
    write_tar(tmp_path / "a.tar", [("x/one.txt", "a cat\n".encode()), ("x/one.jpg", picture(1, "JPEG")), ("../../two.png", picture(2)),
                                   ("../../two.json", json.dumps({"caption": "größer\nthan  life", "width": 16}).encode()), ("three.seg.png", picture(3)),
                                   ("three.webp", picture(4, "WEBP")), ("three.caption", b"first\n\nsecond\n")])
    write_tar(tmp_path / "b.tar.gz", [("one.JPG", picture(5, "JPEG")), ("one.txt", b"")], "w:gz")
    said = unpack(tmp_path / "out", tmp_path / "a.tar", tmp_path / "b.tar.gz")
    assert "4 images" in said and "left out" not in said
    assert unpacked(tmp_path / "out") == [(".jpg", picture(1, "JPEG"), ["a cat"]), (".png", picture(2), ["größer than life"]),
                                          (".webp", picture(4, "WEBP"), ["first", "second"]), (".jpg", picture(5, "JPEG"), [""])]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.tar", "b.tar.gz", "out"]


def test_parquet_of_hugging_face(tmp_path):
    """Images as structs and as bytes; one caption or several; a field by its name."""
    images = [{"bytes": picture(seed), "path": f"{seed}.png"} for seed in range(7)]
    write_parquet(tmp_path / "structs.parquet", image=images, text=[f"picture {seed}" for seed in range(7)], en=[f"other {seed}" for seed in range(7)])
    write_parquet(tmp_path / "bytes.parquet", data=[picture(8), picture(9)], captions=[["one", "two"], ["three"]])
    said = unpack(tmp_path / "out", tmp_path / "structs.parquet", tmp_path / "bytes.parquet")
    assert "9 images" in said
    found = unpacked(tmp_path / "out")
    assert found[:7] == [(".png", picture(seed), [f"picture {seed}"]) for seed in range(7)]
    assert found[7:] == [(".png", picture(8), ["one", "two"]), (".png", picture(9), ["three"])]
    unpack(tmp_path / "named", tmp_path / "structs.parquet", "--caption", "en", "--limit", 3)
    assert [lines for _, _, lines in unpacked(tmp_path / "named")] == [["other 0"], ["other 1"], ["other 2"]]


def test_every_so_many_are_held_out(tmp_path):
    write_parquet(tmp_path / "set.parquet", image=[picture(seed) for seed in range(8)], text=[str(seed) for seed in range(8)])
    unpack(tmp_path / "out", tmp_path, "--validation-every", 3)
    assert [lines[0] for _, _, lines in unpacked(tmp_path / "out" / "validation")] == ["2", "5"]
    assert [lines[0] for _, _, lines in unpacked(tmp_path / "out" / "train")] == ["0", "1", "3", "4", "6", "7"]


def test_many_images_are_spread_over_folders(tmp_path):
    tiny = picture(1)
    write_tar(tmp_path / "many.tar", [file for index in range(10_003) for file in ((f"{index:05}.png", tiny), (f"{index:05}.txt", str(index).encode()))])
    unpack(tmp_path / "out", tmp_path / "many.tar")
    assert [len(list((tmp_path / "out" / name).glob("*.png"))) for name in ("0000", "0001")] == [10_000, 3]
    assert (tmp_path / "out" / "0001" / "00010002.txt").read_text() == "10002\n"


def test_what_cannot_be_used_is_named_and_left_out(tmp_path):
    write_tar(tmp_path / "a.tar", [("one.png", picture(1)), ("two.txt", b"words"), ("three.png", b"no image"), ("three.txt", b"words"), ("four.png", picture(4)),
                                   ("four.txt", b"good")])
    said = unpack(tmp_path / "out", tmp_path / "a.tar")
    assert "1 images" in said and "3 left out" in said
    for words in ("one: no caption", "two: no image", "three: the image is of no kind"):
        assert words in said, said
    write_parquet(tmp_path / "urls.parquet", image=[{"bytes": None, "path": "/elsewhere/1.png"}], text=["a"])
    assert "no sample with an image" in unpack(tmp_path / "none", tmp_path / "urls.parquet", status=1)


@pytest.mark.parametrize("cut", [0, 700, 1_536, 3_000])
def test_damaged_sets_are_refused(tmp_path, cut):
    write_tar(tmp_path / "whole.tar", [("one.png", picture(1)), ("one.txt", b"words"), ("two.png", picture(2)), ("two.txt", b"words")])
    write_parquet(tmp_path / "whole.parquet", image=[picture(seed) for seed in range(8)], text=["a"] * 8)
    for name, words in (("whole.tar", "no whole tar"), ("whole.parquet", "no parquet file")):
        damaged = tmp_path / f"damaged-{name}"
        damaged.write_bytes((tmp_path / name).read_bytes()[:cut])
        assert words in unpack(tmp_path / "out", damaged, status=1)


def test_mistakes_are_told(tmp_path):
    write_parquet(tmp_path / "two.parquet", image=[picture(1)], depth=[picture(2)], text=["a"], number=[3])
    assert "2 columns of images" in unpack(tmp_path / "out", tmp_path / "two.parquet", status=1)
    assert "image, depth" in unpack(tmp_path / "out", tmp_path / "two.parquet", "--image", "picture", status=1)
    assert "no column 'caption'" in unpack(tmp_path / "out", tmp_path / "two.parquet", "--image", "depth", "--caption", "caption", status=1)
    assert "a caption is a text" in unpack(tmp_path / "out", tmp_path / "two.parquet", "--image", "depth", "--caption", "number", status=1)
    assert "neither a tar" in unpack(tmp_path / "out", SCRIPT, status=1)
    assert "no such file" in unpack(tmp_path / "out", tmp_path / "nowhere.tar", status=1)
    write_tar(tmp_path / "latin.tar", [("one.png", picture(1)), ("one.txt", "größer".encode("latin-1"))])
    assert "not UTF-8" in unpack(tmp_path / "out", tmp_path / "latin.tar", status=1)
    (tmp_path / "there").mkdir()
    done = subprocess.run([sys.executable, SCRIPT, tmp_path / "two.parquet", "--output", tmp_path / "there"], capture_output=True, text=True, check=False)
    assert done.returncode == 1 and "there already" in done.stderr
