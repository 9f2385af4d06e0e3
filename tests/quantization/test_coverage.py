"""A precision is borne out by what the artifact holds: counted for each kind of graph, refused where it is not."""

from __future__ import annotations

import json
from pathlib import Path

import nets
import numpy as np
import pytest

from edgecompile.errors import StepError
from edgecompile.evaluate.layer_coverage import Layer, coverage_of, remarks, require_precision

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

from onnx import helper, numpy_helper  # noqa: E402

from edgecompile.graphs.onnx.agreement import fixed_input, run  # noqa: E402
from edgecompile.graphs.onnx.constants import fold_weights  # noqa: E402
from edgecompile.passes import fp16, int8_dynamic  # noqa: E402
from edgecompile.passes.int8_static import Int8Static  # noqa: E402
from edgecompile.quantization.calibration import measure_ranges  # noqa: E402
from edgecompile.quantization.coverage import count  # noqa: E402
from edgecompile.quantization.qdq import quantize  # noqa: E402
from edgecompile.targets import _strongly_typed  # noqa: E402
from edgecompile.targets.cann import Cann  # noqa: E402
from edgecompile.targets.onnxruntime import OnnxRuntime  # noqa: E402

CPU = {"device": "a device", "memory_mb": 1}
LAYERS = 7
"""Convolutions of `nets.detector()`."""
PLACEMENTS = {
    "onnxruntime": OnnxRuntime(**CPU, isa=("avx512_vnni",)).placement(Int8Static()),
    "onnxruntime, AVX2": OnnxRuntime(**CPU).placement(Int8Static(per_channel=False)),
    "tensorrt": _strongly_typed.placement(Int8Static()),
    "cann": Cann(**CPU, soc=("Ascend310B4",)).placement(Int8Static()),
}


def picture():
    return fixed_input([1, 3, *nets.SIZE], nets.SIZE)


def quantized(folder: Path, model: onnx.ModelProto, placement: dict, exclude: object) -> tuple[Path, Path]:
    path, spec = nets.written(model, folder / "float")
    found = measure_ranges(model, lambda: [picture()], method="minmax", percentile=100)
    (folder / "ranges.json").write_text(json.dumps(found))
    quantize(folder, model=path, ranges=folder / "ranges.json", placement=placement, exclude=exclude)
    return folder / "model.onnx", spec


@pytest.mark.parametrize("name", PLACEMENTS)
def test_int8_of_each_placement_is_counted_and_refused_where_nothing_is_quantized(tmp_path, name):
    artifact, spec = quantized(tmp_path, nets.detector(), PLACEMENTS[name], [])
    found = count(tmp_path, artifact=artifact, spec=spec, form="onnx", precision="int8")
    assert found["by_precision"]["int8"]["layers"] >= LAYERS - 3
    assert found["layers"] == LAYERS
    artifact, spec = quantized(tmp_path, nets.detector(), PLACEMENTS[name], ["*"])
    with pytest.raises(StepError, match=r"nothing was quantized: 0 of 7 layers .*exclude"):
        count(tmp_path, artifact=artifact, spec=spec, form="onnx", precision="int8")


