"""Files of others are read whole or not at all: whatever names another file, wherever in the model it stands."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import foreign_models
import numpy as np
import onnx
import pytest
from onnx import AttributeProto, TensorProto, helper, numpy_helper

from edgecompile.errors import StepError
from edgecompile.graphs.onnx import foreign
from edgecompile.graphs.onnx.foreign import read_foreign
from edgecompile.graphs.onnx.serialization import load, save
from edgecompile.graphs.onnx.walk import tensors_within

SECRET = "/etc/hostname"


def outside(location: str = SECRET) -> TensorProto:
    """Returns a tensor whose data lies in another file."""
    tensor = TensorProto(name="secret", data_type=TensorProto.UINT8, dims=[4], data_location=TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value=location)
    return tensor


def sparse() -> onnx.SparseTensorProto:
    return onnx.SparseTensorProto(values=outside(), indices=numpy_helper.from_array(np.array([0]), "i"), dims=[4])


def graph_with(tensor: TensorProto) -> onnx.GraphProto:
    return helper.make_graph([], "inner", [], [], [tensor])


def attribute(**fields: object) -> AttributeProto:
    return AttributeProto(name="hidden", **fields)


def function(model: onnx.ModelProto) -> onnx.FunctionProto:
    made = model.functions.add(name="f", domain="local", input=["x"], output=["y"])
    made.opset_import.add(domain="", version=18)
    made.node.add(op_type="Identity", input=["x"], output=["y"])
    return made


def node(model: onnx.ModelProto) -> onnx.NodeProto:
    return model.graph.node[0]


KINDS = AttributeProto
PLACES: dict[str, Callable[[onnx.ModelProto], object]] = {
    "a weight": lambda m: m.graph.initializer.append(outside()),
    "the values of a sparse weight": lambda m: m.graph.sparse_initializer.append(sparse()),
    "an attribute": lambda m: node(m).attribute.append(attribute(type=KINDS.TENSOR, t=outside())),
    "one of several": lambda m: node(m).attribute.append(attribute(type=KINDS.TENSORS, tensors=[outside()])),
    "a sparse attribute": lambda m: node(m).attribute.append(
        attribute(type=KINDS.SPARSE_TENSOR, sparse_tensor=sparse())
    ),
    "one of several sparse": lambda m: node(m).attribute.append(
        attribute(type=KINDS.SPARSE_TENSORS, sparse_tensors=[sparse()])
    ),
    "a nested graph": lambda m: node(m).attribute.append(attribute(type=KINDS.GRAPH, g=graph_with(outside()))),
    "one of several graphs": lambda m: node(m).attribute.append(
        attribute(type=KINDS.GRAPHS, graphs=[graph_with(outside())])
    ),
    "an attribute of another type": lambda m: node(m).attribute.append(attribute(type=KINDS.INT, t=outside())),
    "an attribute without a type": lambda m: node(m).attribute.append(attribute(t=outside())),
    "a node of a function": lambda m: function(m).node[0].attribute.append(attribute(type=KINDS.TENSOR, t=outside())),
    "a default attribute of a function": lambda m: function(m).attribute_proto.append(
        attribute(type=KINDS.TENSOR, t=outside())
    ),
    "a graph in a default attribute of a function": lambda m: function(m).attribute_proto.append(
        attribute(type=KINDS.GRAPH, g=graph_with(outside()))
    ),
    "the initialization of a training": lambda m: m.training_info.add().initialization.CopyFrom(graph_with(outside())),
    "the algorithm of a training": lambda m: m.training_info.add().algorithm.CopyFrom(graph_with(outside())),
    "a node of a training": lambda m: (
        m.training_info.add()
        .algorithm.node.add(op_type="Constant")
        .attribute.append(attribute(type=KINDS.TENSOR, t=outside()))
    ),
}
OLD_WALK_MISSED = (
    "an attribute of another type",
    "an attribute without a type",
    "a default",
    "in a default",
    "training",
)


@pytest.mark.parametrize("place", PLACES)
def test_data_outside_is_refused_wherever_it_is_named(tmp_path: Path, place: str) -> None:
    model = foreign_models.sample()
    PLACES[place](model)
    with pytest.raises(StepError, match=r"the external data of 'secret' lies outside of the model's folder"):
        read_foreign([foreign_models.written(model, tmp_path / "given.onnx")])


def test_every_field_that_may_hold_a_tensor_is_walked() -> None:
    """By the schema of ONNX itself: a field that it gains is walked too, and a test of it is missed here."""
    walked, waiting = set(), [onnx.ModelProto.DESCRIPTOR]
    while waiting:
        message = waiting.pop()
        if message.name in walked or message.name == "TensorProto":
            continue
        walked.add(message.name)
        waiting += [field.message_type for field in message.fields if field.message_type]
    holders = {
        f"{name}.{field.name}"
        for name in walked
        for field in getattr(onnx, name, onnx.ModelProto).DESCRIPTOR.fields
        if field.message_type and field.message_type.name in ("TensorProto", "SparseTensorProto")
    }
    assert holders == {
        "AttributeProto.t", "AttributeProto.tensors", "AttributeProto.sparse_tensor", "AttributeProto.sparse_tensors",
        "GraphProto.initializer", "GraphProto.sparse_initializer", "SparseTensorProto.values",
        "SparseTensorProto.indices",
    }  # fmt: skip


def test_the_sample_is_read_as_it_is(tmp_path: Path) -> None:
    model = foreign_models.sample()
    found = read_foreign([foreign_models.written(model, tmp_path / "given.onnx")])
    assert len(list(tensors_within(found))) == len(list(tensors_within(model))) > 100
    assert found.graph.node == model.graph.node


def test_what_is_no_part_of_inference_is_dropped(tmp_path: Path) -> None:
    model = foreign_models.sample()
    model.training_info.add().algorithm.CopyFrom(graph_with(numpy_helper.from_array(np.zeros(1), "x")))
    model.graph.initializer[0].external_data.add(key="location", value=SECRET)  # not said to lie there
    path = foreign_models.written(model, tmp_path / "given.onnx")
    path.write_bytes(path.read_bytes() + b"\xca\x3e\x03abc")  # a field that no version of ONNX has
    found = read_foreign([path])
    assert not found.training_info
    assert not any(tensor.external_data for tensor in found.graph.initializer)
    assert found.SerializeToString() != path.read_bytes()
    assert b"abc" not in found.SerializeToString()[-10:]


def test_data_that_is_named_again_and_again_is_no_bomb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of 100 weights names the same megabyte: 100 MB of a file of 1 MB."""
    monkeypatch.setattr(foreign, "LIMIT", 20 << 20)
    model = foreign_models.sample()
    (tmp_path / "given.onnx.data").write_bytes(bytes(1 << 20))
    for number in range(100):
        tensor = outside("given.onnx.data")
        tensor.name, tensor.dims[:] = f"w{number}", [1 << 20]
        model.graph.initializer.append(tensor)
    files = [foreign_models.written(model, tmp_path / "given.onnx"), tmp_path / "given.onnx.data"]
    with pytest.raises(StepError, match="larger than 2 GiB with its external data"):
        read_foreign(files)
    del model.graph.initializer[-95:]
    foreign_models.written(model, files[0])
    assert len(read_foreign(files).graph.initializer) == len(model.graph.initializer)


