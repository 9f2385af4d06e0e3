"""`Timeline`: what a soak run saw of a model and of the machine, in the order of time. Data alone; JSON by columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, TypedDict, cast


@dataclass(frozen=True)
class Prediction:
    """One prediction, and what the kernel counted during it.

    Attributes:
        at_s: when it began, seconds since the run began.
        total_ms: from a picture in memory to its result.
        idle_ms: how long the model had rested before.
        shape: number of the size that the picture was scaled to (`Timeline.shapes`).
        fresh: whether the shape was new to the model, or not among the last that keep their buffers.
        waited_ms: the longest that a thread was ready and got no core.
        quota_ms: how long the control group stood still, its quota used up.
        gc_ms: how long Python collected garbage.
        minor, major: page faults, without and with reading from a disk.
        moment: number of its moment.
    """

    at_s: float
    total_ms: float
    idle_ms: float
    shape: int
    fresh: int
    waited_ms: float
    quota_ms: float
    gc_ms: float
    minor: int
    major: int
    moment: int


@dataclass(frozen=True)
class Moment:
    """A part of the run, a quarter of a second or a few predictions long: the machine meanwhile and memory at its end.

    Moments of two kinds take turns: whole ones, in which a picture comes from the source and its result goes to the
    caller, and those of the backend alone, on one picture that is kept. So the two can be told apart.

    Attributes:
        at_s, seconds: when it ended, and how long it was.
        whole: of which kind it is.
        predictions: how many there were.
        foreign, stolen: shares of the processor that other processes, and other virtual machines, took; None where the
            machine does not show it.
        resolution: by how much these shares may be off, since kernels count in ticks.
        mhz: clock of the quickest core; None where it is hidden.
        temperature_c: of the hottest zone; None where there is no sensor.
        throttled: whether the processor was slowed by heat or low voltage; None where nothing tells.
        threads: of this process.
        memory_mb: resident memory of this process.
        grown_mb: by how much that grew in this moment.
        pictures_mb, results_mb: of pictures from the source, and of results, that somebody still holds.
        pictures_held, results_held: how many of them there are.
    """

    at_s: float
    seconds: float
    whole: bool
    predictions: int
    foreign: float | None
    stolen: float | None
    resolution: float
    mhz: int | None
    temperature_c: float | None
    throttled: bool | None
    threads: int
    memory_mb: float
    grown_mb: float
    pictures_mb: float
    results_mb: float
    pictures_held: int
    results_held: int


@dataclass(frozen=True)
class GoldenLook:
    """One comparison of the outputs on the golden picture.

    Attributes:
        at_s: when.
        met: whether they are within the bundle's tolerance.
        detail: the first difference beyond it, else the words of the comparison.
    """

    at_s: float
    met: bool
    detail: str


class TimelineDocument(TypedDict):
    """`Timeline` as JSON: predictions and moments as columns, each a list of equal length."""

    cores: int
    threads: int
    seconds: float
    pause_ms: float
    shapes: list[list[int]]
    page_fault_ms: float
    predicted: int
    predictions: dict[str, list[Any]]
    moments: dict[str, list[Any]]
    built: list[dict[str, Any]]
    looks: list[dict[str, Any]]
    not_finite: int
    refused: int
    refusal: str
    unseen: list[str]


@dataclass(frozen=True)
class Timeline:
    """What a soak run saw.

    Attributes:
        cores: that the process may use.
        threads: that the backend was opened with.
        seconds: how long it took.
        pause_ms: how long the model rested before each picture of a whole moment; 0 for not at all.
        shapes: sizes that pictures were scaled to, height and width.
        page_fault_ms: how long a page fault takes on this machine.
        predicted: how many predictions there were; `predictions` holds all of them, or those of evenly spaced moments.
        built: comparisons of the golden picture with the machine that built the bundle, at the beginning.
        looks: comparisons of the golden picture with the beginning of the run.
        not_finite: how many of the looks at raw outputs of further pictures found numbers that are not finite.
        refused: how many predictions ended in an error of the model; `refusal` is the first one's message.
        unseen: what the system does not show, a line each.
    """

    cores: int
    threads: int
    seconds: float
    pause_ms: float
    shapes: tuple[tuple[int, int], ...]
    page_fault_ms: float
    predicted: int
    predictions: tuple[Prediction, ...]
    moments: tuple[Moment, ...]
    built: tuple[GoldenLook, ...] = ()
    looks: tuple[GoldenLook, ...] = ()
    not_finite: int = 0
    refused: int = 0
    refusal: str = ""
    unseen: tuple[str, ...] = ()

    def to_json(self) -> TimelineDocument:
        """Returns the timeline as plain JSON."""
        plain = {
            **{one.name: getattr(self, one.name) for one in fields(self)},
            "shapes": [list(shape) for shape in self.shapes],
            "predictions": _columns(Prediction, self.predictions),
            "moments": _columns(Moment, self.moments),
            "built": [asdict(look) for look in self.built],
            "looks": [asdict(look) for look in self.looks],
            "unseen": list(self.unseen),
        }
        return cast("TimelineDocument", plain)

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Timeline:
        """Returns the timeline that `to_json` wrote.

        Raises:
            KeyError, TypeError, ValueError: it is no timeline.
        """
        known = {
            **document,
            "shapes": tuple((int(height), int(width)) for height, width in document["shapes"]),
            "predictions": _rows(Prediction, document["predictions"]),
            "moments": _rows(Moment, document["moments"]),
            "built": tuple(GoldenLook(**look) for look in document["built"]),
            "looks": tuple(GoldenLook(**look) for look in document["looks"]),
            "unseen": tuple(document["unseen"]),
        }
        return cls(**known)


def _columns(kind: type, rows: Sequence[Any]) -> dict[str, list[Any]]:
    return {one.name: [getattr(row, one.name) for row in rows] for one in fields(kind)}


def _rows(kind: type, columns: Mapping[str, Sequence[Any]]) -> Any:
    names = [one.name for one in fields(kind)]
    return tuple(kind(*values) for values in zip(*(columns[name] for name in names), strict=True))
