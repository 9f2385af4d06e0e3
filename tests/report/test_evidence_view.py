"""What the page of a run shows picture by picture, on pictures and labels of the embedded sample."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from built import Built, build

from edgecompile.data.box_labels import read_labels
from edgecompile.data.label_lines import LabelFacts
from edgecompile.data.yolo_labels import read_lines
from edgecompile.evaluate.evidence import gathered, save_evidence
from edgecompile.places import sample_folder
from edgecompile.plan.step import Source, Stage, Step
from edgecompile.report import evidence_view as module
from edgecompile.report.evidence_view import evidence_view
from edgecompile.report.html import render_html

from .test_html import CHROMIUM, browse

NAMES = ("bolt", "nut", "<b onclick=alert(1)>" + "washer" * 20)
PICTURES = sorted((sample_folder() / "images" / "test").glob("*.jpg"))[:6]
LABELS = [sample_folder() / "labels" / "test" / f"{path.stem}.txt" for path in PICTURES]
STEP = Step(
    "evaluate",
    "x:y",
    Stage.VALIDATION,
    inputs={
        "pictures": Source("pictures", tuple(map(str, PICTURES)), many=True),
        "labels": Source("labels", tuple(map(str, LABELS)), many=True),
    },
)


def evaluation(folder: Path, change: Callable[[int, dict[str, np.ndarray]], dict[str, np.ndarray]]) -> Any:
    """Writes what an evaluation keeps of a model that finds the labels, but for `change(picture, found)`."""
    kept = []
    for number, label in enumerate(LABELS):
        truth = read_labels(read_lines(label), LabelFacts(3))
        count = len(truth.classes)
        found = {
            "scores": np.linspace(0.9, 0.5, count).astype(np.float32),
            "classes": truth.classes.astype(np.int32),
            "places": truth.in_pixels(320, 320).astype(np.float32),
            "hits": np.packbits(np.ones((count, 10), bool), axis=1),
        }
        kept.append({**change(number, found), "truth": truth.classes.astype(np.int32)})
    folder.mkdir()
    save_evidence(folder, gathered(kept))
    return SimpleNamespace(path=lambda: folder)


def same(number: int, found: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return found


def worse(number: int, found: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Misses the first two objects of picture 3, takes the first of picture 1 for another class."""
    if number == 3:
        return {name: values[2:] for name, values in found.items()}
    if number == 1:
        return {**found, "classes": np.concatenate([(found["classes"][:1] + 1) % 3, found["classes"][1:]])}
    return found


@pytest.fixture
def view(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("edgecompile.runtime.pictures.read_picture", lambda path: np.zeros((320, 320, 3), np.uint8))
    return evidence_view(STEP, entries(tmp_path), "detect", NAMES)


def entries(folder: Path) -> dict[str, Any]:
    return {"reference.evaluate": evaluation(folder / "a", same), "evaluate": evaluation(folder / "b", worse)}


def test_the_pictures_that_differ_most_come_first(view) -> None:
    assert [(picture.name, picture.differences) for picture in view.pictures] == [
        (PICTURES[3].name, 2),
        (PICTURES[1].name, 1),
    ]
    assert (view.compared, view.same, view.left_out) == (6, 4, 0)
    truth, before, after = view.pictures[0].panes
    assert len(truth.boxes) == len(before.boxes) == len(after.boxes) + 2


def test_the_matrix_counts_every_label_once(view) -> None:
    objects = sum(len(read_labels(read_lines(label), LabelFacts(3)).classes) for label in LABELS)
    rows = np.array(view.matrix.rows)
    assert rows[:-1].sum() == objects
    assert rows[:-1, -1].sum() == 2, "missed"
    assert rows[:-1, :-1].sum() - np.trace(rows[:-1, :-1]) == 1, "taken for another class"


def test_curves_reach_the_recall_that_is_reached(view) -> None:
    ends = {
        curve.name: [float(path.split("L")[-1].split()[0]) for path in (curve.before, curve.after)]
        for curve in view.curves
    }
    assert list(ends) == ["all classes", *NAMES]
    assert ends["all classes"][0] == module.PLOT
    assert ends["all classes"][1] < module.PLOT


def test_what_is_left_out_is_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_COMPARED", 4)
    monkeypatch.setattr(module, "LARGEST", 10)
    view = evidence_view(STEP, entries(tmp_path), "detect", NAMES)
    assert (view.compared, view.pictures, view.left_out) == (4, (), 2)


def test_a_task_without_boxes_has_curves_alone_or_nothing(tmp_path: Path) -> None:
    assert evidence_view(STEP, entries(tmp_path), "segment", NAMES).matrix is None
    folder = tmp_path / "classes"
    folder.mkdir()
    save_evidence(folder, gathered([{"top1": np.ones(1)}]))
    entry = SimpleNamespace(path=lambda: folder)
    assert evidence_view(STEP, {"reference.evaluate": entry, "evaluate": entry}, "classify", NAMES) is None


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    return build(tmp_path_factory.mktemp("built"))


def test_the_page_escapes_and_bounds_it(built: Built, tmp_path: Path) -> None:
    report = built.report(whole=True)
    report["run"] = {**report["run"], "bundle": {**report["run"]["bundle"], "name": "x y.bundle.zip"}}
    page = render_html(report, evidence=evidence_view(STEP, entries(tmp_path), "detect", NAMES))
    assert "<b onclick" not in page
    assert "On 4 of 6 pictures" in page
    pictures = re.findall(r"data:image/jpeg;base64,([\w+/=]+)", page)
    assert len(pictures) == 2, "each once"
    assert all(base64.b64decode(text).startswith(b"\xff\xd8") for text in pictures)
    assert "edgecompile verify &#39;x y.bundle.zip&#39;" in page


@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here")
@pytest.mark.parametrize("width", [1280, 390])
def test_it_fits_the_screen(built: Built, tmp_path: Path, width: int) -> None:
    page = render_html(built.report(), evidence=evidence_view(STEP, entries(tmp_path), "detect", NAMES))
    page = page.replace("<details>", "<details open>")
    assert browse(page, tmp_path, width) == (f"width {width} of {width}", False)
