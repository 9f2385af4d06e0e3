"""ONNX files as a stranger could make them: each is a change to one small good model, or bytes of its own.

A case is a function that writes `m.onnx`, and what belongs to it, into a folder; `../secret/secret.txt` lies beside.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
from nets import Net
from onnx import AttributeProto, TensorProto, helper, numpy_helper

from .attack import SECRET, Hostile

FILE = "m.onnx"
SECRET_FILE = "../secret/secret.txt"
FLOAT, INT64, UINT8, BOOL = TensorProto.FLOAT, TensorProto.INT64, TensorProto.UINT8, TensorProto.BOOL
Change = Callable[[onnx.ModelProto], object]


def good() -> onnx.ModelProto:
    """Returns a model that builds: one convolution, whose output is read as boxes and scores of two classes."""
    net = Net()
    head = net.convolution("images", 3, 6, kernel=9, stride=8)
    flat = net.node("Reshape", head, net.constant(np.array([1, 6, 96], np.int64)))
    scale = net.constant(np.array([120.0, 90.0, 32.0, 32.0, 1.0, 1.0], np.float32).reshape(1, 6, 1))
    return net.model(net.node("Mul", net.node("Sigmoid", flat), scale), 6, 96)


def changed(*changes: Change) -> Callable[[Path], None]:
    """Returns what writes the good model with changes made in place."""

    def make(folder: Path) -> None:
        model = good()
        for change in changes:
            change(model)
        (folder / FILE).write_bytes(model.SerializeToString())

    return make


def content(data: bytes) -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        (folder / FILE).write_bytes(data)

    return make


def both(*makes: Callable[[Path], object]) -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        for one in makes:
            one(folder)

    return make


def constant(model: onnx.ModelProto, name: str, value: object) -> str:
    model.graph.initializer.append(numpy_helper.from_array(np.asarray(value), name))
    return name


def before(build: Callable[[onnx.ModelProto, str], list[onnx.NodeProto]]) -> Change:
    """Puts nodes between the picture and the net; the last one's first output is what the net reads."""

    def change(model: onnx.ModelProto) -> None:
        nodes = build(model, "images")
        for node in model.graph.node:
            node.input[:] = [nodes[-1].output[0] if one == "images" else one for one in node.input]
        for position, node in enumerate(nodes):
            model.graph.node.insert(position, node)

    return change


def outside(location: str = SECRET_FILE, **said: str) -> TensorProto:
    """Returns a tensor whose data lies in another file."""
    tensor = TensorProto(name="secret", data_type=UINT8, dims=[len(SECRET)], data_location=TensorProto.EXTERNAL)
    for key, value in {"location": location, **said}.items():
        tensor.external_data.add(key=key, value=value)
    return tensor


def reads(tensor: TensorProto) -> Change:
    """The model's picture is brightened by what the tensor holds: the result would tell it."""

    def build(model: onnx.ModelProto, name: str) -> list[onnx.NodeProto]:
        model.graph.initializer.append(tensor)
        axis = constant(model, "no_axis", np.zeros(1, np.int64))
        return [
            helper.make_node("Cast", ["secret"], ["as_float"], to=FLOAT),
            helper.make_node("ReduceMean", ["as_float", axis], ["mean"], keepdims=0),
            helper.make_node("Add", [name, "mean"], ["brighter"]),
        ]

    return before(build)


def external(location: str = SECRET_FILE, **said: str) -> Callable[[Path], None]:
    return changed(reads(outside(location, **said)))


def beside(size: int) -> Callable[[Path], None]:
    return lambda folder: (folder / f"{FILE}.data").write_bytes(b"\1" * size)


def attribute(**fields: object) -> AttributeProto:
    return AttributeProto(name="hidden", **fields)


def graph_with(tensor: TensorProto) -> onnx.GraphProto:
    return helper.make_graph([], "inner", [], [], [tensor])


def sparse() -> onnx.SparseTensorProto:
    return onnx.SparseTensorProto(values=outside(), indices=numpy_helper.from_array(np.array([0]), "i"), dims=[4])


