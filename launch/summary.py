#!/usr/bin/env python3
"""Counts what CTest ran, the cases inside GoogleTest and pytest programs included, and prints `N passed, N failed` as the last line.

Usage: launch/summary.py CTEST_JUNIT.xml REPORTS_FOLDER
"""

import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path


def bad_cases(root: ElementTree.Element) -> tuple:
    """(number of cases, names of those that did not pass); a case that was skipped or not run did not pass."""
    cases, bad = 0, []
    for case in root.iter("testcase"):
        cases += 1
        skipped = case.find("skipped") is not None or case.get("status") in ("notrun", "disabled")
        if skipped or case.find("failure") is not None or case.find("error") is not None:
            bad.append(f"{case.get('name')}{' (not run)' if skipped else ''}")
    return cases, bad


def count(ctest: Path, folder: Path) -> tuple:
    """A CTest test that left a report of its own counts as its cases, and at least once if it failed as a whole."""
    passed, failed = 0, []
    for case in ElementTree.parse(ctest).getroot().iter("testcase"):
        single = ElementTree.Element("testsuite")
        single.append(case)
        _, bad = bad_cases(single)
        report = folder / f"{case.get('name')}.xml"
        if report.is_file():
            inner, inner_bad = bad_cases(ElementTree.parse(report).getroot())
            passed += inner - len(inner_bad)
            failed += [f"{case.get('name')}: {name}" for name in inner_bad] or bad
        else:
            passed += not bad
            failed += bad
    return passed, failed


def main() -> int:
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    passed, failed = count(Path(sys.argv[1]), Path(sys.argv[2]))
    for name in failed:
        print(f"failed: {name}")
    print(f"{passed} passed, {len(failed)} failed")
    return 1 if failed or passed == 0 else 0


if __name__ == "__main__":
    sys.exit(main())
