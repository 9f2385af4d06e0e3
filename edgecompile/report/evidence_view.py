"""What the page of a run draws of the validation, picture by picture: where float model and artifact differ, what is
taken for what, and precision against recall. Read from what the evaluations keep, so nothing runs again.

The page inside a bundle has none of it: pictures of the data set are no part of a bundle.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

    from edgecompile.evaluate.evidence import Evidence
    from edgecompile.execute.entry import Entry
    from edgecompile.plan.step import Step

SHOWN = 0.25
"""Score from which on an object is drawn and counts in the matrix."""
OVERLAP = 0.5
TITLES = ("truth", "float model", "this artifact")
MOST_COMPARED = 500
"""Pictures that are compared, the first: each is read again for its size."""
MOST_PICTURES = 3
MOST_CLASSES = 12
"""Rows of the matrix, and curves: those with most objects. The rest is counted."""
WIDEST = 480
"""Pixels of the longer side of a picture on the page."""
QUALITY = 75
LARGEST = 120 << 10
"""Bytes of one picture on the page; a larger one is left out and counted."""
PLOT = 200
"""Side of a plot, SVG units."""
STEPS = 50
"""Points of a curve."""
COLOURS = 8


@dataclass(frozen=True)
class Box:
    """A box on a picture, in pixels of the page, its class and the number of its colour."""

    x: float
    y: float
    width: float
    height: float
    name: str
    colour: int


@dataclass(frozen=True)
class Pane:
    """One of the three views of a picture."""

    title: str
    boxes: tuple[Box, ...]


@dataclass(frozen=True)
class DifferingPicture:
    """A picture on which float model and artifact differ: the JPEG as base64, its size on the page, the objects that
    one has and the other has not, and the three views."""

    name: str
    jpeg: str
    width: int
    height: int
    differences: int
    panes: tuple[Pane, ...]


@dataclass(frozen=True)
class Curve:
    """Precision against recall of one class at an overlap of 0.5, as SVG paths of float model and artifact."""

    name: str
    before: str
    after: str


@dataclass(frozen=True)
class Matrix:
    """What the artifact takes labelled objects for: a row for each class of labels, the last for what is no object; a
    column for each class that is found, the last for what is missed."""

    names: tuple[str, ...]
    rows: tuple[tuple[int, ...], ...]
    left_out: int

    @property
    def largest(self) -> int:
        return max((count for row in self.rows for count in row), default=0) or 1


@dataclass(frozen=True)
class EvidenceView:
    """All of it. Of `compared` pictures, `same` counts those on which both find the same, `left_out` those that
    differ and are not drawn, `no_curves` the classes without a curve."""

    pictures: tuple[DifferingPicture, ...]
    curves: tuple[Curve, ...]
    matrix: Matrix | None
    compared: int
    same: int
    left_out: int
    no_curves: int


def evidence_view(
    step: Step, entries: Mapping[str, Entry], task_name: str, names: Sequence[str]
) -> EvidenceView | None:
    """Returns what the evaluations of a run show; None for a task whose objects have no scores and boxes of their own.

    Args:
        step: the evaluation of the artifact, which names pictures and labels.
        entries: results of the steps, by name.
        names: of the model's classes.
    """
    from edgecompile.evaluate.evidence import load_evidence

    before, after = (load_evidence(entries[name].path()) for name in ("reference.evaluate", "evaluate"))
    if not all(name in after for name in ("scores", "classes", "hits", "truth")):
        return None
    curves, no_curves = _curves(before, after, names)
    truth = _true_boxes(step, task_name)
    if truth is None:
        return EvidenceView((), curves, None, 0, 0, 0, no_curves)
    sides = [_by_picture(evidence)[: len(truth)] for evidence in (before, after)]
    counts = [_differences(*pair) for pair in zip(*sides, strict=True)]
    ranked = sorted((index for index, count in enumerate(counts) if count), key=lambda index: -counts[index])
    drawn = []
    for index in ranked[:MOST_PICTURES]:
        views = list(zip(TITLES, (truth[index], sides[0][index], sides[1][index]), strict=True))
        if picture := _picture(Path(truth[index].path), views, counts[index], names):
            drawn.append(picture)
    matrix = _matrix(truth, sides[1], names)
    return EvidenceView(tuple(drawn), curves, matrix, len(truth), counts.count(0), len(ranked) - len(drawn), no_curves)


@dataclass(frozen=True)
class _Objects:
    """Objects of one picture from the score on, boxes in pixels of the picture; of labels, the picture's path too."""

    boxes: np.ndarray
    classes: np.ndarray
    path: str = ""


def _by_picture(evidence: Evidence) -> list[_Objects]:
    pictures = zip(*(evidence.by_picture(name) for name in ("scores", "classes", "places")), strict=True)
    return [_Objects(places[scores >= SHOWN], classes[scores >= SHOWN]) for scores, classes, places in pictures]


def _true_boxes(step: Step, task_name: str) -> list[_Objects] | None:
    """Returns the labelled boxes of each picture; None for a task whose labels are no boxes."""
    from edgecompile.data.label_lines import LabelForm
    from edgecompile.data.label_reading import reading_from
    from edgecompile.data.layouts import find_layout
    from edgecompile.evaluate.tasks import find_task
    from edgecompile.plan.step import Source
    from edgecompile.runtime.pictures import read_picture

    task = find_task(task_name)
    pictures, labels = step.inputs["pictures"], step.inputs["labels"]
    if task.label_form is not LabelForm.BOXES or not (isinstance(pictures, Source) and isinstance(labels, Source)):
        return None
    reading = reading_from(step.params.get("reading") or {})
    lines = find_layout(reading.layout).read_lines([Path(path) for path in labels.paths], reading, task.label_form)
    found = []
    for path, one in list(zip(pictures.paths, lines, strict=True))[:MOST_COMPARED]:
        read: Any = task.read_labels(one, reading.facts)
        height, width = read_picture(path).shape[:2]
        found.append(_Objects(read.in_pixels(width, height), read.classes, path))
    return found


