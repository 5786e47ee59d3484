"""A bundle of this build, packed once for all tests of one call."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parents[2]


def pack(folder: Path, *arguments, umask: int = 0o022, **environment) -> subprocess.CompletedProcess:
    """launch/bundle.sh, with the archive and its like in `folder`."""
    command = ["bash", SOURCE / "launch/bundle.sh", "--build", os.environ["DORMER_BUILD"], "--output", folder / "bundle.tar.gz", *arguments]
    return subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False, umask=umask, env={**os.environ, **environment})


@pytest.fixture(scope="session")
def packed(tmp_path_factory) -> Path:
    """The folder that holds bundle.tar.gz, bundle.squashfs (where there is mksquashfs) and, unpacked, dormer-bundle."""
    folder = tmp_path_factory.mktemp("packed")
    done = pack(folder, *(("--squashfs", folder / "bundle.squashfs") if shutil.which("mksquashfs") else ()))
    assert done.returncode == 0, done.stdout + done.stderr
    subprocess.run(["tar", "-xzf", folder / "bundle.tar.gz", "-C", folder], check=True)
    return folder
