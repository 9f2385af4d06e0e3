"""Segmentation where bundles are built: its spec, its gaps, its metrics."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from runtime.tasks.test_segment import FOUND, PROTOTYPES, SOURCE, outputs, segment_spec
from runtime.tasks.test_segment import task as runtime_task

from edgecompile.data.label_lines import LabelFacts, LabelLines
from edgecompile.data.polygon_labels import PolygonLabels
from edgecompile.errors import StepError
from edgecompile.evaluate.tasks import OutputFacts, find_task

TASK = find_task("segment")
ROWS, PLANES = OutputFacts("output0", (1, 9, 21)), OutputFacts("output1", (1, 2, 16, 24))


def labels(*classes: int) -> PolygonLabels:
    """Returns labels that are the masks found, of the classes given."""
    polygons = [parts[0].astype(np.float32) / np.array(SOURCE[::-1], np.float32) for parts in FOUND.polygons]
    boxes = np.stack([np.concatenate((polygon.min(0), polygon.max(0))) for polygon in polygons])
    return PolygonLabels(np.array(classes, np.int64), boxes, tuple(polygons))


@pytest.mark.parametrize("given", [(ROWS, PLANES), (PLANES, ROWS)])
def test_describes_both_outputs_in_whatever_order(given: tuple[OutputFacts, ...]) -> None:
    parts = TASK.describe(given, "yolo", {})
    assert parts["output"] == {"name": "output0", "shape": [1, 9, 21], "decode": "yolo"}
    assert parts["prototypes"] == {"name": "output1", "shape": [1, 2, 16, 24]}


def test_outputs_that_are_no_masks_are_refused() -> None:
    with pytest.raises(StepError, match=r"the outputs are 'output0' \[1, 9, 21\]; segmentation reads"):
        TASK.describe([ROWS], "yolo", {})


@pytest.mark.parametrize(
    ("shapes", "names", "expected"),
    [
        ([(-1, 9, 21), (-1, 2, 16, 24)], [], ("output0", "output1")),
        ([(-1, 9, 21), (-1, 2, 16, 24)], ["out0", "out1"], ("out0", "out1")),
        ([(-1, 2, 16, 24), (-1, 9, 21)], ["out0", "out1"], ("out1", "out0")),
        ([(-1, 2, 16, 24), (-1, 9, 21)], [], ("output0", "output1")),
    ],
)
def test_renamed_outputs_are_told_apart_by_their_axes(
    shapes: list[tuple[int, ...]], names: list[str], expected: tuple[str, str]
) -> None:
    parts = TASK.renamed(segment_spec(), shapes, names)
    assert (parts["output"]["name"], parts["prototypes"]["name"]) == expected
    assert parts["output"]["shape"] == [-1, 9, 21]
    assert parts["prototypes"]["shape"] == [-1, 2, 16, 24]


@pytest.mark.parametrize("decode", ["yolo", "end2end"])
def test_gaps_by_part(decode: str) -> None:
    before = outputs(decode)
    spec = segment_spec(decode)
    assert set(TASK.gaps(before, outputs(decode), spec).values()) == {0.0}
    row = np.s_[:, 7:] if decode == "yolo" else np.s_[:, :, 6:]
    for part, place, by in (("coefficients", 0, 0.25), ("prototypes", 1, 1.5)):
        after = outputs(decode)
        after[place][row if place == 0 else np.s_[:]] += by
        gaps = TASK.gaps(before, after, spec)
        largest = np.abs(before[place][row if place == 0 else np.s_[:]]).max()
        assert gaps.pop(part) == pytest.approx(by / largest, rel=1e-5)
        assert set(gaps.values()) == {0.0}
    assert set(TASK.tolerances([64, 96])) == {"boxes", "scores", "coefficients", "prototypes"}


def accuracy(*pairs: tuple[Any, PolygonLabels]) -> dict[str, float]:
    judged = [TASK.judge(result, truth, SOURCE) for result, truth in pairs]
    return TASK.accuracy(judged, [truth for _, truth in pairs], FOUND.names).metrics


def test_masks_count_apart_from_boxes() -> None:
    """The ring's polygon is its outer border, a disc: the smaller covers the larger, so the other is a thin ring."""
    right = accuracy((FOUND, labels(1, 0)))
    assert set(right) == {metric.name for metric in TASK.metrics} == {"map50_95", "map50", "box_map50_95", "box_map50"}
    assert right["box_map50"] == pytest.approx(0.995)
    assert right["map50"] < right["box_map50"], "a disc is no ring"
    assert accuracy((FOUND, labels(2, 2)))["map50"] == 0.0


def test_nothing_found_and_nothing_labelled() -> None:
    nothing = runtime_task().decode(outputs(), FOUND.plane.geometry, 0, {"conf": 0.95})
    empty = PolygonLabels(np.zeros(0, np.int64), np.zeros((0, 4), np.float32), ())
    assert accuracy((nothing, labels(1, 0)))["map50"] == 0.0
    assert accuracy((nothing, empty), (FOUND, empty)) == dict.fromkeys(accuracy((FOUND, labels(1, 0))), 0.0)


def test_labels_are_polygons() -> None:
    lines = LabelLines("a.txt", [(1, ["0", *["0.1", "0.5"] * 3]), (2, ["1", *["0.5"] * 4])])
    checked = TASK.check_labels(lines, LabelFacts(2))
    assert "which are a box, expected a polygon" in checked.problems[0].message


def test_the_page_draws_polygons() -> None:
    outlines = TASK.outlines(runtime_task().golden(FOUND))
    assert [outline.class_id for outline in outlines] == [1, 0]
    assert outlines[0].corners == tuple(map(tuple, FOUND[0].polygons[0].astype(float).tolist()))


def test_results_hold_the_masks_of_the_best() -> None:
    results = TASK.results(FOUND)
    assert [row["score"] for row in results] == [0.9, 0.8]
    assert results[0]["segmentation"] == runtime_task().coco(FOUND)[0]["segmentation"]
    assert PROTOTYPES == 2
