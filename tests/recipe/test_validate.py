"""Each way in which a recipe can be wrong: one line for each problem, with file, line, key and the nearest name."""

from __future__ import annotations

import time

import pytest
from recipe_texts import BASE

from edgecompile.compose.composition import compose
from edgecompile.targets.onnxruntime import OnnxRuntime

FIRST = BASE.count("\n") + 1
"""The line on which a test's own text begins."""

WRONG = [
    # text of the recipe, line of the problem counted from its first one, key, words of the message
    ("modle: {imgsz: 320}", 0, "modle", ["unknown key 'modle'", "did you mean 'model'?"]),
    ("model: {imgz: 320}", 0, "model.imgz", ["unknown key 'imgz'", "did you mean 'imgsz'?"]),
    ("model:\n  imgsz: 100", 1, "model.imgsz", ["found 100", "a multiple of 32"]),
    ("model: {imgsz: 0}", 0, "model.imgsz", ["found 0", "at least 1"]),
    ("model: {imgsz: 8192}", 0, "model.imgsz", ["found 8192", "at most 4096"]),
    ("model: {imgsz: '640'}", 0, "model.imgsz", ["found the text '640'", "a whole number", "a list"]),
    ("model: {imgsz: 640.0}", 0, "model.imgsz", ["found 640.0", "a whole number"]),
    ("model: {imgsz: [640]}", 0, "model.imgsz", ["expected"]),
    ("model: {weights: ''}", 0, "model.weights", ["at least 1 characters"]),
    ("model: {weights: 3}", 0, "model.weights", ["found 3", "expected text"]),
    ("model: {weights: no}", 0, "model.weights", ["found false", "expected text"]),
    ("model: {dynamic: true}", 0, "model.dynamic", ["found true", "expected a mapping"]),
    ("model: yolo11n.pt", 0, "model", ["the text 'yolo11n.pt'", "a mapping"]),
    ("data: {calibration: {images: 0}}", 0, "data.calibration.images", ["found 0", "at least 1"]),
    ("data: {calibration: {images: 8}}", 0, "data.calibration.images", ["8", "fewer than the minimum of 32"]),
    ("data: {calibration: {split: 3}}", 0, "data.calibration.split", ["found 3", "expected text"]),
    ("data: {calibration: {splits: train}}", 0, "data.calibration.splits", ["did you mean 'split'?"]),
    ("data:\n  calibration: null", 1, "data.calibration", ["'int8_static' needs calibration pictures"]),
    ("data: {validation: null}", 0, "data.validation", ["found null", "a mapping"]),
    ("gates: {map_dorp: 0.1}", 0, "gates.map_dorp", ["did you mean 'map_drop'?"]),
    ("gates: {map_drop: -0.1}", 0, "gates.map_drop", ["found -0.1", "at least 0"]),
    ("gates: {map_drop: 2}", 0, "gates.map_drop", ["found 2", "at most 1"]),
    ("gates: {fps: 0}", 0, "gates.fps", ["found 0", "more than 0"]),
    ("gates: {fps: fast}", 0, "gates.fps", ["found the text 'fast'", "a number"]),
    ("gates: {size_mb: true}", 0, "gates.size_mb", ["found true", "a number"]),
    ("gates: 0.1", 0, "gates", ["found 0.1", "a mapping"]),
    ("evaluate: {conf: 1.5}", 0, "evaluate.conf", ["at most 1"]),
    ("passes: {simplyfy: {}}", 0, "passes.simplyfy", ["unknown pass 'simplyfy'", "did you mean 'simplify'?"]),
    ("passes: {second: {kind: simplfy}}", 0, "passes.second.kind", ["did you mean 'simplify'?"]),
    ("passes: {simplify: true}", 0, "passes.simplify", ["found true", "a mapping"]),
    ("passes: {onnx_export: {opset: 99}}", 0, "passes.onnx_export.opset", ["found 99", "at most 20"]),
    ("passes: {onnx_export: {opest: 18}}", 0, "passes.onnx_export.opest", ["did you mean 'opset'?"]),
    ("passes:\n  int8_static:\n    method: minmx", 2, "passes.int8_static.method", ["did you mean 'minmax'?"]),
    ("passes: {int8_static: {per_channel: 1}}", 0, "passes.int8_static.per_channel", ["true or false"]),
    ("passes: {int8_static: {percentile: 5}}", 0, "passes.int8_static.percentile", ["at least 90"]),
    ("passes: {int8_static: {repair: of}}", 0, "passes.int8_static.repair", ["'auto' or 'off'", "did you mean 'off'?"]),
    (
        "passes: {int8_static: {repair: {max_slowdwn: 2}}}",
        0,
        "passes.int8_static.repair.max_slowdwn",
        ["unknown key", "did you mean 'max_slowdown'?"],
    ),
    ("passes: {int8_static: {repair: {candidates: 0}}}", 0, "passes.int8_static.repair.candidates", ["at least 1"]),
    ("passes: {onnx_export: null}", 0, "passes", ["no pass makes the model"]),
    ("passes: {onnx_import: {}}", 0, "passes.onnx_import", ["'onnx_export'", "leave one out"]),
    ("passes: {fp16: {}}", 0, "passes.fp16", ["'int8_static' has lowered it to int8 already"]),
    ("order: [simplify, onnx_export, equalize, int8_static]", 0, "order", ["begin with onnx_export"]),
    ("order: [onnx_export, equalize, int8_static, simplify]", 0, "order", ["'simplify' (fusion) cannot follow"]),
    ("order: [onnx_export, simplify, equalize]", 0, "order", ["'int8_static' is missing"]),
    ("order: [onnx_export, simplify, simplify, equalize, int8_static]", 0, "order", ["'simplify' stands twice"]),
    ("order: [onnx_export, simplfy, equalize, int8_static, simplify]", 0, "order", ["did you mean 'simplify'?"]),
    ("order: onnx_export", 0, "order", ["a list of the names"]),
    ("target: {precisions: [fp32]}", 0, "passes.int8_static", ["does not run", "it runs fp32"]),
    ("target: {kind: onnxrutime}", 0, "target.kind", ["did you mean 'onnxruntime'?"]),
    ("target: {threads: 0}", 0, "target.threads", ["at least 1"]),
    ("target: {threads: 20000}", 0, "target.threads", ["at most 1024"]),
    ("target: {options: {enable_profiling: true}}", 0, "target.options", ["unknown key 'options'"]),
    ("target: {isa: avx2}", 0, "target.isa", ["found the text 'avx2'", "a list"]),
    ("target: {arch: x86}", 0, "target.arch", ["did you mean 'x86_64'?"]),
    ("schema: 2", 0, "schema", ["found 2", "expected 1"]),
    ("name: ../up", 0, "name", ["of the form"]),
    ("name: 3", 0, "name", ["found 3", "expected text"]),
    ("model:\n  weights: ${nowhere}", 1, "model.weights", ["nowhere"]),
    ("passes:\n  again:\n    kind: ???", 2, "passes.again.kind", ["is required"]),
]


