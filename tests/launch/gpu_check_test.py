"""launch/bundle.sh and launch/gpu_check.sh --dry on a fresh bundle: what is in it, where its libraries come from, what the report holds."""

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parents[2]
BUILD = Path(os.environ["DORMER_BUILD"])
TORCH = Path(importlib.util.find_spec("torch").origin).parent
LIMIT = 60_000_000
# What every glibc system with g++'s runtime has; LibTorch needs these itself.
SYSTEM = re.compile(r"^(linux-vdso|ld-linux-x86-64|libc|libm|libdl|librt|libpthread|libresolv|libutil|libstdc\+\+|libgcc_s)\.so")
sys.path.insert(0, str(SOURCE / "launch" / "gpu_check"))


def run(*command, **options) -> subprocess.CompletedProcess:
    return subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False, **options)


@pytest.fixture(scope="module")
def archive(tmp_path_factory) -> Path:
    file = tmp_path_factory.mktemp("bundle") / "bundle.tar.gz"
    done = run("bash", SOURCE / "launch/bundle.sh", "--build", BUILD, "--output", file)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "GLIBC " in done.stdout, "the newest symbol versions are printed"
    return file


@pytest.fixture(scope="module")
def bundle(archive) -> Path:
    run("tar", "-xzf", archive, "-C", archive.parent)
    return archive.parent / "dormer-bundle"


def check(folder: Path, *arguments) -> tuple[subprocess.CompletedProcess, str]:
    done = run("bash", SOURCE / "launch/gpu_check.sh", "--output", folder, *arguments, env={**os.environ, "PYTHON": sys.executable})
    report = folder / "report.md"
    return done, report.read_text() if report.exists() else ""


def results(report: str) -> dict[str, str]:
    """Step to result, from the report's table."""
    return dict(re.findall(r"^\| ([^|]+) \| (PASS|FAIL|needs a GPU) \| [0-9.]+ \| .* \| logs/\S+ \|$", report, re.MULTILINE))


def test_the_archive_is_small_and_its_manifest_names_every_file(archive, bundle):
    assert archive.stat().st_size < LIMIT
    manifest = json.loads((bundle / "manifest.json").read_text())
    packed = {str(path.relative_to(bundle)) for path in bundle.rglob("*") if path.is_file()} - {"manifest.json"}
    assert set(manifest["files"]) == packed
    programs = BUILD / "gpu-tests.txt"
    tests = sorted(Path(line).name for line in programs.read_text().split()) if programs.exists() else []
    assert manifest["gpu_tests"] == tests
    assert manifest["cuda_module"] == (BUILD / "lib" / "libdormer_cuda.so").exists()


def require_place(bundle: Path, loader: str, name: str, place: str) -> None:
    """A library is the bundle's, LibTorch's wheel's, or the system's own."""
    folders = [bundle, TORCH, TORCH.parent / "nvidia"]
    inside = any(Path(os.path.realpath(place)).is_relative_to(os.path.realpath(folder)) for folder in folders)
    assert inside or SYSTEM.match(name), f"{loader} takes {name} from {place}"


def test_every_library_comes_from_the_bundle_from_libtorch_or_is_the_systems_own(bundle):
    for path in [bundle / "libexec/dormer", *(bundle / "tests").iterdir()]:
        # The loader names what it would load, with nothing but LibTorch's folder set.
        done = run("/lib64/ld-linux-x86-64.so.2", "--list", path, env={"LD_LIBRARY_PATH": f"{TORCH}/lib"})
        assert done.returncode == 0, done.stderr
        libraries = re.findall(r"^\s*(\S+) => (.+?)(?: \(0x.*)?$", done.stdout, re.MULTILINE)
        assert {"libdormer.so", "libyaml-cpp.so.0.7"} & {name for name, _ in libraries}
        for name, place in libraries:
            require_place(bundle, path.name, name, place)


MODULE = """
import ctypes, sys
mapped = lambda: {line.split(maxsplit=5)[5].strip() for line in open("/proc/self/maps") if ".so" in line}
before = mapped()
for path in sys.argv[1:]:
    ctypes.CDLL(path, ctypes.RTLD_GLOBAL)
print("\\n".join(sorted(mapped() - before)))
"""


def test_modules_load_with_libtorchs_own_cuda_and_nccl(bundle):
    modules = sorted(bundle.glob("lib/libdormer_*.so"))
    assert [module.name for module in modules] == (["libdormer_cuda.so"] if (BUILD / "lib/libdormer_cuda.so").exists() else [])
    for module in modules:
        done = run(sys.executable, "-c", MODULE, TORCH / "lib/libtorch_cuda.so", module, env={"LD_LIBRARY_PATH": f"{TORCH}/lib"})
        assert done.returncode == 0, done.stderr
        assert str(module) in done.stdout
        for place in done.stdout.split():
            require_place(bundle, module.name, Path(place).name, place)


