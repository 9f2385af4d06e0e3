"""Jetson by TensorRT: what goes into the bundle, its accuracy beside float, and that TensorRT-RTX builds it.

No Jetson can be here. TensorRT-RTX is the same parser and builder, real, and needs no GPU to build.
"""

from __future__ import annotations

import json
import subprocess
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import nets
import numpy as np
import pytest
import yaml
from exported import graph_for, pictures, run_code, simplified
from pydantic import ValidationError

from edgecompile.errors import StepError
from edgecompile.passes.int8_static import Int8Static
from edgecompile.plan.graph import Model
from edgecompile.plan.step import Output
from edgecompile.targets import tensorrt
from edgecompile.targets._strongly_typed import placement
from edgecompile.targets.tensorrt import TensorRt

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

pytestmark = pytest.mark.slow

CONF = Path(__file__).parents[2] / "conf" / "target"
WRITTEN = sorted(CONF.glob("jetson-*_tensorrt.yaml"))
FLOAT = Model(Output("simplify", "model.onnx"), Output("onnx_export", "spec.json"))


def a_jetson(**fields: Any) -> TensorRt:
    return TensorRt(**{"device": "a Jetson", "memory_mb": 8192, **fields})


@cache
def typed(precision: str) -> SimpleNamespace:
    """Returns the sample as it ships for a Jetson: `folder` of the compiled artifact."""
    from edgecompile.graphs.onnx.strongly_typed import compile_typed
    from edgecompile.passes.fp16 import convert
    from edgecompile.quantization.qdq import calibrate, quantize
    from edgecompile.quantization.strongly_typed_qdq import halve_rest

    float_model = simplified()
    folder = float_model.folder / f"jetson-{precision}"
    steps = {name: folder / name for name in ("ranges", "quantized", "half", "compiled")}
    for step in steps.values():
        step.mkdir(parents=True)
    beyond = nets.nothing_beyond(steps["half"].parent)
    if precision == "int8":
        calibrate(
            steps["ranges"], model=float_model.model, spec=float_model.spec, pictures=pictures("train", 16),
            method="minmax", percentile=99.999,
        )  # fmt: skip
        quantize(
            steps["quantized"], model=float_model.model, ranges=steps["ranges"] / "ranges.json",
            placement=placement(Int8Static()), exclude="auto",
        )  # fmt: skip
        quantized = steps["quantized"] / "model.onnx"
        halve_rest(steps["half"], model=quantized, reference=float_model.model, beyond=beyond)
    else:
        convert(steps["half"], model=float_model.model, keep=[], beyond=beyond)
    half = steps["half"] / "model.onnx"
    compile_typed(steps["compiled"], model=half, spec=float_model.spec, build=a_jetson().options())
    return SimpleNamespace(folder=steps["compiled"], half=half, model=onnx.load(steps["compiled"] / "model.onnx"))


def map_of(folder: Path, out: Path, backend: str = "onnxruntime", options: dict[str, Any] | None = None) -> float:
    from edgecompile.evaluate.accuracy import evaluate

    out.mkdir()
    images = pictures("test", 16)
    labels = [path.parents[2] / "labels" / "test" / f"{path.stem}.txt" for path in images]
    settings = {"conf": 0.001, "iou": 0.7, "max_det": 300}
    spec = folder / "spec.json" if folder.is_dir() else simplified().spec
    found = evaluate(
        out, artifact=folder, spec=spec, pictures=images, labels=labels, backend=backend, options=options or {},
        threads=1, settings=settings,
    )  # fmt: skip
    return found["metrics"]["map50_95"]


@pytest.mark.parametrize("path", WRITTEN, ids=lambda path: path.stem)
def test_written_targets_carry_what_people_otherwise_look_up(path: Path) -> None:
    target = TensorRt(**yaml.safe_load(path.read_text()))
    assert target.status == "untested"
    assert "no such board" in target.source
    assert target.constraints() == {"sm": ["8.7"], "driver": ">=36.3"}
    board = target.board
    assert board.source
    assert "INA3221" in board.power
    assert "nvpmodel -q" in board.power_mode
    assert "10.3" in board.images.values()
    assert not target.warnings("int8")


def test_pcs_take_what_a_jetson_takes_and_bring_tensorrt_by_pip() -> None:
    pc, jetson = TensorRt(**yaml.safe_load((CONF / "nvidia-gpu_tensorrt.yaml").read_text())), a_jetson()
    assert pc.options() == jetson.options()
    assert pc.constraints() == {"sm": ["7.5", "8.0", "8.6", "8.9", "9.0", "10.0", "12.0"], "driver": ">=525"}
    assert (pc.system_runtime, jetson.system_runtime) == (False, True)
    assert not pc.warnings("int8")
    with pytest.raises(ValidationError):
        a_jetson(sm=())
    with pytest.raises(ValidationError):
        a_jetson(sm=("8.6", "86"))


