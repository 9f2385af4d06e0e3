"""Changing shapes from the export to the device, on the embedded model: real exports, real sessions."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from exported import CHECKPOINT, EXPORT, SIZE, exported, pictures, run_step
from nets import nothing_beyond

from edgecompile.errors import RecipeError
from edgecompile.plan.shapes import profile_of
from edgecompile.recipe.rules import ReadParts, broken_rules
from edgecompile.recipe.schema import ModelSettings
from edgecompile.runtime import open_artifact

pytestmark = pytest.mark.slow

PROFILE = {"min": [1, 3, 128, 128], "opt": [1, 3, *SIZE], "max": [3, 3, 256, 320]}
BOTH = SimpleNamespace(device="a board", dynamic=frozenset({"batch", "imgsz"}))
NONE = SimpleNamespace(device="a board", dynamic=frozenset())


def settings(**keys) -> ModelSettings:
    return ModelSettings.model_validate_json(json.dumps({"weights": "a.pt", **keys}), strict=True)


def test_the_recipe_says_shapes_once():
    model = settings(dynamic={"batch": [1, 4, 8], "imgsz": [320, [320, 640], 640]})
    assert model.imgsz == (320, 640)  # derived: the usual one
    assert settings().imgsz is None  # that of the weights
    wanted = {"min": [1, 3, 320, 320], "opt": [4, 3, 320, 640], "max": [8, 3, 640, 640]}
    assert profile_of(model, BOTH, [320, 640]) == (wanted, [])
    assert profile_of(settings(imgsz=320), BOTH, [320, 320]) == (None, [])
    assert profile_of(settings(dynamic={"imgsz": [320, 320, 320]}), BOTH, [320, 320]) == (None, [])


def test_a_target_of_fixed_shapes_says_so():
    model = settings(imgsz=320, dynamic={"batch": [1, 4, 8], "imgsz": [160, 320, 640]})
    profile, notes = profile_of(model, NONE, [320, 320])
    assert profile is None
    assert [note.partition(":")[0] for note in notes] == ["a board takes a fixed batch", "a board takes a fixed size"]


@pytest.mark.parametrize(
    "dynamic",
    [
        {"batch": [4, 1, 8]},
        {"batch": [1, 2]},
        {"batch": [0, 1, 2]},
        {"imgsz": [32, 96, [64, 96]]},
        {"imgsz": [3, 2, 1]},
    ],
)
def test_wrong_profiles_are_refused(dynamic):
    with pytest.raises(ValueError, match="dynamic"):
        settings(dynamic=dynamic)


def test_the_usual_size_cannot_contradict_imgsz():
    class Origins:
        def of(self, *keys):
            return ".".join(keys)

    model = settings(imgsz=640, dynamic={"imgsz": [320, 320, 640]})
    parts = ReadParts(model, data=None, target=None, passes=None, order=None, data_given=False)
    (problem,) = broken_rules(parts, Origins())
    assert (problem.where, problem.fix) == ("model.dynamic.imgsz", "model.imgsz=320")


@cache
def dynamic() -> SimpleNamespace:
    """Returns the sample exported with `PROFILE` and compiled for ONNX Runtime."""
    from edgecompile.graphs.onnx.onnx_artifact import compile_onnx

    base = exported().folder / "dynamic"
    run_step(base, "edgecompile.passes.onnx_export:export", {"weights": CHECKPOINT}, {**EXPORT, "profile": PROFILE})
    final = base / "compiled"
    final.mkdir()
    compile_onnx(final, model=base / "model.onnx", spec=base / "spec.json")
    return SimpleNamespace(folder=base, model=base / "model.onnx", spec=base / "spec.json", final=final)


def test_the_spec_states_the_shapes_in_the_layout_of_the_input():
    for folder, order in ((dynamic().folder, [0, 1, 2, 3]), (dynamic().final, [0, 2, 3, 1])):
        entry = json.loads((folder / "spec.json").read_text())["input"]
        shape = np.array([-1, 3, -1, -1])[order].tolist()
        assert entry["shape"] == shape
        assert entry["profile"] == {point: np.array(sides)[order].tolist() for point, sides in PROFILE.items()}
    assert "profile" not in json.loads(exported().spec.read_text())["input"]


def test_at_the_usual_size_it_computes_as_the_static_model():
    ours = open_artifact(dynamic().model, dynamic().spec, "onnxruntime", {}, 1)
    static = open_artifact(exported().model, exported().spec, "onnxruntime", {}, 1)
    for picture in pictures("val", 3):
        assert np.allclose(*(one.infer(one.preprocess(picture)[0])[0] for one in (ours, static)), atol=1e-2, rtol=1e-4)
        assert [box.name for box in ours.predict(picture)] == [box.name for box in static.predict(picture)]


def test_size_and_batch_are_chosen_when_predicting():
    detector = open_artifact(dynamic().final / "model.onnx", dynamic().final / "spec.json", "onnxruntime", {}, 1)
    paths = pictures("val", 4)
    assert detector.stack(paths[:3], imgsz=(256, 320))[0].shape == (3, 256, 320, 3)
    together = detector.predict_batch(paths, imgsz=(256, 320))  # three and one
    for path, found in zip(paths, together, strict=True):
        alone = detector.predict(path, imgsz=[256, 320])
        assert np.allclose(alone.boxes, found.boxes, atol=0.1)
        assert alone.classes.tolist() == found.classes.tolist()
    assert len(detector.predict(paths[0], imgsz=256)) > 0
    assert max(len(detector.predict(paths[0], imgsz=size)) for size in (128, 160, 192)) > 0
    with pytest.raises(RecipeError, match="3"):
        detector.stack(paths)


@pytest.mark.parametrize("imgsz", [96, 352, 130, (256, 352), (128, 128, 3), "256", 128.0, True])
def test_a_size_out_of_range_is_one_line(imgsz):
    detector = open_artifact(dynamic().final / "model.onnx", dynamic().final / "spec.json", "onnxruntime", {}, 1)
    with pytest.raises(RecipeError, match="imgsz is") as raised:
        detector.predict(pictures("val", 1)[0], imgsz=imgsz)
    assert "\n" not in str(raised.value)


def test_a_bundle_of_one_shape_takes_no_other():
    detector = open_artifact(exported().model, exported().spec, "onnxruntime", {}, 1)
    picture = pictures("val", 1)[0]
    assert len(detector.predict(picture, imgsz=SIZE)) == len(detector.predict(picture))
    with pytest.raises(RecipeError, match=r"model\.dynamic\.imgsz"):
        detector.predict(picture, imgsz=128)


def test_int8_is_calibrated_at_the_usual_size_and_leaves_as_much_in_float_as_the_static_model(tmp_path):
    from edgecompile.passes.int8_static import Int8Static
    from edgecompile.quantization.qdq import calibrate, quantize
    from edgecompile.targets.onnxruntime import OnnxRuntime

    target = OnnxRuntime(device="a CPU", memory_mb=1, isa=("avx2",))
    layers = {}
    for name, one in (("dynamic", dynamic()), ("static", exported())):
        folder = tmp_path / name
        folder.mkdir()
        calibrate(folder, model=one.model, spec=one.spec, pictures=pictures("train", 4), method="minmax", percentile=99)
        placement = target.placement(Int8Static())
        facts = quantize(folder, model=one.model, ranges=folder / "ranges.json", placement=placement, exclude="auto")
        layers[name] = facts["changes"][0]
    assert layers["dynamic"] == layers["static"]
    detector = open_artifact(tmp_path / "dynamic" / "model.onnx", dynamic().spec, "onnxruntime", {}, 1)
    assert all(len(detector.predict(pictures("val", 1)[0], imgsz=size)) for size in (SIZE, 256))


def test_openvino_keeps_the_bounds(tmp_path):
    openvino = pytest.importorskip("openvino")
    from edgecompile.graphs.openvino.ir_artifact import compile_ir

    compile_ir(tmp_path, model=dynamic().model, spec=dynamic().spec, half=False, separate_silu=False)
    shape = openvino.Core().read_model(tmp_path / "model.xml").input(0).get_partial_shape()
    assert [(side.get_min_length(), side.get_max_length()) for side in shape] == [
        (1, 3),
        (128, 256),
        (128, 320),
        (3, 3),
    ]
    detector = open_artifact(tmp_path, tmp_path / "spec.json", "openvino", {"INFERENCE_PRECISION_HINT": "f32"}, 1)
    other = open_artifact(dynamic().final / "model.onnx", dynamic().final / "spec.json", "onnxruntime", {}, 1)
    picture = pictures("val", 1)[0]
    for size in (SIZE, 128, (256, 320)):
        assert len(detector.predict(picture, imgsz=size)) == len(other.predict(picture, imgsz=size))


def test_fp16_keeps_the_shapes(tmp_path):
    from edgecompile.passes.fp16 import convert

    convert(tmp_path, model=dynamic().model, keep=[], beyond=nothing_beyond(tmp_path))
    detector = open_artifact(tmp_path / "model.onnx", dynamic().spec, "onnxruntime", {}, 1)
    other = open_artifact(dynamic().model, dynamic().spec, "onnxruntime", {}, 1)
    for size in (SIZE, (256, 320)):
        assert len(detector.predict(pictures("val", 1)[0], imgsz=size)) == len(
            other.predict(pictures("val", 1)[0], imgsz=size)
        )


def test_golden_vectors_stand_at_the_smallest_the_usual_and_the_largest_shape(tmp_path: Path):
    from edgecompile.evaluate.golden_vectors import golden

    (tmp_path / "counts.json").write_text("[0]")
    final, out = dynamic().final, tmp_path / "golden"
    out.mkdir()
    golden(
        out, artifact=final / "model.onnx", spec=final / "spec.json", pictures=pictures("val", 1),
        evaluation=tmp_path, precision="fp32", backend="onnxruntime", options={}, threads=1,
    )  # fmt: skip
    shapes = [np.load(out / folder / "output_0.npy").shape for folder in ("min", ".", "max")]
    assert shapes == [(1, 7, 336), (1, 7, 1008), (2, 7, 1680)]  # of three pictures two are different
