"""Models that hold Q/DQ pairs already, on each kind of target: they work, or `plan` says why not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import foreign_models
import numpy as np
import onnx
import pytest
from exported import SIZE, exported
from onnx import helper, numpy_helper

from edgecompile.compose.composition import compose
from edgecompile.errors import RecipeError, StepError
from edgecompile.graphs.onnx.agreement import run
from edgecompile.graphs.onnx.constants import fold_biases
from edgecompile.graphs.onnx.strongly_typed import compile_typed
from edgecompile.recipe.materials import find_materials
from edgecompile.targets._strongly_typed import built_ahead

RECIPE = """\
defaults:
  - /pass@passes: [onnx_import]
  - override /target: {target}
  - override /data: sample
  - _self_
model: {{weights: pairs.onnx}}
"""


def quantized(kind: Any, zero: int = 0, *, bias_in_constant: bool = False) -> onnx.ModelProto:
    """Returns the sample with a pair before and after the weights of its first convolution, and its bias in INT32, as
    ONNX Runtime's quantizer writes them."""
    model = foreign_models.sample()
    node = next(node for node in model.graph.node if node.op_type == "Conv")
    stored = {tensor.name: tensor for tensor in model.graph.initializer}
    weights, bias = (numpy_helper.to_array(stored[name]) for name in node.input[1:3])
    steps = np.abs(weights).max(axis=(1, 2, 3)) / 127
    scale = np.float32(1 / 127)
    values = {
        "in/scale": scale, "in/zero": kind(zero),
        "w/scale": steps.astype(np.float32), "w/zero": np.zeros(len(steps), np.int8),
        "w/q": np.round(weights / steps[:, None, None, None]).astype(np.int8),
        "b/scale": (steps * scale).astype(np.float32), "b/zero": np.zeros(len(steps), np.int32),
    }  # fmt: skip
    for name, value in values.items():
        foreign_models.constant(model, name, value)
    whole = np.round(bias / values["b/scale"]).astype(np.int32)
    nodes = [
        helper.make_node("QuantizeLinear", [node.input[0], "in/scale", "in/zero"], ["in/q"], name="in/Q"),
        helper.make_node("DequantizeLinear", ["in/q", "in/scale", "in/zero"], ["in/dq"], name="in/DQ"),
        helper.make_node("DequantizeLinear", ["w/q", "w/scale", "w/zero"], ["w/dq"], axis=0, name="w/DQ"),
        helper.make_node("DequantizeLinear", ["b/q", "b/scale", "b/zero"], ["b/dq"], axis=0, name="b/DQ"),
    ]
    if bias_in_constant:
        nodes.insert(0, helper.make_node("Constant", [], ["b/q"], value=numpy_helper.from_array(whole)))
    else:
        foreign_models.constant(model, "b/q", whole)
    place = list(model.graph.node).index(node)
    node.input[:] = ["in/dq", "w/dq", "b/dq"]
    for offset, added in enumerate(nodes):
        model.graph.node.insert(place + offset, added)
    return model


@pytest.mark.parametrize("bias_in_constant", [False, True])
def test_biases_in_int32_become_float_and_compute_the_same(bias_in_constant: bool) -> None:
    model = quantized(np.int8, bias_in_constant=bias_in_constant)
    picture = np.random.default_rng(0).uniform(0, 1, (1, 3, *SIZE)).astype(np.float32)
    before = run(model.SerializeToString(), picture)[0]
    assert fold_biases(model) == 1
    assert fold_biases(model) == 0
    left = [node.name for node in model.graph.node if node.op_type == "DequantizeLinear"]
    assert left == ["in/DQ", "w/DQ"]
    assert np.allclose(run(model.SerializeToString(), picture)[0], before, rtol=1e-4, atol=1e-3)


def problems(folder: Path, target: str) -> list[str]:
    """Returns what planning says of the model for a target."""
    (folder / "my.yaml").write_text(RECIPE.format(target=target))
    try:
        find_materials(compose("my.yaml"))
    except RecipeError as error:
        return [str(problem) for problem in error.problems]
    return []


@pytest.mark.parametrize(
    ("target", "kind", "zero", "said"),
    [
        ("x86-cpu_onnxruntime", np.uint8, 128, ""),
        ("x86-cpu_openvino", np.uint8, 128, ""),
        ("x86-cpu_litert", np.uint8, 128, ""),
        ("jetson-orin-nano_tensorrt", np.int8, 0, ""),
        ("rtx_tensorrt-rtx", np.int8, 0, ""),
        ("jetson-orin-nano_tensorrt", np.uint8, 0, "takes those of int8 around 0 alone"),
        ("rtx_tensorrt-rtx", np.int8, 3, "takes those of int8 around 0 alone"),
        ("raspberry-pi-4_ncnn", np.int8, 0, "(ncnn) takes none: ncnn has no layers for them"),
    ],
)
def test_plan_says_which_pairs_a_target_takes(target, kind, zero, said, here: Path) -> None:
    foreign_models.written(quantized(kind, zero), here / "pairs.onnx")
    told = problems(here, target)
    assert len(told) == bool(said)
    assert said in "".join(told)
    if said:
        assert told[0].startswith("my.yaml:6:model.weights: 'pairs.onnx' holds Q/DQ pairs, and ")
        assert "import the float model" in told[0]


@pytest.mark.slow
def test_tensorrt_builds_signed_pairs_whose_biases_are_in_int32(tmp_path: Path) -> None:
    pytest.importorskip("tensorrt_rtx_bindings")
    weights = foreign_models.written(quantized(np.int8), tmp_path / "pairs.onnx")
    facts = compile_typed(tmp_path, model=weights, spec=exported().spec, build=None)
    assert facts["changes"][1] == "1 biases in INT32 are in float now, which TensorRT wants"
    assert len(built_ahead(tmp_path, [86])) > 100_000
    (tmp_path / "model.onnx").write_bytes(weights.read_bytes())
    with pytest.raises(StepError, match="DequantizeLinear"):
        built_ahead(tmp_path, [86])
