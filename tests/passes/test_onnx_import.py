"""ONNX files of others: what is accepted, what is refused before anything outside the file is opened."""

from __future__ import annotations

import json
import os

import foreign_models
import numpy as np
import pytest
from exported import NAMES, SIZE, exported, graph_for, pictures

from edgecompile import cli
from edgecompile.compose.composition import compose
from edgecompile.errors import RecipeError, StepError
from edgecompile.evaluate.class_names import class_name_mismatch
from edgecompile.graphs.onnx.agreement import fixed_input
from edgecompile.graphs.onnx.agreement import run as run_model
from edgecompile.passes.onnx_import import OnnxImport, import_model
from edgecompile.recipe.materials import find_materials

onnx = pytest.importorskip("onnx")

FIELDS = {
    "pictures": pictures("val", 2), "imgsz": SIZE, "names": NAMES,
    "stride": "auto", "class_names": "file", "task": "detect",
}  # fmt: skip


@pytest.fixture
def folder(tmp_path):
    """A folder with the sample as somebody else would hand it over: `given.onnx`, with Ultralytics' metadata."""
    model = onnx.load(exported().model)
    said = {"task": "detect", "stride": "32", "names": "{0: 'screw', 1: 'nut', 2: 'ring'}", "date": "2026-01-01"}
    onnx.helper.set_model_props(model, said)
    model.doc_string = "/home/somebody/secret"
    onnx.save(model, tmp_path / "given.onnx")
    (tmp_path / "out").mkdir()
    return tmp_path


def run(folder, weights=None, **fields):
    return import_model(folder / "out", weights=weights or folder / "given.onnx", **{**FIELDS, **fields})


def test_plan_passes_the_names_of_the_data_set():
    graph = graph_for(None, weights="model.onnx", imgsz=[192, 256])
    model = OnnxImport().lower(graph, None)
    assert graph.steps["onnx_import"].params["names"] == NAMES
    assert graph.steps["onnx_import"].params["imgsz"] == [192, 256]
    assert model.precision == "fp32"
    with pytest.raises(ValueError, match="decode"):
        OnnxImport(decode="ssd")
    with pytest.raises(ValueError, match=r"older name of outputs\.layout"):
        OnnxImport(decode="yolo", outputs={"layout": "end2end"})


def test_metadata_is_believed_and_dropped(folder):
    facts = run(folder)
    spec = json.loads((folder / "out" / "spec.json").read_text())
    assert spec["names"] == ["screw", "nut", "ring"]
    assert spec["input"]["shape"] == [1, 3, *SIZE]
    assert spec["output"]["decode"] == "yolo"
    assert "date" in facts["metadata"]
    assert b"secret" not in (folder / "out" / "model.onnx").read_bytes()
    assert b"2026-01-01" not in (folder / "out" / "model.onnx").read_bytes()


def test_categories_of_the_data_set_stand_in_the_spec(folder):
    run(folder, categories=[7, None])
    assert json.loads((folder / "out" / "spec.json").read_text())["categories"] == [7, None, None]


def test_without_metadata_names_come_from_the_data_set(folder):
    model = onnx.load(exported().model)
    onnx.save(model, folder / "given.onnx")
    run(folder)
    spec = json.loads((folder / "out" / "spec.json").read_text())
    assert spec["names"] == NAMES
    assert spec == json.loads(exported().spec.read_text())


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"imgsz": [320, 320]}, "expected (n, 3, 320, 320)"),
        ({"outputs": {"layout": "end2end"}}, "the model's first output has the shape [1, 7, 1008]"),
    ],
)
def test_what_does_not_fit_the_recipe_is_refused(folder, fields, said):
    with pytest.raises(StepError) as raised:
        run(folder, **fields)
    assert said in str(raised.value)


def test_names_with_text_keys_are_those_of_the_model(folder):
    """And not those of the data set, which `build` then remarks upon."""
    model = onnx.load(folder / "given.onnx")
    onnx.helper.set_model_props(model, {"names": '{"0": "first", "1": "second", "2": "third"}'})
    onnx.save(model, folder / "given.onnx")
    facts = run(folder)
    names = json.loads((folder / "out" / "spec.json").read_text())["names"]
    assert names == ["first", "second", "third"]
    assert "notes" not in facts
    assert class_name_mismatch(NAMES, names) == [
        "class 0 is 'bolt' in the data set and 'first' in the model (and 2 more): they meet by their numbers, and "
        "figures go by the model's names"
    ]