@pytest.mark.parametrize(("text", "line", "key", "words"), WRONG, ids=[text[:48] for text, *_ in WRONG])
def test_wrong_recipe(write, problems, text, line, key, words):
    """A problem is reported with its place; a precision or a missing pass at the place that the message is about."""
    found = problems(write(text))
    told = [one for one in found if all(word in one for word in words)]
    assert told, found
    assert len(found) == 1 or key.startswith(("target", "passes", "model.weights")), found
    if key in ("passes", "passes.int8_static"):
        assert f":{key}: " in told[0]
    else:
        assert told[0].startswith(f"my.yaml:{FIRST + line}:{key}: "), told
    assert all("\n" not in one for one in found)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"optimized_model_filepath": "/tmp/x"}, ["'onnxruntime'", "has no option 'optimized_model_filepath'"]),
        ({"enable_mem_pattern": "yes"}, ["enable_mem_pattern: found 'yes', expected true or false"]),
    ],
)
def test_a_target_that_asks_for_what_no_bundle_may_is_refused(write, problems, monkeypatch, options, words):
    """The runtime's declaration is what counts here too, for targets of third parties above all."""
    monkeypatch.setattr(OnnxRuntime, "options", lambda self: options)
    (found,) = problems(write(""))
    assert "target: the backend" in found
    assert all(word in found for word in words)
    monkeypatch.setattr(OnnxRuntime, "options", lambda self: {"enable_mem_pattern": True})
    compose(write(""))


