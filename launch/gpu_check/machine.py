"""What this machine and this bundle are."""
import hashlib
import os
import platform
import re
import shutil
import time

from steps import Context, Finding, StepFailed, table

GPU_FIELDS = ["name", "driver_version", "memory.total", "memory.used", "compute_cap", "clocks.max.sm", "power.limit"]
ANY_CODE = range(-64, 256)  # of a process, ended by a signal perhaps
TORCH_GPU = """
import json, torch
gpus = [[torch.cuda.get_device_name(i), ".".join(map(str, torch.cuda.get_device_capability(i)))] for i in range(torch.cuda.device_count())]
print(json.dumps({"torch": torch.__version__, "cuda": torch.version.cuda, "nccl": ".".join(map(str, torch.cuda.nccl.version())), "gpus": gpus}))
"""


def check_bundle(context: Context) -> Finding:
    """Every file is there and has the sum that the manifest says."""
    wrong = []
    for name, expected in context.manifest["files"].items():
        path = context.bundle / name
        if not path.is_file():
            wrong.append(f"{name} is missing")
        elif hashlib.sha256(path.read_bytes()).hexdigest() != expected:
            wrong.append(f"{name} has another SHA-256")
    if wrong:
        raise StepFailed(f"{len(wrong)} files are not as they were packed, first: {wrong[0]}; copy the bundle again")
    return Finding(f"{len(context.manifest['files'])} files as they were packed, commit {context.manifest['commit']}")


def processor() -> str:
    with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
        found = re.search(r"^model name\s*:\s*(.*)$", file.read(), re.MULTILINE)
    return found[1] if found else platform.machine()


def describe_machine(context: Context) -> Finding:
    """Names it, and compares the system's libraries with what the bundle asks for."""
    glibc = platform.libc_ver()[1]
    wanted = context.manifest["newest_symbols"].get("GLIBC", "0")
    with open("/proc/meminfo", encoding="ascii") as file:
        memory = int(file.readline().split()[1]) / 1e6
    rows = [["system", next((line.split("=", 1)[1].strip().strip('"') for line in open("/etc/os-release", encoding="utf-8")
                             if line.startswith("PRETTY_NAME=")), platform.platform())],
            ["kernel", platform.release()], ["processor", processor()], ["threads", os.cpu_count()], ["memory", f"{memory:.0f} GB"],
            ["glibc", f"{glibc} (the bundle asks for {wanted})"], ["Python", platform.python_version()], ["LibTorch", context.torch],
            ["nvcc", shutil.which("nvcc") or "not found (not needed)"]]
    as_numbers = lambda version: [int(part) for part in version.split(".")]
    if glibc and as_numbers(glibc) < as_numbers(wanted):
        raise StepFailed(f"glibc {glibc} is older than the bundle's {wanted}; make the bundle on an older system")
    return Finding(f"{rows[0][1]}, {rows[2][1]}, {os.cpu_count()} threads", table(["", ""], rows))


def start_program(context: Context) -> Finding:
    """The program starts; how long it takes."""
    context.dormer("--version")  # brings the files into memory
    start = time.monotonic()
    said = context.dormer("--version").stdout.strip()
    seconds = time.monotonic() - start
    context.known["keys"] = set(re.findall(r"^\| `([a-z_.\[\]]+)`", context.dormer("config", "reference").stdout, re.MULTILINE))
    return Finding(f"{said}, {seconds:.2f} s to start")


def describe_gpu(context: Context) -> Finding:
    """The GPU as the driver, PyTorch and dormer see it."""
    if context.dry:
        return Finding("nvidia-smi, PyTorch's view and dormer's", needs_gpu=True)
    if not context.manifest["cuda_module"]:
        raise StepFailed("the bundle has no CUDA module: it was made where no CUDA toolkit was found")
    details = ""
    if shutil.which("nvidia-smi"):
        lines = context.run(["nvidia-smi", f"--query-gpu={','.join(GPU_FIELDS)}", "--format=csv,noheader"]).stdout.strip().splitlines()
        details += table(GPU_FIELDS, [line.split(", ") for line in lines]) + "\n\n"
        context.run(["nvidia-smi", "-q"], allowed=ANY_CODE)
    details += "PyTorch: " + context.run([context.python, "-c", TORCH_GPU]).stdout.strip() + "\n"
    seen = context.dormer("bench", "kernels", "--device", "cuda", "--rows", 64, "--width", 64, "--vocabulary", 64,
                          "--rounds", 1).stdout.splitlines()[0]
    return Finding(seen.split(", 64 x 64")[0], details + "\ndormer: " + seen)


def gpu_test(name: str, what: str):
    """A step that runs one of the bundle's GoogleTest programs."""

    def run(context: Context) -> Finding:
        listed = context.test_program(name, "--gtest_list_tests").stdout
        number = len(re.findall(r"^  \S", listed, re.MULTILINE))
        if number == 0:
            raise StepFailed(f"{name} has no tests")
        if context.dry:
            return Finding(f"{number} tests of {what}; the program starts and lists them", needs_gpu=True)
        out = context.test_program(name, allowed=ANY_CODE).stdout
        passed = len(re.findall(r"^\[       OK \] ", out, re.MULTILINE))
        failed = list(dict.fromkeys(re.findall(r"^\[  FAILED  \] (\w[\w/]*\.[\w/]+)", out, re.MULTILINE)))
        if failed or passed != number:
            # A kernel that went wrong spoils the process for every test behind it: which fail on their own?
            alone = [test for test in failed[:8] if context.test_program(name, f"--gtest_filter={test}", allowed=ANY_CODE).returncode != 0]
            ended = "" if passed + len(failed) >= number else "; it ended early"
            raise StepFailed(f"{passed} of {number} tests passed{ended}; of the first {len(failed[:8])} that failed, these fail on their own: "
                             f"{', '.join(alone) or 'none'}")
        return Finding(f"{number} tests of {what} passed")

    return run