def test_the_program_starts_in_an_empty_environment_from_another_place(bundle, tmp_path):
    moved = tmp_path / "elsewhere"
    shutil.copytree(bundle, moved)
    done = run(moved / "bin/dormer", "--version", env={"DORMER_TORCH": str(TORCH), "PATH": "/usr/bin:/bin"}, cwd="/")
    assert done.returncode == 0 and done.stdout.startswith("dormer "), done.stderr
    lost = run(moved / "bin/dormer", "--version", env={"DORMER_TORCH": "/nowhere", "PATH": "/usr/bin:/bin"})
    assert lost.returncode == 2
    assert "no LibTorch in '/nowhere'" in lost.stderr and "DORMER_TORCH" in lost.stderr


def test_a_dry_run_passes_and_reports_every_step(archive, tmp_path):
    done, report = check(tmp_path / "out", "--dry", archive)
    assert done.returncode == 0, done.stdout + done.stderr
    found = results(report)
    needing = {"gpu", *(f"test {name}" for name in json.loads((archive.parent / "dormer-bundle/manifest.json").read_text())["gpu_tests"])}
    passing = {"bundle", "machine", "program", "generated model and tokens", "train float32 on CPU and GPU", "train bfloat16 on CPU and GPU",
               "same bytes: run again", "same bytes: blocks recomputed", "same bytes: killed and resumed", "tokens/s", "bytes/s of kernels"}
    assert {name for name, result in found.items() if result == "needs a GPU"} == needing
    assert {name for name, result in found.items() if result == "PASS"} == passing
    assert done.stdout.splitlines()[-1] == f"{len(passing)} passed, 0 failed, {len(needing)} need a GPU"
    assert "Nothing here ran on a GPU" in report
    assert "killed at 'step 3: saved', went on with updates 4 to 12" in report
    assert re.search(r"^\| PEFT DoRA \| [0-9]+ \|", report, re.MULTILINE), "PEFT is measured where it is installed"
    assert re.search(r"^\| adamw \| float32 \| [0-9.]+ \| [0-9.]+ \|", report, re.MULTILINE)
    assert all((tmp_path / "out" / log).stat().st_size > 0 for log in re.findall(r"logs/\S+\.log", report))


def test_a_bundle_with_images_trains_on_pictures(tmp_path):
    archive = tmp_path / "bundle.tar.gz"
    done = run("bash", SOURCE / "launch/bundle.sh", "--build", BUILD, "--images", "--output", archive)
    assert done.returncode == 0, done.stdout + done.stderr
    assert archive.stat().st_size < LIMIT
    done, report = check(tmp_path / "out", "--dry", "--only", "program|generated|diffusion", archive)
    assert done.returncode == 0, done.stdout + done.stderr
    assert results(report)["diffusion models on CPU and GPU"] == "PASS"
    assert len(re.findall(r"^\| (sd1|sdxl|sd35) \| .* \| 0.0e\+00 \| 0 of 255 in 4 \| yes \|$", report, re.MULTILINE)) == 4, "the CPU beside itself"


def test_a_failed_step_fails_the_check_and_stops_no_other(bundle, tmp_path):
    broken = tmp_path / "broken"
    shutil.copytree(bundle, broken)
    with (broken / "LICENSE").open("a") as file:
        file.write("more\n")
    done, report = check(tmp_path / "out", "--dry", "--only", "bundle|program", broken)
    assert done.returncode == 1
    assert results(report) == {"bundle": "FAIL", "program": "PASS"}
    assert "LICENSE has another SHA-256" in report


def test_a_step_that_gets_no_time_fails(bundle, tmp_path):
    done, report = check(tmp_path / "out", "--dry", "--only", "program", "--limit", "0", bundle)
    assert done.returncode == 1 and results(report) == {"program": "FAIL"}


def test_without_dry_a_machine_without_a_gpu_fails(bundle, tmp_path):
    done, report = check(tmp_path / "out", "--only", "^gpu$", bundle)
    assert done.returncode == 1 and results(report) == {"gpu": "FAIL"}


@pytest.mark.parametrize("arguments, message", [(("--dyr",), "unknown option --dyr"), (("/nowhere",), "/nowhere is no bundle"),
                                                (("--torch", "/nowhere"), "no LibTorch in /nowhere")])
def test_a_wrong_line_is_one_line(arguments, message, tmp_path):
    done, _ = check(tmp_path / "out", *arguments)
    assert done.returncode == 2 and message in done.stderr and len(done.stderr.splitlines()) == 1


def test_losses_are_compared_update_by_update():
    from steps import StepFailed
    from training import compare_losses

    here = [{"step": 0, "validation_loss": 5.0}, {"step": 1, "loss": 4.0}, {"step": 2, "loss": 2.0}]
    there = [{"step": 0, "validation_loss": 5.0}, {"step": 1, "loss": 4.0}, {"step": 2, "loss": 2.002}]
    worst, rows = compare_losses(here, there)
    assert worst == pytest.approx(0.001) and len(rows) == 3
    assert compare_losses(here, [*there[:2], {"step": 2, "loss": float("nan")}])[0] == float("inf")
    with pytest.raises(StepFailed):
        compare_losses(here, there[:2])
