"""Exports of real checkpoints: the sample, and one random one of each family of heads."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from pathlib import Path

import pytest
from exported import CHECKPOINT, EXPORT, NAMES, SIZE, exported, graph_for, run_code, run_step

from edgecompile.evaluate.tasks import find_task, task_names
from edgecompile.passes.onnx_export import OnnxExport

pytestmark = pytest.mark.slow

FAMILIES = ("yolov5n", "yolov8n", "yolov9t", "yolov10n", "yolo11n", "yolo12n", "yolo26n")
NMS_FREE = ("yolov10n", "yolo26n")
"""Families that have an NMS-free head beside the other."""

TESTED = FAMILIES if os.environ.get("EDGECOMPILE_FAMILIES") == "all" else ["yolov8n", "yolov10n", "yolo26n"]
"""`EDGECOMPILE_FAMILIES=all pytest tests/passes/test_onnx_export.py` tests all of them."""

EXPORT_FAMILIES = """
import json, pathlib, sys, tempfile, torch
from ultralytics.nn.tasks import DetectionModel
from edgecompile.passes.onnx_export import export
facts = {}
for family, end2end in json.loads(sys.stdin.read()):
    torch.manual_seed(0)
    model = DetectionModel(f"{family}.yaml", ch=3, nc=3, verbose=False)
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_var.uniform_(0.5, 1.5)
            module.weight.data.uniform_(0.8, 1.4)
            module.bias.data.normal_(0, 0.2)
    model.names, model.args, model.task = {0: "a", 1: "b", 2: "c"}, {}, "detect"
    folder = pathlib.Path(tempfile.mkdtemp())
    torch.save({"model": model, "train_args": {}}, folder / f"{family}.pt")
    settings = {"imgsz": [64, 96], "opset": 18, "end2end": end2end, "task": "detect"}
    found = export(folder, weights=folder / f"{family}.pt", **settings)
    facts[f"{family} {end2end}"] = {**found, "folder": str(folder)}
print("\\n" + json.dumps(facts))
"""


@pytest.fixture(scope="module")
def families():
    pytest.importorskip("ultralytics")
    wanted = [(family, "auto") for family in TESTED] + [(family, True) for family in NMS_FREE] + [("yolo26n", False)]
    return json.loads(run_code(EXPORT_FAMILIES, text=json.dumps(wanted)))


def test_plan_names_what_decides_the_result():
    graph = graph_for(None, imgsz=320)
    model = OnnxExport(opset=17).lower(graph, None)
    step = graph.steps["onnx_export"]
    assert (model.artifact.step, model.artifact.path, model.spec.path) == ("onnx_export", "model.onnx", "spec.json")
    assert dict(step.params) == {
        "imgsz": [320, 320], "profile": None, "task": "detect", "opset": 17, "end2end": "auto",
    }  # fmt: skip
    assert {"torch", "ultralytics", "onnx"} <= set(step.tools)


@pytest.mark.parametrize("field", [{"opset": 12}, {"batch": 4}, {"end2end": "maybe"}, {"opsett": 18}])
def test_fields_are_checked(field):
    with pytest.raises(ValueError, match=next(iter(field))):
        OnnxExport(**field)


def test_sample_is_exported_with_its_spec():
    import onnx

    spec = json.loads(exported().spec.read_text())
    assert spec["names"] == NAMES
    assert spec["stride"] == 32
    assert spec["input"]["shape"] == [1, 3, *SIZE]
    assert spec["letterbox"]["size"] == SIZE
    assert spec["output"] == {"name": "output0", "shape": [1, 7, 1008], "decode": "yolo"}
    model = onnx.load(exported().model)
    assert [dimension.dim_value for dimension in model.graph.output[0].type.tensor_type.shape.dim] == [1, 7, 1008]
    assert exported().facts["head"] == "Detect"
    assert exported().facts["max_abs_diff_to_torch"]["boxes"] < 0.02


def test_nothing_but_the_graph_remains():
    import onnx

    model = onnx.load(exported().model)
    assert not model.metadata_props
    assert not model.producer_version
    assert not any(node.doc_string or node.metadata_props for node in model.graph.node)
    content = exported().model.read_bytes()
    assert b"site-packages" not in content
    assert str(CHECKPOINT.parent).encode() not in content


def test_bytes_depend_on_the_checkpoint_alone(tmp_path):
    """Another folder, file name, hash seed, time zone and number of cores give the same files."""
    expected = exported()
    renamed = shutil.copy(CHECKPOINT, tmp_path / "other name.pt")
    out = tmp_path / "out"
    how = {"PYTHONHASHSEED": "71", "TZ": "Asia/Tokyo", "cores": "0"}
    facts = run_step(out, "edgecompile.passes.onnx_export:export", {"weights": renamed}, EXPORT, **how)
    for name in ("model.onnx", "spec.json"):
        digests = [hashlib.sha256((folder / name).read_bytes()).hexdigest() for folder in (expected.folder, out)]
        assert digests[0] == digests[1], name
    assert facts == expected.facts


def test_families_export_and_agree_with_torch(families):
    """Each export was compared with torch by the step itself; here, that each head is read as what it is."""
    for name, facts in families.items():
        family, end2end = name.split()
        assert ("notes" in facts) == (family in NMS_FREE and end2end == "auto"), name
        spec = json.loads(Path(facts["folder"], "spec.json").read_text())
        decode = "end2end" if end2end == "True" else "yolo"
        assert spec["output"]["decode"] == decode, name
        # 64x96 has 8*12 + 4*6 + 2*3 anchors
        assert spec["output"]["shape"] == ([1, 126, 6] if decode == "end2end" else [1, 7, 126]), name


def test_decode_part_is_found_in_every_family(families):
    """The nodes after the last convolutions: all of them, none of the net; by structure, whatever the names."""
    import onnx

    from edgecompile.graphs.onnx.structure import Structure

    for name, facts in families.items():
        model = onnx.load(f"{facts['folder']}/model.onnx")
        for position, node in enumerate(model.graph.node):
            node.name = f"node{position}"
        structure = Structure(model)
        decode = structure.decode()
        kinds = {node.op_type for node in decode}
        assert "Sigmoid" in kinds, name
        assert ("TopK" in kinds) == (facts["end2end"] is True), name
        inside = {node.output[0] for node in decode}
        read = {source for node in decode for source in structure.inputs(node)}
        last = [node for node in structure.nodes if node.output[0] in read and structure.is_learned(node)]
        assert len(last) == 6, f"{name}: a box and a score convolution for each of three scales"
        assert not inside & {node.output[0] for node in structure.nodes if structure.is_learned(node)}, name


PAYLOADS = """
import json, os, pathlib, pickle, sys, torch
from edgecompile.errors import EdgecompileError
folder = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else json.loads(sys.stdin.read()))
mark = folder / "ran"

