"""Layouts whose outputs are made up: what the nodes make of them is compared with the formula of each family."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgecompile.errors import StepError
from edgecompile.graphs.onnx.agreement import run
from edgecompile.graphs.onnx.families import family
from edgecompile.graphs.onnx.layouts import Expected, Observed, read_as, rewrite

SIZE = (64, 96)
CLASSES = 3
MOST = 300
ANCHORS = [[10, 13, 16, 30], [30, 61, 62, 45]]
STRIDES = (8, 16)


def model_of(outputs: Mapping[str, np.ndarray]) -> onnx.ModelProto:
    """Returns a model that puts out these arrays whatever the picture."""
    kinds = {name: helper.np_dtype_to_tensor_dtype(value.dtype) for name, value in outputs.items()}
    graph = helper.make_graph(
        [helper.make_node("Identity", [f"{name}_stored"], [name]) for name in outputs],
        "made_up",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, *SIZE])],
        [helper.make_tensor_value_info(name, kinds[name], list(value.shape)) for name, value in outputs.items()],
        [numpy_helper.from_array(value, f"{name}_stored") for name, value in outputs.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=9)


def decoded(
    outputs: Mapping[str, np.ndarray],
    layout: str,
    options: Mapping[str, Any] | None = None,
    *,
    beside: np.ndarray | None = None,
    pictures: int = 1,
) -> np.ndarray:
    """Returns what the nodes of a layout make of these outputs; `beside` are the anchors of a file."""
    model = model_of(outputs)
    observed = [Observed(tuple(outputs.values()), SIZE, pictures)]
    stated: Any = dict(options or {})
    reading = read_as(observed, list(outputs), Expected(None, CLASSES), layout, stated, anchors=beside)
    rewrite(model, reading)
    onnx.checker.check_model(model, full_check=True)
    return run(model.SerializeToString(), np.zeros((1, 3, *SIZE), np.float32))[0]


def refusal(*arguments: Any, **options: Any) -> str:
    with pytest.raises(StepError) as raised:
        decoded(*arguments, **options)
    return str(raised.value)


def maps(*, flat: bool) -> dict[str, np.ndarray]:
    """Logits of two feature maps, the coarser first."""
    rng = np.random.default_rng(0)
    made = {}
    for stride in reversed(STRIDES):
        rows, columns = SIZE[0] // stride, SIZE[1] // stride
        value = rng.normal(0, 3, (1, 2, rows, columns, 5 + CLASSES)).astype(np.float32)
        made[f"map_{stride}"] = value.transpose(0, 1, 4, 2, 3).reshape(1, -1, rows, columns) if flat else value
    return {name: np.ascontiguousarray(value) for name, value in made.items()}


def by_formula(logits: np.ndarray, anchors: list[float], stride: int) -> np.ndarray:
    """Returns (anchors * cells, 4 + classes) as YOLOv5 decodes them."""
    rows = []
    for number in range(len(anchors) // 2):
        for row in range(SIZE[0] // stride):
            for column in range(SIZE[1] // stride):
                x, y, w, h, objectness, *scores = 1 / (1 + np.exp(-logits[0, number, row, column].astype(np.float64)))
                box = [(2 * x - 0.5 + column) * stride, (2 * y - 0.5 + row) * stride]
                box += [(2 * w) ** 2 * anchors[2 * number], (2 * h) ** 2 * anchors[2 * number + 1]]
                rows.append([*box, *(objectness * np.array(scores))])
    return np.array(rows)


@pytest.mark.parametrize("flat", [False, True])
def test_feature_maps_with_anchors_are_decoded_as_yolov5_does(flat: bool) -> None:
    result = decoded(maps(flat=flat), "anchor_maps", {"anchors": ANCHORS})
    logits = maps(flat=False)
    wanted = np.concatenate(
        [by_formula(logits[f"map_{stride}"], anchors, stride) for stride, anchors in zip(STRIDES, ANCHORS, strict=True)]
    )
    assert result.shape == (1, 4 + CLASSES, len(wanted))
    assert np.allclose(result[0].T, wanted, rtol=1e-4, atol=1e-4)


def test_rows_of_all_feature_maps_are_decoded_alike() -> None:
    """As YOLOv5-Lite puts them out: the maps one behind the other, with their sigmoid."""
    flat = [maps(flat=False)[f"map_{stride}"].reshape(1, -1, 5 + CLASSES) for stride in STRIDES]
    rows = {"output": 1 / (1 + np.exp(-np.concatenate(flat, axis=1)))}
    ours = decoded(rows, "anchor_maps", {"anchors": ANCHORS, "activation": "none"})
    assert np.allclose(ours, decoded(maps(flat=True), "anchor_maps", {"anchors": ANCHORS}), rtol=1e-4, atol=1e-3)
    said = refusal(rows, "anchor_maps", {"anchors": ANCHORS, "activation": "none", "strides": [16, 32]})
    assert "it is not anchor_maps: that is of each feature map" in said


def test_feature_maps_may_be_behind_their_sigmoid() -> None:
    scores = {name: 1 / (1 + np.exp(-value)) for name, value in maps(flat=True).items()}
    ours = decoded(scores, "anchor_maps", {"anchors": ANCHORS, "activation": "none"})
    assert np.allclose(ours, decoded(maps(flat=True), "anchor_maps", {"anchors": ANCHORS}), rtol=1e-4, atol=1e-3)
    assert "state outputs.activation=none" in refusal(scores, "anchor_maps", {"anchors": ANCHORS})
    said = refusal(maps(flat=True), "anchor_maps", {"anchors": ANCHORS, "activation": "none"})
    assert "state outputs.activation=sigmoid" in said


def test_anchors_must_be_stated_for_each_feature_map() -> None:
    three = {name: np.tile(value, (1, 3, 1, 1, 1))[:, :3] for name, value in maps(flat=False).items()}
    assert "its anchors are not stated: take a family" in refusal(three, "anchor_maps")
    said = refusal(maps(flat=False), "anchor_maps", {"anchors": ANCHORS[:1]})
    assert "it has 2 feature maps, and outputs.anchors those of 1" in said


@pytest.mark.parametrize("name", ["yolov5_maps", "yolov7_maps"])
def test_families_of_feature_maps_state_three_anchors_of_three_maps(name: str) -> None:
    assert [len(sides) for sides in family(name)["outputs"]["anchors"]] == [6, 6, 6]


ROWS = np.array([[4, 8, 20, 30, 0.3, 1], [40, 10, 90, 60, 0.9, 2], [1, 2, 33, 44, 0.6, 0]], np.float32)
"""Corners, score, class number."""
BEST_FIRST = ROWS[[1, 2, 0]]


def test_rows_of_yolov7_end2end() -> None:
    rows = np.concatenate((np.zeros((3, 1)), ROWS[:, :4], ROWS[:, [5]], ROWS[:, [4]]), axis=1).astype(np.float32)
    ours = decoded({"output": rows}, "picture_first_rows")
    assert ours.shape == (1, MOST, 6)
    assert np.array_equal(ours[0, :3], BEST_FIRST)
    assert not ours[0, 3:].any()
    assert "expected 0: that of the only picture" in refusal({"output": rows + 1}, "picture_first_rows")
    assert "several at once" in refusal({"output": rows}, "picture_first_rows", pictures=4)
    nothing = decoded({"output": rows[:0]}, "picture_first_rows")
    assert (nothing.shape, nothing.any()) == ((1, MOST, 6), False)


@pytest.mark.parametrize("batched", [False, True])
def test_rows_of_paddle(batched: bool) -> None:
    rows = ROWS[:, [5, 4, 0, 1, 2, 3]]
    count = np.array([len(rows)], np.int32)
    ours = decoded({"multiclass_nms3_0.tmp_0": rows[None] if batched else rows, "count": count}, "class_first_rows")
    assert np.array_equal(ours[0, :3], BEST_FIRST)
    assert not ours[0, 3:].any()
    none = decoded({"rows": np.full((1, 6), -1, np.float32), "count": count}, "class_first_rows")
    assert none[0, :, 4].max() == 0
    assert "its scores range from 0 to 10" in refusal({"rows": ROWS, "count": count}, "class_first_rows")


def test_more_rows_than_the_runtime_reads_leave_the_best() -> None:
    rng = np.random.default_rng(3)
    corners = np.sort(rng.uniform(0, 60, (700, 2, 2)), axis=1).reshape(-1, 4)
    rows = np.concatenate((np.ones((700, 1)), rng.uniform(0, 1, (700, 1)), corners), axis=1).astype(np.float32)
    ours = decoded({"rows": rows}, "class_first_rows")
    assert np.array_equal(ours[0, :, 4], np.sort(rows[:, 1])[::-1][:MOST])


@pytest.mark.parametrize("kind", [np.int64, np.int32])
def test_selected_indices_choose_among_all(kind: Any) -> None:
    rng = np.random.default_rng(1)
    boxes = np.sort(rng.uniform(0, 60, (1, 9, 2, 2)), axis=2).reshape(1, 9, 4).astype(np.float32)
    scores = rng.uniform(0, 1, (1, CLASSES, 9)).astype(np.float32)
    chosen = np.array([[0, 2, 8], [0, 0, 3], [0, 1, 3], [-1, -1, -1]], kind)
    outputs = {"scores": scores, "boxes": boxes, "selected": chosen}
    ours = decoded(outputs, "selected_indices")[0]
    wanted = [[*boxes[0, anchor], scores[0, number, anchor], number] for _, number, anchor in chosen[:3]]
    wanted.sort(key=lambda row: -row[4])
    assert np.allclose(ours[:3], wanted)
    assert not ours[3:, 4].any()
    yx = {**outputs, "boxes": np.ascontiguousarray(boxes[..., [1, 0, 3, 2]])}
    assert np.allclose(decoded(yx, "selected_indices", {"boxes": "corners_yx"})[0, :3], wanted)
    fractions = {**outputs, "boxes": boxes / np.array([SIZE[1], SIZE[0]] * 2, np.float32)}
    assert np.allclose(decoded(fractions, "selected_indices", {"unit": "fractions"})[0, :3], wanted, atol=1e-4)
    beyond = {**outputs, "selected": chosen + np.array([0, 0, 9], kind)}
    assert "not those of picture, class and anchor" in refusal(beyond, "selected_indices")


def test_anchors_beside_the_model_are_those_of_its_offsets() -> None:
    rng = np.random.default_rng(2)
    offsets = rng.normal(0, 1, (1, 7, 4)).astype(np.float32)
    scores = rng.uniform(0, 1, (1, 7, CLASSES + 1)).astype(np.float32)
    anchors = rng.uniform(0.1, 0.6, (7, 4)).astype(np.float32)
    outputs = {"scores": scores, "offsets": offsets}
    ours = decoded(outputs, "anchor_offsets", {"background": "first"}, beside=anchors)[0].T
    sides = np.array([SIZE[1], SIZE[0]])
    middle = (anchors[:, :2] + 0.1 * offsets[0, :, :2] * anchors[:, 2:]) * sides
    wanted = np.concatenate((middle, np.exp(0.2 * offsets[0, :, 2:]) * anchors[:, 2:] * sides), axis=1)
    assert np.allclose(ours[:, :4], wanted, rtol=1e-4)
    assert np.allclose(ours[:, 4:], scores[0, :, 1:])
    plain = decoded(outputs, "anchor_offsets", {"background": "first", "variances": [1, 1]}, beside=anchors)[0].T
    assert np.allclose(plain[:, 2:4], np.exp(offsets[0, :, 2:]) * anchors[:, 2:] * sides, rtol=1e-4)
    said = refusal(outputs, "anchor_offsets", {"background": "first"}, beside=anchors[:5])
    assert "it is not anchor_offsets: the file of anchors has 5" in said
