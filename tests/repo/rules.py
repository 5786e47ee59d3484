"""The rules of the repository that read its text. Each takes the house and returns one message per violation."""

import re
from pathlib import Path

from house import EVERYWHERE, LIBTORCH, SYSTEM, THIRD_PARTY, House

UMBRELLA = re.compile(r"torch/(torch|types|all|extension)\.h$|ATen/(ATen|Functions|NativeFunctions|Operators)\.h$|torch/nn($|[/.])|"
                      r"torch/csrc/api/include/torch/(torch|types|all|nn)")
HEADER_LINES, SOURCE_LINES = 200, 400
FORBIDDEN_WORDS = {"util", "utils", "helper", "helpers", "common", "manager", "managers", "misc"}
FORBIDDEN_TYPES = re.compile(r"^\s*(?:class|struct)\s+(\w*(?:Utils?|Helpers?|Common|Managers?|Misc|Base))\b", re.MULTILINE)
OPEN_ENDS = re.compile(r"\b(?:TODO|FIXME|XXX)\b")
SKIPS = re.compile(r"GTEST_SKIP|\bDISABLED_|pytest\.(?:skip|mark\.skip|mark\.xfail|importorskip)|unittest\.skip|\bskipif\b|skipTest")
MACHINE_PATHS = re.compile(r"(?<![\w.)}~-])/(?:work|root|home)(?:/|\b)")
TEXT = {".md", ".txt", ".cmake", ".json", ".yaml", ".yml", ".py", ".sh", ".hpp", ".cpp", ".h", ".cu", ".cuh", ".in", ".sbatch", ".def", ""}
# Parts of the tree that are not rooms: what they may include is fixed here.
ABOVE_THE_ROOMS = {"program": "cli", "mpi": "comm", "cuda": "device", "vips": "data"}
MODULE_LIBRARIES = {"mpi": ["MPI::MPI_CXX"], "cuda": ["CUDA::cudart", "dormer_nccl"], "vips": ["dormer_libvips"]}


def layering(house: House) -> list[str]:
    """Every include in include/ and src/ is allowed by what its room declared in CMake."""
    found = []
    for path in house.cpp_files("include", "src"):
        room = house.room_of(path)
        floor = ABOVE_THE_ROOMS.get(room, room)
        if floor not in house.rooms:
            found.append(f"{path}: no room of this name is declared; add dormer_room({room} …) in src/{room}/CMakeLists.txt")
            continue
        below = house.may_use(floor) | {room}
        libraries = house.rooms[floor].libraries if room == floor else MODULE_LIBRARIES.get(room, [])
        for include in house.includes(path):
            reason = _why_not(house, path, room, below, libraries, include)
            if reason:
                found.append(f"{path}:{include.line}: {reason}")
    return found


def _why_not(house: House, path: Path, room: str, below: set[str], libraries: list[str], include) -> str | None:
    if include.path.startswith("dormer/"):
        target = include.path.split("/")[1]
        if target not in below:
            return (f"room '{room}' includes \"{include.path}\", but may use only {', '.join(sorted(below - {room})) or 'nothing'}; "
                    f"turn the dependency around, or declare USES {target} (and say why in docs/architecture.md)")
        return None if (house.source / "include" / include.path).is_file() else f'"{include.path}" does not exist in include/'
    if not include.angled:
        sources = house.source / "src"
        if (sources / include.path).is_file() and include.path.split("/")[0] == room:
            return None
        if ((house.source / path).parent / include.path).is_file() or (sources / room / include.path).is_file():
            return None
        return f'"{include.path}" is not a header of room \'{room}\'; rooms see of each other only include/dormer/<room>/'
    if LIBTORCH.match(include.path):
        if path.suffix in {".cu", ".cuh"}:
            return f"<{include.path}> in a source of the GPU compiler; LibTorch belongs in a .cpp that calls it"
        if house.is_public(path):
            return f"<{include.path}> in a public header; forward-declare (dormer/tensor/forward.hpp) and include it in the source"
        if not any(house.rooms[r].torch for r in below if r in house.rooms):
            return f"<{include.path}> in room '{room}', which is below LibTorch"
        return None
    if EVERYWHERE.match(include.path):
        return None
    for pattern, library in THIRD_PARTY.items():
        if pattern.match(include.path):
            if house.is_public(path):
                return f"<{include.path}> in a public header; only the room's own sources see {library}"
            return None if library in libraries else f"<{include.path}> in room '{room}', which does not declare LIBRARIES {library}"
    if SYSTEM.match(include.path):
        return None
    return f"<{include.path}> belongs to no library that tests/repo/house.py knows; add it there and to the room's LIBRARIES"


def umbrella_headers(house: House) -> list[str]:
    """No header of LibTorch that includes half of it: one costs up to 22 s a source file."""
    return [f"{path}:{include.line}: <{include.path}> is an umbrella header; include <ATen/core/Tensor.h> and single <ATen/ops/…> headers"
            for path in house.cpp_files("include", "src", "tests")
            for include in house.includes(path) if UMBRELLA.search(include.path)]


