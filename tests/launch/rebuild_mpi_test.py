"""cluster/rebuild_mpi.sh: the module of every MPI of this machine, from the source tree and from a bundle, trains the bytes of the built one; what
does not fit is named in one line and changes nothing."""

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(SOURCE / "tests/faults"))
from lives import BUILD, command, make_tiny, results  # noqa: E402

TORCH = Path(importlib.util.find_spec("torch").origin).parent
BUILT = [str(SOURCE / "tests/support/mpirun.sh"), "2"]  # the launcher of the MPI that the build found
MPIS = {"mpicxx": BUILT}
if shutil.which("mpicxx.mpich"):
    MPIS["mpicxx.mpich"] = ["mpiexec.mpich", "-n", "2"]


def run(*words, **environment) -> subprocess.CompletedProcess:
    return subprocess.run(list(map(str, words)), capture_output=True, text=True, check=False, timeout=300,
                          env={**os.environ, "DORMER_TORCH": str(TORCH), **environment})


def rebuild(root: Path, *arguments, **environment) -> subprocess.CompletedProcess:
    return run("bash", root / "cluster/rebuild_mpi.sh", *arguments, **environment)


def refusal(done: subprocess.CompletedProcess) -> str:
    """The one line of a call that failed."""
    assert done.returncode == 1 and done.stdout == "", done.stdout + done.stderr
    assert len(done.stderr.splitlines()) == 1, done.stderr
    for log in re.findall(r"all of it: (\S+)\]", done.stderr):
        Path(log).unlink()
    return done.stderr


@pytest.fixture(scope="module")
def tiny(tmp_path_factory) -> Path:
    return make_tiny(tmp_path_factory.mktemp("tiny"))


def trained(tiny: Path, name: str, launcher: list[str], program: Path | None = None, **environment):
    line = command(tiny / name, tiny)
    done = run(*launcher, program or line[0], *line[1:], **environment)
    assert done.returncode == 0, done.stderr
    assert "rank 1 of 2" in done.stderr, done.stderr
    return results(tiny / name)


@pytest.fixture(scope="module")
def expected(tiny):
    return trained(tiny, "built", BUILT)


@pytest.fixture
def bundle(packed, tmp_path) -> Path:
    """A fresh one, as it was unpacked."""
    shutil.copytree(packed / "dormer-bundle", tmp_path / "dormer-bundle")
    return tmp_path / "dormer-bundle"


@pytest.mark.parametrize("mpicxx", MPIS)
def test_a_module_of_the_source_tree_trains_the_same_bytes(mpicxx, tiny, expected, tmp_path):
    module = tmp_path / "libdormer_mpi.so"
    done = rebuild(SOURCE, "--build", BUILD, "--mpicxx", mpicxx, "--output", module)
    assert done.returncode == 0, done.stderr
    identity = (BUILD / "mpi-interface.txt").read_text().splitlines()[0]
    assert re.fullmatch(rf"rebuild_mpi: {module}, build {re.escape(identity)}, with (Open MPI|MPICH|Intel MPI|MVAPICH|MPI) [\w.]+, "
                        r"all_reduce of two ranks [\d.]+ GB/s\n", done.stdout), done.stdout
    needed = run("readelf", "-d", module).stdout
    assert ("libmpich" in needed) == (mpicxx == "mpicxx.mpich"), "it is this MPI's"
    assert trained(tiny, f"tree-{mpicxx}", MPIS[mpicxx], DORMER_MPI_MODULE=str(module)) == expected


@pytest.mark.parametrize("mpicxx", MPIS)
def test_a_bundle_trains_one_rank_and_after_the_rebuild_as_many_as_there_are(mpicxx, tiny, expected, bundle):
    alone = run(*MPIS[mpicxx], bundle / "bin/dormer", "bench", "comm")
    assert alone.returncode == 2 and "there is no MPI module" in alone.stderr and "cluster/rebuild_mpi.sh" in alone.stderr
    done = rebuild(bundle, "--mpicxx", mpicxx)
    assert done.returncode == 0, done.stderr
    assert trained(tiny, f"bundle-{mpicxx}", MPIS[mpicxx], bundle / "bin/dormer") == expected
    assert sorted(path.name for path in (bundle / "lib").glob("*mpi*")) == ["libdormer_mpi.so"], "nothing else is left there"


@pytest.mark.parametrize("mpicxx", MPIS)
def test_the_rebuilt_module_keeps_the_communicators_promises(mpicxx, tmp_path):
    assert rebuild(SOURCE, "--build", BUILD, "--mpicxx", mpicxx, "--output", tmp_path / "module.so", "--no-check").returncode == 0
    done = run(*MPIS[mpicxx], BUILD / "tests/comm_mpi_test", "--gtest_brief=1", "--gtest_filter=Worlds/EveryCommunicator.*/mpi",
               DORMER_MPI_MODULE=str(tmp_path / "module.so"))
    assert done.returncode == 0 and "[  PASSED  ]" in done.stdout, done.stdout + done.stderr


