"""A wrong statement is caught on labelled pictures, and the message names the one that fits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import foreign_models
import foreign_outputs
import numpy as np
import onnx
import pytest
from exported import NAMES, SAMPLE, SIZE, graph_for
from onnx import helper

from edgecompile.errors import PlanError, StepError
from edgecompile.passes._statement_proof import prove
from edgecompile.passes.int8_static import Int8Static
from edgecompile.passes.onnx_import import OnnxImport, import_model
from edgecompile.passes.simplify import Simplify

from .test_foreign_input import BYTES, MEAN, STD, in_front, row

IMAGENET = (("Mul", [row(STD)], {}), ("Add", [row(MEAN)], {}))
"""What brings pictures less ImageNet's mean back to 0..1."""
PICTURES = sorted((SAMPLE / "images" / "test").glob("*.jpg"))
LABELS = [SAMPLE / "labels" / "test" / f"{path.stem}.txt" for path in PICTURES]


def proven(folder: Path, model: onnx.ModelProto, floor: float = 0.3, **stated: Any) -> dict[str, Any]:
    weights = foreign_models.written(model, folder / "given.onnx")
    entry, outputs = OnnxImport(**stated).statement()
    params = {
        "imgsz": SIZE, "names": NAMES, "task": "detect", "stride": "auto", "class_names": "file", "profile": None,
        "entry": entry.stated(), "outputs": outputs.stated(),
    }  # fmt: skip
    (folder / "out").mkdir()
    (folder / "proof").mkdir()
    import_model(folder / "out", weights=weights, pictures=PICTURES[:2], **params)
    return dict(
        prove(
            folder / "proof", model=folder / "out" / "model.onnx", spec=folder / "out" / "spec.json", weights=weights,
            pictures=PICTURES, labels=LABELS, floor=floor, params=params,
        )
    )  # fmt: skip


@pytest.mark.slow
def test_a_right_statement_passes(tmp_path: Path) -> None:
    facts = proven(tmp_path, foreign_outputs.yolox(), outputs={"layout": "yolox"})
    assert facts["figure"] > 0.6
    assert facts["pictures"] == 16
    assert "notes" not in facts


@pytest.mark.slow
@pytest.mark.parametrize(
    ("build", "stated", "said"),
    [
        (lambda: in_front(BYTES), {}, "what fits better is passes.onnx_import.input.scale=1: 0."),
        (foreign_models.sample, {"input": {"scale": 1}}, "set passes.onnx_import.input.scale=0.0039215686"),
        (
            lambda: foreign_outputs.boxes_and_scores(kind="corners"),
            {"outputs": {"layout": "boxes_and_scores", "boxes": "centres"}},
            "set passes.onnx_import.outputs.boxes=corners",
        ),
        (
            foreign_outputs.ssd,
            {"outputs": {"layout": "boxes_and_scores", "unit": "fractions", "background": "last"}},
            "set passes.onnx_import.outputs.background=first",
        ),
        (
            foreign_models.sample,
            {"input": {"color": "RGB", "scale": 1, "mean": [123.675, 116.28, 103.53], "std": [5.8, 5.7, 5.7]}},
            "set passes.onnx_import.input.scale=0.0039215686 passes.onnx_import.input.mean=0 "
            "passes.onnx_import.input.std=1",
        ),
        (
            lambda: in_front(*IMAGENET),
            {},
            "passes.onnx_import.input.mean=[0.485,0.456,0.406] passes.onnx_import.input.std=[0.229,0.224,0.225]: 0.",
        ),
    ],
)
def test_a_wrong_statement_is_told_with_the_right_one(build: Any, stated: Any, said: str, tmp_path: Path) -> None:
    with pytest.raises(StepError) as raised:
        proven(tmp_path, build(), **stated)
    text = str(raised.value)
    assert text.startswith("mAP50-95 of the imported model is 0.")
    assert said in text
    assert "\n" not in text


@pytest.mark.slow
@pytest.mark.parametrize(
    ("build", "stated", "said"),
    [
        (foreign_outputs.nanodet, {"outputs": {"layout": "distributions", "offset": 0}}, "outputs.offset=0.5: is that"),
        (foreign_models.sample, {"input": {"mean": 0.8, "std": 0.8}}, "passes.onnx_import.input.mean=0"),
    ],
)
def test_what_finds_little_is_told_what_finds_more(build: Any, stated: Any, said: str, tmp_path: Path) -> None:
    (note,) = proven(tmp_path, build(), floor=0.001, **stated)["notes"]
    assert said in note


