"""The page of a sweep: self-contained, escaped, one script and no other; and in a real browser where there is one."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
from report.test_html import CHROMIUM, FLAGS, HOSTILE, Page, browse

from edgecompile.report import number_format
from edgecompile.sweep.report_files import read
from edgecompile.sweep.report_page import render_sweep

from .sweeps import lay_out, mixed, report_of, status_of

DRIVE = """<!doctype html><body><iframe src="report.html"></iframe><output></output><script>
document.querySelector("iframe").onload = event => {
  const page = event.target.contentDocument, said = [];
  const rows = () => [...page.querySelectorAll("#points tbody tr")].filter(row => !row.hidden);
  const order = () => said.push(rows().map(row => row.cells[0].textContent).join(","));
  const head = title => [...page.querySelectorAll("th button")].find(one => one.textContent === title);
  order();
  for (const title of ["p50", "p50", "state"]) { head(title).click(); order(); }
  const filter = page.getElementById("filter");
  filter.value = "INT8 unmet"; filter.dispatchEvent(new Event("input")); order();
  document.querySelector("output").textContent = said.join(" | ");
};</script></body>"""


def hostile(folder: Path) -> Path:
    """Lays out a sweep in which every text that a person may choose looks like a script."""
    words = HOSTILE[0]
    one = report_of("int8", 0.74, 5.0, device=words)
    for side in (one["figures"], one["figures"]["reference"]):
        side["per_class"][HOSTILE[1]] = side["per_class"].pop("bolt")
    return lay_out(
        folder,
        {
            "0_x": (status_of(0, f"description={words}"), one),
            "1_x": (status_of(5, f"name={HOSTILE[2]}" * 20, problem=words), None),
        },
    )


def test_page_tells_points_verdicts_and_failures(tmp_path: Path):
    text = Page(render_sweep(read(mixed(tmp_path / "sweep")))).text
    for said in (
        "ship this: 1_x, int8", "INT8 brings 2.0x here and costs 0.4 points", "found 33, expected a multiple of 32",
        "it was interrupted, or is still running", "passes.int8_static.method=minmax", "A CPU, 2 cores", "gate unmet",
        "bolt", "0.7460", "mAP50-95 against size", "Clock: 2004 MHz to 2010 MHz",
        number_format.EXCLUSIVE,
        "3 of 3 points: 0_x, 1_x, 2_x", "2 of 3 points: 1_x, 2_x", "to int8",
    ):  # fmt: skip
        assert said in text, said


def test_points_with_a_page_are_linked(tmp_path: Path):
    sweep = read(mixed(tmp_path / "sweep"))
    page = Page(render_sweep(sweep, pages=frozenset(["1_x"])))
    assert {value for tag, name, value in page.attributes if name == "href"} == {"1_x/report.html"}


def test_only_its_own_script_and_nothing_requested(tmp_path: Path):
    for lay in (mixed, hostile):
        source = render_sweep(read(lay(tmp_path / lay.__name__)))
        page = Page(source)
        assert page.tags.isdisjoint({"link", "iframe", "object", "embed", "base", "form", "img"})
        assert not [name for _, name, _ in page.attributes if name.startswith("on") or name == "src"]
        assert source.count("<script") == 1
        assert re.search(r"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-[\w+/=]{44}'\"", source)


@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here")
@pytest.mark.parametrize("width", [1280, 390, 320])
def test_page_fits_the_screen_and_the_browser_has_no_complaint(tmp_path: Path, width: int):
    for lay in (mixed, hostile):
        page = render_sweep(read(lay(tmp_path / lay.__name__)))
        assert browse(page, tmp_path, width) == (f"width {width} of {width}", False)


def drive(page: str, folder: Path) -> tuple[str, bool]:
    """Sorts and filters the page in a browser; returns the orders of points seen, and whether it complained."""
    (folder / "report.html").write_text(page, encoding="utf-8")
    (folder / "drive.html").write_text(DRIVE, encoding="utf-8")
    command = [CHROMIUM, *FLAGS, f"--user-data-dir={folder / 'profile'}", "--dump-dom", str(folder / "drive.html")]
    shown = subprocess.run(command, capture_output=True, text=True, timeout=120)
    return re.search(r"<output>(.*?)</output>", shown.stdout)[1], "CONSOLE" in shown.stderr


@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here")
def test_a_browser_sorts_and_filters(tmp_path: Path):
    orders, complained = drive(render_sweep(read(mixed(tmp_path / "sweep"))), tmp_path)
    assert orders.split(" | ") == [
        "0_x,1_x,2_x,10_x,11_x",
        "2_x,1_x,0_x,10_x,11_x",
        "0_x,1_x,2_x,10_x,11_x",
        "0_x,1_x,2_x,10_x,11_x",
        "2_x",
    ]
    assert not complained


@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here")
def test_negative_control_a_script_of_another_digest_is_not_run(tmp_path: Path):
    page = render_sweep(read(mixed(tmp_path / "sweep"))).replace('"use strict"', '"use  strict"')
    orders, complained = drive(page, tmp_path)
    assert complained
    assert len(set(orders.split(" | "))) == 1
