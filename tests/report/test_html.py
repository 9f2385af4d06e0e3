"""The page: self-contained, escaped, deterministic; and in a real browser where there is one."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from built import Built, build
from markupsafe import escape

from edgecompile.data.counts import describe
from edgecompile.report.html import render_html

HOSTILE = (
    "<script>alert(1)</script>",
    '"><img src=https://example.org/x onerror=alert(1)>',
    "'; url(https://example.org/)",
)
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--hide-scrollbars",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--allow-file-access-from-files", "--enable-logging=stderr", "--virtual-time-budget=3000",
)  # fmt: skip


class Page(HTMLParser):
    """Collects tags, attributes and the visible text of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.open: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.open.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style":
            self.text += data

    def handle_endtag(self, tag: str) -> None:
        self.open.append("")


def page_of(built: Built, *, whole: bool = True, **changes: Any) -> str:
    golden = built.entries["golden"].path()
    result = json.loads((golden / "result.json").read_text())
    report = {**built.report(whole=whole), **changes}
    return render_html(report, picture=(golden / "input.png").read_bytes(), result=result)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    return build(tmp_path_factory.mktemp("built"))


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Built:
    words = "<b onclick=alert(1)>"
    return build(tmp_path_factory.mktemp("built"), names=HOSTILE, name=f"x {words}", description=words)


def test_page_says_what_was_built_and_how_good_it_is(built: Built):
    text = Page(page_of(built)).text
    for said in (
        "blood-cells", "Intel Xeon with VNNI", "All 4 gates of the recipe are met", "0.4821", "float 0.4862",
        "4.31 ms", "261.4 FPS", "Intel(R) Xeon(R) Processor, 2 cores, 2 threads used", "Platelets",
        "0 of 88 convolutions fused: no BatchNormalization left", "openvino 2026.4.1", "reused",
    ):  # fmt: skip
        assert said in text, said


def test_page_says_how_sure_the_drop_is_and_what_became_of_scores(built: Built):
    for page in (render_html(built.report(whole=True)), render_html(built.report())):
        for said in (
            "0.0041 ± 0.0031", "met and proven on 72 pictures", "by leaving each picture out in turn",
            "988 found; float 1012; precision 0.8123 → 0.8201", "median of 1001 matched",
        ):  # fmt: skip
            assert said in page, said
    older = built.report()
    older["figures"] = {key: value for key, value in older["figures"].items() if key not in ("drop_error", "scores")}
    assert "±" not in render_html(older)


def test_page_counts_the_pictures(built: Built):
    page = render_html(built.report())
    for what, numbers in describe(built.plan.counts):
        assert f"<td>{what}</td><td>{escape(numbers)}</td>" in page
    assert "5 .heic, which OpenCV does not decode" in page
    assert "validation pictures</td>" not in render_html({**built.report(), "data": None})  # a lock that says nothing


def test_bundled_page_keeps_measurements_out_and_says_where_they_are(built: Built):
    text = Page(page_of(built, whole=False)).text
    assert "Measured figures stand in the report beside the bundle" in text
    for measured in ("4.31", "261.4", "Processor", "2.7 s", "buildbox", "2026-11-23"):
        assert measured not in text, measured


def test_nothing_is_requested(built: Built, hostile: Built):
    for one in (built, hostile):
        page = Page(page_of(one))
        assert not page.tags & {"script", "link", "iframe", "object", "embed", "base", "form", "img", "a"}
        for tag, name, value in page.attributes:
            assert not name.startswith("on"), (tag, name)
            if name in ("src", "href", "xlink:href", "srcset", "action", "data", "poster"):
                assert value.startswith("data:image/png;base64,"), (tag, name)
            if name == "style":
                assert "url(" not in value
        style = re.search(r"<style>(.*?)</style>", page_of(one), re.S)[1]
        assert "url(" not in style
        assert "@import" not in style
    assert "default-src 'none'" in page_of(built)


def test_hostile_names_are_shown_not_obeyed(hostile: Built):
    source = page_of(hostile)
    page = Page(source)
    assert "<script" not in source
    assert "<img" not in source
    for name in HOSTILE:
        assert name in page.text
    assert page.tags.isdisjoint({"script", "img", "b onclick"})


def test_negative_control_without_escaping_the_names_would_be_obeyed(hostile: Built, monkeypatch):
    from edgecompile.report import html

    environment = html._environment().overlay(autoescape=False)
    monkeypatch.setattr(html, "_environment", lambda: environment)
    assert "script" in Page(page_of(hostile)).tags


