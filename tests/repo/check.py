#!/usr/bin/env python3
"""Checks one rule of the repository: check.py RULE --source FOLDER --build FOLDER. Prints every violation; exits 1 if there is one."""

import argparse
import subprocess
import sys
from pathlib import Path

import rules
from headers_alone import headers_alone
from house import House


def formatting(house: House, clang_format: str) -> list[str]:
    """Every C++ file is as clang-format writes it."""
    files = [str(path) for path in house.cpp_files("include", "src", "tests")]
    run = subprocess.run([clang_format, "--dry-run", "--Werror", *files], capture_output=True, text=True, cwd=house.source)
    wrong = sorted({line.split(":")[0] for line in run.stderr.splitlines() if "clang-format-violations" in line})
    if run.returncode != 0 and not wrong:
        return [run.stderr.strip()]
    return [f"{path}: run clang-format -i {path}" for path in wrong]


def configs_load(house: House, program: str) -> list[str]:
    """Every configuration that we ship is one that the program accepts."""
    found = []
    for path in house.files:
        if path.parts[0] == "configs" and path.suffix == ".yaml":
            run = subprocess.run([program, "config", "show", str(path)], capture_output=True, text=True, cwd=house.source)
            if run.returncode != 0:
                found.append(f"{path}: exit {run.returncode}: {run.stderr.strip()}")
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("rule")
    parser.add_argument("--source", type=Path, required=True)
    parser.add_argument("--build", type=Path, required=True)
    parser.add_argument("--tool", help="the program that a rule needs: clang-format, dormer")
    arguments = parser.parse_args()
    house = House(arguments.source, arguments.build)
    known = {"headers_alone": headers_alone, "formatting": lambda h: formatting(h, arguments.tool),
             "configs_load": lambda h: configs_load(h, arguments.tool)}
    rule = known.get(arguments.rule) or getattr(rules, arguments.rule)
    found = rule(house)
    for message in found:
        print(message)
    print(f"{arguments.rule}: {len(found)} violations" if found else f"{arguments.rule}: holds")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