def file_lengths(house: House) -> list[str]:
    """Headers up to 200 lines, sources up to 400: longer files hold more than one concept."""
    found = []
    for path in house.cpp_files("include", "src", "tests"):
        cap = HEADER_LINES if path.suffix in {".hpp", ".h", ".cuh"} else SOURCE_LINES
        lines = house.text(path).count("\n")
        if lines > cap:
            found.append(f"{path}: {lines} lines, the cap is {cap}; split it by concept")
    return found


def names(house: House) -> list[str]:
    """Files and types are named after their concept."""
    found = []
    for path in house.files:
        for part in path.parts:
            words = re.split(r"[_\-.]+", part.lower())
            stem = part.split(".")[0].lower()
            bad = FORBIDDEN_WORDS & set(words) or ({"base"} if re.fullmatch(r"(.*[_-])?base", stem) else None)
            if bad:
                found.append(f"{path}: '{sorted(bad)[0]}' says nothing; name the concept")
    for path in house.cpp_files("include", "src", "tests"):
        text = house.text(path)
        for match in FORBIDDEN_TYPES.finditer(text):
            line = text.count("\n", 0, match.start(1)) + 1
            found.append(f"{path}:{line}: type '{match[1]}' is named after no concept")
    return found


def _lines_with(house: House, pattern: re.Pattern, message: str) -> list[str]:
    found = []
    for path in house.files:
        if path.suffix not in TEXT or path.parts[:2] == ("tests", "repo"):
            continue
        for number, line in enumerate(house.text(path).splitlines(), 1):
            match = pattern.search(line)
            if match:
                found.append(f"{path}:{number}: '{match[0]}': {message}")
    return found


def open_ends(house: House) -> list[str]:
    """What is left to do stands in issues, where it is found again."""
    return _lines_with(house, OPEN_ENDS, "do it now or open an issue")


def skipped_tests(house: House) -> list[str]:
    """A test that cannot run here is not registered here; a skipped one looks like a passed one."""
    return _lines_with(house, SKIPS, "register the test only where it can run")


def machine_paths(house: House) -> list[str]:
    """Nothing depends on where one machine keeps its files."""
    return _lines_with(house, MACHINE_PATHS, "a path of one machine; make it an argument or relative to the repository")


def sources_are_built(house: House) -> list[str]:
    """No forgotten source: every .cpp is compiled by some target. Where no CUDA toolkit was found, a source that some CMakeLists.txt names is
    not forgotten."""
    named = ""
    if not house.builds_cuda:
        named = " ".join(path.read_text() for folder in ("src", "tests") for path in (house.source / folder).rglob("CMakeLists.txt"))
    return [f"{path}: compiled by no target; list it in a CMakeLists.txt or remove it"
            for path in house.cpp_files("src", "tests")
            if path.suffix == ".cpp" and not {"mpi", "cuda", "vips"} & set(path.parts) and str(house.source / path) not in house.compiled
            and not re.search(rf"\b{re.escape(path.name)}\b", named)]


UNNAMED = re.compile(r"^namespace \{$(.*?)^\}  // namespace$", re.MULTILINE | re.DOTALL)
DEFINED = re.compile(r"^(?!using ::|using \w[\w:]*::|namespace |template|TEST|INSTANTIATE|static_assert|MATCHER|#|//|\}|\s)"
                     r"(?:[^\n(={;]*?\b(?:class|struct|enum class|enum|using)\s+(?P<type>\w+)|[^\n(={;\[]*?(?P<name>\w+)\s*[(={;\[])", re.MULTILINE)


def names_meet(house: House) -> list[str]:
    """Sources that are compiled as one have no name of an unnamed namespace in common: a call might mean the other one's."""
    found = []
    for group, paths in sorted(house.together.items()):
        owners = {}
        for path in paths:
            for block in UNNAMED.findall(path.read_text()):
                for match in DEFINED.finditer(block):
                    # An alias may stand in several of them if it means the same.
                    line = block[match.start():].split("\n", 1)[0]
                    meaning = line if line.startswith("using ") else str(path)
                    owner, known = owners.setdefault(match["type"] or match["name"], (path, meaning))
                    if known != meaning:
                        found.append(f"{path}: '{match['type'] or match['name']}' stands in {owner.name}, too, with which it is compiled ({group}); "
                                     "list it under APART")
    return found


def architecture_page(house: House) -> list[str]:
    """The rooms table of docs/architecture.md is what CMake declared."""
    page = Path("docs/architecture.md")
    if not (house.source / page).is_file():
        return [f"{page}: missing"]
    rows = {}
    for line in house.text(page).splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        match = re.fullmatch(r"`(\w+)`", cells[0])
        if match and len(cells) == 5:
            listed = lambda cell: sorted(re.findall(r"`([\w:]+)`", cell))
            rows[match[1]] = (listed(cells[2]), listed(cells[3]), cells[4])
    found = []
    for name, room in house.rooms.items():
        real = (sorted(room.uses), sorted(room.libraries), "yes" if house.has_torch(name) else "no")
        if name not in rows:
            found.append(f"{page}: room '{name}' is missing from the table")
        elif rows[name] != real:
            found.append(f"{page}: room '{name}' stands as {rows[name]}, CMake declares {real}")
    found += [f"{page}: room '{name}' is in the table, but CMake declares none" for name in rows
              if name not in house.rooms and name not in ABOVE_THE_ROOMS]
    return found