def test_a_target_whose_runtime_is_not_its_backends_is_refused(write, problems, monkeypatch):
    monkeypatch.setattr(OnnxRuntime, "runtime", ("something-else", ">=1"))
    assert "needs something-else, and its backend 'onnxruntime' is of onnxruntime" in problems(write(""))[0]
    monkeypatch.setattr(OnnxRuntime, "backend", "warp_drive")
    assert "needs the backend 'warp_drive'" in problems(write(""))[0]


def test_all_problems_at_once(write, problems):
    """Every section is read before anything is reported, files that are not there included."""
    text = (
        "model: {imgsz: 33, weights: nope.pt}\ngates: {fps: -1}\npasses: {simplfy: {}}\ndata: {path: none.yaml}\nx: 1\n"
    )
    found = problems(write(text))
    for key in ("model.imgsz", "gates.fps", "passes.simplfy", "x", "model.weights", "data.path"):
        assert any(f":{key}: " in one for one in found), (key, found)


def test_control_the_same_recipe_without_a_fault(write):
    recipe = compose(write("model: {imgsz: 320}\ngates: {map_drop: 0.5, fps: 1}\norder: null\n"))
    assert recipe.model.imgsz == 320
    assert recipe.ordered_names() == ("onnx_export", "simplify", "equalize", "int8_static")


def test_numbers_are_not_read_as_booleans_nor_text(write):
    recipe = compose(write("gates: {fps: 30}\nmodel: {imgsz: [320, 640]}\n"))
    assert recipe.gates.fps == 30.0
    assert recipe.model.imgsz == (320, 640)


def test_nothing_is_not_a_number(problems):
    assert "is no number to work with" in problems("gates.fps=nan")[0]


def test_a_pass_by_another_name(write):
    recipe = compose(write("passes: {again: {kind: simplify}}\n"))
    assert recipe.ordered_names() == ("onnx_export", "simplify", "equalize", "again", "int8_static")


def test_a_pass_left_out(write):
    assert list(compose(write("passes: {simplify: null}\n")).passes) == ["onnx_export", "equalize", "int8_static"]


def test_no_pass_at_all(write, problems):
    found = problems(write("defaults: [override /target: x86-cpu_onnxruntime]\n", base=False))
    assert any("names no pass" in one for one in found)


def test_reading_a_wrong_recipe_is_quick(write, problems):
    name = write("gates: {" + ", ".join(f"g{number}: 1" for number in range(500)) + "}\n")
    began = time.monotonic()
    assert len(problems(name)) == 500
    assert time.monotonic() - began < 10


def test_what_is_written_can_be_read_again(write):
    from edgecompile.recipe.validate import recipe_from

    order = "order: [onnx_export, again, simplify, equalize, int8_static]\n"
    recipe = compose(write("passes: {again: {kind: simplify}}\n" + order))
    read = recipe_from(recipe.model_dump(mode="json", by_alias=True))
    # What is said of a target, and no part of what is built, is not written.
    told = {key: getattr(recipe.target, key) for key in ("proof", "source", "board")}
    assert read.model_copy(update={"target": read.target.model_copy(update=told)}) == recipe
