"""What launch/setup.sh says where it cannot go on, and how launch/summary.py counts."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

LAUNCH = Path(__file__).resolve().parents[2] / "launch"


@pytest.fixture
def checkout(tmp_path) -> Path:
    shutil.copytree(LAUNCH, tmp_path / "launch")
    return tmp_path


def setup(checkout: Path, *arguments, **environment) -> subprocess.CompletedProcess:
    command = ["bash", checkout / "launch/setup.sh", "--no-build", *arguments]
    return subprocess.run(list(map(str, command)), capture_output=True, text=True, env={**os.environ, **environment}, check=False)


def test_without_root_a_missing_python_is_named_with_the_ways_to_get_it(checkout):
    done = setup(checkout, "--no-system", PYTHON="/nowhere/python3")
    assert done.returncode == 1
    assert "Python 3.10 or newer with venv" in done.stderr
    for way in ("apt-get install python3 python3-venv", "module load python", "spack install python", "conda install -c conda-forge python"):
        assert way in done.stderr
    assert not (checkout / ".venv").exists()


def test_without_root_each_missing_library_is_named_with_the_ways_to_get_it(checkout):
    programs = checkout / ".venv/bin"
    programs.mkdir(parents=True)
    programs.joinpath("python").write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    programs.joinpath("cmake").write_text("#!/bin/sh\necho '-- missing: hdf5'\necho '-- missing: xxhash'\n")
    for program in programs.iterdir():
        program.chmod(0o755)
    done = setup(checkout, "--no-system")
    assert done.returncode == 1
    for way in ("HDF5 (C library)", "apt-get install libhdf5-dev", "module load hdf5", "spack install hdf5", "conda-forge hdf5", "CMAKE_PREFIX_PATH"):
        assert way in done.stderr
    assert "apt-get install libxxhash-dev" in done.stderr
    assert "fmt" not in done.stderr


@pytest.mark.parametrize(
    "arguments, message",
    [(("--torhc",), "unknown option --torhc"), (("--torch", "/nowhere"), "/nowhere: no LibTorch there"), (("--jobs", "many"), "--jobs needs a number")],
)
def test_a_wrong_option_is_one_line(checkout, arguments, message):
    done = setup(checkout, *arguments)
    assert done.returncode == 1
    assert message in done.stderr and len(done.stderr.splitlines()) == 1
    assert not (checkout / ".venv").exists()


CTEST = """<testsuite name="x" tests="5">
<testcase name="good" status="run"/><testcase name="bad" status="fail"><failure message=""/></testcase>
<testcase name="lost" status="notrun"><skipped/></testcase><testcase name="py" status="run"/>
<testcase name="broken" status="fail"><failure message=""/></testcase></testsuite>"""
PYTEST = """<testsuites><testsuite><testcase name="one"/><testcase name="two"/><testcase name="three">FAILURE</testcase></testsuite></testsuites>"""


@pytest.mark.parametrize(
    "failure, last, code", [("", "5 passed, 3 failed", 1), ("<failure/>", "4 passed, 4 failed", 1), ("<skipped/>", "4 passed, 4 failed", 1)]
)
def test_the_summary_counts_cases_and_calls_skipped_ones_failed(tmp_path, failure, last, code):
    (tmp_path / "ctest.xml").write_text(CTEST)
    (tmp_path / "py.xml").write_text(PYTEST.replace("FAILURE", failure))
    (tmp_path / "broken.xml").write_text("<testsuite><testcase name='fine'/></testsuite>")  # it died after its cases
    done = subprocess.run([sys.executable, LAUNCH / "summary.py", tmp_path / "ctest.xml", tmp_path], capture_output=True, text=True, check=False)
    assert done.stdout.splitlines()[-1] == last
    assert done.returncode == code


def test_the_summary_of_good_tests_succeeds(tmp_path):
    (tmp_path / "ctest.xml").write_text('<testsuite><testcase name="good" status="run"/></testsuite>')
    done = subprocess.run([sys.executable, LAUNCH / "summary.py", tmp_path / "ctest.xml", tmp_path], capture_output=True, text=True, check=False)
    assert (done.stdout, done.returncode) == ("1 passed, 0 failed\n", 0)
