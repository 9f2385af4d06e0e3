"""Layouts of outputs: how foreign models put out what they find. One file each; the file name is the registry.

A layout adds nodes to a graph until the runtime can decode its only output: "yolo", (n, 4 + classes, anchors) of
centre, size and class scores, or "end2end", (n, boxes, 6) of corners, score and class number, both in pixels; for
classifiers "probabilities", (n, classes). The shapes of outputs alone never show which layout they have: their numbers
on real pictures must agree.

To add a layout: `layouts/<layout>.py` with what `Layout` asks for, and a test.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, cast

from edgecompile.errors import StepError
from edgecompile.graphs.onnx.stated import StatedOutputs

if TYPE_CHECKING:
    import numpy as np
    import onnx

    from edgecompile.graphs.onnx.layouts._nodes import Behind

AUTO = "auto"
KEY = "passes.onnx_import.outputs.layout"

AXES = {"yolo": 3, "end2end": 3, "probabilities": 2}
"""Forms that layouts may leave, to the number of their axes."""

ANY_NUMBER = 0
"""Number of classes of an output whose shape does not show it."""

Shape = Sequence[int]


@dataclass(frozen=True)
class Output:
    """Name and shape of an output of a model."""

    name: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Hints:
    """What a layout may go by.

    Attributes:
        classes: how many the file, else the data set names.
        size: height and width of the input, pixels.
        options: what the recipe states beside the layout, see `statement.OutputStatement`.
        pictures: how many the input takes at once.
        anchors: content of the file that `anchors_file` of the options names, (anchors, 4).
        largest: height and width of the largest pictures where the size of the input varies; None where it does not.
    """

    classes: int
    size: Sequence[int]
    options: StatedOutputs = field(default_factory=lambda: StatedOutputs())
    pictures: int = 1
    anchors: np.ndarray | None = None
    largest: Sequence[int] | None = None


@dataclass(frozen=True)
class Match:
    """That outputs have the shapes of a layout.

    Attributes:
        classes: how many there are; `ANY_NUMBER` where the shapes do not show it.
        places: which outputs the layout reads, in its own order.
    """

    classes: int
    places: tuple[int, ...] = (0,)


class Layout(Protocol):
    """What the module of a layout offers.

    Attributes:
        ABOUT: shape and content of the outputs, for people.
        DECODE: how the runtime decodes what `rewrite` leaves.
        BY_NUMBERS: whether its numbers are so telling that `AUTO` tries it.
        OPTIONS: of the recipe's statement, those that it goes by.
    """

    ABOUT: str
    DECODE: str
    BY_NUMBERS: bool
    OPTIONS: frozenset[str]

    def match(self, outputs: Sequence[Output], hints: Hints) -> Match | None:
        """Returns which outputs of these shapes are those of this layout; None where there are none."""

    def doubt(self, outputs: Sequence[np.ndarray], classes: int, hints: Hints) -> str:
        """Returns what in the outputs contradicts this layout, "" where nothing does.

        Args:
            outputs: those that `match` names, in its order.
            classes: number of classes.
        """

    def rewrite(self, behind: Behind, shapes: Sequence[Shape], classes: int, hints: Hints) -> str:
        """Adds nodes that bring `behind.outputs` into the form that `DECODE` names. Returns the name of the result.

        Args:
            shapes: of the outputs that `match` names.
        """


@dataclass(frozen=True)
class Observed:
    """What a model put out on one batch of so many pictures of height and width `size`."""

    outputs: tuple[np.ndarray, ...]
    size: Sequence[int]
    pictures: int = 1


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
    """A layout that outputs have, the number of classes in it, and which outputs it reads."""

    name: str
    layout: Layout
    classes: int
    outputs: tuple[Output, ...]
    hints: Hints


def layout_names() -> tuple[str, ...]:
    """Returns the names of all layouts, sorted."""
    return tuple(sorted(file.stem for file in Path(__file__).parent.glob("[!_]*.py")))


@cache
def layout_of(name: str) -> Layout:
    """Returns the layout that `layout_names` names."""
    return cast("Layout", importlib.import_module(f"{__name__}.{name}"))


def read_as(
    observed: Sequence[Observed],
    names: Sequence[str],
    expected: Expected,
    stated: str,
    options: StatedOutputs | None = None,
    decodes: frozenset[str] = frozenset({"yolo", "end2end"}),
    anchors: np.ndarray | None = None,
) -> Reading:
    """Returns the one layout that the outputs of a model have.

    Args:
        observed: what it put out on real pictures.
        names: of its outputs.
        expected: number of classes.
        stated: name of the layout that the recipe states, or `AUTO`.
        options: that it states beside.
        decodes: that the task reads.
        anchors: content of the file of anchors, (anchors, 4), where one is stated.

    Raises:
        StepError: no layout fits, or several do, or the stated layout does not. Names those that fit, and the key.
    """
    options = options or {}
    candidates = [name for name in layout_names() if layout_of(name).DECODE in decodes]
    _require_options(stated, options)
    fitting, against = _judged(observed, names, expected, options, candidates, anchors)
    chosen = [reading for reading in fitting if reading.name == stated]
    if stated == AUTO:
        chosen = [reading for reading in fitting if reading.layout.BY_NUMBERS]
    if len(chosen) == 1 and (stated != AUTO or chosen[0].classes == expected.count):
        return chosen[0]
    message = _shapes(observed[0].outputs)
    if stated != AUTO and not chosen:
        against.setdefault(stated, f"that is {layout_of(stated).ABOUT}")
        message += f"; it is not {stated}: {against.pop(stated)}"
    told = {name: reason for name, reason in against.items() if stated != AUTO or layout_of(name).BY_NUMBERS}
    message += "".join(f"; it is not {name}: {reason}" for name, reason in told.items())
    families = _fitting_families(observed, names, expected, candidates)
    if not fitting and families:
        raise StepError(message, fix=f"state which it is: {' or '.join(families)}")
    if not fitting:
        readable = "; ".join(f"{name} is {layout_of(name).ABOUT}" for name in candidates if layout_of(name).BY_NUMBERS)
        others = ", ".join(name for name in candidates if not layout_of(name).BY_NUMBERS)
        fix = f"what can be read: {readable}; and, where passes.onnx_import.family or {KEY} states it: {others}"
        raise StepError(message, fix=fix)
    fitting = [reading for reading in fitting if reading.classes == expected.count] or fitting
    source = "the data set names" if expected.stated is None else "the file names"
    fits = " or ".join(
        f"{reading.name} ({layout_of(reading.name).ABOUT}) of {_count(reading.classes)}" for reading in fitting
    )
    keys = " or ".join([*families, *(f"{KEY}={reading.name}" for reading in fitting)])
    raise StepError(f"{message}; it fits {fits}; {source} {expected.count}", fix=f"state which it is: {keys}")


def rewrite(model: onnx.ModelProto, reading: Reading, largest: Sequence[int] | None = None) -> tuple[int, list[str]]:
    """Adds nodes, in place, until the only output is float32 in the form that the layout's `DECODE` names.

    Args:
        largest: height and width of the largest pictures, where the size of the input varies.

    Returns:
        how many were added, and the names of outputs that nothing reads: they and what only they need are gone.
    """
    from edgecompile.graphs.onnx.dfl import drop_unread
    from edgecompile.graphs.onnx.layouts._nodes import Behind

    read = [output.name for output in reading.outputs]
    unread = [output.name for output in model.graph.output if output.name not in read]
    behind = Behind(model, read)
    behind.as_floats()
    shapes = [output.shape for output in reading.outputs]
    hints = replace(reading.hints, largest=largest)
    result = reading.layout.rewrite(behind, shapes, reading.classes, hints)
    behind.put_out(result, AXES[reading.layout.DECODE])
    if unread:
        drop_unread(model)
    return len(behind.nodes), unread


def _require_options(stated: str, options: StatedOutputs) -> None:
    """Raises:
    StepError: an option is stated that the layout does not go by.
    """
    known = frozenset() if stated == AUTO else layout_of(stated).OPTIONS
    if unknown := sorted(options.keys() - known):
        listed = ", ".join(sorted(known)) or "no others"
        key = f"passes.onnx_import.outputs.{unknown[0]}"
        fix = f"state {KEY}" if stated == AUTO else f"what it goes by: {listed}"
        raise StepError(f"{key} means nothing to the layout '{stated}'", fix=fix)


def _judged(
    observed: Sequence[Observed],
    names: Sequence[str],
    expected: Expected,
    options: StatedOutputs,
    candidates: Sequence[str],
    anchors: np.ndarray | None,
) -> tuple[list[Reading], dict[str, str]]:
    """Returns the layouts that fit, and why each other layout whose shapes fit does not.

    Names that a file states are those of its classes, so their number must fit too; those of a data set need not be.
    """
    fitting, against = [], {}
    for name in candidates:
        layout = layout_of(name)
        own = cast("StatedOutputs", {key: value for key, value in options.items() if key in layout.OPTIONS})
        cases = [
            (
                batch,
                Hints(expected.count, batch.size, own, batch.pictures, anchors),
                _described(names, batch.outputs),
            )
            for batch in observed
        ]
        matches = [layout.match(outputs, hints) for _, hints, outputs in cases]
        match = matches[0]
        if match is None or any(other != match for other in matches):
            continue
        classes = match.classes or expected.count
        doubts = (
            layout.doubt([batch.outputs[place] for place in match.places], classes, hints) for batch, hints, _ in cases
        )
        if expected.stated not in (None, classes):
            against[name] = f"it would have {_count(classes)}, the file names {expected.stated}"
        elif (kind := observed[0].outputs[match.places[0]].dtype).kind != "f":
            against[name] = f"it holds {kind}, expected float32"
        elif doubt := next((doubt for doubt in doubts if doubt), ""):
            against[name] = doubt
        else:
            _, hints, outputs = cases[0]
            fitting.append(Reading(name, layout, classes, tuple(outputs[place] for place in match.places), hints))
    return fitting, against


def _fitting_families(
    observed: Sequence[Observed], names: Sequence[str], expected: Expected, candidates: Sequence[str]
) -> list[str]:
    """Returns words for a command line that name families whose statement on outputs fits, some with another activation
    than their own."""
    from edgecompile.graphs.onnx.families import family, family_names

    fitting = []
    for name in family_names():
        outputs = family(name).get("outputs", {})
        layout = outputs.get("layout", AUTO)
        if layout not in candidates or layout_of(layout).BY_NUMBERS:
            continue
        for changed in ({}, {"activation": "none"}, {"activation": "sigmoid"}):
            options = cast("StatedOutputs", {**{key: outputs[key] for key in outputs if key != "layout"}, **changed})  # type: ignore[literal-required]
            readings, _ = _judged(observed, names, expected, options, [layout], None)
            if readings and readings[0].classes == expected.count:
                words = [f"passes.onnx_import.outputs.{key}={value}" for key, value in changed.items()]
                fitting.append(" ".join([f"passes.onnx_import.family={name}", *words]))
                break
    return fitting


def _described(names: Sequence[str], outputs: Sequence[np.ndarray]) -> list[Output]:
    return [Output(name, tuple(output.shape)) for name, output in zip(names, outputs, strict=True)]


def _shapes(outputs: Sequence[np.ndarray]) -> str:
    shapes = [str(list(output.shape)) for output in outputs]
    if len(shapes) == 1:
        return f"the model's first output has the shape {shapes[0]}"
    return f"the model's outputs have the shapes {', '.join(shapes[:16])}"


def _count(classes: int) -> str:
    return "1 class" if classes == 1 else f"{classes} classes"