def test_names_that_cannot_be_read_are_an_error_unless_those_of_the_data_are_asked_for(folder):
    model = onnx.load(folder / "given.onnx")
    onnx.helper.set_model_props(model, {"names": "{1: 'first', 2: 'second', 3: 'third'}"})
    onnx.save(model, folder / "given.onnx")
    with pytest.raises(StepError, match="numbers its classes 1, 2, 3, expected 0 to 2"):
        run(folder)
    assert run(folder, class_names="data")["notes"] == [
        "'given.onnx' states no class names: those of the data set are taken"
    ]
    assert json.loads((folder / "out" / "spec.json").read_text())["names"] == NAMES


def test_rows_with_objectness_are_read_where_decode_says_so(folder):
    weights = foreign_models.written(foreign_models.rows_with_objectness(1), folder / "rows.onnx")
    with pytest.raises(StepError, match=r"not end2end.*passes\.onnx_import\.outputs\.layout=rows_with_objectness or"):
        run(folder, weights)
    facts = run(folder, weights, outputs={"layout": "rows_with_objectness"})
    spec = json.loads((folder / "out" / "spec.json").read_text())
    assert (facts["layout"], facts["decode"], facts["classes"]) == ("rows_with_objectness", "yolo", 1)
    assert (spec["names"], spec["output"]["shape"]) == (["bolt"], [1, 5, 1008])
    picture = fixed_input([1, 3, *SIZE], SIZE)
    ours = run_model((folder / "out" / "model.onnx").read_bytes(), picture)[0]
    assert np.allclose(ours, run_model(exported().model.read_bytes(), picture)[0][:, :5], rtol=1e-3, atol=1e-4)


def test_an_old_operator_set_is_raised_for_every_pass(folder):
    weights = foreign_models.written(foreign_models.in_operator_set_11(), folder / "old.onnx")
    facts = run(folder, weights)
    assert facts["changes"] == ["operator set raised from 11 to 18"]
    model = onnx.load(folder / "out" / "model.onnx")
    assert [(one.domain, one.version) for one in model.opset_import] == [("", 18)]
    assert [entry.name for entry in model.graph.input] == ["images"]


def test_the_size_of_a_model_is_its_fix(folder):
    with pytest.raises(StepError, match=r"expected \(n, 3, 320, 320\); set model\.imgsz=\[192,256\]$"):
        run(folder, imgsz=[320, 320])


def test_pictures_of_the_data_set_are_what_the_layout_is_proven_on():
    graph = graph_for(None, weights="model.onnx", imgsz=[192, 256])
    OnnxImport().lower(graph, None)
    assert graph.steps["onnx_import"].inputs["pictures"].paths == ("/data/b.jpg",)


def test_other_tasks_and_class_counts_are_refused(folder):
    model = onnx.load(folder / "given.onnx")
    for key, value, said in (
        ("task", "segment", "'segment'"),
        ("names", "{0: 'one'}", "it would have 3 classes, the file names 1"),
    ):
        onnx.helper.set_model_props(model, {key: value})
        onnx.save(model, folder / "given.onnx")
        with pytest.raises(StepError, match=said):
            run(folder)


@pytest.mark.parametrize("content", [b"", b"noise" * 100, None], ids=["empty", "noise", "cut"])
def test_damaged_files_get_one_line(folder, content):
    path = folder / "given.onnx"
    path.write_bytes(path.read_bytes()[:-1000] if content is None else content)
    with pytest.raises(StepError) as raised:
        run(folder)
    assert "\n" not in str(raised.value)


def with_external_data(folder, **changes):
    """Writes `given.onnx` with one weight in `given.onnx.data`, and what is said of it changed."""
    model = onnx.load(exported().model)
    tensor = max(model.graph.initializer, key=lambda one: len(one.raw_data))
    content = tensor.raw_data
    (folder / "given.onnx.data").write_bytes(b"\0" * 16 + content)
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    said = {"location": "given.onnx.data", "offset": "16", "length": str(len(content)), **changes}
    for key, value in said.items():
        entry = tensor.external_data.add()
        entry.key, entry.value = key, value
    (folder / "given.onnx").write_bytes(model.SerializeToString())
    return [folder / "given.onnx", folder / "given.onnx.data"]


