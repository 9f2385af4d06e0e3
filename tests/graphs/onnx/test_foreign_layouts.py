"""Layouts of foreign families, on the sample with its decode undone: after the import its figures are those before."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import foreign_models
import foreign_outputs
import numpy as np
import onnx
import pytest
from exported import NAMES, SAMPLE, SIZE, exported, pictures

from edgecompile.errors import StepError
from edgecompile.graphs.onnx.agreement import run
from edgecompile.graphs.onnx.families import family, family_names
from edgecompile.graphs.onnx.layouts import layout_names, layout_of
from edgecompile.graphs.onnx.statement import InputStatement, OutputStatement
from edgecompile.passes.onnx_import import OnnxImport, import_model
from edgecompile.runtime import open_artifact

LOST = 2e-3
"""mAP50-95 that rounding, the limit of 300 rows and another suppression may cost."""
SETTINGS = {"conf": 0.001, "iou": 0.7, "max_det": 300}


def imported(folder: Path, model: onnx.ModelProto, **stated: Any) -> tuple[dict[str, Any], Path, Path]:
    """Imports a model that takes what the sample takes; only its outputs are those of a family."""
    folder.mkdir(parents=True, exist_ok=True)
    weights = foreign_models.written(model, folder / "given.onnx")
    _, outputs = OnnxImport(**stated).statement()
    (folder / "out").mkdir()
    facts = import_model(
        folder / "out", weights=weights, pictures=pictures("val", 2), imgsz=SIZE, names=NAMES, task="detect",
        outputs=outputs.stated(),
    )  # fmt: skip
    return facts, folder / "out" / "model.onnx", folder / "out" / "spec.json"


def found(model: Path, spec: Path, count: int = 8) -> list[Any]:
    predictor = open_artifact(model, spec, "onnxruntime", {}, 1)
    return [predictor.predict(path) for path in pictures("test", count)]


@cache
def wanted(count: int = 8) -> tuple[Any, ...]:
    return tuple(found(exported().model, exported().spec, count))


def same(ours: Any, theirs: Any, pixels: float) -> bool:
    """Whether two results hold the same boxes; those whose scores nearly tie may have changed places."""
    if len(ours) != len(theirs):
        return False
    left = list(range(len(theirs)))
    for box, score, number in zip(ours.boxes, ours.scores, ours.classes, strict=True):
        near = [
            place for place in left
            if theirs.classes[place] == number and abs(theirs.scores[place] - score) < 2e-3
            and np.abs(theirs.boxes[place] - box).max() < pixels
        ]  # fmt: skip
        if not near:
            return False
        left.remove(near[0])
    return True


@pytest.mark.slow
@pytest.mark.parametrize("name", foreign_outputs.cases())
def test_detections_are_those_of_the_sample(name: str, tmp_path: Path) -> None:
    build, stated = foreign_outputs.CASES[name]
    facts, model, spec = imported(tmp_path, build(), **stated)
    document = json.loads(spec.read_text())
    assert document["output"]["decode"] == facts["decode"] == layout_of(facts["layout"]).DECODE
    assert [output.name for output in onnx.load(model).graph.output] == [document["output"]["name"]]
    results = found(model, spec)
    agreeing = [same(ours, theirs, 0.2) for ours, theirs in zip(results, wanted(), strict=True)]
    # without suppression duplicates remain, and that of ONNX takes a box once for each class
    suppressed = facts["layout"] in ("queries", "detections")
    assert all(agreeing) or suppressed, (name, agreeing)
    if suppressed:
        for ours, theirs in zip(results, wanted(), strict=True):
            for box, number in zip(theirs.boxes, theirs.classes, strict=True):
                gaps = np.abs(ours.boxes[ours.classes == number] - box).max(axis=1)
                assert gaps.min() < 0.2


def test_another_decode_gives_other_boxes(tmp_path: Path) -> None:
    """The control: of a wrong offset, the comparison says so."""
    _, model, spec = imported(
        tmp_path, foreign_outputs.nanodet(0.0), outputs={"layout": "distributions", "offset": 0.5}
    )
    assert not all(same(*pair, 0.2) for pair in zip(found(model, spec), wanted(), strict=True))


def test_points_may_stand_in_the_corners_of_cells(tmp_path: Path) -> None:
    """As those of NanoDet-Plus; a distance is never below 0, so some boxes of the sample cannot be put out so."""
    _, model, _ = imported(tmp_path, foreign_outputs.nanodet(0.0), outputs={"layout": "distributions", "offset": 0})
    both = (model, exported().model)
    predictor, sample = (open_artifact(path, exported().spec, "onnxruntime", {}, 1) for path in both)
    tensor, _ = predictor.preprocess(str(pictures("test", 1)[0]))
    ours, theirs = predictor.infer(tensor)[0][0], sample.infer(tensor)[0][0]
    places, strides = foreign_outputs.grid()
    points = (places * strides)[0]
    cells = np.concatenate((points - theirs[:2] + theirs[2:4] / 2, theirs[:2] + theirs[2:4] / 2 - points)) / strides[0]
    fits = ((cells > 0) & (cells < 14.9)).all(axis=0)
    assert fits.sum() > 100
    assert np.abs(ours[:, fits] - theirs[:, fits]).max() < 0.05


def test_the_first_class_of_yunet_and_the_finest_map_of_fastestdet(tmp_path: Path) -> None:
    facts, model, spec = imported(tmp_path / "yunet", foreign_outputs.yunet(), family="yunet")
    assert facts["changes"][-1] == "3 outputs that nothing reads are left out: kps_8, kps_16, kps_32"
    for ours, theirs in zip(found(model, spec, 3), wanted(3), strict=True):
        bolts = theirs.classes == 0
        assert len(ours) == bolts.sum()
        assert np.abs(np.sort(ours.scores) - np.sort(theirs.scores[bolts])).max(initial=0.0) < 1e-3
    _, model, spec = imported(tmp_path / "fast", foreign_outputs.fastestdet(), family="fastestdet")
    predictor, sample = (
        open_artifact(path, exported().spec, "onnxruntime", {}, 1) for path in (model, exported().model)
    )
    tensor, _ = predictor.preprocess(str(pictures("test", 1)[0]))
    ours, theirs = predictor.infer(tensor)[0], sample.infer(tensor)[0][:, :, : 24 * 32]
    best = theirs[0, 4:].argmax(axis=0)
    sure = np.flatnonzero(theirs[0, 4:].max(axis=0) > 0.3)
    assert len(sure)
    assert np.abs(ours[0, 4 + best[sure], sure] - theirs[0, 4 + best[sure], sure]).max() < 1e-3
    moved = theirs[0, :2] / 8 - np.stack((np.arange(24 * 32) % 32, np.arange(24 * 32) // 32))
    inside = [place for place in sure if np.abs(moved[:, place]).max() < 0.99]
    assert inside
    assert np.abs(ours[0, :4, inside] - theirs[0, :4, inside]).max() < 0.1


def test_anchors_of_a_file_are_those_of_an_output(tmp_path: Path) -> None:
    model = foreign_outputs.anchor_offsets(ssd_coded=True)
    _, of_output, _ = imported(tmp_path / "output", model, outputs={"layout": "anchor_offsets"})
    node = next(node for node in model.graph.node if node.output[0] == "anchors")
    stored = {tensor.name: tensor for tensor in model.graph.initializer}
    by_output = {node.output[0]: node for node in model.graph.node}
    anchors = onnx.numpy_helper.to_array(stored[by_output[node.input[0]].input[0]])
    del model.graph.output[2]
    weights = foreign_models.written(model, tmp_path / "given.onnx")
    np.save(tmp_path / "anchors.npy", anchors)
    import_model(
        tmp_path, weights=[weights, tmp_path / "anchors.npy"], pictures=pictures("val", 2), imgsz=SIZE, names=NAMES,
        task="detect", outputs={"layout": "anchor_offsets", "anchors_file": "anchors.npy"},
    )  # fmt: skip
    picture = np.random.default_rng(0).uniform(0, 1, (1, 3, *SIZE)).astype(np.float32)
    ours, theirs = (run(path.read_bytes(), picture)[0] for path in (tmp_path / "model.onnx", of_output))
    assert np.array_equal(ours, theirs)


@pytest.mark.parametrize(
    ("build", "stated", "said"),
    [
        (foreign_models.rows_with_objectness, {"family": "yolox"}, "its sizes are no logarithms: it is decoded"),
        (foreign_outputs.yolox, {"family": "yolov5"}, "of 256 and 192: are they offsets from cells?"),
        (
            foreign_outputs.queries,
            {"outputs": {"layout": "queries"}},
            "it is not queries: its scores range from -",
        ),
        (
            lambda: foreign_outputs.boxes_and_scores(fractions=True),
            {"outputs": {"layout": "boxes_and_scores"}},
            "its boxes are fractions of the picture",
        ),
        (foreign_outputs.ssd, {"outputs": {"layout": "detections"}}, "it is not detections: that is boxes (n, k, 4)"),
        (
            foreign_models.sample,
            {"outputs": {"layout": "yolo", "offset": 0.5}},
            "passes.onnx_import.outputs.offset means nothing to the layout 'yolo'; what it goes by: no others",
        ),
    ],
)  # fmt: skip
def test_a_wrong_statement_is_told(build: Any, stated: dict[str, Any], said: str, tmp_path: Path) -> None:
    with pytest.raises(StepError) as raised:
        imported(tmp_path, build(), **stated)
    assert said in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("name", family_names())
def test_each_family_states_what_a_recipe_may(name: str) -> None:
    stated = family(name)
    assert stated["about"]
    entry, outputs = OnnxImport(family=name).statement()
    assert entry == InputStatement(**stated["input"])
    assert outputs == OutputStatement(**stated["outputs"])
    assert outputs.layout in layout_names()
    assert set(outputs.stated()) - {"layout"} <= layout_of(outputs.layout).OPTIONS


def test_what_is_stated_beside_a_family_counts_more() -> None:
    entry, outputs = OnnxImport(family="yolox", input={"color": "RGB"}, outputs={"strides": [4, 8]}).statement()
    assert (entry.color, entry.scale, entry.align) == ("RGB", 1, "top_left")
    assert (outputs.layout, outputs.strides) == ("yolox", (4, 8))
    _, other = OnnxImport(family="yolox", outputs={"layout": "yolo"}).statement()
    assert other.stated() == {"layout": "yolo"}


def test_the_sample_is_there() -> None:
    assert SAMPLE.is_dir()
