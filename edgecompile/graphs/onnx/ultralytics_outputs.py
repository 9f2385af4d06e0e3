"""Outputs of Ultralytics' own exports for tasks of which foreign files have no common form: kept as they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from edgecompile.errors import StepError
from edgecompile.evaluate.tasks import StatedFacts, find_task
from edgecompile.graphs.onnx.metadata import literal

NMS_FREE = "end2end"
MOST_ROWS = 300
"""Rows of an NMS-free head."""


def decode_of(shapes: Sequence[Sequence[int]], task: str) -> str:
    """Returns how a head puts out what it finds, by the shapes of its outputs, in the words of the task's `describe`.

    Raises:
        StepError: no output is one of rows.
    """
    rows = next((shape for shape in shapes if len(shape) == 3), None)
    if rows is None:
        listed = ", ".join(str(list(shape)) for shape in shapes)
        fix = f"export the model for '{task}' as Ultralytics does"
        raise StepError(
            f"the model's outputs have the shapes {listed}, expected one of rows (n, values, anchors)", fix=fix
        )
    return NMS_FREE if rows[1] > rows[2] and rows[1] <= MOST_ROWS else find_task(task).plain_decode


def stated_facts(notes: Mapping[str, str]) -> StatedFacts:
    """Returns what a file states for the task, for `describe`."""
    shape = literal(notes.get("kpt_shape", ""))
    return {"kpt_shape": list(shape)} if isinstance(shape, (list, tuple)) and len(shape) == 2 else {}