def test_external_data_beside_the_file_is_inlined(folder):
    run(folder, with_external_data(folder))
    model = onnx.load(folder / "out" / "model.onnx", load_external_data=False)
    assert not any(tensor.data_location == onnx.TensorProto.EXTERNAL for tensor in model.graph.initializer)
    plain = {tensor.name: tensor for tensor in onnx.load(exported().model).graph.initializer}
    for tensor in model.graph.initializer:
        assert np.array_equal(onnx.numpy_helper.to_array(tensor), onnx.numpy_helper.to_array(plain[tensor.name]))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"location": "/etc/hostname"}, "outside"),
        ({"location": "../given.onnx.data"}, "outside"),
        ({"location": "a/../../given.onnx.data"}, "outside"),
        ({"location": "C:\\\\data"}, "outside"),
        ({"location": ""}, "outside"),
        ({"location": "other.data"}, "not among the recipe's weights"),
        ({"offset": "-16"}, "expected a whole number"),
        ({"offset": "99999999"}, "ends at byte"),
        ({"offset": "9" * 30}, "expected a whole number"),
        ({"length": "4"}, "its shape wants"),
        ({"length": "x"}, "expected a whole number"),
    ],
)
def test_external_data_that_escapes_or_lies_is_refused(folder, changes, said):
    with pytest.raises(StepError) as raised:
        run(folder, with_external_data(folder, **changes))
    assert said in str(raised.value)
    assert not list((folder / "out").iterdir())


@pytest.mark.parametrize("link", [os.symlink, os.link])
def test_linked_external_data_is_refused(folder, link):
    files = with_external_data(folder)
    files[1].rename(folder / "elsewhere")
    link(folder / "elsewhere", files[1])
    with pytest.raises(StepError, match="link"):
        run(folder, files)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("said", "stride"),
    [
        ("[8, 16, 32]", 32),
        ("16.0", 16),
        ("abc", "states the stride 'abc'"),
        ("0", "states the stride 0"),
        ("[]", r"\[\]"),
    ],
)
def test_a_stride_is_one_number_or_one_for_each_feature_map(folder, said, stride):
    model = onnx.load(folder / "given.onnx")
    onnx.helper.set_model_props(model, {"stride": said})
    onnx.save(model, folder / "given.onnx")
    if isinstance(stride, str):
        with pytest.raises(StepError, match=stride):
            run(folder)
        return
    run(folder)
    spec = json.loads((folder / "out" / "spec.json").read_text())
    assert spec["stride"] == stride


