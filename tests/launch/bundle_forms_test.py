"""launch/bundle.sh: the image of squashfs holds the files of the archive, both have the same bytes every time, and --glibc names what is too new."""

import re
import subprocess
from pathlib import Path

from conftest import pack


def files(folder: Path) -> dict[str, tuple[int, bytes]]:
    """Every file by its path: mode and bytes."""
    return {str(path.relative_to(folder)): (path.stat().st_mode, path.read_bytes()) for path in folder.rglob("*") if path.is_file()}


def test_the_image_holds_the_files_of_the_archive(packed, tmp_path):
    subprocess.run(["unsquashfs", "-quiet", "-no-progress", "-dest", tmp_path / "image", packed / "bundle.squashfs"], check=True)
    image = files(tmp_path / "image")
    assert image == files(packed / "dormer-bundle")
    assert {"bin/dormer", "manifest.json", "cluster/rebuild_mpi.sh"} <= set(image), "they lie at the image's root"


def test_the_image_belongs_to_root_and_has_no_time(packed):
    listed = subprocess.run(["unsquashfs", "-lln", packed / "bundle.squashfs"], capture_output=True, text=True, check=True).stdout.splitlines()
    entries = [line for line in listed if "squashfs-root" in line]
    assert len(entries) > 50
    assert not [line for line in entries if not re.match(r"(drwxr-xr-x|-rw-r--r--|-rwxr-xr-x) 0/0 .* 1970-01-01 ", line)]


def test_packing_again_gives_the_same_bytes_whatever_umask_and_clock(packed, tmp_path):
    done = pack(tmp_path, "--squashfs", tmp_path / "bundle.squashfs", umask=0o077, SOURCE_DATE_EPOCH="1700000000")
    assert done.returncode == 0, done.stdout + done.stderr
    for name in ("bundle.squashfs", "bundle.tar.gz"):
        assert (tmp_path / name).read_bytes() == (packed / name).read_bytes(), name


def test_a_glibc_that_is_too_old_fails_with_files_and_symbols_and_one_that_is_not_passes(packed, tmp_path):
    asked = re.search(r'"GLIBC": "(2\.\d+)', (packed / "dormer-bundle/manifest.json").read_text())[1]
    done = pack(tmp_path, "--glibc", f"2.{int(asked.split('.')[1]) - 1}")
    assert done.returncode == 1
    named = re.findall(rf"^  ((?:lib|libexec|tests)/\S+): .*\b\w+@{re.escape(asked)}\b", done.stdout, re.MULTILINE)
    assert named and re.search(rf"^bundle: {len(named)} files ask for a newer glibc than ", done.stderr, re.MULTILINE), done.stdout + done.stderr
    assert not list(tmp_path.iterdir()), "nothing is left behind"
    assert pack(tmp_path, "--glibc", asked).returncode == 0


def test_wrong_options_are_one_line(tmp_path):
    for arguments, message in ((("--glibc", "new"), "--glibc needs a version"), (("--squashfs",), "--squashfs needs a file")):
        done = pack(tmp_path, *arguments)
        assert done.returncode == 1 and message in done.stderr and len(done.stderr.splitlines()) == 1
