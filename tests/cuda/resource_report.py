"""Compiles the GPU sources for every architecture and reads ptxas' report: no kernel may spill registers or need local memory."""

import argparse
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ENTRY = re.compile(r"Compiling entry function '(\w+)' for '(sm_\d+\w*)'")
MEMORY = re.compile(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads")
# The flags of src/cuda/CMakeLists.txt that change code.
FLAGS = ["-std=c++20", "--fmad=false", "--expt-relaxed-constexpr", "-O3"]


def report(nvcc: str, source: str, architectures: list[str], includes: list[str]) -> str:
    codes = [f"-gencode=arch=compute_{number},code=sm_{number}" for number in architectures]
    with tempfile.TemporaryDirectory() as folder:
        command = [nvcc, *FLAGS, *codes, *(f"-I{path}" for path in includes), "-Xptxas=-v", "-c", source, "-o", str(Path(folder) / "object.o")]
        result = subprocess.run(command, capture_output=True, text=True)
    if result.returncode != 0:
        sys.exit(f"{source} does not compile:\n{result.stderr}")
    return result.stderr


def kernels(text: str) -> list[tuple[str, str, tuple[int, int, int]]]:
    """Name, architecture, and bytes of stack frame, spill stores and spill loads of every kernel of a report."""
    found, current = [], None
    for line in text.splitlines():
        if entry := ENTRY.search(line):
            current = entry
        elif current and (memory := MEMORY.search(line)):
            found.append((current[1], current[2], tuple(int(number) for number in memory.groups())))
            current = None
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nvcc", required=True)
    parser.add_argument("--include", nargs="+", required=True)
    parser.add_argument("--architectures", nargs="+", required=True, help="as CMake writes them: 75-real, 120")
    parser.add_argument("--sources", nargs="+", required=True)
    options = parser.parse_args()
    architectures = [name.split("-")[0] for name in options.architectures]
    found = [kernel for source in options.sources for kernel in kernels(report(options.nvcc, source, architectures, options.include))]
    bad = [(name, architecture, memory) for name, architecture, memory in found if any(memory)]
    for name, architecture, (frame, stores, loads) in bad:
        print(f"{name} for {architecture}: {frame} bytes of local memory, {stores} bytes of spill stores, {loads} of spill loads")
    seen = {architecture for _, architecture, _ in found}
    missing = {f"sm_{number}" for number in architectures} - seen
    if missing or not found:
        print(f"the report names no kernel for {', '.join(sorted(missing)) or 'any architecture'}: has its form changed?")
        return 1
    print(f"{len(found)} kernels for {len(seen)} architectures: {len(bad)} spill or use local memory")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