class Evil:
    def __reduce__(self):
        return (os.system, (f"touch {mark}",))

torch.save({"model": Evil()}, folder / "evil.pt")
torch.save({"model": torch.nn.Linear(2, 2)}, folder / "linear.pt")
torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), folder / "script.pt")
(folder / "empty.pt").write_bytes(b"")
(folder / "noise.pt").write_bytes(bytes(range(256)) * 20)
from edgecompile.passes._ultralytics_checkpoint import load_checkpoint
from ultralytics.nn.tasks import SegmentationModel, RTDETRDetectionModel
for name, model, task in (("seg", SegmentationModel("yolo11n-seg.yaml", verbose=False), "segment"),):
    model.task, model.args = task, {}
    torch.save({"model": model, "train_args": {}}, folder / f"{name}.pt")
said = {}
for name in ("evil", "linear", "script", "empty", "noise", "seg", "cut", "missing"):
    try:
        load_checkpoint(folder / f"{name}.pt")
    except EdgecompileError as error:
        said[name] = [type(error).__name__, str(error)]
ran = mark.exists()
torch.load(folder / "evil.pt", weights_only=False)
print("\\n" + json.dumps({"said": said, "ran": ran, "would_run": mark.exists()}))
"""


def test_bad_checkpoints_get_one_line_and_run_no_code(tmp_path):
    pytest.importorskip("ultralytics")
    (tmp_path / "cut.pt").write_bytes(CHECKPOINT.read_bytes()[:200_000])
    found = json.loads(run_code(PAYLOADS, text=json.dumps(str(tmp_path))))
    assert not found["ran"]
    assert found["would_run"], "the payload is real: an unguarded load runs it"
    said = found["said"]
    assert {kind for kind, _ in said.values()} == {"StepError"}
    assert all("\n" not in text for _, text in said.values())
    assert "'posix.system'" in said["evil"][1]
    assert "'segment'" in said["seg"][1]
    assert "TorchScript" in said["script"][1]
    assert "does not exist" in said["missing"][1]
    for name in ("empty", "noise", "cut"):
        assert "damaged" in said[name][1], name


def test_unsafe_import_is_refused():
    """Where ultralytics was imported without its flag, loading is refused, not done unsafely."""
    pytest.importorskip("ultralytics")
    code = f"""