def function(model: onnx.ModelProto, name: str = "f", *calls: str) -> onnx.FunctionProto:
    """Adds a function that calls others in a row, and a node that calls it where it is the first."""
    if not model.functions:
        model.opset_import.add(domain="local", version=1)
        before(lambda _, picture: [helper.make_node(name, [picture], ["called"], domain="local")])(model)
    made = model.functions.add(name=name, domain="local", input=["x0"], output=[f"x{len(calls) or 1}"])
    made.opset_import.extend([helper.make_opsetid("", 18), helper.make_opsetid("local", 1)])
    for number, called in enumerate(calls or ("Identity",)):
        domain = "" if called == "Identity" else "local"
        made.node.add(op_type=called, domain=domain, input=[f"x{number}"], output=[f"x{number + 1}"])
    return made


def loop(trips: int, *nodes: onnx.NodeProto) -> Change:
    """A loop in front that hands on the picture."""

    def build(model: onnx.ModelProto, name: str) -> list[onnx.NodeProto]:
        flag, value = helper.make_tensor_value_info("c", BOOL, []), helper.make_tensor_value_info("v", FLOAT, None)
        handed = [helper.make_node("Identity", ["c"], ["c_out"]), *nodes]
        if not nodes:
            handed.append(helper.make_node("Identity", ["v"], ["v_out"]))
        outputs = [
            helper.make_tensor_value_info("c_out", BOOL, []), helper.make_tensor_value_info("v_out", FLOAT, None)
        ]  # fmt: skip
        entry = helper.make_tensor_value_info("i", INT64, [])
        body = helper.make_graph(handed, "body", [entry, flag, value], outputs)
        inputs = [constant(model, "trips", np.int64(trips)), constant(model, "go", True), name]
        return [helper.make_node("Loop", inputs, ["looped"], body=body)]

    return before(build)


def huge(operator: str) -> Change:
    """The picture plus the mean of a tensor of 400 GB."""

    def build(model: onnx.ModelProto, name: str) -> list[onnx.NodeProto]:
        shape = constant(model, "huge_shape", np.array([100_000, 1_000_000]))
        small, axes = constant(model, "small", np.ones((1, 1), np.float32)), constant(model, "axes", np.array([0, 1]))
        inputs = {"ConstantOfShape": [shape], "Expand": [small, shape], "Tile": [small, shape]}
        fill = {"value": numpy_helper.from_array(np.zeros(1, np.float32))} if operator == "ConstantOfShape" else {}
        return [
            # what depends on the picture is not computed when the model is opened
            helper.make_node("ReduceMax", [name], ["peak"], keepdims=0),
            helper.make_node(operator, inputs[operator], ["huge"], **fill),
            helper.make_node("Add", ["huge", "peak"], ["huge_plus"]),
            helper.make_node("ReduceMean", ["huge_plus", axes], ["mean"], keepdims=0),
            helper.make_node("Add", [name, "mean"], ["brighter"]),
        ]

    return before(build)


def nested(depth: int) -> Change:
    """An `If` in an `If` in an `If` ..., each of which hands on the picture."""

    def build(model: onnx.ModelProto, name: str) -> list[onnx.NodeProto]:
        constant(model, "yes", True)
        node = helper.make_node("Identity", [name], ["y"])
        for level in range(depth):
            made = helper.make_tensor_value_info(node.output[0], FLOAT, None)
            branch = helper.make_graph([node], "branch", [], [made])
            other = helper.make_graph([helper.make_node("Identity", [name], [f"z{level}"])], "other", [], [])
            other.output.add().CopyFrom(helper.make_tensor_value_info(f"z{level}", FLOAT, None))
            node = helper.make_node("If", ["yes"], [f"y{level}"], then_branch=branch, else_branch=other)
        return [node]

    return before(build)


def custom(name: str, domain: str, **attributes: object) -> Change:
    def build(model: onnx.ModelProto, picture: str) -> list[onnx.NodeProto]:
        if domain:
            model.opset_import.add(domain=domain, version=1)
        return [helper.make_node(name, [picture], ["custom"], domain=domain, **attributes)]

    return before(build)


def shape(*sides: int | str) -> Change:
    """Another shape of the input."""

    def change(model: onnx.ModelProto) -> None:
        entry = helper.make_tensor_value_info("images", FLOAT, sides)
        model.graph.input[0].CopyFrom(entry)

    return change


