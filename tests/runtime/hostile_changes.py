"""Changes that make a hostile bundle of a small good one: each returns a function from its members to the bytes of
the hostile bundle."""

from __future__ import annotations

import copy
import io
import json
import struct
import zipfile
from collections.abc import Callable
from typing import Any

import numpy as np

from edgecompile.runtime.archive import SEAL

from .test_self_contained import IR, PARAM
from .tiny import bundled, file_facts, seal, tiny_manifest, tiny_onnx, tiny_spec, zipped

Members = dict[str, bytes]
Case = Callable[[Members], bytes]


def with_target(backend: str = "onnxruntime", **target: Any) -> Case:
    return lambda members: bundled(members, tiny_manifest(backend, **target))


def with_option(name: str, value: Any, backend: str = "onnxruntime") -> Case:
    return with_target(backend, options={name: value})


def with_manifest(change: Callable[[dict[str, Any]], Any]) -> Case:
    def make(members: Members) -> bytes:
        manifest = tiny_manifest()
        change(manifest)
        return bundled(members, manifest)

    return make


def with_document(content: bytes) -> Case:
    """A manifest of these bytes."""
    return lambda members: zipped([*members.items(), ("manifest.json", content)])


def with_files(change: Callable[[dict[str, Any]], Any]) -> Case:
    """Other claims of the manifest on its files."""

    def make(members: Members) -> bytes:
        files = file_facts(members)
        change(files)
        document = json.dumps({**tiny_manifest(), "files": files}).encode()
        return zipped([*members.items(), ("manifest.json", document)])

    return make


def with_members(backend: str = "onnxruntime", **changes: bytes | None) -> Case:
    """Other members; in their names `__` stands for the slash, `_dot_` for the dot."""

    def make(members: Members) -> bytes:
        named = {key.replace("__", "/").replace("_dot_", "."): value for key, value in changes.items()}
        kept = {key: value for key, value in {**members, **named}.items() if value is not None}
        return bundled(kept, tiny_manifest(backend))

    return make


def with_model(content: bytes) -> Case:
    return with_members(artifact__model_dot_onnx=content)


def with_spec(path: str, value: Any) -> Case:
    """Another value at a path of spec.json."""
    spec = copy.deepcopy(tiny_spec())
    *parts, last = path.split(".")
    place = spec
    for part in parts:
        place = place[part]
    place[last] = value
    return with_members(spec_dot_json=json.dumps(spec).encode())


def with_ir(old: str, new: str, weights: bytes = bytes(8)) -> Case:
    assert old in IR
    content = IR.replace(old, new, 1).encode()
    return with_members(
        "openvino", artifact__model_dot_onnx=None, artifact__m_dot_xml=content, artifact__m_dot_bin=weights
    )


def with_layers(old: str, new: str) -> Case:
    assert old in PARAM
    content = PARAM.replace(old, new, 1).encode()
    return with_members(
        "ncnn", artifact__model_dot_onnx=None, artifact__m_dot_param=content, artifact__m_dot_bin=bytes(64)
    )


def with_golden(name: str, content: bytes) -> Case:
    return lambda members: bundled({**members, f"golden/{name}": content}, tiny_manifest())


def with_zip(change: Callable[[zipfile.ZipInfo], Any], member: str = "spec.json") -> Case:
    """Another entry of one member in the zip."""

    def make(members: Members) -> bytes:
        document = json.dumps({**tiny_manifest(), "files": file_facts(members)}).encode()
        stream = io.BytesIO()
        with zipfile.ZipFile(stream, "w") as archive:
            archive.comment = bytes(len(SEAL) + 64)
            for name, content in sorted([*members.items(), ("manifest.json", document)]):
                entry = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
                entry.create_system, entry.external_attr = 3, 0o100644 << 16
                if name == member:
                    change(entry)
                archive.writestr(entry, content)
        return seal(stream.getvalue()[: -len(SEAL) - 64])

    return make


def with_bytes(change: Callable[[bytes], bytes]) -> Case:
    """Other bytes of a good bundle, before its seal."""
    return lambda members: seal(change(bundled(members, tiny_manifest())[: -len(SEAL) - 64]))


