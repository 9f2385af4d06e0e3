"""An artifact names no file but its own: ONNX with external data, IR that reaches further, texts that miscount."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from edgecompile.errors import BundleError
from edgecompile.runtime import onnx_wire, openvino_ir
from edgecompile.runtime.backends import open_backend
from edgecompile.runtime.backends.ncnn import check_layers

from .tiny import tiny_onnx, tiny_spec

onnx = pytest.importorskip("onnx")
Change = Callable[[Any], None]


def external(location: str = "/etc/passwd", **fields: Any) -> Any:
    """Returns a tensor whose numbers lie in a file."""
    tensor = onnx.TensorProto(name="outside", data_type=1, dims=[1], data_location=1, **fields)
    tensor.external_data.add(key="location", value=location)
    return tensor


def body(tensor: Any) -> Any:
    """Returns a graph that holds a tensor."""
    return onnx.helper.make_graph([], "body", [], [], [tensor])


def attribute(**value: Any) -> Any:
    made = onnx.AttributeProto(name="a")
    for name, one in value.items():
        target = getattr(made, name)
        target.CopyFrom(one) if not isinstance(one, list) else target.extend(one)
    return made


def node(*attributes: Any) -> Any:
    made = onnx.NodeProto(op_type="Constant", output=["unused"])
    made.attribute.extend(attributes)
    return made


def sparse(*, values: Any = None, indices: Any = None) -> Any:
    made = onnx.SparseTensorProto(dims=[1])
    if values is not None:
        made.values.CopyFrom(values)
    if indices is not None:
        made.indices.CopyFrom(indices)
    return made


def in_function(model: Any, inner: Any = None, declared: Any = None) -> None:
    function = model.functions.add(name="f", domain="local")
    if inner is not None:
        function.node.append(inner)
    if declared is not None:
        function.attribute_proto.append(declared)


def without_location(model: Any) -> None:
    model.graph.initializer.add(name="x", data_type=1, dims=[1]).external_data.add(key="location", value="x")


def only_location(model: Any) -> None:
    model.graph.initializer.add(name="x", data_type=1, dims=[1], data_location=1)


PLACES: dict[str, Change] = {
    "initializer": lambda model: model.graph.initializer.append(external()),
    "initializer below the working directory": lambda model: model.graph.initializer.append(external("x.bin")),
    "address in memory": lambda model: model.graph.initializer.append(external("*/_ORT_MEM_ADDR_/*")),
    "entries without the mark": without_location,
    "the mark without entries": only_location,
    "values of a sparse initializer": lambda m: m.graph.sparse_initializer.append(sparse(values=external())),
    "indices of a sparse initializer": lambda m: m.graph.sparse_initializer.append(sparse(indices=external())),
    "attribute t": lambda model: model.graph.node.append(node(attribute(t=external()))),
    "attribute tensors": lambda model: model.graph.node.append(node(attribute(tensors=[external()]))),
    "attribute sparse_tensor": lambda m: m.graph.node.append(node(attribute(sparse_tensor=sparse(values=external())))),
    "attribute sparse_tensors": lambda m: m.graph.node.append(
        node(attribute(sparse_tensors=[sparse(indices=external())]))
    ),
    "attribute g": lambda model: model.graph.node.append(node(attribute(g=body(external())))),
    "attribute graphs": lambda model: model.graph.node.append(node(attribute(graphs=[body(external())]))),
    "node of a subgraph of a subgraph": lambda m: m.graph.node.append(
        node(attribute(g=onnx.helper.make_graph([node(attribute(g=body(external())))], "b", [], [])))
    ),
    "node of a function": lambda model: in_function(model, inner=node(attribute(t=external()))),
    "subgraph in a function": lambda model: in_function(model, inner=node(attribute(g=body(external())))),
    "default of a function's attribute": lambda model: in_function(model, declared=attribute(t=external())),
    "graph of a function's attribute": lambda model: in_function(model, declared=attribute(g=body(external()))),
    "initialization of training": lambda m: m.training_info.add().initialization.CopyFrom(body(external())),
    "algorithm of training": lambda model: model.training_info.add().algorithm.CopyFrom(body(external())),
}


def changed(change: Change) -> bytes:
    model = onnx.load_from_string(tiny_onnx())
    change(model)
    return model.SerializeToString()


def refusal(content: bytes) -> str:
    return _said(lambda: onnx_wire.require_self_contained(content, "model.onnx"))


def _said(call: Callable[[], None]) -> str:
    """Returns the one line that a call is refused with; "" where it is not."""
    said = ""
    try:
        call()
    except BundleError as error:
        said = str(error)
    assert "\n" not in said
    return said


@pytest.mark.parametrize("place", PLACES)
def test_external_data_is_found_wherever_a_tensor_may_stand(place: str) -> None:
    assert "reads another file" in refusal(changed(PLACES[place]))


def test_every_place_of_the_format_is_known() -> None:
    """The table of places is that of the format: whichever message of onnx.proto can hold a tensor is followed."""
    names = ["ModelProto", "GraphProto", "NodeProto", "AttributeProto", "TensorProto", "SparseTensorProto"]
    names += ["TrainingInfoProto", "FunctionProto"]
    holds = {name: getattr(onnx, name).DESCRIPTOR for name in names}
    for number, (name, descriptor) in enumerate(holds.items()):
        fields = {one.number: one.message_type.name for one in descriptor.fields if one.message_type is not None}
        wanted = {field: names.index(message) for field, message in fields.items() if message in holds}
        assert onnx_wire.CHILDREN[number] == wanted, name
    reachable = {one.message_type for one in _messages(onnx.ModelProto.DESCRIPTOR) if one.message_type is not None}
    assert {one.name for one in reachable if "TensorProto" in one.name} == {"TensorProto", "SparseTensorProto"}


def _messages(descriptor: Any, seen: set[str] | None = None) -> Iterator[Any]:
    seen = set() if seen is None else seen
    if descriptor.full_name not in seen:
        seen.add(descriptor.full_name)
        for field in descriptor.fields:
            yield field
            if field.message_type is not None:
                yield from _messages(field.message_type, seen)


def test_plain_models_are_taken() -> None:
    """The other side: what lies in the model itself, wherever it lies, and the mark that says so."""
    inside = onnx.numpy_helper.from_array(__import__("numpy").zeros(3, "float32"), "inside")
    inside.data_location = 0
    assert refusal(tiny_onnx()) == ""
    for place in (
        lambda model: model.graph.initializer.append(inside),
        lambda model: model.graph.node.append(node(attribute(t=inside, g=body(inside), tensors=[inside]))),
        lambda model: in_function(model, inner=node(attribute(t=inside)), declared=attribute(g=body(inside))),
        lambda model: model.graph.sparse_initializer.append(sparse(values=inside, indices=inside)),
        lambda model: setattr(model, "doc_string", "location external_data /etc/passwd"),
    ):
        assert refusal(changed(place)) == ""


def test_the_message_names_tensor_and_file() -> None:
    said = refusal(changed(lambda model: model.graph.initializer.append(external("/etc/\x1b[2Jpasswd\n"))))
    assert "'outside'" in said
    assert r"'/etc/\x1b[2Jpasswd\n'" in said


def test_a_message_in_parts_is_read_as_a_parser_merges_it() -> None:
    """A parser merges a message that stands twice: each part is looked through."""
    graph = onnx.GraphProto()
    graph.initializer.append(external())
    part = onnx.ModelProto(graph=graph).SerializeToString()
    assert len(onnx.load_from_string(tiny_onnx() + part).graph.initializer) == 7
    assert "reads another file" in refusal(tiny_onnx() + part)
    assert "reads another file" in refusal(b"\x08\x09" + part + tiny_onnx())


def test_what_another_reader_would_take_for_its_own_format_is_refused() -> None:
    """ONNX Runtime and OpenVINO recognise their own formats by a mark that may stand in a field of ONNX."""
    for mark in (b"ORTM", b"TFL3"):
        content = b"\x08\x09\x12\x04" + mark + tiny_onnx()[2:]
        assert onnx.load_from_string(content).producer_name == mark.decode()
        assert "no ONNX file" in refusal(content)
    assert "no ONNX file" in refusal(b"<?xml version='1.0'?><net/>")
    assert "no ONNX file" in refusal(b"\n\x20<net name='x' version='11'></net>   ")


@pytest.mark.slow
def test_malformed_files_end_in_one_line(tmp_path: Path) -> None:
    good = tiny_onnx()
    deep = b""
    for _ in range(3000):  # graphs in attributes of nodes, one in the other
        for field in (6, 5, 1):
            deep = bytes([field << 3 | 2]) + _length(len(deep)) + deep
    for content in (
        *(good[:length] for length in range(1, len(good), 7)),
        good + b"\x3b",  # a group
        good + b"\x3a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",  # a length beyond the end
        good + b"\x38\x01",  # the graph as a number
        good + b"\x00\x01",  # field 0
        good + b"\xff" * 20,
        good + b"\x3a" + _length(len(deep)) + deep + b"\x3a\x02\x0a",
    ):
        found = refusal(content)
        assert not found or "well-formed" in found
    assert "fields" in refusal(b"\x08\x09" + b"\x10\x01" * (onnx_wire.MOST_FIELDS + 1))


def _length(size: int) -> bytes:
    made = bytearray()
    while size > 127:
        made.append(size & 127 | 128)
        size >>= 7
    return bytes([*made, size])


def test_whatever_the_onnx_package_can_read_is_judged_the_same() -> None:
    """Random changes of bytes: no file that parses and holds external data passes."""
    chance = random.Random(11)
    seeds = [changed(change) for change in PLACES.values()]
    parsed = held = 0
    for _ in range(3000):
        content = bytearray(chance.choice(seeds))
        for _ in range(chance.randrange(1, 4)):
            at = chance.randrange(len(content))
            kind = chance.randrange(3)
            if kind == 0:
                content[at] = chance.randrange(256)
            elif kind == 1:
                del content[at : at + chance.randrange(1, 4)]
            else:
                content[at:at] = chance.randbytes(chance.randrange(1, 4))
        try:
            model = onnx.load_from_string(bytes(content))
        except Exception:
            continue
        parsed += 1
        if any(tensor.external_data or tensor.data_location == 1 for tensor in _tensors(model)):
            held += 1
            assert refusal(bytes(content))
    assert parsed > 100
    assert held > 100


def _tensors(message: Any) -> Iterator[Any]:
    """Yields every tensor in a message, by reflection."""
    if type(message).__name__ == "TensorProto":
        yield message
    for field, value in message.ListFields():
        if field.message_type is not None:
            for one in value if hasattr(value, "__len__") and not hasattr(value, "ListFields") else [value]:
                yield from _tensors(one)


@pytest.mark.parametrize("kind", ["onnxruntime", "openvino"])
def test_backends_refuse_it_from_memory_and_from_disk(kind: str, tmp_path: Path) -> None:
    pytest.importorskip(kind)
    content = changed(PLACES["initializer"])
    (tmp_path / "model.onnx").write_bytes(content)
    for artifact in ({"model.onnx": content}, tmp_path, tmp_path / "model.onnx"):
        with pytest.raises(BundleError, match="reads another file"):
            open_backend(kind, artifact, tiny_spec(), 1, {})


IR = """<?xml version="1.0"?>
<net name="m" version="11">
  <layers>
    <layer id="0" name="c" type="Const" version="opset1">
      <data element_type="f32" shape="2" offset="0" size="8"/>
      <rt_info><attribute name="fused_names" version="0" value="c"/></rt_info>
      <output><port id="0" precision="FP32"><dim>2</dim></port></output>
    </layer>
  </layers>
  <edges/>
  <rt_info><MO_version value="2026.4"/><conversion_parameters><is_x value="y"/></conversion_parameters></rt_info>
