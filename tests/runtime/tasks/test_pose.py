from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from edgecompile.errors import BundleError
from edgecompile.runtime.geometry import Geometry
from edgecompile.runtime.spec import read_spec
from edgecompile.runtime.tasks import OutputError
from edgecompile.runtime.tasks.pose import Poses, Task

from ..tiny import HEIGHT, WIDTH, tiny_spec

COUNT = 4
GEOMETRY = Geometry((128, 192), (64, 96), 0, 0)
"""The picture is twice as large as the frame, which has no border."""


def task(count: int = COUNT, values: int = 3, decode: str = "yolo") -> Task:
    found = read_spec(pose_spec(count, values, decode)).task
    assert isinstance(found, Task)
    return found


def pose_spec(count: int = COUNT, values: int = 3, decode: str = "yolo") -> Any:
    spec = tiny_spec(decode=decode)
    channels = (7 if decode == "yolo" else 6) + count * values
    shape = [1, channels, 21] if decode == "yolo" else [1, 21, channels]
    output = {**spec["output"], "shape": shape}
    return {**spec, "task": "pose", "output": output, "key_points": {"count": count, "values": values}}


def outputs(count: int = COUNT, values: int = 3, decode: str = "yolo") -> list[np.ndarray]:
    """One object in the middle of the frame, of class 1 and score 0.9; key point i is at (10 i, 5 i), of i / 10."""
    points = np.array([(10 * i, 5 * i, i / 10)[:values] for i in range(count)], np.float32).ravel()
    if decode == "yolo":
        output = np.zeros((1, 7 + count * values, 21), np.float32)
        output[0, :4, 3], output[0, 5, 3], output[0, 7:, 3] = (48, 32, 20, 10), 0.9, points
    else:
        output = np.zeros((1, 21, 6 + count * values), np.float32)
        output[0, 0, :6], output[0, 0, 6:] = (38, 27, 58, 37, 0.9, 1), points
    return [output]


def found(count: int = COUNT, values: int = 3, decode: str = "yolo", **given: Any) -> Poses:
    return task(count, values, decode).decode(outputs(count, values, decode), GEOMETRY, 0, given)


@pytest.mark.parametrize("decode", ["yolo", "end2end"])
def test_key_points_are_brought_back_to_the_picture(decode: str) -> None:
    poses = found(decode=decode)
    np.testing.assert_allclose(poses.boxes, [[76, 54, 116, 74]])
    np.testing.assert_allclose(poses.key_points[0], [(20 * i, 10 * i, i / 10) for i in range(COUNT)], atol=1e-6)
    (pose,) = poses
    assert (pose.name, pose.class_id, pose.score) == ("nut", 1, pytest.approx(0.9))
    assert pose.key_points[1] == pytest.approx((20, 10, 0.1))
    assert repr(poses) == "Poses(1 nut)"


def test_key_points_outside_are_moved_to_the_border_unless_asked() -> None:
    poses = found(count=12)
    assert poses.key_points[0, -1, :2].tolist() == [192, 110]
    assert found(count=12, clip=False).key_points[0, -1, :2].tolist() == [220, 110]


def test_a_key_point_of_two_values_is_certain() -> None:
    poses = found(values=2)
    assert poses.key_points.shape == (1, COUNT, 3)
    assert (poses.key_points[..., 2] == 1).all()
    assert poses.key_points[0, 2, :2].tolist() == [40, 20]


def test_written_as_json_table_and_coco() -> None:
    poses = found()
    json.dumps([poses.to_dict(), task().fields(poses)])
    assert poses.to_dict()["key_points"][0][3] == [60, 30, 0.3]
    assert list(task().lines(poses)) == ["1 object", "nut  0.90     76.0     54.0    116.0     74.0  1 of 4 key points"]
    (element,) = task().coco(poses)
    assert element["bbox"] == [76, 54, 40, 20]
    assert element["keypoints"] == [0, 0, 0, 20, 10, 0.1, 40, 20, 0.2, 60, 30, 0.3]


def test_parts_have_units_of_their_own() -> None:
    before, after = outputs(), outputs()
    after[0][0, 7] += 1
    parts = task().parts(before, after)
    assert list(parts) == ["boxes", "scores", "key points", "visibility"]
    assert [float(np.abs(one - other).max()) for one, other in parts.values()] == [0, 0, 1, 0]
    assert list(task(values=2).parts(outputs(values=2), outputs(values=2))) == ["boxes", "scores", "key points"]
    ends = [outputs(decode="end2end")] * 2
    assert task(decode="end2end").parts(*ends)["key points"][0].shape == (1, COUNT, 2)


def test_golden_result_agrees_with_itself_and_with_no_other() -> None:
    poses = found()
    golden = json.loads(json.dumps(task().golden(poses)))
    assert task().agreement(poses, golden).met
    golden["key_points"][0][2][0] += 0.02
    moved = task().agreement(poses, golden)
    assert not moved.met
    assert "key points within 0.02 pixels" in moved.detail
    golden["key_points"][0].pop()
    with pytest.raises(BundleError, match="golden objects are malformed"):
        task().agreement(poses, golden)


def test_draws_points_and_the_limbs_of_a_person() -> None:
    image = np.zeros((128, 192, 3), np.uint8)
    counts = [int((task(count).draw(image, found(count, clip=True)) > 0).any(2).sum()) for count in (16, 17)]
    assert counts[1] > counts[0] + 100
    assert not image.any()


def test_becomes_key_points_of_supervision() -> None:
    supervision = pytest.importorskip("supervision")
    theirs = found().to_supervision()
    assert isinstance(theirs, supervision.KeyPoints)
    assert theirs.xy.shape == (1, COUNT, 2)
    np.testing.assert_allclose(theirs.keypoint_confidence, [[0, 0.1, 0.2, 0.3]], atol=1e-6)
    assert theirs.data["class_name"].tolist() == ["nut"]
    assert len(found(conf=0.95).to_supervision()) == 0


@pytest.mark.parametrize("changed", [{"count": 0, "values": 3}, {"count": 4, "values": 4}, {"count": 5, "values": 3}])
def test_key_points_that_contradict_the_output_are_refused(changed: dict[str, int]) -> None:
    with pytest.raises(BundleError):
        read_spec({**pose_spec(), "key_points": changed})


def test_numbers_that_are_none_are_refused() -> None:
    broken = outputs()
    broken[0][0, 8, 3] = np.nan
    with pytest.raises(OutputError, match="not finite"):
        task().decode(broken, GEOMETRY, 0, {})


def test_frame_of_the_tiny_model() -> None:
    assert GEOMETRY.scaled == (HEIGHT, WIDTH)