def test_the_bundle_is_finished_on_the_device_and_judged_by_a_stand_in() -> None:
    target = a_jetson(workspace_mb=512)
    assert target.finalize
    assert target.proxy_backend()[:2] == ("onnxruntime", "onnxruntime")
    assert target.options() == {"workspace_mb": 512, "dla": None}
    assert "GPU" in a_jetson(dla=0).warnings("int8")[0]
    assert a_jetson().warnings("fp32")


def test_the_plan_proves_the_onnx_where_the_library_is(monkeypatch: pytest.MonkeyPatch) -> None:
    for installed in (True, False):
        monkeypatch.setattr(tensorrt, "find_spec", lambda name, here=installed: here)
        graph = graph_for(a_jetson())
        graph.steps.update(simplify=None, onnx_export=None)
        model = a_jetson().compile(graph, FLOAT)
        assert model.artifact == Output("compile")
        assert ("prove" in graph.steps) is installed
        assert bool(graph.notes) is not installed


def test_pairs_stand_on_what_learned_layers_read_and_the_ends_stay_in_float() -> None:
    from edgecompile.graphs.onnx.structure import Structure

    structure = Structure(typed("int8").model)
    for node in structure.nodes:
        if node.op_type == "DequantizeLinear":
            assert "Conv" in {reader.op_type for reader in structure.consumers[node.output[0]]}
    assert not any(
        maker is not None and maker.op_type == "Conv"
        for node in structure.nodes
        if node.op_type == "QuantizeLinear"
        for maker in [structure.producer.get(node.input[0])]
    )
    for node in structure.nodes:
        if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
            assert structure.value(node.input[1]).dtype == np.float16
            zero = structure.value(node.input[2])
            assert (zero.dtype, zero.any()) == (np.int8, False)
    in_float = [
        node.name
        for node in structure.nodes
        if node.op_type == "Conv" and structure.producer.get(node.input[0]).op_type != "DequantizeLinear"
    ]
    assert "/model.0/conv/Conv" in in_float
    assert len(in_float) == 1 + 6 + 1  # the first, the last of three scales' two branches, and the mean of distances


def test_boxes_are_decoded_in_float() -> None:
    for precision in ("fp16", "int8"):
        model = onnx.shape_inference.infer_shapes(typed(precision).model)
        kinds = {value.name: value.type.tensor_type.elem_type for value in model.graph.value_info}
        softmax = [node for node in model.graph.node if node.op_type == "Softmax"][-1]
        assert kinds[softmax.output[0]] == onnx.TensorProto.FLOAT
        convolution = next(node for node in model.graph.node if node.name == "/model.1/conv/Conv")
        assert kinds[convolution.output[0]] == onnx.TensorProto.FLOAT16


def test_the_graph_takes_bytes_and_makes_them_float_at_once() -> None:
    model = typed("int8").model
    assert model.graph.input[0].type.tensor_type.elem_type == onnx.TensorProto.UINT8
    assert [node.op_type for node in model.graph.node if "images" in node.input] == ["Cast"]
    spec = json.loads((typed("int8").folder / "spec.json").read_text())
    assert (spec["input"]["dtype"], spec["input"]["layout"]) == ("uint8", "NHWC")


@pytest.mark.parametrize(("precision", "drop"), [("fp16", 0.005), ("int8", 0.02)])
def test_it_finds_what_float_finds(precision: str, drop: float, tmp_path: Path) -> None:
    reference = map_of(simplified().model, tmp_path / "float")
    assert reference > 0.5
    assert map_of(typed(precision).folder, tmp_path / precision, *tensorrt.PROXY_BACKEND[::2]) > reference - drop


def test_a_graph_that_is_in_int8_to_its_end_finds_nothing(tmp_path: Path) -> None:
    """The negative control: without what `auto` leaves in float, the same placement kills the model."""
    from edgecompile.quantization.qdq import quantize

    ranges = typed("int8").folder.parent / "ranges" / "ranges.json"
    everything = {**placement(Int8Static()), "inputs_only": False, "learned_only": False, "ends_in_float": False}
    everything["operators"] = [*everything["operators"], "Concat", "Sigmoid", "Mul", "Add", "Sub", "Div"]
    quantize(tmp_path, model=simplified().model, ranges=ranges, placement=everything, exclude=[])
    assert map_of(tmp_path / "model.onnx", tmp_path / "out") < 0.1


def test_two_builds_are_equal(tmp_path: Path) -> None:
    from edgecompile.graphs.onnx.strongly_typed import compile_typed

    once = typed("int8")
    compile_typed(tmp_path, model=once.half, spec=simplified().spec, build=a_jetson().options())
    for name in ("model.onnx", "spec.json", "build.sh"):
        assert (tmp_path / name).read_bytes() == (once.folder / name).read_bytes()


