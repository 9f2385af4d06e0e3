"""The pass `swap_activation`: its place in a plan, and a short refit of the embedded sample, which loses less than the
same swap without one."""

from __future__ import annotations

import hashlib
import json
from collections import Counter

import numpy as np
import pytest
from exported import CHECKPOINT, EXPORT, exported, graph_for, pictures, run_code

from edgecompile.errors import PlanError
from edgecompile.passes.onnx_export import OnnxExport
from edgecompile.passes.swap_activation import SwapActivation, refits
from edgecompile.plan.graph import Model
from edgecompile.plan.step import Output, Stage

STEPS = 24


def planned(**fields):
    graph = graph_for(None)
    source = OnnxExport().lower(graph, None)
    return graph, source, SwapActivation(**fields).lower(graph, source)


def test_it_refits_the_checkpoint_and_exports_it_as_the_float_model_was():
    graph, source, model = planned(steps=20, keep=("/model.23/cv3",))
    assert model == source.with_(artifact=Output("swap_activation.export", "model.onnx"))
    refit, export = graph.steps["swap_activation"], graph.steps["swap_activation.export"]
    assert refit.stage is Stage.FUSION
    assert set(refit.inputs) == {"weights", "model", "spec", "pictures"}
    assert refit.params["keep"] == ["/model.23/cv3"]
    assert "20 training steps: takes minutes" in refit.about
    before = graph.steps["onnx_export"]
    assert (export.function, export.params, export.version) == (before.function, before.params, before.version)
    assert export.inputs["refit"] == Output("swap_activation")


def test_it_stands_right_behind_the_export_of_a_checkpoint():
    for model in (None, Model(Output("onnx_import", "model.onnx"), Output("onnx_import", "spec.json"))):
        with pytest.raises(PlanError, match=r"needs a checkpoint \(\.pt\)"):
            SwapActivation().lower(graph_for(None), model)
    graph = graph_for(None, calibration=False)
    source = OnnxExport().lower(graph, None)
    with pytest.raises(PlanError, match="no pictures to calibrate with"):
        SwapActivation().lower(graph, source)


@pytest.mark.parametrize("field", [{"to": "gelu"}, {"steps": -1}, {"seed": -1}, {"rate": 1.0}])
def test_fields_are_checked(field):
    with pytest.raises(ValueError, match=next(iter(field))):
        SwapActivation(**field)


def test_weights_that_cannot_be_refitted_are_refused_at_the_plan(tmp_path):
    (problem,) = SwapActivation().check_weights(tmp_path / "model.onnx", None)
    assert problem.message == "'swap_activation' needs a checkpoint (.pt), and 'model.onnx' is none"
    assert SwapActivation().check_weights(CHECKPOINT, None) == []
    assert not refits("RTDETRDecoder")


@pytest.mark.slow
def test_the_plan_says_what_takes_minutes_and_why_an_onnx_file_cannot_be_refitted(run, here):
    added = "+pass@passes=swap_activation"
    plan = run("plan", "quickstart", added)
    assert plan.code == 0, plan.err
    assert "takes minutes" in plan.out
    imported = "{onnx_export: null, onnx_import: {}, swap_activation: {}}"
    (here / "model.onnx").write_bytes(b"\x08\x0a\x3a\x00")
    wrong = run("plan", "quickstart", "model.weights=model.onnx", f"+passes={imported}", "passes.onnx_export=null")
    assert wrong.code == 2
    assert "'swap_activation' needs a checkpoint (.pt), and 'model.onnx' is none" in wrong.err


BUILDS = """
import json, pathlib, sys, torch
from edgecompile.errors import StepError
from edgecompile.passes._ultralytics_checkpoint import load_checkpoint
from edgecompile.passes.onnx_export import export
from edgecompile.passes.swap_activation import refit
given = json.loads(sys.stdin.read())
folder, weights = pathlib.Path(given["folder"]), pathlib.Path(given["weights"])
files = {name: pathlib.Path(given[name]) for name in ("model", "spec")}
files["pictures"] = [pathlib.Path(name) for name in given["pictures"]]
if given["relu"]:
    network = load_checkpoint(weights)
    for module in list(network.modules()):
        for name, inner in module._modules.items():
            if isinstance(inner, torch.nn.SiLU):
                module._modules[name] = torch.nn.ReLU()
    torch.save({"model": network, "train_args": {}}, folder / "relu.pt")
said = {}
for name, changed in given["builds"].items():
    place = folder / name
    place.mkdir()
    source = folder / "relu.pt" if name == "relu" else weights
    try:
        said[name] = refit(place, weights=source, **files, **{**given["settings"], **changed})
    except StepError as error:
        said[name] = error.problems[0].message
        continue
    (place / "export").mkdir()
    export(place / "export", weights=source, refit=place, **given["export"])
print("\\n" + json.dumps(said))
"""
BRANCH = "/model.23/cv3.0"


