"""Reading an ONNX file that somebody else made: nothing outside the files given is ever opened."""

from __future__ import annotations

import math
import stat
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import onnx
import onnx.inliner
from google.protobuf.message import DecodeError

from edgecompile.errors import StepError
from edgecompile.graphs.onnx.serialization import sort_nodes
from edgecompile.graphs.onnx.walk import nodes_within, tensors_within
from edgecompile.library_errors import EXPORT_AGAIN

LIMIT = 2**31 - 1
"""Largest file that protobuf reads, in bytes; external data counts towards it once it is inlined."""
MOST_NODES = 1_000_000
"""Nodes of a graph once its functions are inlined; the largest detection models have some thousands."""
MOST_CALLS = 64
"""Functions that may call one another in a row."""

Key = tuple[str, str, str]
"""Domain, name and overload of a function."""


def read_foreign(files: list[Path]) -> onnx.ModelProto:
    """Returns the model of `files[0]` with all external data and all functions of its own inlined, checked in full.

    Nodes in a wrong order, as some converters to FP16 leave them, are put in order. What is no part of inference
    (training graphs, fields that this version of ONNX does not know) is dropped.

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
        raise StepError(f"'{path.name}' is no ONNX file, or has no operators")
    if not model.graph.output:
        raise StepError(f"'{path.name}' has no output")
    model.DiscardUnknownFields()  # another reader might know them, as data that lies elsewhere
    _inline_all(model, files)
    model.ClearField("training_info")
    _name_domain_once(model, path.name)
    model = sorted_copy(inline_functions(model, path.name))
    try:
        onnx.checker.check_model(model, full_check=True)
    except Exception as error:  # of any kind: a weight of an unknown type is a ValueError
        raise invalid(path.name, error) from error
    return model


def inline_functions(model: onnx.ModelProto, name: str) -> onnx.ModelProto:
    """Returns the model with the functions that it defines in place of their calls.

    Raises:
        StepError: they call one another in a circle, or are otherwise none.
    """
    if not model.functions:
        return model
    require_finite_calls(model, name)
    try:
        return onnx.inliner.inline_local_functions(model, convert_version=True)
    except Exception as error:  # of any kind: the inliner is compiled code
        raise invalid(name, error) from error


def require_finite_calls(model: onnx.ModelProto, name: str) -> None:
    """Demands that no function of a model calls itself, and that all calls together stay below `MOST_NODES` nodes.

    Raises:
        StepError: a function calls itself, or there are more nodes: a few functions that each call the next twice make
            millions.
    """
    functions = {(function.domain, function.name, function.overload): function for function in model.functions}
    sizes: dict[Key, int] = {}

    def size(key: Key, callers: tuple[Key, ...] = ()) -> int:
        if key not in functions:
            return 1
        if key in callers or len(callers) > MOST_CALLS:
            raise StepError(f"'{name}' is no valid ONNX model: its function '{key[1][:60]}' calls itself")
        if key not in sizes:
            sizes[key] = sum(size(callee, (*callers, key)) for callee in calls_of(functions[key]))
        return sizes[key]

    if sum(map(size, calls_of(model.graph))) > MOST_NODES:
        raise StepError(f"'{name}' has functions that make more than {MOST_NODES} nodes of it")


def calls_of(graph: onnx.GraphProto | onnx.FunctionProto) -> list[Key]:
    """Returns the operator or function of each node, those of nested graphs too."""
    return [(node.domain, node.op_type, node.overload) for node in nodes_within(graph)]


def invalid(name: str, error: Exception) -> StepError:
    """Returns the error for a file that a library refuses as a model."""
    return StepError(f"'{name}' is no valid ONNX model: {' '.join(str(error).split())[:300]}")


def sorted_copy(model: onnx.ModelProto) -> onnx.ModelProto:
    """Returns a model with its nodes in order, as it is where there is a circle, or a tensor from nowhere."""
    in_order = sort_nodes(onnx.ModelProto.FromString(model.SerializeToString()))
    return in_order if len(in_order.graph.node) == len(model.graph.node) else model


def _name_domain_once(model: onnx.ModelProto, name: str) -> None:
    """Writes the domain of ONNX's own operators, in place, as "" wherever it stands as its other name "ai.onnx", and
    the operator set of each domain once.

    Raises:
        StepError: a domain has two operator sets: each library would choose for itself.
    """
    for named in (
        *nodes_within(model),
        *model.opset_import,
        *(opset for f in model.functions for opset in f.opset_import),
    ):
        if named.domain == "ai.onnx":
            named.domain = ""
    for holder in (model, *model.functions):
        opsets = {(opset.domain, opset.version) for opset in holder.opset_import}
        if len(opsets) > len({domain for domain, _ in opsets}):
            raise StepError(f"'{name}' states two operator sets for one domain", fix=EXPORT_AGAIN)
        del holder.opset_import[:]
        holder.opset_import.extend(onnx.helper.make_opsetid(*opset) for opset in sorted(opsets))


def _inline_all(model: onnx.ModelProto, files: list[Path]) -> None:
    """Puts all external data into the tensors that name it.

    Raises:
        StepError: some of it is not to be trusted, or all of it is too large for one file.
    """
    total = files[0].stat().st_size
    for tensor in list(tensors_within(model)):
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            total += _inline(tensor, files, LIMIT - total)
        elif tensor.external_data:
            tensor.ClearField("external_data")


def _inline(tensor: onnx.TensorProto, files: list[Path], most: int) -> int:
    """Puts the external data of a tensor into it, after every doubt about the file is gone. Returns its bytes.

    Args:
        most: bytes that it may have.
    """
    fields = {entry.key: entry.value for entry in tensor.external_data}
    subject = f"the external data of '{tensor.name[:60]}'"
    location = fields.get("location", "")
    path = _beside(location, files, subject)
    expected = _byte_count(tensor, subject)
    offset, length = (
        _whole_number(fields.get(key, default), key, subject)
        for key, default in (("offset", "0"), ("length", str(expected)))
    )
    size = path.stat().st_size
    if length != expected:
        raise StepError(f"{subject} is {length} bytes long, its shape wants {expected}")
    if offset + length > size:
        raise StepError(f"{subject} ends at byte {offset + length} of '{location}', which has {size}")
    if length > most:
        raise StepError(f"'{files[0].name}' is larger than 2 GiB with its external data, which ONNX files cannot be")
    with path.open("rb") as stream:
        stream.seek(offset)
        tensor.raw_data = stream.read(length)
    tensor.data_location = onnx.TensorProto.DEFAULT
    del tensor.external_data[:]
    return length


def _beside(location: str, files: list[Path], subject: str) -> Path:
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
        raise StepError(f"{subject} lies outside of the model's folder ('{location}'); refusing to read it")
    path = folder / plain
    if any((folder / part).is_symlink() for part in (plain, *plain.parents)):
        raise StepError(f"{subject} is reached through a symbolic link ('{location}'); refusing to read it")
    if path not in files:
        fix = "save the model with its weights inside: onnx.save(onnx.load(path), path)"
        raise StepError(f"{subject} lies in '{location}', which is not among the recipe's weights", fix=fix)
    try:
        status = path.stat()
    except OSError as error:
        raise StepError(f"{subject} lies in '{location}', which cannot be read: {error.strerror}") from error
    if not stat.S_ISREG(status.st_mode) or status.st_nlink > 1:
        raise StepError(
            f"{subject} lies in '{location}', which is no plain file or has further links; refusing to read it"
        )
    return path


def _whole_number(text: str, key: str, subject: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 19):
        raise StepError(f"{subject} has the {key} '{text[:30]}', expected a whole number")
    return int(text)


def _byte_count(tensor: onnx.TensorProto, subject: str) -> int:
    """Returns how many bytes the shape and type of a tensor want."""
    if any(side < 0 for side in tensor.dims):
        raise StepError(f"{subject} has the shape {list(tensor.dims)}")
    try:
        item: Any = onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type)
    except (KeyError, ValueError) as error:
        raise StepError(f"{subject} has an unknown type") from error
    return math.prod(tensor.dims) * item.itemsize