</net>"""


def ir_refusal(xml: str | bytes, weights: int = 8) -> str:
    content = xml.encode() if isinstance(xml, str) else xml
    return _said(lambda: openvino_ir.require_self_contained(content, weights, "model.xml"))


def test_an_ir_is_taken_that_names_nothing_further() -> None:
    assert ir_refusal(IR) == ""
    assert ir_refusal(f"\n{IR[IR.index('<net') :]}") == ""
    clustered = '<data offset="0.5" width="2"/>'  # an offset of another meaning
    assert ir_refusal(IR.replace("<output>", f"{clustered}<output>", 1)) == ""


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("<net ", '<!DOCTYPE net SYSTEM "/etc/passwd"><net ', "document type"),
        ("<net ", '<!DOCTYPE net [<!ENTITY x SYSTEM "file:///etc/passwd">]><net ', "document type"),
        ("<net ", "<other ", "expected 'net'"),
        ('version="1.0"?', 'version="1.0" encoding="utf-16"?', "utf-8"),
        ('size="8"', 'size="9"', "weights that have 8 bytes"),
        ('offset="0"', 'offset="18446744073709551608"', "weights that have 8 bytes"),
        ('offset="0"', 'offset="-8"', "weights that have 8 bytes"),
        ('offset="0"', 'offset="0x0"', "weights that have 8 bytes"),
        ("<MO_version ", '<__weights_path value="/etc/passwd"/><MO_version ', "act upon"),
        ("<MO_version ", '<runtime_options><CACHE_DIR value="/tmp"/></runtime_options><MO_version ', "act upon"),
        ("<MO_version ", '<x><weights_path value="/etc/passwd"/></x><MO_version ', "act upon"),
        ('name="fused_names"', 'name="WeightlessCacheAttribute"', ""),
        ("<edges/>", "<edges>" + "<x>" * 200 + "</x>" * 200 + "</edges>", "within each other"),
        ("</net>", "", "well-formed"),
        ("</net>", "</net><net/>", "well-formed"),
        ("<edges/>", "&x;<edges/>", "well-formed"),
    ],
)
def test_an_ir_that_reaches_further_is_refused(old: str, new: str, said: str) -> None:
    assert old in IR
    found = ir_refusal(IR.replace(old, new, 1))
    assert found
    assert said in found


def test_an_ir_in_other_codings_or_of_other_kinds_is_refused() -> None:
    assert ir_refusal(IR.encode("utf-16"))
    assert ir_refusal(b"\xef\xbb\xbf" + IR.encode())
    assert ir_refusal(tiny_onnx())
    assert ir_refusal("")


PARAM = """7767517
3 3
Input in0 0 1 in0
Convolution conv 1 1 in0 1 0=4 1=3 -23303=2,1.5,2e3
ReLU relu 1 1 1 out0
"""


def test_ncnns_text_of_layers_is_taken() -> None:
    check_layers(PARAM.encode(), "model.param")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("7767517", "7767518"),
        ("3 3", "1000000000 3"),
        ("3 3", "3 2000000000"),
        ("3 3", "3 2"),
        ("3 3", "3"),
        ("3 3", "-3 3"),
        ("Convolution conv 1 1", "Convolution conv 1 1000000"),
        ("Convolution conv 1 1", "Convolution conv 9 1"),
        ("-23303=2,1.5", "-23303=2000000000,1.5"),
        ("-23303=2,1.5", "-23303=9,1.5"),
        ("0=4", "0=/etc/passwd"),
        ("0=4", "x=4"),
        ("0=4", "0"),
        ("ReLU", "../../x.so"),
        ("ReLU relu 1 1 1 out0", ""),
        ("ReLU relu 1 1 1 out0", "ReLU relu 1 1 other out0"),
    ],
)
def test_a_text_of_layers_that_miscounts_is_refused(old: str, new: str) -> None:
    assert old in PARAM
    with pytest.raises(BundleError, match=r"model\.param"):
        check_layers(PARAM.replace(old, new, 1).encode(), "model.param")
