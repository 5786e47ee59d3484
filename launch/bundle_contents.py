#!/usr/bin/env python3
"""Completes a bundle's folder: copies the shared libraries that the other machine lacks, and writes manifest.json.

Example: bundle_contents.py FOLDER --torch site-packages/torch --commit 1a2b3c --glibc 2.34
What ldd names is copied unless it belongs to glibc, to the compiler's runtime (LibTorch needs that machine's own), to LibTorch or to
NVIDIA's libraries. The manifest has versions, the newest symbol versions that the files ask for, and every file's SHA-256.
With --glibc it ends with exit code 1 where a file asks for a newer one, and names the symbols.
"""
import argparse
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

# Of the system (glibc and the compiler's runtime), or in LibTorch's wheel and the wheels that it needs.
ELSEWHERE = re.compile(
    r"^(ld-linux.*|linux-vdso|libc|libm|libdl|librt|libpthread|libresolv|libutil|libnsl|libanl|libmvec|libstdc\+\+|libgcc_s|libgomp.*|"
    r"libtorch.*|libc10.*|libshm.*|libcuda.*|libcu(blas|dnn|fft|file|pti|rand|solver|sparse).*|libnccl.*|libnv.*)\.so(\.|$)")
VERSION = re.compile(r"Name: (GLIBC|GLIBCXX|CXXABI|GCC)_([0-9.]+)\b")


def is_elf(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(4) == b"\x7fELF"


def elf_files(bundle: Path) -> list[Path]:
    return [path for path in sorted(bundle.rglob("*")) if path.is_file() and not path.is_symlink() and is_elf(path)]


def needed_libraries(path: Path, torch: Path) -> dict[str, Path | None]:
    """Every shared library that a file needs, directly or not: name to place, or to None where the loader finds none."""
    environment = {**os.environ, "LD_LIBRARY_PATH": f"{torch}/lib"}
    text = subprocess.run(["ldd", str(path)], capture_output=True, text=True, check=True, env=environment).stdout
    found = {}
    for name, place in re.findall(r"^\s*(\S+) => (not found|/\S+)", text, re.MULTILINE):
        found[name] = None if place == "not found" else Path(place)
    return found


def copy_libraries(bundle: Path, torch: Path) -> list[str]:
    """Copies what is missing there into lib/; returns their names."""
    copied = []
    for path in elf_files(bundle):
        for name, place in needed_libraries(path, torch).items():
            target = bundle / "lib" / name
            if ELSEWHERE.match(name) or target.exists():
                continue
            if place is None:
                sys.exit(f"bundle: {path.name} needs {name}, which is not found on this machine")
            shutil.copy(place.resolve(), target)
            target.chmod(0o644)
            copied.append(name)
    return copied


def numbers_of(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))


def newest_symbols(files: list[Path]) -> dict[str, str]:
    """The newest version of each of the system's libraries that any file asks for."""
    newest: dict[str, tuple[int, ...]] = {}
    for path in files:
        text = subprocess.run(["readelf", "--version-info", "--wide", str(path)], capture_output=True, text=True, check=True).stdout
        for name, version in VERSION.findall(text.split("Version needs section", 1)[-1]):
            newest[name] = max(newest.get(name, ()), numbers_of(version))
    return {name: ".".join(map(str, numbers)) for name, numbers in sorted(newest.items())}


def symbols_beyond(path: Path, glibc: str) -> list[str]:
    """The symbols that a file wants of a newer glibc, as name@version."""
    text = subprocess.run(["readelf", "--dyn-syms", "--wide", str(path)], capture_output=True, text=True, check=True).stdout
    wanted = set(re.findall(r"\bUND (\S+)@GLIBC_([0-9.]+)", text))
    return sorted(f"{name}@{version}" for name, version in wanted if numbers_of(version) > numbers_of(glibc))


def require_glibc(bundle: Path, glibc: str) -> None:
    beyond = {path: symbols for path in elf_files(bundle) if (symbols := symbols_beyond(path, glibc))}
    for path, symbols in beyond.items():
        print(f"  {path.relative_to(bundle)}: {', '.join(symbols)}")
    if beyond:
        sys.exit(f"bundle: {len(beyond)} files ask for a newer glibc than {glibc}, as shown above; build on a system as old as the other machine")


def versions(bundle: Path, torch: Path) -> dict[str, str]:
    program = bundle / "libexec" / "dormer"
    environment = {**os.environ, "LD_LIBRARY_PATH": f"{torch}/lib"}
    said = subprocess.run([str(program), "--version"], capture_output=True, text=True, check=True, env=environment).stdout.strip()
    return {"program": said}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--torch", type=Path, required=True, help="the LibTorch that it was built with: the folder that holds lib/")
    parser.add_argument("--commit", required=True)
    parser.add_argument("--glibc", help="the other machine's version, such as 2.34")
    arguments = parser.parse_args()
    bundle, torch = arguments.bundle, arguments.torch
    libraries = copy_libraries(bundle, torch)
    if arguments.glibc:
        require_glibc(bundle, arguments.glibc)
    symbols = newest_symbols(elf_files(bundle))
    sizes = {path: path.stat().st_size for path in sorted(bundle.rglob("*")) if path.is_file()}
    manifest = {
        "format": "dormer.bundle/1",
        "commit": arguments.commit,
        **versions(bundle, torch),
        "cuda_module": (bundle / "lib" / "libdormer_cuda.so").exists(),
        "image_module": (bundle / "lib" / "libdormer_vips.so").exists(),
        "gpu_tests": sorted(path.name for path in (bundle / "tests").glob("*_gpu_test")),
        "copied_libraries": sorted(libraries),
        "newest_symbols": symbols,
        "files": {str(path.relative_to(bundle)): hashlib.sha256(path.read_bytes()).hexdigest() for path in sizes},
    }
    (bundle / "manifest.json").write_text(json.dumps(manifest, indent=1) + "\n")
    print(f"bundle: {len(sizes)} files, {sum(sizes.values()) / 1e6:.1f} MB unpacked, {len(libraries)} of them copied libraries")
    for path in sorted(sizes, key=sizes.get, reverse=True)[:5]:
        print(f"  {sizes[path] / 1e6:6.1f} MB  {path.relative_to(bundle)}")
    print("bundle: asks of the other machine " + ", ".join(f"{name} {version}" for name, version in symbols.items()) + " or newer")


if __name__ == "__main__":
    main()