import os
os.environ.pop("ULTRALYTICS_SAFE_LOAD")
import ultralytics.utils, pathlib
from edgecompile.passes._ultralytics_checkpoint import load_checkpoint
try:
    load_checkpoint(pathlib.Path({str(CHECKPOINT)!r}))
except Exception as error:
    print(error)
"""
    assert "refusing to unpickle" in run_code(code)


def test_a_wrong_graph_is_refused(tmp_path):
    """The proof against torch is one: a graph whose weights were touched does not pass it."""
    pytest.importorskip("ultralytics")
    code = f"""
import pathlib, onnx
from onnx import numpy_helper
from edgecompile.passes import onnx_export
honest = onnx_export.trace
def touched(*arguments):
    graph = honest(*arguments)
    weight = next(t for t in graph.graph.initializer if t.name.endswith("conv.weight"))
    weight.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(weight) * 1.05, weight.name))
    return graph
onnx_export.trace = touched
try:
    onnx_export.export(pathlib.Path({str(tmp_path)!r}), weights=pathlib.Path({str(CHECKPOINT)!r}), **{EXPORT!r})
except Exception as error:
    print(type(error).__name__, error)
"""
    assert "changed what the model computes" in run_code(code)


def said_at_plan(capfd, *words):
    """Runs `edgecompile plan` on the quickstart with other weights; returns its exit code and what it says."""
    from edgecompile import cli

    capfd.readouterr()
    code = cli.main(["plan", *words])
    return code, capfd.readouterr().err.strip()


HEADS = """
import pathlib, sys, torch
from ultralytics.nn import tasks
folder = pathlib.Path(sys.stdin.read())
made = {
    "semantic": (tasks.SemanticSegmentationModel, "yolo26n-sem.yaml", "semantic", {}),
    "five": (tasks.DetectionModel, "yolo11n.yaml", "detect", {"ch": 5}),
    "four": (tasks.DetectionModel, "yolo11n.yaml", "detect", {"ch": 4}),
    "unnamed": (tasks.SemanticSegmentationModel, "yolo26n-sem.yaml", None, {}),
}
for name, (kind, architecture, task, settings) in made.items():
    model = kind(architecture, verbose=False, **settings)
    model.args = {}
    if task:
        model.task = task
    torch.save({"model": model.half(), "train_args": {}}, folder / f"{name}.pt")
torch.save({"model": torch.nn.Linear(2, 2)}, folder / "linear.pt")
print()
"""


def test_plan_tells_what_a_checkpoint_is_no_use_for(tmp_path, capfd, monkeypatch):
    pytest.importorskip("ultralytics")
    monkeypatch.setenv("EDGECOMPILE_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    run_code(HEADS + "print('made')", text=str(tmp_path))
    (tmp_path / "noise.pt").write_bytes(b"noise" * 100)
    shutil.copy(exported().model, tmp_path / "model.onnx")
    loadable = ", ".join(sorted(f"'{stated}'" for name in task_names() for stated in find_task(name).checkpoints))
    for name, said in {
        "semantic.pt": f"'semantic.pt' is a model for the task 'semantic'; only {loadable} can be compiled",
        "five.pt": "'five.pt' takes pictures of 5 channels; those of 1, 3, 4 can be compiled",
        "unnamed.pt": f"'unnamed.pt' is a model for the task 'semantic'; only {loadable} can be compiled",
        "linear.pt": "'linear.pt' holds a 'torch.nn.modules.linear.Linear', not an Ultralytics model",
        "noise.pt": "'noise.pt' is damaged or is no Ultralytics checkpoint",
        "model.onnx": "'model.onnx' is an ONNX file; take the pass onnx_import, not onnx_export",
    }.items():
        assert said_at_plan(capfd, f"model.weights={name}") == (2, f"edgecompile: command line:model.weights: {said}")
    code, said = said_at_plan(capfd, "model.weights=four.pt")
    assert code == 2
    assert said.endswith(
        "test_0000.jpg: the picture has 3 channels, 'four.pt' takes 4; give pictures an alpha channel (PNG), or take a "
        "model of colour pictures"
    )
    code, said = said_at_plan(capfd, "passes.onnx_export.end2end=true")
    assert code == 2
    assert said.endswith("model.weights: 'parts.pt' has no NMS-free head; set end2end to auto or false")
    assert said_at_plan(capfd, "passes.onnx_export.end2end=false") == (0, "")
    assert said_at_plan(capfd) == (0, "")