def input_of(kind: int) -> Change:
    return lambda model: setattr(model.graph.input[0].type.tensor_type, "elem_type", kind)


def output_of(operator: str, kind: onnx.TypeProto | None, **attributes: object) -> Change:
    """A last node, whose output becomes the model's."""

    def change(model: onnx.ModelProto) -> None:
        model.graph.node.append(helper.make_node(operator, ["output0"], ["last"], **attributes))
        model.graph.output[0].name = "last"
        if kind is not None:
            model.graph.output[0].type.CopyFrom(kind)

    return change


def noted(**notes: str) -> Change:
    return lambda model: helper.set_model_props(model, notes)


def weight(position: int = 0) -> Callable[[onnx.ModelProto], TensorProto]:
    return lambda model: model.graph.initializer[position]


def poisoned(value: float) -> Change:
    """The first number of the weights is `value`."""

    def change(model: onnx.ModelProto) -> None:
        tensor = weight()(model)
        array = numpy_helper.to_array(tensor).copy()
        array.flat[0] = value
        tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))

    return change


def zeroed(operator: str) -> Change:
    """The output becomes 0 / 0, or the logarithm of 0."""

    def change(model: onnx.ModelProto) -> None:
        nothing = constant(model, "nothing", np.float32(0))
        model.graph.node.append(helper.make_node("Mul", ["output0", nothing], ["null"]))
        inputs = ["null", "null"] if operator == "Div" else ["null"]
        model.graph.node.append(helper.make_node(operator, inputs, ["last"]))
        model.graph.output[0].name = "last"

    return change


def varint(value: int) -> bytes:
    return bytes([value]) if value < 128 else bytes([value & 127 | 128]) + varint(value >> 7)


def deep_wire(levels: int) -> bytes:
    """Graphs in attributes of nodes of graphs, without an end, written by hand: protobuf itself would refuse."""
    inner = b"\x22\x02If"
    for tag in (b"\x0a", b"\x32", b"\x2a") * levels:
        inner = tag + varint(len(inner)) + inner
    graph = b"\x0a" + varint(len(inner)) + inner
    return b"\x08\x08\x3a" + varint(len(graph)) + graph


def link(target: str) -> Callable[[Path], None]:
    return lambda folder: os.symlink(target, folder / FILE)


def linked_data(folder: Path) -> None:
    os.symlink(SECRET_FILE, folder / f"{FILE}.data")


def hard_linked_data(folder: Path) -> None:
    """A further name, beside the model, of a file that lies elsewhere."""
    (folder / "elsewhere").mkdir()
    (folder / "elsewhere/mine").write_bytes(b"\1" * len(SECRET))
    os.link(folder / "elsewhere/mine", folder / f"{FILE}.data")


LINES = "\n\x1b[2Jedgecompile: built\r\u202e"
"""Text that clears a terminal, forges a line and turns what follows round."""
OUT = "lies outside of the model's folder"
BAD = "is damaged, is no ONNX file or has no operators"
INVALID = "is no valid ONNX model"
KINDS = AttributeProto
SEQUENCE = helper.make_sequence_type_proto(helper.make_tensor_type_proto(FLOAT, None))

