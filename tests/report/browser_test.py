"""Reports open in headless Chromium without any network, and every plot is drawn: by Plotly where its bundle is, and as a still picture."""

import os
import re
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import pytest
from tiny_run import BUILD, dormer, prepare

BROWSER = os.environ["DORMER_BROWSER"]
BUNDLE = BUILD / "share" / "dormer" / "plotly.min.js"
RUN_PLOTS = {"plot-loss": 2, "plot-learning-rate": 1, "plot-gradient-norm": 1, "plot-throughput": 1, "plot-layers": 7}
COMPARED_PLOTS = {"plot-held-out-loss": 2, "plot-loss": 2, "plot-learning-rate": 2, "plot-gradient-norm": 2, "plot-throughput": 2, "plot-layers": 2}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    prepare(folder)
    dormer(folder, "train", "run.yaml")
    dormer(folder, "train", "run.yaml", "--set", "run.directory=lora", "--set", "adapter.decompose=null")
    return folder


def browse(page: Path, *arguments: str) -> subprocess.CompletedProcess:
    """Opens a page with every name unknown and every address behind a proxy that is not there; what it logs is on standard error."""
    command = [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--window-size=1100,3200", "--virtual-time-budget=20000",
               "--host-resolver-rules=MAP * ~NOTFOUND", "--proxy-server=127.0.0.1:9", "--enable-logging=stderr", f"--user-data-dir={page.parent}/profile"]
    done = subprocess.run([*command, *arguments, page.as_uri()], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    console = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    assert not console, console  # an error of a script, or something that the page's policy refused to fetch
    return done


class Figures(HTMLParser):
    """Per figure: whether Plotly took over, and the drawn curves and points, still and live."""

    def __init__(self):
        super().__init__()
        self.found, self.figure, self.live, self.words = {}, None, False, []

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        classes = (attributes.get("class") or "").split()
        if tag == "figure":
            self.figure = self.found[attributes["id"]] = {"interactive": "interactive" in classes, "still": 0, "live": 0, "live points": 0}
            self.live = False
        if self.figure is None:
            return
        self.live = self.live or "live" in classes
        path = attributes.get("d") or ""
        if self.live and "js-line" in classes and len(path) > 20:
            self.figure["live"] += 1
        elif self.live and "point" in classes and path:
            self.figure["live points"] += 1
        elif not self.live and ({"line", "point"} & set(classes)) and "H28" not in path and attributes.get("cx") != "14":
            self.figure["still"] += 1

    def handle_endtag(self, tag):
        if tag == "figure":
            self.figure = None


def figures(page: Path) -> dict:
    parser = Figures()
    parser.feed(browse(page, "--dump-dom").stdout)
    return parser.found


def check(page: Path, plots: dict, interactive: bool) -> None:
    found = figures(page)
    assert found.keys() == plots.keys()
    for name, series in plots.items():
        assert found[name]["interactive"] == interactive, name
        assert found[name]["still"] >= series, name
        if interactive and name == "plot-layers":
            assert found[name]["live points"] >= 14, name  # a layer each
        elif interactive:
            assert found[name]["live"] == series, name


def check_picture(page: Path) -> None:
    picture = page.with_suffix(".png")
    browse(page, f"--screenshot={picture}")
    data = picture.read_bytes()
    assert data.startswith(b"\x89PNG")
    assert len(data) > 60_000  # an empty page of this size takes 15 kB


def test_the_page_that_training_wrote_shows_every_plot(folder):
    check(folder / "run" / "report.html", RUN_PLOTS, interactive=BUNDLE.exists())
    check_picture(folder / "run" / "report.html")


def test_still_pictures_need_no_script(folder):
    dormer(folder, "report", "run", "--still", "--output", "still.html")
    assert "<script" not in (folder / "still.html").read_text()
    check(folder / "still.html", RUN_PLOTS, interactive=False)
    check_picture(folder / "still.html")


def test_runs_are_compared_on_one_page(folder):
    assert dormer(folder, "report", "run", "lora") == "report.html\n"
    check(folder / "report.html", COMPARED_PLOTS, interactive=BUNDLE.exists())
    check_picture(folder / "report.html")
    text = re.sub(r"<script>.*?</script>", "", (folder / "report.html").read_text(), flags=re.DOTALL)
    assert '<th scope="row">adapter.decompose</th>' in text or '<th scope="row">adapter.decompose.axis</th>' in text
