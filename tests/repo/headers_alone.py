"""Every header compiles alone, with the flags of its room: whoever includes it needs nothing before it.

What passed is remembered in the build folder under a hash of the flags and of all project headers it reaches."""

import hashlib
import json
import shlex
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from house import House

WORKERS = 2


def flags_of(house: House, header: Path, commands: list[dict]) -> list[str] | None:
    """The compile command of a source of the header's room, without its input and output."""
    room = house.room_of(header)
    folders = [f"/src/{room}/"] if room else ["/" + "/".join(header.parts[:2]) + "/", "/tests/"]
    for folder in folders:
        for entry in commands:
            if entry["file"].endswith(".cu"):  # nvcc's flags are no flags of a C++ compiler
                continue
            if "dormer_precompiled_" in entry["file"] + entry.get("output", ""):  # it knows of no room
                continue
            if folder in entry["file"] or folder in entry.get("output", "") or folder in entry["directory"]:
                words = shlex.split(entry["command"])
                dropped = ("-c", "-o", "-include", entry["file"])  # no precompiled header comes before it
                return [w for i, w in enumerate(words) if w not in dropped and words[i - 1] not in ("-o", "-include")]
    return None


def reached(house: House, header: Path) -> list[Path]:
    """The header and every project header below it."""
    seen, waiting = set(), [header]
    while waiting:
        path = waiting.pop()
        if path in seen:
            continue
        seen.add(path)
        for include in house.includes(path):
            for candidate in (Path("include") / include.path, Path("src") / include.path, Path("tests") / include.path,
                              path.parent / include.path):
                if (house.source / candidate).is_file():
                    waiting.append(candidate)
                    break
    return sorted(seen)


def headers_alone(house: House) -> list[str]:
    commands = json.loads((house.build / "compile_commands.json").read_text())
    store = house.build / "headers_alone.json"
    passed = set(json.loads(store.read_text())) if store.is_file() else set()

    def check(header: Path) -> tuple[str | None, str]:
        flags = flags_of(house, header, commands)
        if flags is None:
            return f"{header}: no source of its room is compiled, so no flags are known", ""
        if flags[0].endswith("ccache"):
            flags = flags[1:]
        digest = hashlib.sha256("\0".join(flags).encode())
        for path in reached(house, header):
            digest.update((house.source / path).read_bytes())
        key = digest.hexdigest()
        if key in passed:
            return None, key
        run = subprocess.run([*flags, "-fsyntax-only", "-Werror", "-x", "c++", "-"], input=f'#include "{house.source / header}"\n',
                             capture_output=True, text=True, cwd=house.build)
        return (None, key) if run.returncode == 0 else (f"{header}: does not compile alone\n{run.stderr.strip()}", "")

    headers = [path for path in house.cpp_files("include", "src", "tests") if path.suffix in {".hpp", ".h"}]
    if not house.builds_cuda:  # the toolkit's own headers are missing, too
        headers = [path for path in headers if path.parts[:2] not in {("src", "cuda"), ("tests", "cuda")}]
    with ThreadPoolExecutor(WORKERS) as pool:
        results = list(pool.map(check, headers))
    store.write_text(json.dumps(sorted({key for _, key in results if key})))
    return [message for message, _ in results if message]