def test_unmet_gates_are_the_first_thing_said(tmp_path: Path):
    built = build(tmp_path, gates={"map_drop": 0.001, "fps_per_watt": 3.0, "size_mb": 8.0})
    text = Page(page_of(built)).text
    assert "No bundle was published: 2 of 3 gates are not met" in text
    assert "gate map_drop: 0.4862 → 0.4821 (drop 0.004" in text
    assert "this machine shows no power meter" in text
    assert "All 3 gates" not in text


def test_a_recipe_without_gates_is_told_so(tmp_path: Path):
    text = Page(page_of(build(tmp_path, gates={}))).text
    assert "sets no gates" in text
    assert "gates of the recipe are met" not in text


def test_what_could_not_be_measured_says_why(built: Built):
    facts = dict.fromkeys(built.entries["measure"].facts)
    reason = "the target is aarch64, this machine x86_64"
    measured = {**facts, "machine": {}, "unmeasured": {"latency_p95_ms": reason}}
    text = Page(page_of(built, measured=measured)).text
    assert f"Not measured: {reason}" in text


def test_many_classes_are_folded(built: Built):
    names = [f"class {number}" for number in range(80)]
    per_class = {name: {"map50_95": 0.5, "map50": 0.6, "objects": 4} for name in names}
    figures = {**built.manifest["figures"], "per_class": per_class}
    figures["reference"] = {**figures["reference"], "per_class": per_class}
    model = {**built.manifest["model"], "names": names}
    assert "68 more classes" in Page(page_of(built, figures=figures, model=model)).text


def test_without_golden_vectors_there_is_no_picture(built: Built):
    assert "data:image" not in render_html(built.report(whole=True))


RENDER = """
import json, sys
from pathlib import Path
from built import build
from edgecompile.data.counts import describe
from edgecompile.report.html import render_html
sys.stdout.buffer.write(render_html(build(Path(sys.argv[1]) / "x").report()).encode())
"""


def test_equal_reports_give_equal_pages(built: Built, tmp_path: Path):
    """In another process with another hash seed, zone and locale; and whatever the order of keys."""
    here = render_html(built.report())
    tests = Path(__file__).parent.parent
    environment = os.environ | {
        "PYTHONHASHSEED": "7", "TZ": "Asia/Kathmandu", "LC_ALL": "C",
        "PYTHONPATH": f"{tests.parent}{os.pathsep}{tests}",
    }  # fmt: skip
    command = [sys.executable, "-c", RENDER, str(tmp_path)]
    assert subprocess.run(command, env=environment, capture_output=True, check=True).stdout.decode() == here

    def backwards(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: backwards(inner) for key, inner in reversed(value.items())}
        return [backwards(inner) for inner in value] if isinstance(value, list) else value

    assert render_html(backwards(built.report())) == here


MEASURE = """<!doctype html><body>
<iframe style="border:0;width:{width}px;height:800px" src="report.html"></iframe><output></output>
<script>document.querySelector("iframe").onload = event => {{
  const root = event.target.contentDocument.documentElement;
  document.querySelector("output").textContent = "width " + root.scrollWidth + " of " + root.clientWidth;
}}</script></body>"""


def browse(page: str, folder: Path, width: int) -> tuple[str, bool]:
    """Opens a page in a frame of `width` pixels; returns "width <needed> of <given>", and whether it complained."""
    (folder / "report.html").write_text(page, encoding="utf-8")
    (folder / "frame.html").write_text(MEASURE.format(width=width), encoding="utf-8")
    command = [CHROMIUM, *FLAGS, f"--user-data-dir={folder / 'profile'}", "--dump-dom", str(folder / "frame.html")]
    shown = subprocess.run(command, capture_output=True, text=True, timeout=120)
    return re.search(r"<output>(.*?)</output>", shown.stdout)[1], "CONSOLE" in shown.stderr


@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here")
@pytest.mark.parametrize("width", [1280, 390, 320])
def test_page_fits_the_screen_and_the_browser_has_no_complaint(hostile: Built, tmp_path: Path, width: int):
    """The widest contents are the hostile build's: long words without a place to break."""
    assert browse(page_of(hostile), tmp_path, width) == (f"width {width} of {width}", False)


@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here")
def test_negative_control_what_is_too_wide_and_what_asks_the_network_is_noticed(built: Built, tmp_path: Path):
    smuggled = '<div style="width:900px">wide</div><img src="https://example.org/x.png"></body>'
    size, complained = browse(page_of(built).replace("</body>", smuggled), tmp_path, 390)
    assert size != "width 390 of 390"
    assert complained
