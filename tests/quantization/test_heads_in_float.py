"""What turns the last convolutions of poses and rotated boxes into pixels, scores and radians stays in float, of every
head and on every graph: found by structure."""

from __future__ import annotations

import json
from pathlib import Path

import onnx
import pytest
from exported import EXPORT, run_code
from filelock import FileLock

from edgecompile.graphs.onnx.structure import LEARNED, Structure

pytestmark = pytest.mark.slow

HEADS = {
    "yolov8-pose": "pose",
    "yolo11-pose": "pose",
    "yolo26-pose": "pose",
    "yolov8-obb": "obb",
    "yolo11-obb": "obb",
    "yolo26-obb": "obb",
}
MAKE = """
import json, sys
from pathlib import Path
from edgecompile.passes.onnx_export import export
folder, heads, cases, params = json.loads(sys.stdin.read())
import torch
from ultralytics.nn import tasks
from ultralytics.utils import ROOT, YAML
for name, task in heads.items():
    architecture = YAML.load(next((ROOT / "cfg/models").rglob(f"{name}.yaml")))
    architecture.update(nc=3, scales={"n": [0.33, 0.125, 256]}, scale="n")
    if task == "pose":
        architecture["kpt_shape"] = [4, 3]
    torch.manual_seed(0)
    model = {"pose": tasks.PoseModel, "obb": tasks.OBBModel}[task](architecture, verbose=False)
    model.names, model.args, model.task = {0: "a", 1: "b", 2: "c"}, {}, task
    torch.save({"model": model.half(), "train_args": {}}, f"{folder}/{name}.pt")
for name, end2end in cases:
    out = Path(folder, f"{name}-{end2end}")
    out.mkdir()
    export(out, weights=Path(folder, f"{name}.pt"), **params, task=heads[name], end2end=end2end)
print("made")
"""
"""One process for all of them: what is imported takes longer than an export."""
TURNS = {"Cos", "Sin"}
ONLY_IN_DECODE = {"pose": {"Sigmoid", "Concat", "Mul", "Add"}, "obb": {"Sigmoid", "Concat", "Mul", *TURNS}}


CASES = [*((name, False) for name in HEADS), ("yolo26-pose", True), ("yolo26-obb", True)]


@pytest.fixture(scope="session")
def exports(shared: Path) -> Path:
    """A folder of the exports, which the first process of this test run makes."""
    pytest.importorskip("ultralytics")
    folder = shared / "heads"
    with FileLock(shared / "heads.lock"):
        if not folder.exists():
            made = shared / "heads.part"
            made.mkdir()
            params = {key: value for key, value in EXPORT.items() if key not in ("task", "end2end")}
            run_code(MAKE, text=json.dumps([str(made), HEADS, CASES, {**params, "imgsz": [64, 64]}]))
            made.rename(folder)
    return folder


def exported(exports: Path, name: str, end2end: bool) -> Path:
    return exports / f"{name}-{end2end}" / "model.onnx"


@pytest.mark.parametrize(("name", "end2end"), CASES)
def test_onnx(exports: Path, name: str, end2end: bool) -> None:
    structure = Structure(onnx.shape_inference.infer_shapes(onnx.load(exported(exports, name, end2end))))
    decode = structure.decode()
    kinds = {node.op_type for node in decode}
    assert ONLY_IN_DECODE[HEADS[name]] <= kinds
    assert not [node.name for node in decode if structure.is_learned(node)]
    inside = {node.output[0] for node in decode}
    assert all(node.output[0] in inside for node in structure.nodes if node.op_type in TURNS)
    read = [structure.producer[entry] for node in decode for entry in structure.inputs(node)]
    makers = {node.op_type for node in read if node.output[0] not in inside}
    assert makers <= {*LEARNED, "Shape"}, "every number that is decoded comes from a convolution as it is"
    ends = [node for node in structure.ends() if "images" not in node.input]
    assert len(ends) == 9, "boxes, scores and what the task adds, at three strides"


@pytest.mark.parametrize(("name", "end2end"), CASES)
def test_openvino(exports: Path, name: str, end2end: bool) -> None:
    pytest.importorskip("openvino")
    from edgecompile.graphs.openvino.conversion import from_onnx
    from edgecompile.graphs.openvino.ir_structure import decode, is_learned

    graph = from_onnx(exported(exports, name, end2end))
    inside = set(decode(graph))
    operations = {operation.get_friendly_name(): operation for operation in graph.get_ordered_ops()}
    assert not [name for name in inside if is_learned(operations[name])]
    turning = [name for name, operation in operations.items() if operation.get_type_name() in TURNS]
    assert inside.issuperset(turning)
    assert bool(turning) == (HEADS[name] == "obb")