HOSTILE: dict[str, Hostile] = {
    # files that a model reads
    "data of an absolute path": Hostile(lambda f: external(str(f.parent / "secret/secret.txt"))(f), OUT),
    "data of the folder above": Hostile(external(), OUT),
    "data of a roundabout way": Hostile(external("./a/../../secret/secret.txt"), OUT),
    "data of a windows path": Hostile(external("..\\secret\\secret.txt"), OUT),
    "data of a drive": Hostile(external("C:/secret.txt"), OUT),
    "data of no name": Hostile(external(""), OUT),
    "data of a name with a zero": Hostile(external("m.onnx.data\0/../x"), OUT),
    "data of the program's own memory": Hostile(external("/proc/self/mem"), OUT),
    "data of a name with lines": Hostile(external(f"x{LINES}"), "which is not among the recipe's weights"),
    "data of the model itself": Hostile(external(FILE, offset="0"), ""),
    "data behind a link": Hostile(both(external(f"{FILE}.data"), linked_data), ""),
    "data behind a hard link": Hostile(both(external(f"{FILE}.data"), hard_linked_data), "has further links"),
    "data that ends early": Hostile(both(external(f"{FILE}.data"), beside(3)), "which has 3"),
    "data from far behind": Hostile(both(external(f"{FILE}.data", offset=str(2**59)), beside(99)), "ends at byte"),
    "data from before": Hostile(both(external(f"{FILE}.data", offset="-8"), beside(99)), "has the offset '-8'"),
    "data without an end": Hostile(both(external(f"{FILE}.data", length=str(2**59)), beside(99)), "bytes long"),
    "data from beyond all numbers": Hostile(
        both(external(f"{FILE}.data", offset=str(2**64)), beside(99)), "has the offset '18446744073709551616'"
    ),
    "data of a length in letters": Hostile(both(external(f"{FILE}.data", length="1e3"), beside(99)), "has the length"),
    "data in a sparse weight": Hostile(changed(lambda m: m.graph.sparse_initializer.append(sparse())), OUT),
    "data in an attribute": Hostile(
        changed(lambda m: m.graph.node[0].attribute.append(attribute(type=KINDS.TENSOR, t=outside()))), OUT
    ),
    "data in a nested graph": Hostile(
        changed(lambda m: m.graph.node[0].attribute.append(attribute(type=KINDS.GRAPH, g=graph_with(outside())))), OUT
    ),
    "data in an attribute without a type": Hostile(
        changed(lambda m: m.graph.node[0].attribute.append(attribute(t=outside()))), OUT
    ),
    "data in a default of a function": Hostile(
        changed(lambda m: function(m).attribute_proto.append(attribute(type=KINDS.TENSOR, t=outside()))), OUT
    ),
    "data in a node of a function": Hostile(
        changed(lambda m: function(m).node[0].attribute.append(attribute(type=KINDS.TENSOR, t=outside()))), OUT
    ),
    "data in a training": Hostile(
        changed(lambda m: m.training_info.add().algorithm.CopyFrom(graph_with(outside()))), OUT
    ),
    "data at the start of a training": Hostile(
        changed(lambda m: m.training_info.add().initialization.CopyFrom(graph_with(outside()))), OUT
    ),
    # time and memory
    "a loop without an end": Hostile(
        changed(loop(2**62)), "was ended after 4 s, its limit", step_s=4
    ),
    "a loop that grows": Hostile(
        changed(loop(2**62, helper.make_node("Concat", ["v", "v"], ["v_out"], axis=0))), "ran out of memory"
    ),
    **{f"{name} of 400 GB": Hostile(changed(huge(name)), "ran out of memory") for name in
       ("ConstantOfShape", "Expand")},
    "Tile of 400 GB": Hostile(changed(huge("Tile")), "its operator Tile '' fails: Tile output tensor would require"),
    "graphs 20 deep": Hostile(changed(nested(20)), BAD, at_plan=True),
    "graphs 10,000 deep": Hostile(content(deep_wire(10_000)), BAD, at_plan=True),
    "a function of itself": Hostile(changed(lambda m: function(m, "f", "f")), "its function 'f' calls itself"),
    "functions in a circle": Hostile(
        changed(lambda m: [function(m, "f", "g"), function(m, "g", "f")]), "calls itself"
    ),
    "functions that double": Hostile(
        changed(lambda m: [function(m, f"f{n}", f"f{n + 1}", f"f{n + 1}") for n in range(40)],
                lambda m: function(m, "f40")),
        "more than 1000000 nodes",
    ),
    # what is no model
    "an empty file": Hostile(content(b""), "'m.onnx' are empty", at_plan=True),
    "text": Hostile(content(b"#!/bin/sh\ntouch ran\n"), BAD, at_plan=True),
    "noise": Hostile(content(np.random.default_rng(0).bytes(100_000)), BAD, at_plan=True),
    "a half": Hostile(lambda f: content(good().SerializeToString()[:2000])(f), BAD, at_plan=True),
    "an endless number": Hostile(content(b"\x08" + b"\xff" * 1000), BAD, at_plan=True),
    "a length beyond all files": Hostile(content(b"\x3a" + b"\xff" * 8 + b"\x7f"), BAD, at_plan=True),
    "a million fields": Hostile(content(b"\x08\x01" * 2_000_000), BAD, at_plan=True),
    "a model without operators": Hostile(changed(lambda m: m.graph.ClearField("node")), BAD, at_plan=True),
    "a directory": Hostile(lambda f: (f / FILE).mkdir(), "is a folder; expected a file", at_plan=True),
    "a pipe": Hostile(lambda f: os.mkfifo(f / FILE), "is a pipe; expected a file", at_plan=True),
    "a link to the system's users": Hostile(link("/etc/passwd"), BAD, at_plan=True),
    "a link to itself": Hostile(link(FILE), "is a link that leads nowhere", at_plan=True),
    "a device": Hostile(link("/dev/zero"), "is a device; expected a file", at_plan=True),
    # operators
    "a plugin": Hostile(changed(custom("EfficientNMS_TRT", "trt.plugins")), "EfficientNMS_TRT", at_plan=True),
    "a plugin in ONNX's own domain": Hostile(
        changed(custom("EfficientNMS_TRT", "")), "EfficientNMS_TRT", at_plan=True
    ),
    "an operator of somebody": Hostile(changed(custom("Shell", "org.evil", run="touch ran")), "Shell", at_plan=True),
    "an operator of Python": Hostile(changed(custom("PyOp", "pyopmulti_1", module="os")), "PyOp", at_plan=True),
    "an operator of ATen": Hostile(
        changed(custom("ATen", "org.pytorch.aten", operator="aten::from_file")), "ATen", at_plan=True
    ),
    "an operator named by lines": Hostile(changed(custom(f"X{LINES}", "org.evil")), "", at_plan=True),
    "operator set 1": Hostile(
        changed(lambda m: setattr(m.opset_import[0], "version", 1)), "uses operator set 1", at_plan=True
    ),
    "operator set 99": Hostile(
        changed(lambda m: setattr(m.opset_import[0], "version", 99)), "uses operator set 99", at_plan=True
    ),
    "operator set minus 1": Hostile(
        changed(lambda m: setattr(m.opset_import[0], "version", -1)), "uses operator set -1", at_plan=True
    ),
    "no operator set": Hostile(changed(lambda m: m.ClearField("opset_import")), "", at_plan=True),
    "two operator sets": Hostile(
        changed(lambda m: m.opset_import.add(domain="ai.onnx", version=7)), "states two operator sets for one domain"
    ),
    "version 999 of the format": Hostile(changed(lambda m: setattr(m, "ir_version", 999)), ""),
    # shapes and types
    "a shape that overflows": Hostile(
        changed(shape(1, 3, 2**62, 2**62)), "", at_plan=True, imgsz="[64, 96]"
    ),
    "a shape that overflows, taken as it is": Hostile(changed(shape(1, 3, 2**62, 2**62)), "", at_plan=True),
    "a negative shape": Hostile(changed(shape(1, 3, -64, -96)), "its operator Reshape 'reshape_1' fails"),
    "a batch of 10^9": Hostile(changed(shape(10**9, 3, 64, 96)), "pictures of 64x96 at once", at_plan=True),
    "a weight larger than its bytes": Hostile(changed(lambda m: weight()(m).dims.__setitem__(0, 2**40)), ""),
    "a weight smaller than its bytes": Hostile(changed(lambda m: weight()(m).dims.__setitem__(0, 1)), ""),
    "a weight of negative size": Hostile(changed(lambda m: weight()(m).dims.__setitem__(0, -6)), ""),
    "a weight of no type": Hostile(changed(lambda m: setattr(weight()(m), "data_type", 77)), INVALID),
    "a weight that overflows": Hostile(changed(lambda m: weight()(m).dims.extend([2**62, 4])), ""),
    "no input": Hostile(changed(lambda m: m.graph.ClearField("input")), "the model has 0 inputs", at_plan=True),
    "two inputs": Hostile(
        changed(lambda m: m.graph.input.append(helper.make_tensor_value_info(f"b{LINES}", FLOAT, [1]))),
        "the model has 2 inputs", at_plan=True,
    ),
    "the same input twice": Hostile(
        changed(lambda m: m.graph.input.append(m.graph.input[0])), "the model has 2 inputs", at_plan=True
    ),
    "text as input": Hostile(changed(input_of(TensorProto.STRING)), "is text", at_plan=True),
    "float64 as input": Hostile(changed(input_of(TensorProto.DOUBLE)), "is float64", at_plan=True),
    "int32 as input": Hostile(changed(input_of(TensorProto.INT32)), "is int32", at_plan=True),
    "an input of no type": Hostile(changed(lambda m: m.graph.input[0].ClearField("type")), "", at_plan=True),
    "a sequence as input": Hostile(changed(lambda m: m.graph.input[0].type.CopyFrom(SEQUENCE)), "", at_plan=True),
    "no output": Hostile(changed(lambda m: m.graph.ClearField("output")), ""),
    "a sequence as output": Hostile(changed(output_of("SequenceConstruct", SEQUENCE)), ""),
    "text as output": Hostile(
        changed(output_of("Cast", helper.make_tensor_type_proto(TensorProto.STRING, [1, 6, 96]), to=8)), ""
    ),
    "whole numbers as output": Hostile(
        changed(output_of("Cast", helper.make_tensor_type_proto(INT64, [1, 6, 96]), to=INT64)), "holds int64"
    ),
    "an output that is not made": Hostile(changed(lambda m: setattr(m.graph.output[0], "name", "x")), ""),
    "an input as output": Hostile(changed(lambda m: setattr(m.graph.output[0], "name", "images")), ""),
    "open axes that depend": Hostile(changed(output_of("NonZero", helper.make_tensor_type_proto(INT64, None))), ""),
    # numbers
    "a weight that is no number": Hostile(changed(poisoned(np.nan)), ""),
    "an infinite weight": Hostile(changed(poisoned(np.inf)), ""),
    "an output that is no number": Hostile(changed(zeroed("Div")), ""),
    "an infinite output": Hostile(changed(zeroed("Log")), ""),
    # names
    "a name twice": Hostile(
        changed(lambda m: m.graph.node.append(helper.make_node("Identity", ["images"], ["output0"]))), ""
    ),
    "a weight twice": Hostile(changed(lambda m: m.graph.initializer.append(m.graph.initializer[0])), ""),
    "a circle": Hostile(changed(lambda m: m.graph.node[0].input.__setitem__(0, "output0")), ""),
    "class names that are a program": Hostile(
        changed(noted(names="__import__('os').system('touch ran')")), "states its class names as", at_plan=True
    ),
    "class names without an end": Hostile(changed(noted(names="[" * 100_000)), "class names", at_plan=True),
    "class names of lines": Hostile(changed(noted(names=LINES)), "class names", at_plan=True),
    "a stride that is a program": Hostile(changed(noted(stride="9**9**9**9")), "stride", at_plan=True),
    "a stride of 10^99": Hostile(changed(noted(stride="1" + "0" * 99)), "stride", at_plan=True),
    **{f"a size that is {name}": Hostile(changed(shape("n", 3, "h", "w"), noted(imgsz=value)), "", at_plan=True)
       for name, value in {"huge": "[1" + "0" * 30 + ", 64]", "a program": "9**9**9", "of lines": LINES,
                           "of 5,000 digits": "1" * 5000, "not a number": "[nan, 1e999]",
                           "below none": "[-64, -96]"}.items()},
    "a task of lines": Hostile(changed(noted(task=f"segment{LINES}")), "for the task 'segment", at_plan=True),
}  # fmt: skip


def odd_names(model: onnx.ModelProto) -> None:
    for number, node in enumerate(model.graph.node):
        node.name = f"../../{number}{LINES}"
    model.producer_name, model.doc_string = f"{LINES}<script>", "x" * (1 << 20)


TAKEN: dict[str, Callable[[Path], None]] = {
    "as it is": changed(),
    "odd names": changed(odd_names, noted(names=str(["../../../etc/passwd", f"<script>{LINES}"]))),
    "graphs and functions": changed(
        loop(3), nested(3), lambda m: [function(m, "f", "g", "Identity"), function(m, "g")]
    ),
}
"""What is odd and does no harm."""