def _pairs(first: _Objects, second: _Objects) -> list[tuple[int, int]]:
    """Returns which objects are the same, whatever their class: the best overlap first, each object once."""
    import numpy as np

    from edgecompile.evaluate.average_precision import overlaps

    if not len(first.boxes) or not len(second.boxes):
        return []
    shared = overlaps(first.boxes, second.boxes)
    pairs: dict[int, int] = {}
    for flat in np.argsort(-shared, axis=None, kind="stable"):
        row, column = (int(place) for place in np.unravel_index(flat, shared.shape))
        if shared[row, column] < OVERLAP:
            break
        if row not in pairs and column not in pairs.values():
            pairs[row] = column
    return list(pairs.items())


def _differences(before: _Objects, after: _Objects) -> int:
    """Returns how many objects one model finds and the other does not, or takes for another class."""
    pairs = _pairs(before, after)
    same = sum(int(before.classes[row]) == int(after.classes[column]) for row, column in pairs)
    return len(before.classes) + len(after.classes) - len(pairs) - same


def _matrix(truth: Sequence[_Objects], found: Sequence[_Objects], names: Sequence[str]) -> Matrix:
    from collections import Counter

    counts: Counter[tuple[int, int]] = Counter()
    objects: Counter[int] = Counter()
    nothing = -1
    for labelled, objects_found in zip(truth, found, strict=True):
        pairs = _pairs(labelled, objects_found)
        counts.update((int(labelled.classes[row]), int(objects_found.classes[column])) for row, column in pairs)
        hit, taken = {row for row, _ in pairs}, {column for _, column in pairs}
        counts.update((int(number), nothing) for row, number in enumerate(labelled.classes) if row not in hit)
        counts.update((nothing, int(number)) for row, number in enumerate(objects_found.classes) if row not in taken)
        objects.update(map(int, labelled.classes))
    kept = sorted(number for number, _ in objects.most_common(MOST_CLASSES))
    rows = tuple(tuple(counts[first, second] for second in (*kept, nothing)) for first in (*kept, nothing))
    return Matrix(tuple(_name(number, names) for number in kept), rows, len(objects) - len(kept))


def _picture(
    path: Path, views: Sequence[tuple[str, _Objects]], differences: int, names: Sequence[str]
) -> DifferingPicture | None:
    """Returns a picture with its views; None where it is too large for a page."""
    import cv2

    from edgecompile.runtime.pictures import read_picture

    image = read_picture(path)
    scale = min(1.0, WIDEST / max(image.shape[:2]))
    width, height = round(image.shape[1] * scale), round(image.shape[0] * scale)
    small = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
    _, jpeg = cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
    if len(jpeg) > LARGEST:
        return None
    panes = []
    for title, objects in views:
        corners = [[float(value) * scale for value in box] for box in objects.boxes]
        boxes = [
            _box((x1, y1, x2, y2), number, names)
            for (x1, y1, x2, y2), number in zip(corners, map(int, objects.classes), strict=True)
        ]
        panes.append(Pane(title, tuple(boxes)))
    text = base64.b64encode(jpeg.tobytes()).decode("ascii")
    return DifferingPicture(path.name, text, width, height, differences, tuple(panes))


def _box(corners: tuple[float, float, float, float], number: int, names: Sequence[str]) -> Box:
    x1, y1, x2, y2 = (round(value, 1) for value in corners)
    return Box(x1, y1, round(x2 - x1, 1), round(y2 - y1, 1), _name(number, names), number % COLOURS)


def _curves(before: Evidence, after: Evidence, names: Sequence[str]) -> tuple[tuple[Curve, ...], int]:
    """Returns the curves of all classes together and of those with most objects; how many classes have none."""
    import numpy as np

    numbers, objects = np.unique(after["truth"], return_counts=True)
    most = [int(number) for number in numbers[np.argsort(-objects, kind="stable")]]
    shown = most[: MOST_CLASSES - 1] if len(most) > 1 else []
    curves = [Curve("all classes", _curve(before, None), _curve(after, None))]
    curves += [Curve(_name(number, names), _curve(before, number), _curve(after, number)) for number in sorted(shown)]
    return tuple(curves), len(most) - len(shown) if shown else 0


def _curve(evidence: Evidence, number: int | None) -> str:
    """Returns precision against recall as the score falls, an SVG path; "" where there is nothing."""
    import numpy as np

    scores, hits, truth = evidence["scores"], evidence["hits"], evidence["truth"]
    chosen = slice(None) if number is None else evidence["classes"] == number
    objects = len(truth) if number is None else int((truth == number).sum())
    scores, hits = scores[chosen], np.unpackbits(hits, axis=1)[chosen, 0]
    if not objects or not len(scores):
        return ""
    right = hits[np.argsort(-scores, kind="stable")].cumsum()
    precision, recall = right / np.arange(1, len(right) + 1), right / objects
    precision = np.maximum.accumulate(precision[::-1])[::-1]  # the envelope, of which the area is the AP
    places = np.linspace(0, len(right) - 1, min(len(right), STEPS)).astype(int)
    points = [f"{PLOT * recall[place]:.1f} {PLOT * (1 - precision[place]):.1f}" for place in places]
    return f"M0 {PLOT * (1 - precision[0]):.1f}L" + "L".join(points)


def _name(number: int, names: Sequence[str]) -> str:
    return names[number] if 0 <= number < len(names) else f"class {number}"