def test_nodes_in_a_wrong_order_are_put_in_order(folder):
    """As converters to FP16 leave them; ONNX Runtime runs such files."""
    model = onnx.load(folder / "given.onnx")
    nodes = [onnx.NodeProto.FromString(node.SerializeToString()) for node in model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend([*nodes[5:], *nodes[:5]])
    onnx.save(model, folder / "given.onnx")
    assert run(folder)["decode"] == "yolo"
    model.graph.node[0].input[0] = "nowhere"
    onnx.save(model, folder / "given.onnx")
    with pytest.raises(StepError, match="no valid ONNX model"):
        run(folder)


RECIPE = """\
defaults:
  - /pass@passes: [onnx_import]
  - override /target: x86-cpu_onnxruntime
  - override /model: sample
  - override /data: sample
"""


def said_at_plan(capfd, *words):
    """Runs `edgecompile plan my.yaml` and returns its exit code and what it says, less where."""
    capfd.readouterr()
    code = cli.main(["plan", "my.yaml", "model.imgsz=[192,256]", *words])
    lines = capfd.readouterr().err.strip().splitlines()
    return code, [line.removeprefix("edgecompile: command line:model.weights: ") for line in lines]


def with_input(shape, kind=onnx.TensorProto.FLOAT):
    model = foreign_models.sample()
    model.graph.input[0].CopyFrom(onnx.helper.make_tensor_value_info("images", kind, shape))
    return model


def in_operator_set(version):
    model = foreign_models.sample()
    model.opset_import[0].version = version
    return model


def with_plugin():
    node = onnx.helper.make_node("EfficientNMS_TRT", ["images"], ["x"])
    return foreign_models.before(foreign_models.sample(), lambda name: [node])


def of_integers():
    node = onnx.helper.make_node("ConvInteger", ["images", "scale"], ["x"])
    return foreign_models.before(foreign_models.sample(), lambda name: [node])


def two_inputs():
    model = foreign_models.sample()
    model.graph.input.append(onnx.helper.make_tensor_value_info("mask", onnx.TensorProto.FLOAT, [1]))
    return model


AT_PLAN = {
    "channels": (
        lambda: with_input([1, 7, 192, 256]),
        ["the model takes pictures of 7 channels (its input has the shape (1, 7"],
    ),
    "type": (
        lambda: with_input([1, 3, 192, 256], onnx.TensorProto.INT64),
        ["the model's input 'images' is int64, expected one of"],
    ),
    "axes": (lambda: with_input([1, 192, 256]), ["the model's input has the shape (1, 192, 256), expected four axes"]),
    "size": (lambda: with_input([1, 3, 320, 320]), ["the model's input has the shape (1, 3, 320, 320), expected ("]),
    "inputs": (two_inputs, ["the model has 2 inputs (images, mask); a detection model has one, the picture"]),
    "old": (lambda: in_operator_set(6), ["'a.onnx' uses operator set 6; 7 to 28 can be read; export the model again"]),
    "new": (
        lambda: in_operator_set(99),
        ["'a.onnx' uses operator set 99; 7 to 28 can be read; export the model again"],
    ),
    "plugin": (with_plugin, ["'a.onnx' uses 'EfficientNMS_TRT', which only a plugin of some runtime brings; "]),
    "integers": (
        of_integers,
        ["'a.onnx' computes with integers (ConvInteger), not by Q/DQ pairs; import the float"],
    ),
    "task": (
        lambda: foreign_models.noted(foreign_models.sample(), task="depth"),
        ["'a.onnx' is a model for the task 'depth'; only '"],
    ),
    "names and stride": (
        lambda: foreign_models.noted(foreign_models.sample(), names="{1: 'a'}", stride="x"),
        ["'a.onnx' states the stride 'x', expected a", "'a.onnx' numbers its classes 1, expected 0 to 0, each once; "],
    ),
}


@pytest.mark.parametrize("case", AT_PLAN)
def test_plan_tells_what_a_file_is_no_use_for(folder, capfd, monkeypatch, case):
    model, said = AT_PLAN[case]
    monkeypatch.chdir(folder)
    (folder / "my.yaml").write_text(RECIPE)
    foreign_models.written(model(), folder / "a.onnx")
    code, lines = said_at_plan(capfd, "model.weights=a.onnx")
    assert code == 2
    assert [line[: len(start)] for line, start in zip(lines, said, strict=True)] == said


@pytest.mark.slow
def test_plan_takes_what_can_be_imported(folder, capfd, monkeypatch):
    monkeypatch.chdir(folder)
    (folder / "my.yaml").write_text(RECIPE)
    foreign_models.written(foreign_models.in_operator_set_11(), folder / "old.onnx")
    (folder / "noise.onnx").write_bytes(b"noise" * 99)
    for name in ("given.onnx", "old.onnx"):
        assert said_at_plan(capfd, f"model.weights={name}") == (0, [])
    assert said_at_plan(capfd, "model.weights=noise.onnx") == (
        2, ["'noise.onnx' is damaged, is no ONNX file or has no operators"],
    )  # fmt: skip
    code, (line,) = said_at_plan(capfd)
    assert code == 2
    assert line.endswith("'parts.pt' is no ONNX file; take the pass onnx_export for a checkpoint")


def test_a_file_of_anchors_belongs_to_the_weights(folder, monkeypatch):
    """So its content is part of their digest; a link, or none, is an error."""
    monkeypatch.chdir(folder)
    (folder / "my.yaml").write_text(RECIPE)
    words = (
        "my.yaml", "model.weights=given.onnx",
        "passes.onnx_import.outputs={layout: anchor_offsets, anchors_file: anchors.txt}",
    )  # fmt: skip

    def refused():
        with pytest.raises(RecipeError, match=r"'anchors\.txt' is no plain file beside 'given\.onnx'"):
            find_materials(compose(*words))

    refused()
    (folder / "elsewhere.txt").write_text("1 2 3 4\n")
    (folder / "anchors.txt").symlink_to(folder / "elsewhere.txt")
    refused()
    (folder / "anchors.txt").unlink()
    (folder / "anchors.txt").write_text("1 2 3 4\n")
    weights = find_materials(compose(*words)).weights
    assert weights.paths == (str(folder / "given.onnx"), str(folder / "anchors.txt"))
    assert weights.many
