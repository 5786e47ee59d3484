"""Pages in headless Chromium without any network, and what is drawn on them."""

import os
import subprocess
from html.parser import HTMLParser
from pathlib import Path

BROWSER = os.environ["DORMER_BROWSER"]
BUILD = Path(os.environ["DORMER_BUILD"])
BUNDLE = BUILD / "share" / "dormer" / "plotly.min.js"
STILL_MARKS = {"line", "point", "bar", "trial"}


def browse(page: Path, *arguments: str, height: int = 3200) -> subprocess.CompletedProcess:
    """Opens a page with every name unknown and every address behind a proxy that is not there; what it logs is on standard error."""
    command = [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", f"--window-size=1100,{height}", "--virtual-time-budget=20000",
               "--host-resolver-rules=MAP * ~NOTFOUND", "--proxy-server=127.0.0.1:9", "--enable-logging=stderr", f"--user-data-dir={page.parent}/profile"]
    done = subprocess.run([*command, *arguments, page.as_uri()], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    console = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    assert not console, console  # an error of a script, or something that the page's policy refused to fetch
    return done


class Figures(HTMLParser):
    """Per figure with a name: whether Plotly took over, and the drawn curves, points and bars, still and live; legends left out."""

    def __init__(self):
        super().__init__()
        self.found, self.figure, self.live, self.legend = {}, None, False, None

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        classes = set((attributes.get("class") or "").split())
        if tag == "figure" and "id" in attributes:
            self.figure = self.found[attributes["id"]] = {"interactive": "interactive" in classes, "still": 0, "lines": 0, "points": 0, "bars": 0}
            self.live = False
        if self.figure is None:
            return
        if self.legend is None and classes & {"legend", "key"}:
            self.legend = tag
        if self.legend is not None:
            return
        self.live = self.live or "live" in classes
        path = attributes.get("d") or ""
        if not self.live:
            self.figure["still"] += bool(classes & STILL_MARKS)
        elif "js-line" in classes:
            self.figure["lines"] += len(path) > 20
        elif "point" in classes:  # a bar is a group of its path
            self.figure["bars" if tag == "g" else "points"] += 1

    def handle_endtag(self, tag):
        if tag == self.legend:
            self.legend = None
        if tag == "figure":
            self.figure = None


def figures(page: Path) -> dict[str, dict]:
    parser = Figures()
    parser.feed(browse(page, "--dump-dom").stdout)
    return parser.found


def check_picture(page: Path, height: int = 3200, at_least: int = 60_000) -> None:
    """A screenshot of the page; an empty one of 1100 x 3200 takes 15 kB."""
    picture = page.with_suffix(".png")
    browse(page, f"--screenshot={picture}", height=height)
    data = picture.read_bytes()
    assert data.startswith(b"\x89PNG")
    assert len(data) > at_least
