"""A sweep's page opens in headless Chromium without any network, and every picture is drawn: by Plotly where its bundle is, and as a still one."""

import subprocess
from pathlib import Path

from drawn_page import BUILD, BUNDLE, check_picture, figures

# Of 64 points under 2 seeds, as tests/sweep/made_sweep.cpp makes them: what each picture must have, live.
LIVE = {"plot-history": {"points": 100, "lines": 1}, "plot-parallel": {"lines": 8}, "plot-importances": {"bars": 7}, "plot-curves": {"lines": 45},
        "plot-rungs": {"bars": 10}, "plot-timeline": {"bars": 128}, **{f"plot-slice-{i}": {"points": 50} for i in range(7)},
        **{f"plot-front-{i}": {"points": 60, "lines": 1} for i in range(2)}}
# And as a still picture: lines, points, bars and trials together.
STILL = {"plot-history": 101, "plot-parallel": 120, "plot-importances": 7, "plot-curves": 60, "plot-rungs": 10, "plot-timeline": 128,
         **{f"plot-slice-{i}": 50 for i in range(7)}, **{f"plot-front-{i}": 61 for i in range(2)}}


def page_of(folder: Path, points: int, *bundle: Path) -> Path:
    page = folder / "sweep.html"
    subprocess.run([BUILD / "tests" / "make_sweep_page", page, str(points), *bundle], check=True)
    return page


def test_still_pictures_need_no_script(tmp_path):
    page = page_of(tmp_path, 64)
    assert "<script" not in page.read_text()
    found = figures(page)
    assert found.keys() == STILL.keys()
    for name, marks in STILL.items():
        assert not found[name]["interactive"], name
        assert found[name]["still"] >= marks, (name, found[name])
    check_picture(page, height=7000, at_least=300_000)


if BUNDLE.exists():  # launch/setup.sh brings it where it may

    def test_plotly_draws_them_again(tmp_path):
        page = page_of(tmp_path, 64, BUNDLE)
        found = figures(page)
        assert found.keys() == LIVE.keys()
        for name, marks in LIVE.items():
            assert found[name]["interactive"], name
            for kind, least in marks.items():
                assert found[name][kind] >= least, (name, found[name])
        check_picture(page, height=7000, at_least=300_000)


def test_a_sweep_that_did_not_begin_has_a_page(tmp_path):
    found = figures(page_of(tmp_path, 0))
    assert all(figure["still"] == 0 for figure in found.values())