def test_the_script_says_to_trtexec_what_finalize_does() -> None:
    from edgecompile.graphs.onnx.strongly_typed import build_script

    script = (typed("int8").folder / "build.sh").read_text()
    line = script.splitlines()[-1].split()
    assert line[0] == "trtexec"
    assert {"--onnx=model.onnx", "--stronglyTyped", "--memPoolSize=workspace:1024"} < set(line)
    shapes = {"min": [1, 320, 320, 3], "opt": [4, 640, 640, 3], "max": [8, 640, 640, 3]}
    spec = {"input": {"name": "images", "profile": shapes}}
    line = build_script(spec, {"workspace_mb": 64, "dla": 1}).splitlines()[-1].split()
    assert "--minShapes=images:1x320x320x3" in line
    assert "--maxShapes=images:8x640x640x3" in line
    assert {"--useDLACore=1", "--allowGPUFallback"} < set(line)
    assert subprocess.run(["sh", "-n"], input=script, text=True).returncode == 0


@pytest.mark.parametrize("precision", ["fp16", "int8"])
def test_tensorrt_rtx_builds_it(precision: str, tmp_path: Path) -> None:
    pytest.importorskip("tensorrt_rtx_bindings")
    assert tensorrt.prove(tmp_path, artifact=typed(precision).folder, sm=86)["engine_bytes"] > 100_000


def test_what_tensorrt_does_not_take_is_an_error_of_the_step(tmp_path: Path) -> None:
    """The negative control: unsigned activations, which ONNX Runtime likes best, are no graph for TensorRT."""
    pytest.importorskip("tensorrt_rtx_bindings")
    from edgecompile.graphs.onnx.strongly_typed import compile_typed
    from edgecompile.quantization.qdq import quantize

    ranges = typed("int8").folder.parent / "ranges" / "ranges.json"
    unsigned = {**placement(Int8Static()), "activations": "uint8", "symmetric": False}
    for name in ("quantized", "compiled"):
        (tmp_path / name).mkdir()
    quantize(tmp_path / "quantized", model=simplified().model, ranges=ranges, placement=unsigned, exclude="auto")
    model = tmp_path / "quantized" / "model.onnx"
    compile_typed(tmp_path / "compiled", model=model, spec=simplified().spec, build=None)
    with pytest.raises(StepError, match="does not take the model"):
        tensorrt.prove(tmp_path, artifact=tmp_path / "compiled", sm=86)


HEADS = """
import json, pathlib, sys, torch
from ultralytics.nn.tasks import DetectionModel
from edgecompile.passes.onnx_export import export
folder = pathlib.Path(sys.stdin.read())
for family in ("yolov10n", "yolo26n"):
    torch.manual_seed(0)
    model = DetectionModel(f"{family}.yaml", ch=3, nc=3, verbose=False)
    model.names, model.args, model.task = {0: "a", 1: "b", 2: "c"}, {}, "detect"
    out = folder / family
    out.mkdir()
    torch.save({"model": model, "train_args": {}}, out / "model.pt")
    export(out, weights=out / "model.pt", imgsz=[64, 96], opset=18, end2end=True, task="detect")
print("done")
"""


@pytest.mark.parametrize("family", ["yolov10n", "yolo26n"])
def test_heads_without_suppression_build_too(family: str, heads: Path, tmp_path: Path) -> None:
    """Random weights: what is shown is that the graph is one that the parser and the builder take."""
    from edgecompile.graphs.onnx.strongly_typed import compile_typed
    from edgecompile.quantization.qdq import calibrate, quantize
    from edgecompile.quantization.strongly_typed_qdq import halve_rest

    model, spec = heads / family / "model.onnx", heads / family / "spec.json"
    assert json.loads(spec.read_text())["output"]["decode"] == "end2end"
    steps = {name: tmp_path / name for name in ("ranges", "quantized", "half", "compiled")}
    for step in steps.values():
        step.mkdir()
    few = pictures("train", 2)
    calibrate(steps["ranges"], model=model, spec=spec, pictures=few, method="minmax", percentile=99.999)
    ranges = steps["ranges"] / "ranges.json"
    quantize(steps["quantized"], model=model, ranges=ranges, placement=placement(Int8Static()), exclude="auto")
    beyond = nets.nothing_beyond(steps["half"].parent)
    halve_rest(steps["half"], model=steps["quantized"] / "model.onnx", reference=model, beyond=beyond)
    compile_typed(steps["compiled"], model=steps["half"] / "model.onnx", spec=spec, build=None)
    tensorrt.prove(tmp_path, artifact=steps["compiled"], sm=89)


@pytest.fixture(scope="module")
def heads(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of models of random weights whose heads need no suppression."""
    pytest.importorskip("ultralytics")
    pytest.importorskip("tensorrt_rtx_bindings")
    folder = tmp_path_factory.mktemp("heads")
    run_code(HEADS, text=str(folder))
    return folder