def refitted(folder, builds, *, relu=False):
    """Refits the sample and exports it, each time with some settings changed; returns what each refit says."""
    settings = {"task": "detect", "end2end": "auto", "to": "hard_swish", "keep": [], "steps": STEPS, "seed": 0}
    given = {
        "folder": str(folder),
        "weights": str(CHECKPOINT),
        "model": str(exported().model),
        "spec": str(exported().spec),
        "pictures": [str(path) for path in pictures("train", 24)],
        "settings": settings,
        "export": EXPORT,
        "builds": builds,
        "relu": relu,
    }
    return json.loads(run_code(BUILDS, text=json.dumps(given)))


@pytest.fixture(scope="module")
def builds(tmp_path_factory):
    """Folder of several refits, and what each says."""
    folder = tmp_path_factory.mktemp("refits")
    changed = {
        "short": {},
        "tiny": {"steps": 3},
        "unfitted": {"steps": 0},
        "kept": {"keep": [BRANCH], "steps": 1, "to": "leaky_relu"},
        "unknown": {"keep": ["/model.99"]},
        "foreign": {"keep": ["/model.23/dfl"]},
        "relu": {"steps": 3},
    }
    return folder, refitted(folder, changed, relu=True)


def nodes(model):
    import onnx

    return list(onnx.load(model).graph.node)


def operators(model):
    return Counter(node.op_type for node in nodes(model))


def gap_to_float(model):
    """Returns the mean difference of class scores from the float model's where that finds something, on validation
    pictures."""
    import onnxruntime

    from edgecompile.quantization.calibration_batches import input_reader

    read, options = input_reader(exported().spec), onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    sessions = [onnxruntime.InferenceSession(str(path), options) for path in (exported().model, model)]
    gaps = []
    for picture in pictures("val", 6):
        first, second = (session.run(None, {"images": read(picture)})[0][:, 4:] for session in sessions)
        gaps.append(np.abs(first - second)[first > 0.1].mean())
    return float(np.mean(gaps))


@pytest.mark.slow
def test_a_refit_brings_the_network_back_to_its_float_self(builds):
    folder, said = builds
    before, after = operators(exported().model), operators(folder / "short/export/model.onnx")
    swapped = said["short"]["swapped"]
    assert after["HardSwish"] == swapped > 50
    assert before["Sigmoid"] - after["Sigmoid"] == before["Mul"] - after["Mul"] == swapped
    assert said["short"]["changes"][0] == f"{swapped} of {swapped} SiLU became hard_swish"
    assert said["short"]["loss"][-1] < 0.75 * said["short"]["loss"][0]
    assert said["unfitted"]["changes"] == [f"{swapped} of {swapped} SiLU became hard_swish: steps is 0"]
    assert gap_to_float(folder / "short/export/model.onnx") < 0.9 * gap_to_float(folder / "unfitted/export/model.onnx")


@pytest.mark.slow
def test_equal_seeds_give_equal_bytes_and_others_do_not(builds, tmp_path):
    def digest(folder):
        return [hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in ("weights.npz", "swap.json")]

    folder, said = builds
    again = refitted(tmp_path, {"tiny": {"steps": 3}, "other": {"steps": 3, "seed": 1}})
    assert again["tiny"] == said["tiny"]
    assert digest(tmp_path / "tiny") == digest(folder / "tiny")
    assert digest(tmp_path / "other")[0] != digest(folder / "tiny")[0]


@pytest.mark.slow
def test_what_keep_names_stays_silu(builds):
    folder, said = builds
    names = [node.name for node in nodes(exported().model)]
    named = [name for name in names if name.startswith(f"{BRANCH}/") and name.endswith("/act/Sigmoid")]
    assert len(said["kept"]["kept"]) == len(named) > 1
    assert operators(folder / "kept/export/model.onnx")["LeakyRelu"] == said["kept"]["swapped"]
    assert said["kept"]["swapped"] == said["short"]["swapped"] - len(named)
    assert said["kept"]["changes"][0].endswith(f" SiLU became leaky_relu, {len(named)} kept")


@pytest.mark.slow
def test_nothing_to_swap_and_nothing_to_keep_are_said(builds):
    _, said = builds
    assert said["relu"]["changes"] == ["0 SiLU: nothing to swap"]
    assert said["unknown"] == "keep: '/model.99' matches no node of the graph"
    assert said["foreign"] == "keep: no SiLU stands in /model.23/dfl"