def test_products_are_counted_for_one_picture_of_the_usual_size(tmp_path):
    height, width = nets.SIZE
    macs = [8 * 3 * 9 * height * width // 4, 16 * 8 * 9 * height * width // 16, 24 * 16 * 9 * height * width // 64]
    model = nets.detector()
    path, spec = nets.written(model, tmp_path)
    expected = count(tmp_path, artifact=path, spec=spec, form="onnx", precision="fp32")
    heads = height * width // 64 * (2 * 16 * 24 * 9 + 16 * (4 + len(nets.CLASSES)))
    assert expected["macs"] == sum(macs) + heads
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_param = "batch"
    onnx.save(model, path)
    assert count(tmp_path, artifact=path, spec=spec, form="onnx", precision="fp32") == expected


def test_products_of_matrices_and_transposed_convolutions_are_counted(tmp_path):
    net = nets.Net()
    up = net.node("ConvTranspose", "images", net.constant(np.ones((3, 5, 2, 2), np.float32)), strides=[2, 2])
    flat = net.node("Reshape", up, net.constant(np.array([1, 60, -1], np.int64)))
    left = net.node("MatMul", net.constant(np.ones((6, 60), np.float32)), flat)
    right = net.node("MatMul", left, net.constant(np.ones((64 * 96 // 3, 30), np.float32)))
    path, spec = nets.written(net.model(right, 6, 30), tmp_path)
    found = count(tmp_path, artifact=path, spec=spec, form="onnx", precision="fp32")
    anchors = 64 * 96 // 3
    assert found["layers"] == 3
    assert found["macs"] == 3 * 64 * 96 * 5 * 4 + 6 * anchors * 60 + 6 * 30 * anchors


WAYS = {
    "identity": lambda value: (value, [("Identity", [])]),
    "two identities": lambda value: (value, [("Identity", []), ("Identity", [])]),
    "cast": lambda value: (value.astype(np.float16), [("Cast", [])]),
    "scale": lambda value: (value / np.float32(3), [("Mul", [np.float32(3)])]),
    "transpose": lambda value: (value.transpose(1, 0, 2, 3), [("Transpose", [])]),
    "constant": lambda value: (value, []),
}
"""What stands between stored weights and the layer that uses them: what is stored, and the nodes."""


def behind(kind: str) -> onnx.ModelProto:
    """Returns the detector with all weights behind something."""
    model = nets.detector()
    graph = model.graph
    tensors = {tensor.name: tensor for tensor in graph.initializer}
    for number, node in enumerate([node for node in graph.node if node.op_type == "Conv"]):
        out = f"behind_{number}"
        stored, chain = WAYS[kind](numpy_helper.to_array(tensors[node.input[1]]))
        graph.initializer.remove(tensors[node.input[1]])
        if kind == "constant":
            new = [helper.make_node("Constant", [], [out], value=numpy_helper.from_array(stored))]
        else:
            graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(stored), f"stored_{number}"))
            new, source = [], f"stored_{number}"
            for at, (operator, others) in enumerate(chain):
                names = [f"other_{number}_{at}_{i}" for i in range(len(others))]
                graph.initializer.extend(map(numpy_helper.from_array, others, names))
                words = {"Cast": {"to": 1}, "Transpose": {"perm": [1, 0, 2, 3]}}.get(operator, {})
                target = out if at == len(chain) - 1 else f"{out}_{at}"
                new.append(helper.make_node(operator, [source, *names], [target], **words))
                source = target
        for one in reversed(new):
            graph.node.insert(0, one)
        node.input[1] = out
    onnx.checker.check_model(model, full_check=True)
    return model


@pytest.mark.parametrize("kind", WAYS)
def test_weights_behind_constants_are_found_and_quantized(tmp_path, kind):
    model = behind(kind)
    expected = run(model.SerializeToString(), picture())[0]
    assert fold_weights(model) == LAYERS
    onnx.checker.check_model(model, full_check=True)
    assert np.allclose(run(model.SerializeToString(), picture())[0], expected, atol=1e-4)
    assert sum(len(tensor.raw_data) for tensor in model.graph.initializer) < 1.1 * sum(
        len(tensor.raw_data) for tensor in nets.detector().graph.initializer
    ), "nothing is stored twice"
    artifact, spec = quantized(tmp_path, model, PLACEMENTS["onnxruntime"], "auto")
    found = count(tmp_path, artifact=artifact, spec=spec, form="onnx", precision="int8")
    assert found["by_precision"]["int8"]["layers"] == LAYERS


def test_weights_that_follow_from_the_picture_are_none_and_are_refused(tmp_path):
    model = nets.detector()
    graph = model.graph
    graph.initializer.append(numpy_helper.from_array(np.float32(0), "zero"))
    ahead = [
        helper.make_node("ReduceMean", ["images"], ["mean"], keepdims=0),
        helper.make_node("Mul", ["mean", "zero"], ["nothing"]),
    ]
    for node in [node for node in graph.node if node.op_type == "Conv"]:
        ahead.append(helper.make_node("Add", [node.input[1], "nothing"], [f"{node.input[1]}_made"]))
        node.input[1] += "_made"
    for one in reversed(ahead):
        graph.node.insert(0, one)
    assert fold_weights(model) == 0
    artifact, spec = quantized(tmp_path, model, PLACEMENTS["onnxruntime"], [])
    with pytest.raises(StepError, match=r"nothing was quantized: the graph has no convolution .*simplify"):
        count(tmp_path, artifact=artifact, spec=spec, form="onnx", precision="int8")


def test_what_would_grow_is_not_computed_beforehand():
    net = nets.Net()
    wide = net.constant(np.ones((1, 40_000), np.float32))
    tall = net.constant(np.ones((40_000, 1), np.float32))
    flat = net.node("Reshape", "images", net.constant(np.array([6, -1], np.int64)))
    cut = net.node("Slice", flat, *(net.constant(np.array([n], np.int64)) for n in (0, 3, 1)))
    product = net.node("MatMul", cut, net.node("Slice", net.node("Mul", wide, tall), *(
        net.constant(np.array([n], np.int64)) for n in (0, 3, 0)
    )))  # fmt: skip
    net.nodes.append(helper.make_node("Identity", [product], ["output0"]))
    info = [helper.make_tensor_value_info(name, 1, None) for name in ("images", "output0")]
    model = helper.make_model(
        helper.make_graph(net.nodes, "g", info[:1], info[1:], net.tensors),
        opset_imports=[helper.make_opsetid("", 18)],
        ir_version=8,
    )
    assert fold_weights(model) == 0


def test_weights_of_8_bits_beside_float_activations_are_no_int8(tmp_path):
    model = nets.detector()
    graph = model.graph
    tensors = {tensor.name: tensor for tensor in graph.initializer}
    for node in [node for node in graph.node if node.op_type == "Conv"]:
        tensor = tensors[node.input[1]]
        whole = np.rint(numpy_helper.to_array(tensor) * 100).clip(-127, 127).astype(np.int8)
        tensor.CopyFrom(numpy_helper.from_array(whole, tensor.name))
        graph.initializer.append(numpy_helper.from_array(np.float32(0.01), f"{tensor.name}_scale"))
        words = [tensor.name, f"{tensor.name}_scale"]
        graph.node.insert(0, helper.make_node("DequantizeLinear", words, [f"{tensor.name}_float"]))
        node.input[1] = f"{tensor.name}_float"
    path, spec = nets.written(model, tmp_path)
    with pytest.raises(StepError, match="nothing was quantized: 0 of 7"):
        count(tmp_path, artifact=path, spec=spec, form="onnx", precision="int8")


def test_fp16_is_counted_and_refused_where_nothing_is_halved(tmp_path):
    path, spec = nets.written(nets.detector(), tmp_path / "float")
    for keep, halved in ([], LAYERS), (["Conv"], 0):
        fp16.convert(tmp_path, model=path, keep=keep, beyond=nets.nothing_beyond(tmp_path))
        if halved:
            found = count(tmp_path, artifact=tmp_path / "model.onnx", spec=spec, form="onnx", precision="fp16")
            assert found["by_precision"]["fp16"]["layers"] >= halved - 2  # the decode part stays in float
            continue
        with pytest.raises(StepError, match="nothing was stored in FP16: 0 of 7"):
            count(tmp_path, artifact=tmp_path / "model.onnx", spec=spec, form="onnx", precision="fp16")


def test_dynamic_products_are_counted(tmp_path):
    net = nets.Net()
    flat = net.node("Reshape", "images", net.constant(np.array([1, 6, -1], np.int64)))
    product = net.node("MatMul", flat, net.constant(net.noise.normal(size=(3072, 48)).astype(np.float32)))
    path, spec = nets.written(net.model(product, 6, 48), tmp_path / "float")
    int8_dynamic.quantize(tmp_path, model=path, per_channel=True, convolution_share=0.2)
    found = count(tmp_path, artifact=tmp_path / "model.onnx", spec=spec, form="onnx", precision="int8")
    assert found["by_precision"] == {"int8": {"layers": 1, "macs": 6 * 3072 * 48}}


@pytest.mark.slow
def test_openvino_is_counted(tmp_path):
    pytest.importorskip("openvino")
    from edgecompile.graphs.openvino.ir_artifact import compile_ir

    path, spec = nets.written(nets.detector(), tmp_path / "float")
    expected = count(tmp_path, artifact=path, spec=spec, form="onnx", precision="fp32")
    for half, precision in (False, "fp32"), (True, "fp16"):
        (out := tmp_path / precision).mkdir()
        compile_ir(out, model=path, spec=spec, half=half, separate_silu=False)
        found = count(out, artifact=out, spec=out / "spec.json", form="openvino", precision=precision)
        assert found["by_precision"] == {precision: {"layers": LAYERS, "macs": expected["macs"]}}
    with pytest.raises(StepError, match="nothing was quantized: 0 of 7"):
        count(out, artifact=out, spec=out / "spec.json", form="openvino", precision="int8")


@pytest.mark.slow
def test_ncnn_is_counted(tmp_path):
    pytest.importorskip("ncnn")
    pytest.importorskip("pnnx")
    from edgecompile.graphs.ncnn.ncnn_artifact import compile_ncnn
    from edgecompile.quantization.ncnn_int8 import quantize as to_int8

    path, spec = nets.written(nets.detector(activation="relu"), tmp_path / "float")
    expected = count(tmp_path, artifact=path, spec=spec, form="onnx", precision="fp32")
    for half, precision in (False, "fp32"), (True, "fp16"):
        (out := tmp_path / precision).mkdir()
        compile_ncnn(out, model=path, spec=spec, half=half)
        found = count(out, artifact=out, spec=out / "spec.json", form="ncnn", precision=precision)
        assert found["by_precision"] == {precision: {"layers": LAYERS, "macs": expected["macs"]}}
    out = tmp_path / "fp32"
    names = [line.split()[1] for line in (out / "model.param").read_text().splitlines() if line.startswith("Conv")]
    (tmp_path / "ranges.json").write_text(json.dumps(dict.fromkeys(names, 1.0)))
    for exclude, quantized_layers in (names[:2], LAYERS - 2), (["*"], 0):
        (quantized_out := tmp_path / f"int8_{quantized_layers}").mkdir()
        settings = {"ranges": tmp_path / "ranges.json", "per_channel": True, "exclude": exclude}
        to_int8(quantized_out, model=out, **settings)
        words = {"artifact": quantized_out, "spec": out / "spec.json", "form": "ncnn", "precision": "int8"}
        if quantized_layers:
            assert count(out, **words)["by_precision"]["int8"]["layers"] == quantized_layers
            continue
        with pytest.raises(StepError, match="nothing was quantized: 0 of 7"):
            count(out, **words)


def test_litert_is_counted(tmp_path):
    pytest.importorskip("ai_edge_litert")
    from edgecompile.graphs.litert.litert_artifact import compile_litert

    path, spec = nets.written(nets.detector(activation="relu"), tmp_path / "float")
    expected = count(tmp_path, artifact=path, spec=spec, form="onnx", precision="fp32")
    for half, precision in (False, "fp32"), (True, "fp16"):
        (out := tmp_path / precision).mkdir()
        compile_litert(out, model=path, spec=spec, half=half)
        found = count(out, artifact=out, spec=out / "spec.json", form="litert", precision=precision)
        assert found["by_precision"] == {precision: {"layers": LAYERS, "macs": expected["macs"]}}
    with pytest.raises(StepError, match="nothing was quantized: 0 of 7"):
        count(out, artifact=out, spec=out / "spec.json", form="litert", precision="int8")


def test_the_smaller_part_is_remarked_upon():
    def found(*layers):
        return coverage_of([Layer("a", precision, macs) for precision, macs in layers])

    part = found(("int8", 30), ("fp32", 70))
    require_precision(part, "int8")
    assert remarks(part, "int8") == [
        "only 30% of the operations of layers with weights are in int8 (1 of 2 layers)",
    ]
    assert remarks(found(("int8", 70), ("fp16", 30)), "int8") == []
    assert remarks(found(("fp32", 1)), "fp32") == []
    assert remarks(found(("fp16", 1)), "fp32") == ["the precision is called fp32, and weights of layers are in fp16"]
    assert remarks(None, "int8") == []
    with pytest.raises(StepError, match="nothing was quantized"):
        require_precision(found(("fp32", 1)), "int8")
