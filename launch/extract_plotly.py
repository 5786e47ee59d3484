"""extract_plotly.py WHEEL FILE: writes plotly.min.js of Plotly's Python package to FILE, whole or not at all."""

import os
import sys
import zipfile
from pathlib import Path


def main(wheel: str, target: str) -> None:
    with zipfile.ZipFile(wheel) as archive:
        bundle = archive.read("plotly/package_data/plotly.min.js")
    part = Path(target + ".part")
    part.write_bytes(bundle)
    os.replace(part, target)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: extract_plotly.py WHEEL FILE")
    main(*sys.argv[1:])
