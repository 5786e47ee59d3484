#!/usr/bin/env bash
# Runs clang-tidy over the sources: launch/tidy.sh [FOLDER-OR-FILE ...]. The checks stand in .clang-tidy.
#   launch/tidy.sh              every source of src/
#   launch/tidy.sh src/comm     one room
# BUILD names the build folder (default build/release), JOBS the number of processes.
set -euo pipefail
cd "$(dirname "$0")/.."
build=${BUILD:-build/release}
tool=$(command -v clang-tidy-14 || command -v clang-tidy) || { echo "clang-tidy not found: apt-get install clang-tidy" >&2; exit 2; }
[ -f "$build/compile_commands.json" ] || { echo "$build/compile_commands.json not found: configure first (launch/setup.sh)" >&2; exit 2; }

extra=(--extra-arg=-Wno-unknown-warning-option)
if "$tool" --version | grep -q 'version 14\.'; then
  # Clang 14 lacks the builtin behind std::source_location, so libstdc++ leaves the class out; tidy needs only its shape.
  cat > "$build/source_location_for_clang_14.hpp" <<'CPP'
#pragma once
#pragma clang system_header
namespace std {
struct source_location {
  static constexpr source_location current() { return {}; }
  constexpr const char* file_name() const { return ""; }
  constexpr const char* function_name() const { return ""; }
  constexpr unsigned line() const { return 0; }
  constexpr unsigned column() const { return 0; }
};
}  // namespace std
CPP
  extra+=("--extra-arg=-include" "--extra-arg=$(realpath "$build")/source_location_for_clang_14.hpp")
fi

# GCC's precompiled headers are nothing that Clang reads, and what is compiled together is looked at source by source.
mkdir -p "$build/tidy"
python3 - "$build" << 'PYTHON'
import json, re, sys
from pathlib import Path

build = Path(sys.argv[1]).resolve()
entries = []
for entry in json.loads((build / "compile_commands.json").read_text()):
    entry["command"] = re.sub(r" -include \S*cmake_pch\.hxx -Winvalid-pch -fpch-preprocess", "", entry["command"])
    file = Path(entry["file"])
    if file.parent.name != "together":
        entries.append(entry)
        continue
    folder = Path("src" if file.is_relative_to(build / "src") else "tests").resolve()
    for name in re.findall(r'#include "([^"]+)"', file.read_text()):
        source = str((folder / name).resolve())
        entries.append({**entry, "file": source, "command": entry["command"].replace(str(file), source)})
(build / "tidy" / "compile_commands.json").write_text(json.dumps(entries))
PYTHON

mapfile -t files < <(find "${@:-src}" -name '*.cpp' | sort)
[ ${#files[@]} -gt 0 ] || { echo "no sources in $*" >&2; exit 2; }
printf '%s\0' "${files[@]}" | xargs -0 -n 1 -P "${JOBS:-$(nproc)}" "$tool" -p "$build/tidy" --quiet "${extra[@]}" 2> >(grep -v 'warnings\? generated' >&2)
echo "clang-tidy: ${#files[@]} sources, no finding"