def other_end(raw: bytes) -> bytes:
    """Another last byte of the seal, whichever it had."""
    return raw[:-1] + (b"1" if raw.endswith(b"0") else b"0")


def renamed(name: str) -> Case:
    """A member of another name, put into the bytes: `zipfile` would mend some."""
    place = "Q" * len(name)

    def make(members: Members) -> bytes:
        good = bundled({**members, place: b"x"}, tiny_manifest())
        return seal(good[: -len(SEAL) - 64].replace(place.encode(), name.encode()))

    return make


def attributes(mode: int, low: int = 0, system: int = 3) -> Callable[[zipfile.ZipInfo], None]:
    def change(entry: zipfile.ZipInfo) -> None:
        entry.external_attr, entry.create_system = mode << 16 | low, system

    return change


def array(values: Any) -> bytes:
    stream = io.BytesIO()
    np.save(stream, values)
    return stream.getvalue()


def claimed(header: str, version: bytes = b"\x01\x00") -> bytes:
    """An array whose header claims something."""
    return b"\x93NUMPY" + version + struct.pack("<H", len(header) + 1) + header.encode() + b"\n"


def model(output: Callable[[Any], Any]) -> bytes:
    """A model with other outputs or inputs."""
    import onnx

    made = onnx.load_from_string(tiny_onnx())
    output(made)
    return made.SerializeToString()


def giving_words(made: Any) -> None:
    """Its output holds words."""
    import onnx

    graph = made.graph
    graph.node[-1].output[0] = "numbers"
    graph.node.append(onnx.helper.make_node("Cast", ["numbers"], ["output0"], to=onnx.TensorProto.STRING))
    graph.output[0].type.tensor_type.elem_type = onnx.TensorProto.STRING


def giving_a_list(made: Any) -> None:
    """Its output is a sequence of tensors."""
    import onnx

    graph = made.graph
    graph.node[-1].output[0] = "numbers"
    graph.node.append(onnx.helper.make_node("SequenceConstruct", ["numbers"], ["output0"]))
    del graph.output[:]
    shape = onnx.helper.make_tensor_type_proto(onnx.TensorProto.FLOAT, None)
    graph.output.append(onnx.helper.make_value_info("output0", onnx.helper.make_sequence_type_proto(shape)))


def giving_one_number(made: Any) -> None:
    import onnx

    graph = made.graph
    graph.node[-1].output[0] = "numbers"
    graph.node.append(onnx.helper.make_node("ReduceMax", ["numbers"], ["output0"], keepdims=0))
    del graph.output[0].type.tensor_type.shape.dim[:]


def taking_two(made: Any) -> None:
    import onnx

    made.graph.input.append(onnx.helper.make_tensor_value_info("more", onnx.TensorProto.FLOAT, [1]))
    made.graph.node.append(onnx.helper.make_node("Identity", ["more"], ["unused"]))
    made.graph.output.append(onnx.helper.make_tensor_value_info("unused", onnx.TensorProto.FLOAT, [1]))


def taking_words(made: Any) -> None:
    made.graph.input[0].type.tensor_type.elem_type = 8


def taking_nothing(made: Any) -> None:
    import onnx

    value = onnx.numpy_helper.from_array(np.zeros((1, 3, 64, 96), np.float32), "images")
    made.graph.initializer.append(value)
    del made.graph.input[:]


def of_a_foreign_domain(made: Any) -> None:
    made.graph.node[0].domain = "com.evil"
    made.graph.node[0].op_type = "RunShell"
    made.opset_import.add(domain="com.evil", version=1)


def from_the_opset_of_python(made: Any) -> None:
    made.graph.node[0].domain = "ai.onnx.contrib"
    made.graph.node[0].op_type = "PyOp"
    made.opset_import.add(domain="ai.onnx.contrib", version=1)


def with_bias(*sides: int) -> bytes:
    """A model with a tensor that has fewer numbers than its sides say."""

    def change(made: Any) -> None:
        (bias,) = (one for one in made.graph.initializer if one.name == "bias")
        bias.dims[:] = sides

    return model(change)
