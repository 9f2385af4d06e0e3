"""Names from outside, from the data set to each thing that a person sees: shown as escapes, and obeyed nowhere."""

from __future__ import annotations

import csv
import io
import json
import re
import unicodedata
from pathlib import Path

import pytest
import yaml

from .attack import recipe_text, write_data
from .hostile_onnx import FILE, changed, noted

pytestmark = pytest.mark.slow

EVIL = (
    "=HYPERLINK(1)<script>alert(1)</script>\x1b[2J\x1b]0;owned\x07\r",
    "\u202egnp.exe\nedgecompile: seal ok\u2028</td><img src=x onerror=alert(2)>\x9b31m",
)
NAME = "=cmd<script>alert(3)<b>\u202e\u2066x"
DESCRIPTION = "[bold]x[/bold]<script>alert(4)</script>\u202e{{ 7*7 }}"
MARKS = ("\x1b", "\x07", "\x9b", "\u202e", "\u2066", "\u2028", "\r")


@pytest.fixture
def work(here: Path) -> Path:
    data = write_data(here / "data")
    document = yaml.safe_load(data.read_text()) | {"names": list(EVIL)}
    data.write_text(yaml.safe_dump(document))
    changed(noted(names=str(list(EVIL))))(here)
    head = f"name: {json.dumps(NAME)}\ndescription: {json.dumps(DESCRIPTION)}\n"
    (here / "r.yaml").write_text(recipe_text(FILE, data, "onnx_import", imgsz="[64, 96]") + head)
    return here


def fit(text: str) -> str:
    """Demands of what went to a terminal that it moves, hides and reverses nothing, and forges no line."""
    hidden = {one for one in text if one != "\n" and unicodedata.category(one) in ("Cc", "Cf", "Cs", "Zl", "Zp")}
    assert not hidden, ascii(text)
    assert not re.search("^edgecompile: seal ok", text, re.M), text
    return text


def test_a_terminal_obeys_nothing(run, work: Path) -> None:
    said = ""
    for words in (
        ("plan", "r.yaml"),
        ("plan", "r.yaml", "--json"),
        ("plan", "r.yaml", "--mermaid"),
        ("build", "r.yaml"),
    ):
        ran = run(*words)
        assert ran.code == 0, ran.err
        said += fit(ran.out) + fit(ran.err)
    assert "\\u202e" in said
    (bundle,) = work.rglob("*.bundle.zip")
    picture = str(work / "data/images/val/0.png")
    for words in (
        ("inspect", str(bundle)), ("inspect", str(bundle), "--json"), ("verify", str(bundle)),
        ("predict", str(bundle), picture, "--conf", "0.01"), ("diff", str(bundle), str(bundle)),
        ("predict", str(bundle), picture, "--conf", "0.01", "--format", "json"),
        ("bench", str(bundle), "--rounds", "1"),
    ):  # fmt: skip
        ran = run(*words)
        assert ran.code == 0, (words, ran.err)
        fit(ran.out), fit(ran.err)
        if "json" in words or "--json" in words:
            assert EVIL[0] in str(json.loads(ran.out)) or repr(EVIL[0])[1:-1] in str(json.loads(ran.out))
    page = next(work.rglob("report.html")).read_text(encoding="utf-8")
    for tag in ("<script>alert", "<img src=x", "<b>", "[bold]x<"):
        assert tag not in page
    assert "&lt;script&gt;alert" in page
    assert not any(mark in page for mark in MARKS)
    assert "{{ 7*7 }}" in page


def test_a_spreadsheet_computes_nothing(run, work: Path) -> None:
    ran = run("build", "-m", "r.yaml", "evaluate.conf=0.001,0.002", "hydra.sweep.dir=out")
    fit(ran.out), fit(ran.err)
    assert ran.code == 0, ran.err
    text = next((work / "out").glob("*.csv")).read_text(encoding="utf-8")
    assert not any(mark in text for mark in MARKS)
    rows = list(csv.reader(io.StringIO(text)))
    assert any(NAME[:5] in cell for row in rows for cell in row)
    assert not [cell for row in rows for cell in row if cell.startswith(("=", "@", "\t"))]
    page = next((work / "out").glob("*.html")).read_text(encoding="utf-8")
    assert "<script>alert" not in page
    assert not any(mark in page for mark in MARKS)


def test_control_plain_names_stand_as_they_are(run, here: Path) -> None:
    changed()(here)
    data = write_data(here / "data")
    (here / "r.yaml").write_text(recipe_text(FILE, data, "onnx_import", imgsz="[64, 96]") + "name: Größe\n")
    ran = run("build", "r.yaml")
    assert ran.code == 0, ran.err
    assert "Größe" in fit(ran.err)
    assert "Größe" in next(here.rglob("report.html")).read_text(encoding="utf-8")