def calling(*calls: tuple[str, tuple[str, ...]]) -> onnx.ModelProto:
    """Returns the sample with functions, each with those that it calls, and its picture through the first."""
    model = foreign_models.sample()
    model.opset_import.add(domain="local", version=1)
    for name, called in calls:
        made = model.functions.add(name=name, domain="local", input=["x0"], output=[f"x{len(called)}"])
        made.opset_import.extend([helper.make_opsetid("", 18), helper.make_opsetid("local", 1)])
        for number, other in enumerate(called):
            domain = "" if other == "Identity" else "local"
            made.node.add(op_type=other, domain=domain, input=[f"x{number}"], output=[f"x{number + 1}"])
    first = calls[0][0]
    return foreign_models.before(model, lambda name: [helper.make_node(first, [name], ["called"], domain="local")])


def test_functions_of_a_model_become_part_of_its_graph(tmp_path: Path) -> None:
    model = calling(("f", ("g", "Identity")), ("g", ("Identity",)))
    found = read_foreign([foreign_models.written(model, tmp_path / "given.onnx")])
    assert not found.functions
    assert {one.domain for one in found.graph.node} == {""}
    assert len(found.graph.node) == len(foreign_models.sample().graph.node) + 2
    save(found, tmp_path / "saved.onnx")


@pytest.mark.parametrize(
    ("calls", "said"),
    [
        ([("f", ("f",))], "its function 'f' calls itself"),
        ([("f", ("g",)), ("g", ("f",))], "calls itself"),
        ([*((f"f{n}", (f"f{n + 1}",) * 2) for n in range(40)), ("f40", ("Identity",))], "more than 1000000 nodes"),
    ],
    ids=["itself", "in a circle", "doubling"],
)
def test_functions_without_an_end_are_refused(
    tmp_path: Path, calls: list[tuple[str, tuple[str, ...]]], said: str
) -> None:
    with pytest.raises(StepError, match=said):
        read_foreign([foreign_models.written(calling(*calls), tmp_path / "given.onnx")])


def test_the_other_name_of_onnx_s_domain_is_read(tmp_path: Path) -> None:
    model = foreign_models.sample()
    model.opset_import[0].domain = "ai.onnx"
    found = read_foreign([foreign_models.written(model, tmp_path / "given.onnx")])
    save(found, tmp_path / "saved.onnx")
    assert [(one.domain, one.version) for one in load(tmp_path / "saved.onnx").opset_import] == [("", 18)]


def test_no_step_reads_or_writes_a_model_whose_data_lies_elsewhere(tmp_path: Path) -> None:
    model = foreign_models.sample()
    model.graph.initializer.append(outside())
    with pytest.raises(StepError, match="the tensor 'secret' lies outside of the model's file"):
        load(foreign_models.written(model, tmp_path / "model.onnx"))
    with pytest.raises(StepError, match="the tensor 'secret' lies outside of the model's file"):
        save(model, tmp_path / "saved.onnx")
    assert not (tmp_path / "saved.onnx").exists()
