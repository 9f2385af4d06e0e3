"""Why an ONNX file cannot be imported, as far as its header shows. Quick: no weight is read, onnx is not imported."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from edgecompile.errors import EdgecompileError, Problem
from edgecompile.evaluate.tasks import chosen_task
from edgecompile.graphs.onnx import metadata
from edgecompile.graphs.onnx.picture_input import (
    agreed,
    form_of,
    pictures_among,
    require_one_input,
    with_channels,
)
from edgecompile.graphs.onnx.stated import StatedInput
from edgecompile.library_errors import EXPORT_AGAIN
from edgecompile.plan.shapes import Profile, one_shape
from edgecompile.runtime.spec import LARGEST_SIDE
from edgecompile.weights.onnx_header import NEWEST, OLDEST, PAIR, QUANTIZED, OnnxHeader, read_header

FLOAT_MODEL = "import the float model it was made from"
WITHOUT_PLUGINS = "export the model again without plugins, and without suppression built in"


def problems_of(
    weights: Path, shapes: Profile | None, class_names: str, task: str | None, statement: StatedInput
) -> list[Problem]:
    """Returns what is wrong with an ONNX file, as far as its header shows; the rest shows when it is imported.

    Args:
        shapes: that the recipe asks for; None for the shape that the file takes.
        class_names: whose are taken, as in `OnnxImport`.
        task: that the recipe names, if it does.
        statement: on the input, see `statement.InputStatement`.
    """
    header = read_header(weights)
    if header is None or not header.operators:
        return [Problem(f"'{weights.name}' is damaged, is no ONNX file or has no operators")]
    return list(_problems(header, weights.name, shapes, class_names, task, statement))


def _problems(
    header: OnnxHeader,
    file: str,
    shapes: Profile | None,
    class_names: str,
    task: str | None,
    statement: StatedInput,
) -> Iterator[Problem]:
    version = header.operator_set
    if not OLDEST <= version <= NEWEST:
        yield Problem(f"'{file}' uses operator set {version}; {OLDEST} to {NEWEST} can be read", fix=EXPORT_AGAIN)
    if plugins := header.plugins():
        listed = ", ".join(f"'{name[:60]}'" for name in plugins[:4])
        yield Problem(f"'{file}' uses {listed}, which only a plugin of some runtime brings", fix=WITHOUT_PLUGINS)
    if not_pairs := (QUANTIZED - PAIR) & {name for _, name in header.operators}:
        message = f"'{file}' computes with integers ({', '.join(sorted(not_pairs))}), not by Q/DQ pairs"
        yield Problem(message, fix=FLOAT_MODEL)
    checks: list[Callable[[], object]] = [
        lambda: metadata.require_task(header.metadata, file, chosen_task(task, header.metadata.get("task"))),
        lambda: metadata.coarsest_stride(header.metadata, file),
        lambda: _require_input(header, shapes, statement),
    ]
    if class_names == "file":
        checks.append(lambda: metadata.class_names(header.metadata, file))
    for check in checks:
        try:
            check()
        except EdgecompileError as error:
            yield from error.problems


def _require_input(header: OnnxHeader, shapes: Profile | None, statement: StatedInput) -> None:
    pictures = pictures_among([entry.name for entry in header.inputs])
    require_one_input(pictures)
    entry = next(entry for entry in header.inputs if entry.name == pictures[0])
    form = form_of(entry.name, entry.element_type, [side or -1 for side in entry.shape], statement)
    opened = form.opened
    if shapes is None and all(0 < side <= LARGEST_SIDE for side in opened[2:]):
        shapes = one_shape(list(opened[2:]))
    if shapes:
        agreed(opened, with_channels(shapes, form.channels))