@pytest.mark.parametrize(
    ("build", "stated", "said"),
    [
        (foreign_outputs.yolox, {"family": "yolov5"}, "state which it is: passes.onnx_import.family=yolox or "),
        (foreign_outputs.yolox, {}, "state which it is: passes.onnx_import.family=yolox or "),
        (foreign_outputs.nanodet, {"family": "yolox"}, "passes.onnx_import.family=nanodet"),
        (foreign_outputs.yunet, {"family": "yolox"}, "passes.onnx_import.family=yunet"),
        (lambda: foreign_outputs.queries(), {"family": "ssd"}, "passes.onnx_import.family=rtdetr"),
    ],
)
def test_a_wrong_layout_is_told_with_the_family_that_fits(build: Any, stated: Any, said: str, tmp_path: Path) -> None:
    names = NAMES[:1] if build is foreign_outputs.yunet else NAMES
    weights = foreign_models.written(build(), tmp_path / "given.onnx")
    _, outputs = OnnxImport(**stated).statement()
    with pytest.raises(StepError) as raised:
        import_model(
            tmp_path, weights=weights, pictures=PICTURES[:2], imgsz=SIZE, names=names, task="detect",
            outputs=outputs.stated(),
        )  # fmt: skip
    assert said in raised.value.problems[0].fix


def one_colour(place: int) -> onnx.ModelProto:
    """The sample on the canonical picture less all that its channel `place` does not hold, in grey."""
    return in_front(("Gather", [np.array([place] * 3)], {"axis": 1}))


@pytest.mark.slow
def test_the_other_order_of_colours_is_tried(tmp_path: Path) -> None:
    with pytest.raises(StepError, match=r"passes\.onnx_import\.input\.color=BGR: 0\.\d{3}"):
        proven(tmp_path, one_colour(0), floor=0.99)


@pytest.mark.slow
def test_a_model_that_finds_nothing_is_told(tmp_path: Path) -> None:
    none = np.array([1] * 4 + [1e-4] * 3, np.float32).reshape(1, -1, 1)
    model = foreign_models.behind(lambda add: add("Mul", "output0", add(none)), [1, 7, 1008])
    with pytest.raises(
        StepError, match=r"nothing else fits better.*passes\.onnx_import\.floor=0 takes it all the same"
    ):
        proven(tmp_path, model)


def test_plan_adds_the_proof_unless_told_otherwise() -> None:
    graph = graph_for(None, weights="model.onnx", imgsz=SIZE)
    OnnxImport().lower(graph, None)
    assert list(graph.steps) == ["onnx_import", "statement_proof"]
    bare = graph_for(None, weights="model.onnx", imgsz=SIZE)
    OnnxImport(floor=0).lower(bare, None)
    assert list(bare.steps) == ["onnx_import"]


def with_pairs() -> onnx.ModelProto:
    """The sample with a Q/DQ pair on its input."""
    model = foreign_models.sample()
    scale, zero = (
        foreign_models.constant(model, name, value)
        for name, value in (("scale", np.float32(1 / 255)), ("zero", np.uint8(0)))
    )
    return foreign_models.before(
        model,
        lambda name: [
            helper.make_node("QuantizeLinear", [name, scale, zero], ["q"]),
            helper.make_node("DequantizeLinear", ["q", scale, zero], ["dq"]),
        ],
    )


def test_a_model_that_holds_pairs_is_taken_as_it_is(tmp_path: Path) -> None:
    weights = foreign_models.written(with_pairs(), tmp_path / "pairs.onnx")
    graph = graph_for(None, weights="model.onnx", imgsz=SIZE)
    object.__setattr__(graph.materials.weights, "paths", (str(weights),))
    model = OnnxImport(floor=0).lower(graph, None)
    assert model.precision == "int8"
    for quantizing in (Simplify(), Int8Static()):
        with pytest.raises(PlanError, match=r"holds Q/DQ pairs.*=null"):
            quantizing.lower(graph, model)
    (tmp_path / "out").mkdir()
    facts = import_model(
        tmp_path / "out", weights=weights, pictures=PICTURES[:2], imgsz=SIZE, names=NAMES, task="detect"
    )
    assert (facts["operators"]["QuantizeLinear"], facts["operators"]["DequantizeLinear"]) == (1, 1)
    assert any("its own reference" in note for note in facts["notes"])