def test_the_old_module_stays_beside_the_new_one(bundle):
    old = bundle / "lib/libdormer_mpi.so"
    shutil.copy(BUILD / "lib/libdormer_mpi.so", old)
    before = old.read_bytes()
    done = rebuild(bundle, "--no-check")
    assert done.returncode == 0 and "the old one is libdormer_mpi.so.before" in done.stdout, done.stderr
    assert (bundle / "lib/libdormer_mpi.so.before").read_bytes() == before != old.read_bytes()


def stand_in(path: Path, text: str) -> Path:
    path.write_text("#!/bin/sh\n" + text)
    path.chmod(0o755)
    return path


@pytest.mark.parametrize("wrapper, message", [
    ("echo 'the wrapper was unable to find g++' >&2; exit 1", "no compiler: .* compiles no C[+][+]20; .*: the wrapper was unable to find g[+][+] "),
    ("case $(cat) in *mpi.h*) echo 'fatal error: mpi.h: none' >&2; exit 1 ;; esac", "no MPI: .* finds no mpi.h; .*: fatal error: mpi.h: none "),
    ("case $(cat) in *MPI_VERSION*) echo 'error: MPI 3 is needed' >&2; exit 1 ;; esac", "this MPI is too old: MPI 3 is needed "),
])
def test_a_compiler_that_does_not_serve_is_named_with_its_own_words(wrapper, message, bundle, tmp_path):
    assert re.search(message, refusal(rebuild(bundle, "--mpicxx", stand_in(tmp_path / "wrapper", wrapper))))


def test_a_missing_compiler_is_named(bundle):
    assert "no MPI: there is no mpicxx.nowhere; load the site's MPI" in refusal(rebuild(bundle, "--mpicxx", "mpicxx.nowhere"))


def test_another_standard_library_is_named(bundle):
    assert "wrong ABI: " in refusal(rebuild(bundle, "--mpicxx", "mpicxx -D_GLIBCXX_USE_CXX11_ABI=0"))


def test_headers_of_another_build_are_refused(bundle):
    with (bundle / "include/dormer/comm/communicator.hpp").open("a") as file:
        file.write("// changed\n")
    line = refusal(rebuild(bundle))
    assert "another build: the program in" in line and (bundle / "mpi-interface.txt").read_text().splitlines()[0] in line


def test_a_program_of_another_build_refuses_the_module(bundle):
    interface = bundle / "mpi-interface.txt"
    version, _, digest = interface.read_text().splitlines()[0].rpartition("-")
    interface.write_text(interface.read_text().replace(f"{version}-{digest}", f"9.9.9-{digest}"))
    line = refusal(rebuild(bundle))
    assert "ended with exit code 2" in line and f"is of build 9.9.9-{digest}, this program of build {version}-{digest}" in line
    assert not list((bundle / "lib").glob("*mpi*"))


def test_a_launcher_that_is_wrong_or_of_another_mpi_changes_nothing(bundle, tmp_path):
    old = bundle / "lib/libdormer_mpi.so"
    old.write_bytes(b"the old one")
    assert "no launcher: there is no mpiexec.nowhere" in refusal(rebuild(bundle, "--launcher", "mpiexec.nowhere -n 2"))
    foreign = stand_in(tmp_path / "foreign", '"$@" & "$@"\nwait\n')  # two processes that do not know of each other
    assert "belongs to another MPI than mpicxx" in refusal(rebuild(bundle, "--launcher", foreign))
    stand_in(foreign, 'export PMI_RANK=0 PMI_SIZE=2\nexec "$@"\n')
    assert "a PMI launcher started 2 ranks, but MPI knows of 1" in refusal(rebuild(bundle, "--launcher", foreign))
    assert old.read_bytes() == b"the old one"
    assert [path.name for path in (bundle / "lib").iterdir() if "mpi" in path.name] == ["libdormer_mpi.so"]


def test_wrong_places_and_options_are_named(bundle, tmp_path):
    assert "unknown option --mpicx;" in refusal(rebuild(bundle, "--mpicx", "x"))
    assert "--mpicxx needs a value" in refusal(rebuild(bundle, "--mpicxx"))
    assert "holds no built dormer" in refusal(rebuild(bundle, "--build", tmp_path))
    assert "cannot write to /nowhere" in refusal(rebuild(bundle, "--output", "/nowhere/module.so"))
