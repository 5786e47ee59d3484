"""Images as Pillow reads them: formats, colours, orientation, scaling."""

import io
import itertools
import json
import os
import struct
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageCms, ImageOps, features
from safetensors.numpy import load_file

EXACT = 1.5e-7  # of values in [-1, 1]: rounding to fp32, and the division by 127.5
ORIENTATION = 0x0112
READ = "cannot be read as an image"


def probe(tmp_path, jobs):
    """`jobs`: name to path, or to a dictionary with "path" and what tests/peers/image_probe.cpp asks besides. Arrays, and refusals by name."""
    jobs = [{"name": name, **(job if isinstance(job, dict) else {"path": job})} for name, job in jobs.items()]
    for job in jobs:
        job["path"] = str(job["path"])
    (tmp_path / "jobs.json").write_text(json.dumps(jobs))
    program = os.path.join(os.environ["DORMER_BUILD"], "tests", "image_probe")
    done = subprocess.run([program, tmp_path / "jobs.json", tmp_path / "out.safetensors"], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stderr == "", "libraries say nothing of their own"
    refused = dict(line.split(": ", 1) for line in done.stdout.splitlines())
    return load_file(tmp_path / "out.safetensors"), refused


def values(image):
    """[3, height, width] in [-1, 1] of an image that Pillow holds as RGB."""
    assert image.mode == "RGB"
    return np.asarray(image).astype(np.float32).transpose(2, 0, 1) / 127.5 - 1


def picture(width, height, seed=0):
    """Smooth colours with edges and some noise, as photographs have."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width]
    waves = [np.sin(x / (7 + 3 * channel)) + np.cos(y / (11 - 2 * channel)) for channel in range(3)]
    image = 128 + 50 * np.stack(waves, -1) + random.normal(0, 6, (height, width, 3))
    image[height // 3:height // 2, width // 4:width // 2] = [250, 30, 10]
    return Image.fromarray(np.clip(image, 0, 255).astype(np.uint8))


def close(ours, theirs, levels):
    """Within so many of 255 levels, everywhere."""
    assert ours.shape == theirs.shape
    assert np.abs(ours - theirs).max() <= levels * 2 / 255 + EXACT, np.abs(ours - theirs).max() * 127.5


def test_png_of_every_kind(tmp_path):
    rgb = picture(61, 47)
    gray, palette = rgb.convert("L"), rgb.quantize(17)
    alpha = rgb.convert("RGBA")
    alpha.putalpha(gray)
    shadow = gray.convert("LA")
    shadow.putalpha(Image.fromarray(255 - np.asarray(gray)))
    images = {"rgb": rgb, "gray": gray, "palette": palette, "alpha": alpha, "gray_alpha": shadow, "bits": gray.convert("1"), "four": rgb.quantize(4)}
    jobs = {name: tmp_path / f"{name}.png" for name in images}
    for name, image in images.items():
        image.save(jobs[name], **({"bits": 2} if name == "four" else {}))
    palette.save(tmp_path / "clear.png", transparency=3)
    rgb.save(tmp_path / "key.png", transparency=tuple(np.asarray(rgb)[5, 5].tolist()))
    jobs |= {"clear": tmp_path / "clear.png", "key": tmp_path / "key.png"}
    ours, refused = probe(tmp_path, jobs)
    assert not refused
    for name, path in jobs.items():
        with Image.open(path) as image:
            seen = image.convert("RGBA")
        colours, opaque = np.split(np.asarray(seen).astype(np.float64), [3], axis=2)
        over_white = (colours * opaque + 255 * (255 - opaque)) / 255
        assert np.abs(ours[name] - (over_white.transpose(2, 0, 1) / 127.5 - 1)).max() < 2 * EXACT, name
        assert list(ours[f"{name}.size"]) == [61, 47]
    assert ours["alpha"].min() > -1 and np.asarray(alpha)[..., 3].min() < 100, "something shines through"


def test_sixteen_bits(tmp_path):
    gray = (np.arange(40 * 30, dtype=np.uint32) * 2654435761 % 65536).astype(np.uint16).reshape(30, 40)
    Image.fromarray(gray).save(tmp_path / "gray.png")
    Image.fromarray(gray).save(tmp_path / "gray.tif")
    ours, refused = probe(tmp_path, {"png": tmp_path / "gray.png", "tif": tmp_path / "gray.tif"})
    assert not refused
    for name in ("png", "tif"):
        assert np.abs(ours[name] - (gray.astype(np.float64) / 32767.5 - 1)).max() < EXACT


def test_other_formats(tmp_path):
    rgb = picture(96, 64)
    lossless = {"tif": {}, "lzw.tif": {"compression": "tiff_lzw"}, "webp": {"lossless": True}}
    lossy = {"jpg": {"quality": 90}, "444.jpg": {"quality": 90, "subsampling": 0}, "progressive.jpg": {"quality": 75, "progressive": True}}
    if features.check("webp"):
        lossy["lossy.webp"] = {"quality": 80}
    jobs = {}
    for name, options in (lossless | lossy).items():
        jobs[name] = tmp_path / f"image.{name}"
        rgb.save(jobs[name], **options)
    rgb.convert("L").save(tmp_path / "gray.jpg")
    jobs["gray"] = tmp_path / "gray.jpg"
    ours, refused = probe(tmp_path, jobs)
    assert not refused
    for name, path in jobs.items():
        with Image.open(path) as image:
            # Another release of a decoder may round another way.
            close(ours[name], values(image.convert("RGB")), 0 if name in lossless else 2)


@pytest.mark.parametrize("ending", ["jpg", "png", "webp", "tif"])
def test_every_orientation(ending, tmp_path):
    rgb = picture(64, 40)
    jobs = {}
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[ORIENTATION] = orientation
        path = tmp_path / f"{orientation}.{ending}"
        options = {"quality": 95, "subsampling": 0} if ending == "jpg" else {"lossless": True} if ending == "webp" else {}
        rgb.save(path, exif=exif, **options)
        jobs[str(orientation)] = path
    ours, refused = probe(tmp_path, jobs)
    assert not refused
    for orientation in range(1, 9):
        with Image.open(jobs[str(orientation)]) as image:
            turned = ImageOps.exif_transpose(image).convert("RGB")
        assert list(ours[f"{orientation}.size"]) == [turned.width, turned.height]
        assert (turned.width < turned.height) == (orientation > 4)
        close(ours[str(orientation)], values(turned), 2 if ending == "jpg" else 0)


def test_animations_give_their_first_image(tmp_path):
    frames = [picture(48, 32, seed).quantize(32).convert("RGB") for seed in range(3)]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:], duration=50)
    frames[0].save(tmp_path / "a.webp", save_all=True, append_images=frames[1:], lossless=True)
    frames[0].save(tmp_path / "a.png", save_all=True, append_images=frames[1:])
    frames[0].save(tmp_path / "a.tif", save_all=True, append_images=frames[1:])
    ours, refused = probe(tmp_path, {ending: tmp_path / f"a.{ending}" for ending in ("gif", "webp", "png", "tif")})
    assert not refused
    for ending in ("gif", "webp", "png", "tif"):
        assert list(ours[f"{ending}.size"]) == [48, 32]
        close(ours[ending], values(frames[0]), 0)


# --- colour ---------------------------------------------------------------------------------------------------------------------------------


def srgb_bytes():
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def swapped_profile():
    """sRGB with the tags of its red and blue colorant exchanged, and another description: no other profile comes with Pillow."""
    profile = bytearray(srgb_bytes())
    red, blue = profile.index(b"rXYZ"), profile.index(b"bXYZ")
    profile[red:red + 4], profile[blue:blue + 4] = b"bXYZ", b"rXYZ"
    for name in (b"sRGB", "sRGB".encode("utf-16-be")):
        profile = profile.replace(name, b"?" * len(name))
    return bytes(profile)


def test_a_profile_of_srgb_changes_nothing(tmp_path):
    rgb = picture(61, 47)
    rgb.save(tmp_path / "a.png", icc_profile=srgb_bytes())
    ours, refused = probe(tmp_path, {"a": tmp_path / "a.png"})
    assert not refused
    close(ours["a"], values(rgb), 0)


def test_other_profiles_are_converted(tmp_path):
    rgb = picture(61, 47)
    profile = swapped_profile()
    alpha = rgb.convert("RGBA")
    alpha.putalpha(rgb.convert("L"))
    rgb.save(tmp_path / "a.png", icc_profile=profile)
    rgb.save(tmp_path / "a.jpg", icc_profile=profile, quality=95, subsampling=0)
    alpha.save(tmp_path / "alpha.png", icc_profile=profile)
    ours, refused = probe(tmp_path, {"png": tmp_path / "a.png", "jpg": tmp_path / "a.jpg", "alpha": tmp_path / "alpha.png"})
    assert not refused
    theirs = ImageCms.profileToProfile(rgb, io.BytesIO(profile), ImageCms.createProfile("sRGB"),
                                       renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC)
    swapped = Image.merge("RGB", rgb.split()[::-1])
    assert np.abs(values(theirs) - values(swapped)).max() < 0.05, "the profile says what it is meant to"
    close(ours["png"], values(theirs), 1)
    opaque = np.asarray(alpha)[..., 3] / 255.0
    close(ours["alpha"], (values(theirs) * opaque + (1 - opaque)).astype(np.float32), 1)
    with Image.open(tmp_path / "a.jpg") as image:
        decoded = image.convert("RGB")
    close(ours["jpg"], values(ImageCms.profileToProfile(decoded, io.BytesIO(profile), ImageCms.createProfile("sRGB"),
                                                        renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC)), 4)


def test_a_profile_that_is_none_counts_as_none(tmp_path):
    rgb = picture(61, 47)
    rgb.save(tmp_path / "a.png", icc_profile=b"no profile" * 20)
    ours, refused = probe(tmp_path, {"a": tmp_path / "a.png"})
    assert not refused
    close(ours["a"], values(rgb), 0)


def cmyk_profile():
    """A profile of inks, as small as one can be: what each pair of inks gives in Lab, and straight lines between (ICC.1:2022, §10.10, lut8Type)."""
    identity = bytes(range(256))
    clut = bytearray()
    for cyan, magenta, yellow, black in itertools.product((0, 1), repeat=4):  # the last channel changes fastest
        light = 255 * (1 - 0.4 * cyan) * (1 - 0.5 * magenta) * (1 - 0.1 * yellow) * (1 - 0.95 * black)
        clut += bytes([round(light), 128 - 30 * cyan + 60 * magenta - 5 * yellow, 128 - 40 * cyan + 70 * yellow])
    matrix = struct.pack(">9i", *[65536 * (i % 4 == 0) for i in range(9)])
    table = b"mft1" + bytes(4) + bytes([4, 3, 2, 0]) + matrix + identity * 4 + bytes(clut) + identity * 3
    tags = {b"desc": b"desc" + bytes(4) + struct.pack(">I", 5) + b"inks\0" + bytes(4 + 4 + 2 + 1 + 67), b"A2B0": table,
            b"wtpt": b"XYZ " + bytes(4) + struct.pack(">3i", 63190, 65536, 54061), b"cprt": b"text" + bytes(4) + b"none\0"}
    directory, data = struct.pack(">I", len(tags)), b""
    for name, tag in tags.items():
        tag += bytes(-len(tag) % 4)
        directory += struct.pack(">4sII", name, 128 + 4 + 12 * len(tags) + len(data), len(tag))
        data += tag
    header = struct.pack(">I4sI4s4s4s", 128 + len(directory) + len(data), b"lcms", 0x02400000, b"prtr", b"CMYK", b"Lab ")
    header += struct.pack(">6H4s", 2026, 1, 1, 0, 0, 0, b"acsp") + bytes(28) + struct.pack(">3i", 63190, 65536, 54061)
    return header + bytes(128 - len(header)) + directory + data


def vips_version():
    said = subprocess.run(["pkg-config", "--modversion", "vips"], check=True, capture_output=True, text=True).stdout
    return tuple(map(int, said.split(".")[:2]))


def test_cmyk_with_a_profile_is_converted(tmp_path):
    """To libvips' own sRGB profile, which is another one from libvips 8.15 on: up to 5 levels from Pillow's in dark tones, where the older one is
    within a level of it."""
    profile = cmyk_profile()
    apart = 5 if vips_version() >= (8, 15) else 0
    inks = Image.merge("CMYK", [*picture(61, 47).split(), picture(61, 47, 1).convert("L")])
    inks.save(tmp_path / "a.tif", icc_profile=profile)
    inks.save(tmp_path / "a.jpg", icc_profile=profile, quality=95)
    ours, refused = probe(tmp_path, {"tif": tmp_path / "a.tif", "jpg": tmp_path / "a.jpg"})
    assert not refused
    for name, levels in (("tif", 1 + apart), ("jpg", 4 + apart)):
        # Pillow's own sRGB is of ICC's version 4, to which its library fits blacks under the perceptual intent, but not under this one. The profile
        # has but one table for all.
        with Image.open(tmp_path / f"a.{name}") as image:
            theirs = ImageCms.profileToProfile(image, io.BytesIO(profile), ImageCms.createProfile("sRGB"), outputMode="RGB",
                                               renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC)
        assert values(theirs).std() > 0.1
        assert np.abs(ours[name] - values(theirs)).mean() * 127.5 < 2
        close(ours[name], values(theirs), levels)


def test_cmyk_without_a_profile_is_refused(tmp_path):
    picture(61, 47).convert("CMYK").save(tmp_path / "a.jpg")
    picture(61, 47).convert("CMYK").save(tmp_path / "a.tif")
    _, refused = probe(tmp_path, {"jpg": tmp_path / "a.jpg", "tif": tmp_path / "a.tif"})
    for name in ("jpg", "tif"):
        assert "is CMYK without a colour profile" in refused[name] and f"a.{name}" in refused[name]


def test_samples_that_are_no_colours_are_refused(tmp_path):
    Image.fromarray(np.zeros((16, 16), np.float32)).save(tmp_path / "float.tif")
    picture(16, 16).convert("LAB").save(tmp_path / "lab.tif")
    _, refused = probe(tmp_path, {"float": tmp_path / "float.tif", "lab": tmp_path / "lab.tif"})
    assert "has samples of the type float" in refused["float"]
    assert "has colours of the kind lab" in refused["lab"]


# --- damage ---------------------------------------------------------------------------------------------------------------------------------


def test_files_that_end_early_are_refused(tmp_path):
    rgb, jobs = picture(160, 120), {}
    for ending in ("jpg", "png", "webp", "gif", "tif", "progressive.jpg"):
        path = tmp_path / f"whole.{ending}"
        rgb.save(path, **({"progressive": True} if ending.startswith("prog") else {}))
        contents = path.read_bytes()
        for share in (0.0, 0.01, 0.5, 0.9):
            jobs[f"{ending} {share}"] = tmp_path / f"{share}.{ending}"
            jobs[f"{ending} {share}"].write_bytes(contents[:int(share * len(contents))])
    _, refused = probe(tmp_path, jobs)
    assert set(refused) == set(jobs)
    for name, path in jobs.items():
        assert str(path) in refused[name] and READ in refused[name]


# --- scaling --------------------------------------------------------------------------------------------------------------------------------

SCALINGS = [(640, 427, 200, 133), (640, 427, 97, 427), (100, 80, 333, 267), (333, 250, 334, 251), (33, 900, 64, 64)]


@pytest.mark.parametrize("width, height, scaled_width, scaled_height", SCALINGS)
def test_scaling_like_pillow_and_pytorch(width, height, scaled_width, scaled_height, tmp_path):
    rgb = picture(width, height)
    rgb.save(tmp_path / "a.png")
    size = (scaled_width, scaled_height)
    ours, refused = probe(tmp_path, {"a": {"path": tmp_path / "a.png", "plan": [*size, 0, 0, *size, 0]}})
    assert not refused
    planes = [Image.fromarray(plane.astype(np.float32)).resize(size, Image.Resampling.BICUBIC) for plane in np.asarray(rgb).transpose(2, 0, 1)]
    pillow = np.clip(np.stack([np.asarray(plane) for plane in planes]), 0, 255) / 127.5 - 1
    source = torch.from_numpy(np.asarray(rgb).transpose(2, 0, 1).astype(np.float64))[None]
    pytorch = torch.nn.functional.interpolate(source, size=size[::-1], mode="bicubic", antialias=True, align_corners=False)[0]
    pytorch = np.clip(pytorch.numpy(), 0, 255) / 127.5 - 1
    # Weights in fp32 (6e-8) on values of up to 255, a few hundred terms with both signs; Pillow's alike.
    assert np.abs(ours["a"] - pillow).max() < 1e-5
    assert np.abs(ours["a"] - pytorch).max() < 1e-5


def test_a_cut_is_a_part_of_the_whole(tmp_path):
    rgb = picture(640, 427)
    rgb.save(tmp_path / "a.png")
    whole = [384, 256]
    jobs = {"whole": [*whole, 0, 0, *whole, 0], "cut": [*whole, 31, 57, 128, 192, 0], "mirrored": [*whole, 31, 57, 128, 192, 1]}
    ours, refused = probe(tmp_path, {name: {"path": tmp_path / "a.png", "plan": plan} for name, plan in jobs.items()})
    assert not refused
    assert np.abs(ours["cut"] - ours["whole"][:, 31:223, 57:185]).max() < 1e-6, "origins are rounded"
    assert np.abs(ours["mirrored"] - ours["whole"][:, :, ::-1][:, 31:223, 57:185]).max() < 1e-6


def test_masks_like_an_area_mean(tmp_path):
    mask = picture(640, 427).convert("L")
    mask.save(tmp_path / "mask.png")
    plan = [384, 256, 32, 56, 128, 192, 0]
    ours, refused = probe(tmp_path, {"mask": {"path": tmp_path / "mask.png", "plan": plan, "cell": 8, "unmasked_weight": 0.3}})
    assert not refused
    assert ours["mask"].shape == (1, 24, 16)
    scale_x, scale_y = 640 / 384, 427 / 256
    box = (56 * scale_x, 32 * scale_y, (56 + 128) * scale_x, (32 + 192) * scale_y)
    theirs = Image.fromarray(np.asarray(mask).astype(np.float32)).resize((16, 24), Image.Resampling.BOX, box=box)
    # Pillow counts a pixel whose centre lies within the cell, we by overlap: 13 by 13 pixels, of which the outer ones differ.
    assert np.abs(ours["mask"][0] - np.clip(np.asarray(theirs) / 255, 0.3, 1)).max() < 0.05

    def overlaps(begin, step, count, pixels):
        edges = begin + step * np.arange(count + 1)
        return np.array([[max(min(edges[i + 1], x + 1) - max(edges[i], x), 0) / step for x in range(pixels)] for i in range(count)])

    exact = overlaps(box[1], 8 * scale_y, 24, 427) @ np.asarray(mask).astype(np.float64) @ overlaps(box[0], 8 * scale_x, 16, 640).T / 255
    assert np.abs(ours["mask"][0] - np.clip(exact, 0.3, 1)).max() < 1e-5
