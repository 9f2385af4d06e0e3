"""Post-processing in the artifact: where it can be, and that it gives what the runtime gives without it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from exported import exported, graph_for, pictures
from rough_measurement import ROUGH
from test_every_recipe import edgecompile

from edgecompile.errors import PlanError, RecipeError, StepError
from edgecompile.evaluate.tasks import find_task
from edgecompile.passes.embed_postprocess import EmbedPostprocess, embed_in_onnx, embed_in_openvino
from edgecompile.plan.graph import Model
from edgecompile.plan.step import Output
from edgecompile.runtime.archive import Archive
from edgecompile.targets.cann import Cann
from edgecompile.targets.ncnn import Ncnn
from edgecompile.targets.ncs2 import Ncs2
from edgecompile.targets.onnxruntime import OnnxRuntime
from edgecompile.targets.openvino import OpenVino
from edgecompile.targets.tensorrt import TensorRt
from edgecompile.targets.tensorrt_rtx import TensorRtRtx

LIMITS: dict[str, Any] = {"conf": 0.25, "iou": 0.7, "max_det": 300, "thresholds": "constants"}
BOTH = ["end2end", "yolo"]


def lowered(kind: Any, form: str = "onnx", end2end: Any = "auto", task: str = "detect", **fields: Any):
    target = kind(device="a device", memory_mb=1024, **fields)
    graph = graph_for(target)
    graph.recipe.ordered_passes = lambda: [SimpleNamespace(end2end=end2end)]
    graph.materials = SimpleNamespace(task=task)
    graph.steps["compile"] = None
    compiled = Model(Output("compile"), Output("compile", "spec.json"), form)
    return graph, EmbedPostprocess(conf=0.4).lower(graph, compiled)


@pytest.mark.parametrize("kind", [OnnxRuntime, OpenVino, TensorRt])
def test_it_stands_behind_what_the_target_compiled(kind):
    graph, model = lowered(kind, "openvino" if kind is OpenVino else "onnx")
    step = graph.steps["embed_postprocess"]
    assert step.inputs["artifact"] == Output("compile")
    assert step.params["conf"] == 0.4
    assert (model.artifact, model.spec) == (Output(step.name), Output(step.name, "spec.json"))
    assert bool(graph.notes) is (kind is TensorRt)


@pytest.mark.parametrize(
    ("kind", "form", "fields"),
    [
        (Ncnn, "ncnn", {}),
        (Cann, "onnx", {"soc": ("Ascend310B4",)}),
        (Ncs2, "openvino", {}),
        (OpenVino, "openvino", {"device_name": "NPU"}),
        (OpenVino, "openvino", {"device_name": "AUTO:NPU,CPU"}),
        (TensorRtRtx, "onnx", {}),
        (TensorRt, "onnx", {"dla": 0}),
    ],
    ids=str,
)
def test_a_device_that_cannot_is_named_with_the_reason_and_the_fix(kind, form, fields):
    with pytest.raises(PlanError, match="cannot be built into the model of a device") as refused:
        lowered(kind, form, **fields)
    assert "passes.embed_postprocess=null" in str(refused.value)
    assert refused.value.exit_code == 3


def test_a_runtime_without_suppression_takes_nms_free_heads():
    assert lowered(TensorRtRtx, end2end=True)[1].artifact == Output("embed_postprocess")


def test_a_task_without_boxes_is_refused():
    with pytest.raises(PlanError, match="a model for the task 'classify': its outputs are no rows of objects"):
        lowered(OnnxRuntime, task="classify")


@pytest.mark.parametrize(
    ("kind", "form", "fields", "reason"),
    [
        (TensorRt, "onnx", {}, "TensorRT's suppression knows upright boxes only"),
        (OpenVino, "openvino", {"device_name": "GPU"}, "the suppression of rotated boxes is proven on CPUs"),
    ],
)
def test_rotated_boxes_are_suppressed_where_that_is_proven(kind, form, fields, reason):
    for target, known in ((OnnxRuntime, "onnx"), (OpenVino, "openvino")):
        graph, _ = lowered(target, known, task="obb")
        assert graph.steps["embed_postprocess"].params["decodes"] == ["end2end", "rotated"]
    with pytest.raises(PlanError, match=reason) as refused:
        lowered(kind, form, task="obb", **fields)
    assert "passes.onnx_export.end2end=true, where the model has an NMS-free head" in str(refused.value)
    graph, _ = lowered(kind, form, end2end=True, task="obb", **fields)
    assert graph.steps["embed_postprocess"].params["decodes"] == ["end2end"]


@pytest.fixture(scope="module")
def onnx_artifact(tmp_path_factory) -> Path:
    """The exported sample as it ships for ONNX Runtime."""
    pytest.importorskip("onnxruntime")
    from edgecompile.graphs.onnx.onnx_artifact import compile_onnx

    folder = tmp_path_factory.mktemp("compiled")
    compile_onnx(folder, model=exported().model, spec=exported().spec)
    return folder


def same(plain: Path, embedded: Path, backend: str) -> dict[str, int]:
    from edgecompile.evaluate.same_results import compare

    name = "model.onnx" if backend == "onnxruntime" else ""
    return compare(
        embedded, plain=plain / name, plain_spec=plain / "spec.json", artifact=embedded / name,
        spec=embedded / "spec.json", pictures=pictures("test", 12), backend=backend, options={}, threads=1,
    )  # fmt: skip


@pytest.fixture(scope="module")
def embedded(onnx_artifact, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("embedded")
    facts = embed_in_onnx(folder, artifact=onnx_artifact, spec=onnx_artifact / "spec.json", decodes=BOTH, **LIMITS)
    assert "non-maximum suppression built in" in facts["changes"][0]
    assert facts["operators"]["NonMaxSuppression"] == 1
    return folder


@pytest.mark.slow
def test_results_are_identical_on_onnx_runtime(onnx_artifact, embedded):
    facts = same(onnx_artifact, embedded, "onnxruntime")
    assert facts["identical"] == facts["pictures"] == 12
    assert facts["found"] > 30


@pytest.mark.slow
def test_results_agree_on_openvino(tmp_path):
    pytest.importorskip("openvino")
    from edgecompile.graphs.openvino.ir_artifact import compile_ir

    plain, whole = tmp_path / "plain", tmp_path / "whole"
    plain.mkdir()
    whole.mkdir()
    compile_ir(plain, model=exported().model, spec=exported().spec, half=True, separate_silu=False)
    embed_in_openvino(whole, artifact=plain, spec=plain / "spec.json", decodes=BOTH, **LIMITS)
    facts = same(plain, whole, "openvino")
    assert facts["identical"] == facts["pictures"] == 12
    again = tmp_path / "again"
    again.mkdir()
    embed_in_openvino(again, artifact=plain, spec=plain / "spec.json", decodes=BOTH, **LIMITS)
    for name in ("model.xml", "model.bin", "spec.json"):
        assert (whole / name).read_bytes() == (again / name).read_bytes(), name


@pytest.mark.slow
def test_another_threshold_in_the_graph_than_in_the_spec_is_found(onnx_artifact, embedded, tmp_path):
    """The negative control of the proof."""
    spec = json.loads((embedded / "spec.json").read_text())
    spec["nms"]["conf"] = 0.1
    (tmp_path / "spec.json").write_text(json.dumps(spec))
    (tmp_path / "model.onnx").write_bytes((embedded / "model.onnx").read_bytes())
    with pytest.raises(StepError, match="finds other things than the runtime"):
        same(onnx_artifact, tmp_path, "onnxruntime")


@pytest.mark.slow
def test_a_prediction_may_be_stricter_than_the_graph_and_not_laxer(onnx_artifact, embedded):
    from edgecompile.runtime import open_artifact

    plain, whole = (
        open_artifact(folder / "model.onnx", folder / "spec.json", "onnxruntime", {}, 1)
        for folder in (onnx_artifact, embedded)
    )
    image = str(pictures("test", 1)[0])
    for settings in ({"conf": 0.5}, {"max_det": 2}, {"conf": 0.4, "max_det": 3}):
        assert whole.predict(image, **settings).to_dict() == plain.predict(image, **settings).to_dict()
    for settings in ({"conf": 0.1}, {"iou": 0.5}, {"max_det": 301}):
        with pytest.raises(RecipeError, match="holds its post-processing with"):
            whole.predict(image, **settings)


@pytest.mark.slow
def test_a_model_that_the_target_cannot_finish_is_refused(onnx_artifact, tmp_path):
    with pytest.raises(StepError, match="puts out 'yolo'"):
        embed_in_onnx(tmp_path, artifact=onnx_artifact, spec=onnx_artifact / "spec.json", decodes=["end2end"], **LIMITS)


def finished(backend: str, folder: Path, **limits: Any) -> tuple[Any, Any]:
    """Returns the sample without and with its post-processing, ready to predict."""
    from edgecompile.graphs.onnx.onnx_artifact import compile_onnx
    from edgecompile.graphs.openvino.ir_artifact import compile_ir
    from edgecompile.runtime import open_artifact

    plain, whole = folder / "plain", folder / "whole"
    plain.mkdir()
    whole.mkdir()
    sample = {"model": exported().model, "spec": exported().spec}
    name = "model.onnx" if backend == "onnxruntime" else ""
    if name:
        compile_onnx(plain, **sample)
    else:
        compile_ir(plain, **sample, half=False, separate_silu=False)
    embed = embed_in_onnx if name else embed_in_openvino
    embed(whole, artifact=plain, spec=plain / "spec.json", decodes=BOTH, **{**LIMITS, **limits})
    first, second = (open_artifact(place / name, place / "spec.json", backend, {}, 1) for place in (plain, whole))
    return first, second


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
def test_thresholds_as_inputs_are_those_of_each_prediction(backend, tmp_path):
    pytest.importorskip(backend)
    plain, whole = finished(backend, tmp_path, thresholds="inputs")
    images = [str(path) for path in pictures("test", 6)]
    seen = set()
    for settings in ({}, {"conf": 0.05}, {"conf": 0.02, "iou": 0.2}, {"max_det": 2}, {}):
        expected = [plain.predict(image, **settings).to_dict() for image in images]
        assert [whole.predict(image, **settings).to_dict() for image in images] == expected
        assert [found.to_dict() for found in whole.stream(images, **settings)] == expected
        seen.add(sum(len(found["scores"]) for found in expected))
    assert len(seen) >= 3  # settings matter
    with pytest.raises(RecipeError, match="have 300 places"):
        whole.predict(images[0], max_det=301)


def test_thresholds_as_inputs_need_a_runtime_that_takes_them():
    target = TensorRt(device="a device", memory_mb=1024)
    graph = graph_for(target)
    graph.recipe.ordered_passes = list
    with pytest.raises(PlanError, match="takes no thresholds"):
        EmbedPostprocess(thresholds="inputs").lower(graph, Model(Output("compile"), Output("compile", "spec.json")))


def still_model(task: str, decode: str, folder: Path) -> None:
    """Writes `model.onnx` that puts out the same rows for any picture, and its `spec.json`: 3 classes, 64x96 pixels."""
    import numpy as np
    import onnx
    from onnx import helper, numpy_helper

    from edgecompile.evaluate.tasks import OutputFacts
    from edgecompile.graphs.onnx.model_spec import spec_of, write_spec

    extras = {"segment": 8, "pose": 12, "obb": 1}[task]
    noise = np.random.default_rng(4)
    if decode == "yolo":
        rows = noise.normal(size=(1, 7 + extras, 60)).astype(np.float32)
        rows[:, :2], rows[:, 2:4] = noise.uniform(10, 60, (1, 2, 60)), noise.uniform(8, 40, (1, 2, 60))
        rows[:, 4:7] = noise.uniform(0, 0.9, (1, 3, 60))
    else:
        rows = noise.normal(size=(1, 60, 6 + extras)).astype(np.float32)
        rows[:, :, :2], rows[:, :, 2:4] = noise.uniform(5, 30, (1, 60, 2)), noise.uniform(40, 60, (1, 60, 2))
        rows[:, :, 4], rows[:, :, 5] = np.sort(noise.uniform(0, 0.9, 60))[::-1], noise.integers(0, 3, 60)
    if task == "pose":
        points = rows[0, 7:].T if decode == "yolo" else rows[0, :, 6:]
        points[:, 2::3] = noise.uniform(0, 1, (60, 4))
    values = {"output0": rows}
    if task == "segment":
        values["output1"] = noise.normal(size=(1, 8, 16, 24)).astype(np.float32)
    nodes = [
        helper.make_node("ReduceMean", ["images"], ["mean"], keepdims=0),
        helper.make_node("Sub", ["mean", "mean"], ["nil"]),
    ]
    nodes += [helper.make_node("Add", [f"{name}_still", "nil"], [name]) for name in values]
    graph = helper.make_graph(
        nodes,
        "still",
        [helper.make_tensor_value_info("images", 1, [1, 3, 64, 96])],
        [helper.make_tensor_value_info(name, 1, value.shape) for name, value in values.items()],
        [numpy_helper.from_array(value, f"{name}_still") for name, value in values.items()],
    )
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8), folder / "model.onnx"
    )
    spec = spec_of(
        task=task, names=["a", "b", "c"], stride=32, size=[64, 96], input_name="images", input_shape=[1, 3, 64, 96],
        outputs=[OutputFacts(name, value.shape) for name, value in values.items()], decode=decode,
        stated={"kpt_shape": [4, 3]},
    )  # fmt: skip
    write_spec(spec, folder / "spec.json")


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
@pytest.mark.parametrize(
    ("task", "decode"),
    [(task, decode) for task in ("segment", "pose", "obb") for decode in ("yolo", "end2end")],
)
def test_what_goes_with_a_box_goes_with_it_through_the_graph(task, decode, backend, tmp_path):
    pytest.importorskip(backend)
    plain, whole = tmp_path / "plain", tmp_path / "whole"
    plain.mkdir()
    whole.mkdir()
    still_model(task, decode, plain)
    if backend == "openvino":
        import openvino

        from edgecompile.graphs.openvino.canonical_names import save

        save(openvino.convert_model(plain / "model.onnx"), plain)
    embed = embed_in_onnx if backend == "onnxruntime" else embed_in_openvino
    embed(whole, artifact=plain, spec=plain / "spec.json", decodes=sorted(find_task(task).embeds), **LIMITS)
    facts = same(plain, whole, backend)
    assert facts["identical"] == facts["pictures"]
    assert facts["found"] > 5 * facts["pictures"]


@pytest.mark.slow
@pytest.mark.parametrize("recipe", ["x86-cpu_onnxruntime_fp32", "x86-cpu_openvino_int8"])
def test_a_bundle_of_rotated_boxes_holds_its_suppression(recipe, shared):
    """The whole build: a step of it compares the results on every validation picture with the runtime's."""
    pytest.importorskip("nncf")
    words = (f"recipe={recipe}", "model=sample-obb", "data=sample-obb", "+passes.embed_postprocess.conf=0.1")
    built = edgecompile(shared, "build", *words, "gates.accuracy_drop=0.01", "gates.size_mb=null", *ROUGH, "--quiet")
    assert built.returncode == 0, built.stderr
    bundle = shared / built.stdout.splitlines()[-1]
    with Archive(bundle) as archive:
        assert json.loads(archive.read("spec.json"))["output"]["decode"] == "suppressed"
    report = json.loads((bundle.parent / "report.json").read_text())
    assert [step["run"]["state"] for step in report["steps"] if step["name"] == "same_results"] in (["ran"], ["reused"])
    assert edgecompile(shared, "verify", str(bundle)).returncode == 0


@pytest.mark.slow
def test_the_python_of_the_format_page_reads_it(embedded, monkeypatch, capsys):
    import cv2

    page = (Path(__file__).parents[2] / "docs" / "bundle-format.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(import onnxruntime\n.*?)```", page, re.DOTALL)
    monkeypatch.chdir(embedded)
    scope: dict[str, Any] = {"frame": cv2.imread(str(pictures("test", 1)[0]))[None]}  # has the model's size
    exec(code, scope)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == scope["counts"][0] > 2
