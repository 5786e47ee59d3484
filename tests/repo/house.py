"""The house as the rules see it: its files, its rooms as CMake declared them, and the includes of a file."""

import json
import re
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

FOLDERS = ("include", "src", "tests", "cmake", "configs", "docs", "launch", "cluster", ".ci")
ROOT_FILES = ("CMakeLists.txt", "CMakePresets.json", "README.md", "CONTRIBUTING.md", "CHANGELOG.md", ".clang-tidy", ".clang-format",
              ".gitignore")
IGNORED_FOLDERS = {"__pycache__", ".pytest_cache"}
CPP = {".hpp", ".cpp", ".h", ".cc", ".cu", ".cuh", ".hpp.in", ".cpp.in"}
INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*(?:<([^>]+)>|"([^"]+)")', re.MULTILINE)

# Which declared library lets a room include which header.
THIRD_PARTY = {
    re.compile(r"yaml-cpp/"): "dormer_yaml",
    re.compile(r"hdf5(_hl)?\.h$|H5\w+\.h$"): "dormer_hdf5",
    re.compile(r"nlohmann/"): "dormer_json",
    re.compile(r"xxhash\.h$|xxh3\.h$"): "dormer_xxhash",
    re.compile(r"utf8proc\.h$"): "dormer_utf8proc",
    re.compile(r"toml\+\+/"): "dormer_toml",
    re.compile(r"CLI/"): "dormer_cli11",
    re.compile(r"mpi\.h$|mpi-ext\.h$"): "MPI::MPI_CXX",
    re.compile(r"cuda_\w+\.h$|cuda\.h$"): "CUDA::cudart",
    re.compile(r"nccl\.h$"): "dormer_nccl",
    re.compile(r"sqlite3\.h$"): "dormer_sqlite",
    re.compile(r"vips/|glib(-object)?\.h$"): "dormer_libvips",
    re.compile(r"g(test|mock)/"): "GTest::gtest",
}
EVERYWHERE = re.compile(r"fmt/")
LIBTORCH = re.compile(r"(ATen|c10|torch|caffe2)/")
# Headers of C and POSIX that carry no slash-free C++ name.
SYSTEM = re.compile(r"(sys|arpa|netinet|linux)/\w+\.h$|(unistd|fcntl|signal|dlfcn|pthread|sched|spawn|poll|malloc|netdb|ifaddrs|termios|pwd|"
                    r"dirent|fnmatch|cpuid|immintrin|x86intrin|arm_neon|errno|string|stdlib|stdio|time|features|execinfo|link)\.h$|[a-z_]+$")


@dataclass
class Room:
    name: str
    uses: list[str] = field(default_factory=list)
    libraries: list[str] = field(default_factory=list)
    torch: bool = False


@dataclass(frozen=True)
class Include:
    line: int
    path: str
    angled: bool


class House:
    def __init__(self, source: Path, build: Path):
        self.source = source.resolve()
        self.build = build.resolve()

    @cached_property
    def compiled(self) -> set[str]:
        """Sources that some target compiles, by themselves or with others, as paths of the machine."""
        files = {str(Path(entry["file"])) for entry in json.loads((self.build / "compile_commands.json").read_text())}
        return files | {str(path) for group in self.together.values() for path in group}

    @cached_property
    def together(self) -> dict[str, list[Path]]:
        """What is compiled as one source (cmake/precompiled.cmake), by the generated file's name."""
        groups = {}
        for entry in json.loads((self.build / "compile_commands.json").read_text()):
            file = Path(entry["file"])
            if file.parent.name == "together":
                names = re.findall(r'#include "([^"]+)"', file.read_text())
                folder = "src" if file.is_relative_to(self.build / "src") else "tests"
                groups[file.name] = [(self.source / folder / name).resolve() for name in names]
        return groups

    @property
    def builds_cuda(self) -> bool:
        """Whether CMake found a CUDA toolkit: without one neither the module nor what tests it is compiled."""
        folder = f"{self.source / 'src' / 'cuda'}/"
        return any(path.startswith(folder) for path in self.compiled)

    @cached_property
    def rooms(self) -> dict[str, Room]:
        """Reads rooms.txt: "room: uses;… | libraries;… | TORCH", one line a room (cmake/rooms.cmake writes it)."""
        result = {}
        for line in (self.build / "rooms.txt").read_text().splitlines():
            name, rest = line.split(":", 1)
            uses, libraries, torch = (part.strip() for part in rest.split("|"))
            result[name.strip()] = Room(name.strip(), [u for u in uses.split(";") if u], [l for l in libraries.split(";") if l],
                                        torch == "TORCH")
        return result

    def may_use(self, name: str) -> set[str]:
        """The room itself and every room below it."""
        reached, waiting = set(), [name]
        while waiting:
            room = waiting.pop()
            if room not in reached:
                reached.add(room)
                waiting.extend(self.rooms[room].uses)
        return reached

    def has_torch(self, name: str) -> bool:
        return any(self.rooms[room].torch for room in self.may_use(name))

    @cached_property
    def files(self) -> list[Path]:
        """Every file of the repository, as paths below its root."""
        result = [Path(name) for name in ROOT_FILES if (self.source / name).is_file()]
        for folder in FOLDERS:
            for path in sorted((self.source / folder).rglob("*")):
                if path.is_file() and not IGNORED_FOLDERS & set(path.parts):
                    result.append(path.relative_to(self.source))
        return result

    def cpp_files(self, *folders: str) -> list[Path]:
        return [path for path in self.files if path.suffix in CPP and path.parts[0] in folders]

    def text(self, path: Path) -> str:
        return (self.source / path).read_text(encoding="utf-8", errors="replace")

    def includes(self, path: Path) -> list[Include]:
        text = self.text(path)
        return [Include(text.count("\n", 0, match.start()) + 1, match[1] or match[2], match[1] is not None)
                for match in INCLUDE.finditer(text)]

    def room_of(self, path: Path) -> str | None:
        """The room a file belongs to: include/dormer/<room>/…, src/<room>/…; None elsewhere."""
        parts = path.parts
        if parts[:2] == ("include", "dormer") and len(parts) > 3:
            return parts[2]
        if parts[0] == "src" and len(parts) > 2:
            return parts[1]
        return None

    def is_public(self, path: Path) -> bool:
        return path.parts[0] == "include"
