"""Layouts of detection outputs: how foreign models put out their boxes. One file each; the file name is the registry.

A layout adds nodes to a graph until the runtime can decode its first output: "yolo", (n, 4 + classes, anchors) of
centre, size and class scores, or "end2end", (n, boxes, 6) of corners, score and class number. The shape of an output
alone never shows which layout it has: its numbers on real pictures must agree.

To add a layout: `layouts/<layout>.py` with what `Layout` asks for, and a test.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, cast

from edgecompile.errors import StepError

if TYPE_CHECKING:
    import numpy as np
    import onnx

AUTO = "auto"
KEY = "passes.onnx_import.decode"

FLOAT32 = 1
"""As ONNX numbers its types."""

ANY_NUMBER = 0
"""Number of classes of an output whose shape does not show it."""


class Layout(Protocol):
    """What the module of a layout offers.

    Attributes:
        ABOUT: shape and content of the output, for people.
        DECODE: how the runtime decodes what `rewrite` leaves.
    """

    ABOUT: str
    DECODE: str

    def classes_in(self, shape: Sequence[int]) -> int | None:
        """Returns how many classes an output of `shape` has in this layout, `ANY_NUMBER` where the shape does not show
        it, None where no output of this layout has such a shape."""

    def doubt(self, output: np.ndarray, classes: int, size: Sequence[int]) -> str:
        """Returns what in an output contradicts this layout, "" where nothing does.

        Args:
            output: float32, of a shape that `classes_in` accepts.
            classes: number of classes.
            size: height and width of the input, pixels.
        """

    def rewrite(self, model: onnx.ModelProto) -> None:
        """Adds nodes behind the first output, in place, that bring it into the form that `DECODE` names."""


@dataclass(frozen=True)
class Observed:
    """What a model put out on one batch of pictures of height and width `size`."""

    output: np.ndarray
    size: Sequence[int]


@dataclass(frozen=True)
class Expected:
    """How many classes a model has: `stated` by its file (None where it states none), `assumed` where it does not."""

    stated: int | None
    assumed: int

    @property
    def count(self) -> int:
        return self.assumed if self.stated is None else self.stated


@dataclass(frozen=True)
class Reading:
    """A layout that an output has, and the number of classes in it."""

    name: str
    layout: Layout
    classes: int


def layout_names() -> tuple[str, ...]:
    """Returns the names of all layouts, sorted."""
    return tuple(sorted(file.stem for file in Path(__file__).parent.glob("[!_]*.py")))


@cache
def layout_of(name: str) -> Layout:
    """Returns the layout that `layout_names` names."""
    return cast("Layout", importlib.import_module(f"{__name__}.{name}"))


def read_as(observed: Sequence[Observed], expected: Expected, stated: str) -> Reading:
    """Returns the one layout that the outputs of a model have.

    Args:
        observed: what it put out on real pictures.
        expected: number of classes.
        stated: name of the layout that the recipe states, or `AUTO`.

    Raises:
        StepError: no layout fits, or several do, or the stated layout does not. Names those that fit, and the key.
    """
    fitting, against = _judged(observed, expected)
    chosen = [reading for reading in fitting if reading.name == stated] if stated != AUTO else fitting
    if len(chosen) == 1 and (stated != AUTO or chosen[0].classes == expected.count):
        return chosen[0]
    message = f"the model's first output has the shape {list(observed[0].output.shape)}"
    if stated != AUTO and not chosen:
        against.setdefault(stated, f"that is {layout_of(stated).ABOUT}")
        message += f"; it is not {stated}: {against.pop(stated)}"
    message += "".join(f"; it is not {name}: {reason}" for name, reason in against.items())
    if not fitting:
        readable = "; ".join(f"{name} is {layout_of(name).ABOUT}" for name in layout_names())
        raise StepError(message, fix=f"what can be read: {readable}")
    source = "the data set names" if expected.stated is None else "the file names"
    fits = " or ".join(
        f"{reading.name} ({layout_of(reading.name).ABOUT}) of {_count(reading.classes)}" for reading in fitting
    )
    keys = " or ".join(f"{KEY}={reading.name}" for reading in fitting)
    raise StepError(f"{message}; it fits {fits}; {source} {expected.count}", fix=f"state which it is: {keys}")


def rewrite(model: onnx.ModelProto, reading: Reading) -> int:
    """Adds nodes, in place, until the first output is float32 in the form that the layout's `DECODE` names. Returns how
    many."""
    from edgecompile.graphs.onnx.layouts._nodes import Behind

    count = len(model.graph.node)
    behind = Behind(model)
    if not behind.is_float32:
        (cast_output,) = behind.add("Cast", [behind.result], to=FLOAT32)
        behind.put_out(cast_output, behind.shape)
    reading.layout.rewrite(model)
    return len(model.graph.node) - count


def _judged(observed: Sequence[Observed], expected: Expected) -> tuple[list[Reading], dict[str, str]]:
    """Returns the layouts that fit, and why each other layout whose shape fits does not.

    Names that a file states are those of its classes, so their number must fit too; those of a data set need not be.
    """
    fitting, against = [], {}
    for name in layout_names():
        layout = layout_of(name)
        counts = {layout.classes_in(batch.output.shape) for batch in observed}
        count = counts.pop() if len(counts) == 1 else None
        if count is None:
            continue
        classes = count or expected.count
        doubts = (layout.doubt(batch.output, classes, batch.size) for batch in observed)
        if expected.stated not in (None, classes):
            against[name] = f"it would have {_count(classes)}, the file names {expected.stated}"
        elif doubt := next((doubt for doubt in doubts if doubt), ""):
            against[name] = doubt
        else:
            fitting.append(Reading(name, layout, classes))
    return fitting, against


def _count(classes: int) -> str:
    return "1 class" if classes == 1 else f"{classes} classes"
