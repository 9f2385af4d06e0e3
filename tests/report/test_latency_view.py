"""The histogram and the timeline of the predictions of a measurement, in the page and in a real browser."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from built import Built, build

from edgecompile.report.html import render_html
from edgecompile.report.latency_view import latency_view
from edgecompile.report.plots import Plot, round_numbers, whole_numbers
from edgecompile.runtime.measurement import MOST_SAMPLES, Percentiles, kept_every, kept_samples

from .test_html import CHROMIUM, FLAGS, browse

CLIPPED = """<!doctype html><body>
<iframe style="border:0;width:{width}px;height:800px" src="report.html"></iframe><output></output>
<script>document.querySelector("iframe").onload = event => {{
  const clipped = [...event.target.contentDocument.querySelectorAll(".plot svg")].flatMap(svg => {{
    const edge = svg.getBoundingClientRect();
    const drawn = [...svg.querySelectorAll("text, rect, path, line")];
    return drawn.map(one => [one, one.getBoundingClientRect()]).filter(([, box]) =>
      box.left < edge.left - 1 || box.right > edge.right + 1 || box.top < edge.top - 1 || box.bottom > edge.bottom + 1);
  }});
  const count = event.target.contentDocument.querySelectorAll(".plot svg").length;
  const names = clipped.map(([one]) => one.outerHTML).join(" ");
  document.querySelector("output").textContent = count + " plots, clipped: " + names;
}}</script></body>"""


def measured(totals: list[float], **changes: Any) -> dict[str, Any]:
    ranks = vars(Percentiles.of(totals))
    document = {"latency_ms": {"total": ranks}, "predictions": len(totals), "samples_us": list(kept_samples(totals))}
    return {**document, **changes}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    return build(tmp_path_factory.mktemp("built"))


@pytest.fixture(scope="module")
def page(built: Built) -> str:
    report = built.report(whole=True)
    totals = np.random.default_rng(0).gamma(9, 0.4, 400)
    report["measured"] = {**report["measured"], "samples_us": list(kept_samples(list(totals))), "predictions": 400}
    layers = [
        {"layer": f"/model.{number}/conv/Conv_output_0", "precision": "int8", "error": number / 900, "before": 0.01}
        for number in range(88)
    ]
    return render_html({**report, "layer_loss": {"layers": layers, "why": ""}})


def inside(plot: Plot) -> bool:
    numbers = [float(text) for curve in plot.curves for text in re.findall(r"[\d.]+", curve.path)]
    across, up = numbers[::2], numbers[1::2]
    for bar in plot.bars:
        across += [bar.x, bar.x + bar.width]
        up += [bar.y, bar.y + bar.height]
    across += [tick.at for tick in (*plot.across, *plot.upright)]
    up += [tick.at for tick in (*plot.up, *plot.level)]
    return all(plot.left <= x <= plot.right + 0.2 for x in across) and all(
        plot.top - 0.2 <= y <= plot.bottom + 0.2 for y in up
    )


@pytest.mark.parametrize(
    "totals",
    [
        [4.0] * 30,
        [4.0],
        [3.0, 90.0],
        [*np.linspace(3, 5, 99), 400.0],
        list(np.random.default_rng(1).gamma(9, 0.4, 5000)),
        [0.004] * 50 + [0.006] * 50,
        [30_000.0, 31_000.0, 32_000.0],
    ],
)
def test_plots_hold_every_sample_inside_of_their_edges(totals: list[float]) -> None:
    view = latency_view(measured(totals))
    assert view is not None
    histogram, timeline = view.plots
    assert inside(histogram)
    assert inside(timeline)
    counted = sum(int(bar.title.split()[0]) for bar in histogram.bars)
    beyond = int(re.search(r"(\d+) beyond", view.note)[1]) if "beyond" in view.note else 0
    assert counted + beyond == len(kept_samples(totals))
    assert len({*histogram.across}) == len(histogram.across) >= 2
    assert [mark.text.split()[0] for mark in histogram.upright] == ["median", "p95"]
    assert [mark.text for mark in timeline.level] == [mark.text for mark in histogram.upright]


def test_one_hiccup_does_not_press_the_histogram_into_a_line() -> None:
    view = latency_view(measured([*np.linspace(3, 5, 499), 900.0]))
    assert view is not None
    assert "1 beyond" in view.note
    assert "up to 900 ms" in view.note
    assert len(view.plots[0].bars) > 5


def test_many_predictions_are_kept_evenly_and_that_is_told() -> None:
    totals = [float(number) for number in range(1, 3501)]
    assert kept_every(3500) == 4
    assert len(kept_samples(totals)) == 875 <= MOST_SAMPLES
    view = latency_view(measured(totals))
    assert view is not None
    assert "875 of 3500 predictions are drawn, one of each 4" in view.note


def test_without_samples_the_page_says_why_and_how_to_get_them(built: Built) -> None:
    page = render_html(built.report(whole=True))
    assert "did not keep the time of each prediction" in page
    assert "--measure-again" in page
    assert latency_view(None) is None
    assert latency_view({"latency_ms": {}, "predictions": 0}) is None


def test_the_page_shows_both_plots_with_units_and_marks(page: str) -> None:
    for said in (
        "how many took how long",
        "latency, ms",
        "one after another",
        "prediction, by its number",
        "p95 4.31 ms",
    ):
        assert said in page, said


def test_numbers_of_axes_are_round_and_enclose() -> None:
    assert round_numbers([3.1, 9.7]) == [2, 4, 6, 8, 10]
    assert round_numbers([5.0]) == [5.0, 5.2, 5.4, 5.6] or round_numbers([5.0])[0] <= 5.0 <= round_numbers([5.0])[-1]
    assert whole_numbers(1, 87) == [20, 40, 60, 80]
    assert whole_numbers(1, 2) == [1, 2]
    assert whole_numbers(1, 1000) == [200, 400, 600, 800, 1000]


def clipped(page: str, folder: Path, width: int) -> str:
    """Returns what of the plots a browser draws outside of them."""
    (folder / "report.html").write_text(page, encoding="utf-8")
    (folder / "frame.html").write_text(CLIPPED.format(width=width), encoding="utf-8")
    command = [CHROMIUM, *FLAGS, f"--user-data-dir={folder / 'profile'}", "--dump-dom", str(folder / "frame.html")]
    shown = subprocess.run(command, capture_output=True, text=True, timeout=120)
    return re.search(r"<output>(.*?)</output>", shown.stdout, re.DOTALL)[1]


@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here")
@pytest.mark.parametrize("width", [1280, 390])
def test_a_browser_draws_all_of_them_without_a_complaint(page: str, tmp_path: Path, width: int) -> None:
    assert browse(page, tmp_path, width) == (f"width {width} of {width}", False)
    assert clipped(page, tmp_path, width) == "3 plots, clipped: "


@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here")
def test_negative_control_what_is_drawn_outside_is_noticed(page: str, tmp_path: Path) -> None:
    outside = page.replace(
        'text-anchor="end">prediction, by its number', 'text-anchor="start">prediction, by its number'
    )
    assert "by its number" in clipped(outside, tmp_path, 1280)
