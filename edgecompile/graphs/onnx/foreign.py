"""Reading an ONNX file that somebody else made: nothing outside the files given is ever opened."""

from __future__ import annotations

import math
import stat
from collections.abc import Iterator
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import onnx
from google.protobuf.message import DecodeError

from edgecompile.errors import StepError
from edgecompile.graphs.onnx.serialization import sort_nodes

LIMIT = 2**31 - 1
"""Largest file that protobuf reads, in bytes; external data counts towards it once it is inlined."""


def read_foreign(files: list[Path]) -> onnx.ModelProto:
    """Returns the model of `files[0]` with all external data inlined, checked in full. Nodes in a wrong order, as some
    converters to FP16 leave them, are put in order.

    Args:
        files: the ONNX file, then the files beside it that may hold its external data.

    Raises:
        StepError: when the file is missing, damaged or too large, is no valid model, or names external data that
            escapes its folder, is linked elsewhere, or does not hold what is said of it.
    """
    path = files[0]
    if not path.is_file():
        raise StepError(f"'{path.name}' does not exist")
    if path.stat().st_size > LIMIT:
        raise StepError(f"'{path.name}' is larger than 2 GiB, which ONNX files cannot be")
    try:
        model = onnx.load_model_from_string(path.read_bytes())
    except DecodeError as error:
        raise StepError(f"'{path.name}' is damaged or is no ONNX file") from error
    if not model.graph.node:
        raise StepError(f"'{path.name}' is no ONNX file, or one without operators")
    for tensor in list(_tensors(model)):
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            _inline(tensor, files)
    in_order = sort_nodes(onnx.ModelProto.FromString(model.SerializeToString()))
    if len(in_order.graph.node) == len(model.graph.node):  # else there is a circle, or a tensor from nowhere
        model = in_order
    try:
        onnx.checker.check_model(model, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise StepError(f"'{path.name}' is no valid ONNX model: {' '.join(str(error).split())[:300]}") from error
    return model


def _tensors(model: onnx.ModelProto) -> Iterator[onnx.TensorProto]:
    """Yields every tensor that a model holds: weights and attributes, in subgraphs and functions too."""
    yield from _tensors_of_graph(model.graph)
    for function in model.functions:
        for node in function.node:
            yield from _tensors_of_node(node)


def _tensors_of_graph(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield from (sparse.values, sparse.indices)
    for node in graph.node:
        yield from _tensors_of_node(node)


def _tensors_of_node(node: onnx.NodeProto) -> Iterator[onnx.TensorProto]:
    kinds = onnx.AttributeProto
    for attribute in node.attribute:
        if attribute.type == kinds.TENSOR:
            yield attribute.t
        elif attribute.type == kinds.TENSORS:
            yield from attribute.tensors
        elif attribute.type in (kinds.SPARSE_TENSOR, kinds.SPARSE_TENSORS):
            for sparse in (attribute.sparse_tensor, *attribute.sparse_tensors):
                yield from (sparse.values, sparse.indices)
        elif attribute.type == kinds.GRAPH:
            yield from _tensors_of_graph(attribute.g)
        elif attribute.type == kinds.GRAPHS:
            for graph in attribute.graphs:
                yield from _tensors_of_graph(graph)


def _inline(tensor: onnx.TensorProto, files: list[Path]) -> None:
    """Puts the external data of a tensor into it, after every doubt about the file is gone."""
    said = {entry.key: entry.value for entry in tensor.external_data}
    what = f"the external data of '{tensor.name}'"
    location = said.get("location", "")
    path = _beside(location, files, what)
    wanted = _byte_count(tensor, what)
    offset, length = (
        _whole_number(said.get(key, default), key, what) for key, default in (("offset", "0"), ("length", str(wanted)))
    )
    size = path.stat().st_size
    if length != wanted:
        raise StepError(f"{what} is {length} bytes long, its shape wants {wanted}")
    if offset + length > size:
        raise StepError(f"{what} ends at byte {offset + length} of '{location}', which has {size}")
    with path.open("rb") as stream:
        stream.seek(offset)
        tensor.raw_data = stream.read(length)
    tensor.data_location = onnx.TensorProto.DEFAULT
    del tensor.external_data[:]


def _beside(location: str, files: list[Path], what: str) -> Path:
    """Returns the file at `location` beside the model, when it is a plain file there and nothing else."""
    folder = files[0].parent
    plain = PurePosixPath(location)
    if (
        not location
        or plain.is_absolute()
        or PureWindowsPath(location).drive
        or ".." in plain.parts
        or "\\" in location
    ):
        raise StepError(f"{what} lies outside of the model's folder ('{location}'); refusing to read it")
    path = folder / plain
    if any((folder / part).is_symlink() for part in (plain, *plain.parents)):
        raise StepError(f"{what} is reached through a symbolic link ('{location}'); refusing to read it")
    if path not in files:
        fix = "save the model with its weights inside: onnx.save(onnx.load(path), path)"
        raise StepError(f"{what} lies in '{location}', which is not among the recipe's weights", fix=fix)
    try:
        status = path.stat()
    except OSError as error:
        raise StepError(f"{what} lies in '{location}', which cannot be read: {error.strerror}") from error
    if not stat.S_ISREG(status.st_mode) or status.st_nlink > 1:
        raise StepError(
            f"{what} lies in '{location}', which is no plain file or has further links; refusing to read it"
        )
    return path


def _whole_number(text: str, key: str, what: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 19):
        raise StepError(f"{what} has the {key} '{text[:30]}', expected a whole number")
    return int(text)


def _byte_count(tensor: onnx.TensorProto, what: str) -> int:
    """Returns how many bytes the shape and type of a tensor want."""
    if any(side < 0 for side in tensor.dims):
        raise StepError(f"{what} has the shape {list(tensor.dims)}")
    try:
        item: Any = onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type)
    except (KeyError, ValueError) as error:
        raise StepError(f"{what} has an unknown type") from error
    return math.prod(tensor.dims) * item.itemsize
