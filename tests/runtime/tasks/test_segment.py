"""Segments: what is found, how it is written, drawn and compared."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from types import ModuleType
from typing import Any

import cv2
import numpy as np
import pytest

from edgecompile.errors import BundleError, MissingToolError
from edgecompile.runtime.geometry import Geometry
from edgecompile.runtime.spec import read_spec
from edgecompile.runtime.tasks import OutputError, _drawing, _run_lengths
from edgecompile.runtime.tasks.detect import Detections
from edgecompile.runtime.tasks.segment import Segments, Task

from ..tiny import HEIGHT, WIDTH, tiny_spec

PROTOTYPES = 2
SOURCE = (HEIGHT * 2, WIDTH * 2)
GEOMETRY = Geometry(SOURCE, (HEIGHT, WIDTH), 0, 0)


def segment_spec(decode: str = "yolo", **changes: Any) -> dict[str, Any]:
    """Returns the spec of a model with two prototypes."""
    spec = {**tiny_spec(decode=decode), "task": "segment"}
    rows = 7 + PROTOTYPES if decode == "yolo" else 6 + PROTOTYPES
    spec["output"]["shape"][1 if decode == "yolo" else 2] = rows
    spec["prototypes"] = {"name": "output1", "shape": [1, PROTOTYPES, HEIGHT // 4, WIDTH // 4]}
    return {**spec, **changes}


def task(decode: str = "yolo") -> Task:
    found = read_spec(segment_spec(decode)).task
    assert isinstance(found, Task)
    return found


def outputs(decode: str = "yolo") -> list[np.ndarray]:
    """Returns the outputs of a model that sees a disc, a ring in its box, and an object without a pixel.

    The first prototype is a disc, the second a ring.
    """
    y, x = np.mgrid[: HEIGHT // 4, : WIDTH // 4]
    distance = np.hypot(y - 8, x - 12)
    prototypes = np.stack([5.5 - distance, 1.5 - np.abs(distance - 4)]).astype(np.float32)[None]
    rows = [  # x1 y1 x2 y2, score, class, coefficients
        (20, 4, 76, 60, 0.9, 1, 1, 0),
        (21, 5, 79, 62, 0.8, 0, 0, 1),
        (0, 0, 8, 8, 0.7, 2, 1, 0),
        (20, 4, 76, 60, 0.1, 1, 1, 0),
    ]
    if decode == "end2end":
        return [np.array([rows], np.float32), prototypes]
    output = np.zeros((1, 7 + PROTOTYPES, 21), np.float32)
    for index, (x1, y1, x2, y2, score, number, *coefficients) in enumerate(rows):
        output[0, :4, index] = (x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1
        output[0, 4 + number, index] = score
        output[0, 7:, index] = coefficients
    return [output, prototypes]


def found(decode: str = "yolo", **given: Any) -> Segments:
    return task(decode).decode(outputs(decode), GEOMETRY, 0, given)


FOUND = found()


@pytest.mark.parametrize("decode", ["yolo", "end2end"])
def test_finds_the_objects_that_have_a_pixel(decode: str) -> None:
    segments = found(decode)
    assert [segment.name for segment in segments] == ["nut", "bolt"]
    assert segments.masks.shape == (2, *SOURCE)
    assert segments.masks.dtype == bool
    disc, ring = segments.masks
    assert disc[64, 96]
    assert not ring[64, 96]
    assert disc.sum() == pytest.approx(np.pi * 44**2, rel=0.02)
    assert np.array_equal(segments[1].mask, ring)
    assert segments.boxes[0].tolist() == [40, 8, 152, 120]
    assert len(found(decode, keep_empty=True)) == 3


def test_masks_end_at_the_box() -> None:
    rows, prototypes = outputs("end2end")
    rows[0, 0, :4] = 40, 4, 76, 60
    (disc, _) = task("end2end").decode([rows, prototypes], GEOMETRY, 0, {})
    assert not disc.mask[:, :80].any()
    assert disc.mask[64, 80]


def test_is_a_picture_of_the_stack() -> None:
    one = outputs()
    stacked = [np.concatenate((np.zeros_like(output), output)) for output in one]
    assert len(task().decode(stacked, GEOMETRY, 0, {})) == 0
    assert np.array_equal(task().decode(stacked, GEOMETRY, 1, {}).masks, FOUND.masks)


def test_outputs_may_be_overwritten() -> None:
    buffers = outputs()
    segments = task().decode(buffers, GEOMETRY, 0, {})
    for buffer in buffers:
        buffer[:] = np.nan
    assert np.array_equal(segments.masks, FOUND.masks)


def test_is_plain_json_when_asked() -> None:
    document = FOUND.to_dict()
    assert json.loads(json.dumps(document)) == document
    assert document["names"] == ["nut", "bolt"]
    assert document["polygons"][0] == [FOUND[0].polygons[0].tolist()]
    fields = task().fields(FOUND)["segments"]
    assert json.loads(json.dumps(fields)) == fields
    assert set(fields[0]) == {"name", "class", "score", "box", "polygons"}


def test_shows_what_was_found() -> None:
    assert repr(FOUND) == "Segments(1 nut, 1 bolt)"
    first, *rows = task().lines(FOUND)
    assert first == "2 objects"
    assert rows[0].startswith("nut ")
    assert f"{int(FOUND.masks[0].sum())} pixels" in rows[0]


def test_nothing_found() -> None:
    nothing = found(conf=0.95)
    assert len(nothing) == 0
    assert nothing.masks.shape == (0, *SOURCE)
    assert nothing.polygons == []
    assert nothing.to_dict() == {"boxes": [], "scores": [], "classes": [], "names": [], "polygons": []}
    assert repr(nothing) == "Segments(none)"
    assert task().coco(nothing) == []
    assert task().agreement(nothing, task().golden(nothing)).met


def test_coco_holds_the_masks() -> None:
    elements = task().coco(FOUND)
    assert json.loads(json.dumps(elements)) == elements
    for element, mask in zip(elements, FOUND.masks, strict=True):
        assert element["segmentation"]["size"] == list(SOURCE)
        assert np.array_equal(_run_lengths.decode(element["segmentation"]["counts"], SOURCE), mask)
    assert elements[0]["bbox"] == [40, 8, 112, 112]


def test_draws_masks_on_a_copy() -> None:
    image = np.full((*SOURCE, 3), 90, np.uint8)
    drawn = task().draw(image, FOUND)
    assert (image == 90).all()
    tint = np.array([90, 90, 90]) * 0.55 + np.array(_drawing.color_of(1)) * 0.45
    assert np.abs(drawn[64, 96].astype(float) - tint).max() < 2  # the hole of the ring: the disc alone
    assert drawn[0, 0].tolist() == [90, 90, 90]
    assert np.array_equal(task().draw(image, found(conf=0.95)), image)


def test_the_golden_result_agrees_with_itself_and_with_no_other() -> None:
    golden = json.loads(json.dumps(task().golden(FOUND)))
    assert task().agreement(FOUND, golden).met
    moved = replace(FOUND, boxes=FOUND.boxes + 0.5)
    assert not task().agreement(moved, golden).met
    assert not task().agreement(found(conf=0.85), golden).met
    swapped = {**golden, "masks": golden["masks"][::-1]}
    assert not task().agreement(FOUND, swapped).met
    thinner = cv2.erode(FOUND.masks[0].astype(np.uint8), np.ones((3, 3), np.uint8)).astype(bool)
    eroded = {**golden, "masks": [_run_lengths.encode(thinner, 0, 0, SOURCE), golden["masks"][1]]}
    assert not task().agreement(FOUND, eroded).met
    pixel = FOUND.masks[0]
    pixel[64, 96] = False
    nearly = {**golden, "masks": [_run_lengths.encode(pixel, 0, 0, SOURCE), golden["masks"][1]]}
    assert task().agreement(FOUND, nearly).met


@pytest.mark.parametrize(
    "change",
    [
        {"masks": ["!!", "!!"]},
        {"masks": []},
        {"masks": 5},
        {"size": [1, 1]},
        {"scores": [0.5]},
        {"classes": None},
        {"masks": ["0", "0"]},
    ],
)
def test_a_malformed_golden_result_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(BundleError, match=r"the golden (objects|masks) are malformed"):
        task().agreement(FOUND, {**task().golden(FOUND), **change})


def test_parts_are_told_apart() -> None:
    pairs = task().parts(outputs(), [output + 1 for output in outputs()])
    assert {part: pair[0].shape for part, pair in pairs.items()} == {
        "boxes": (1, 4, 21),
        "scores": (1, 3, 21),
        "coefficients": (21, 2),
        "prototypes": (1, 2, 16, 24),
    }
    paired = task("end2end").parts(outputs("end2end"), [outputs("end2end")[0][:, [2, 0, 1, 3]], outputs()[1]])
    assert all(np.array_equal(*pair) for pair in paired.values())
    assert paired["coefficients"][0].shape == (3, 2)


@pytest.mark.parametrize(
    ("prototypes", "message"),
    [
        ([1, 2, 16], "the prototypes are"),
        ([1, 2, 16, 25], r"expected \[n, prototypes, 16, 24\]"),
        ([1, 0, 16, 24], "there are 0 prototypes"),
        ([1, 3, 16, 24], "does not fit 3 classes"),
    ],
)
def test_a_spec_that_contradicts_itself_is_refused(prototypes: list[int], message: str) -> None:
    with pytest.raises(BundleError, match=message):
        read_spec(segment_spec(prototypes={"name": "output1", "shape": prototypes}))


def test_a_spec_without_prototypes_is_refused() -> None:
    spec = segment_spec()
    del spec["prototypes"]
    with pytest.raises(BundleError, match="prototypes"):
        read_spec(spec)


@pytest.mark.parametrize("shape", [(1, 3, 16, 24), (1, 2, 16), (0, 2, 16, 24)])
def test_prototypes_of_another_shape_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(OutputError, match="output 'output1' of the model is"):
        task().decode([outputs()[0], np.zeros(shape, np.float32)], GEOMETRY, 0, {})


def test_numbers_that_are_no_numbers_are_refused() -> None:
    rows, prototypes = outputs()
    prototypes[0, 0, 8, 12] = np.nan
    with pytest.raises(OutputError, match="'output0' and 'output1' of the model hold numbers of masks"):
        task().decode([rows, prototypes], GEOMETRY, 0, {})


@pytest.fixture
def supervision() -> ModuleType:
    return pytest.importorskip("supervision")


def test_becomes_what_supervision_takes(supervision: ModuleType) -> None:
    theirs = FOUND.to_supervision()
    assert isinstance(theirs, supervision.Detections)
    assert np.array_equal(theirs.xyxy, FOUND.boxes)
    assert np.array_equal(theirs.mask, FOUND.masks)
    assert theirs.class_id.tolist() == [1, 0]
    assert theirs.data["class_name"].tolist() == ["nut", "bolt"]
    boxes = Detections(FOUND.boxes, FOUND.scores, FOUND.classes, FOUND.names).to_supervision()
    assert boxes.mask is None
    assert np.array_equal(boxes.confidence, FOUND.scores)
    assert len(found(conf=0.95).to_supervision()) == 0


def test_says_that_supervision_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "supervision", None)
    with pytest.raises(MissingToolError, match="supervision cannot be imported"):
        FOUND.to_supervision()


def test_a_segment_is_shown_in_one_line() -> None:
    assert repr(found()[0]).count("\n") == 0
    assert "box=(" in repr(found()[0])
