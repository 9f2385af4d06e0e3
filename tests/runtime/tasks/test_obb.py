from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest

from edgecompile.errors import BundleError
from edgecompile.runtime.geometry import Geometry
from edgecompile.runtime.spec import read_spec
from edgecompile.runtime.tasks.obb import RotatedBoxes, Task

from ..tiny import tiny_spec

GEOMETRY = Geometry((96, 192), (48, 96), 8, 0)
"""The picture is twice as large as in the frame, where it has a border above and below."""
ANGLE = 2.0


def obb_spec(decode: str = "yolo") -> Any:
    spec = tiny_spec(decode=decode)
    shape = [1, 8, 21] if decode == "yolo" else [1, 21, 7]
    return {**spec, "task": "obb", "output": {**spec["output"], "shape": shape}}


def task(decode: str = "yolo") -> Task:
    found = read_spec(obb_spec(decode)).task
    assert isinstance(found, Task)
    return found


def outputs(decode: str = "yolo") -> list[np.ndarray]:
    """Two objects of class 2, apart from each other."""
    output = np.zeros((1, 8, 21) if decode == "yolo" else (1, 21, 7), np.float32)
    for place, (x, score) in enumerate(((30, 0.9), (70, 0.5))):
        if decode == "yolo":
            output[0, :4, place], output[0, 6, place], output[0, 7, place] = (x, 32, 20, 10), score, ANGLE
        else:
            output[0, place] = (x, 32, 20, 10, score, 2, ANGLE)
    return [output]


def found(decode: str = "yolo", **given: Any) -> RotatedBoxes:
    return task(decode).decode(outputs(decode), GEOMETRY, 0, given)


@pytest.mark.parametrize("decode", ["yolo", "end2end"])
def test_boxes_are_brought_back_and_keep_their_angle(decode: str) -> None:
    boxes = found(decode)
    np.testing.assert_allclose(boxes.xywhr, [[60, 48, 40, 20, ANGLE], [140, 48, 40, 20, ANGLE]])
    assert boxes.corners.shape == (2, 4, 2)
    np.testing.assert_allclose(boxes.corners.mean(1), boxes.xywhr[:, :2], rtol=1e-6)
    sides = np.linalg.norm(np.diff(boxes.corners, axis=1), axis=2)
    np.testing.assert_allclose(sides[0], [20, 40, 20], rtol=1e-5)
    first = boxes[0]
    assert (first.name, first.class_id) == ("washer", 2)
    assert first.xywhr == pytest.approx((60, 48, 40, 20, ANGLE))
    assert len(found(decode, conf=0.6)) == 1
    assert repr(boxes) == "RotatedBoxes(2 washer)"


def test_upright_boxes_hold_the_corners() -> None:
    boxes = found()
    assert (boxes.boxes[:, :2] <= boxes.corners.min(1) + 1e-4).all()
    assert (boxes.boxes[:, 2:] >= boxes.corners.max(1) - 1e-4).all()


def test_written_as_json_table_and_coco() -> None:
    boxes = found(conf=0.6)
    json.dumps([boxes.to_dict(), task().fields(boxes)])
    assert boxes.to_dict()["xywhr"] == [[60, 48, 40, 20, ANGLE]]
    degrees = f"{math.degrees(ANGLE):7.1f}"
    assert list(task().lines(boxes))[1] == f"washer  0.90     60.0     48.0     40.0     20.0  {degrees}°"
    (element,) = task().coco(boxes)
    (polygon,) = element["segmentation"]
    assert len(polygon) == 8
    x, y, width, height = element["bbox"]
    assert (min(polygon[::2]), min(polygon[1::2])) == pytest.approx((x, y), abs=0.002)
    assert (max(polygon[::2]), max(polygon[1::2])) == pytest.approx((x + width, y + height), abs=0.002)


def test_parts_have_units_of_their_own() -> None:
    before, after = outputs(), outputs()
    after[0][0, 7] += 0.25
    parts = task().parts(before, after)
    assert {name: float(np.abs(one - other).max()) for name, (one, other) in parts.items()} == {
        "boxes": 0,
        "scores": 0,
        "angle": 0.25,
    }


def test_rows_that_changed_places_are_paired_again() -> None:
    before, after = outputs("end2end"), outputs("end2end")
    after[0][0, [0, 1]] = after[0][0, [1, 0]]
    for one, other in task("end2end").parts(before, after).values():
        np.testing.assert_array_equal(one, other)


def test_golden_result_agrees_with_itself_and_with_no_other() -> None:
    boxes = found()
    golden = json.loads(json.dumps(task().golden(boxes)))
    assert task().agreement(boxes, golden).met
    golden["angles"][1] += 0.001
    turned = task().agreement(boxes, golden)
    assert not turned.met
    assert "angles within 0.001 radians" in turned.detail
    with pytest.raises(BundleError, match="golden objects are malformed"):
        task().agreement(boxes, {**golden, "angles": ["x", 1]})


def test_draws_turned_boxes_on_a_copy() -> None:
    image = np.zeros((96, 192, 3), np.uint8)
    boxes = found(conf=0.6)
    drawn = task().draw(image, boxes)
    corner = boxes.corners[0, 0].round().astype(int)
    assert drawn[corner[1], corner[0]].any()
    assert not image.any()


def test_becomes_oriented_detections_of_supervision() -> None:
    supervision = pytest.importorskip("supervision")
    boxes = found()
    theirs = boxes.to_supervision()
    assert isinstance(theirs, supervision.Detections)
    np.testing.assert_array_equal(theirs.data["xyxyxyxy"], boxes.corners)
    np.testing.assert_array_equal(theirs.xyxy, boxes.boxes)
    drawn = supervision.OrientedBoxAnnotator().annotate(np.zeros((96, 192, 3), np.uint8), theirs)
    assert drawn.any()


def test_an_output_without_an_angle_is_refused() -> None:
    spec = obb_spec()
    with pytest.raises(BundleError, match="does not fit 3 classes"):
        read_spec({**spec, "output": {**spec["output"], "shape": [1, 7, 21]}})
