"""Reports open in headless Chromium without any network, and every plot is drawn: by Plotly where its bundle is, and as a still picture."""

import re
from pathlib import Path

import pytest
from drawn_page import BUNDLE, check_picture, figures
from tiny_run import dormer, prepare

RUN_PLOTS = {"plot-loss": 2, "plot-learning-rate": 1, "plot-gradient-norm": 1, "plot-throughput": 1, "plot-layers": 7}
COMPARED_PLOTS = {"plot-held-out-loss": 2, "plot-loss": 2, "plot-learning-rate": 2, "plot-gradient-norm": 2, "plot-throughput": 2, "plot-layers": 2}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    prepare(folder)
    dormer(folder, "train", "run.yaml")
    dormer(folder, "train", "run.yaml", "--set", "run.directory=lora", "--set", "adapter.decompose=null")
    return folder


def check(page: Path, plots: dict, interactive: bool) -> None:
    found = figures(page)
    assert found.keys() == plots.keys()
    for name, series in plots.items():
        assert found[name]["interactive"] == interactive, name
        assert found[name]["still"] >= series, name
        if interactive and name == "plot-layers":
            assert found[name]["points"] >= 14, name  # a layer each
        elif interactive:
            assert found[name]["lines"] == series, name


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
