"""The documents of a sweep: its points, the verdict for each device, the whole."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from edgecompile.json_types import JsonObject
from edgecompile.report import number_format
from edgecompile.runtime.figures import Figures
from edgecompile.runtime.speedup import SpeedUpDocument

SCHEMA = 1
BUILT = "built"


@dataclass(frozen=True)
class GateState:
    """A gate of a point and whether it is met; None where that is judged on the device, or noise leaves it open."""

    gate: str
    met: bool | None
    noisy: bool = False


@dataclass(frozen=True)
class StepAccount:
    """What a step that makes the artifact did. Points that share the step have its key in common."""

    step: str
    about: str
    key: str | None
    did: tuple[str, ...]


@dataclass(frozen=True)
class StepCounts:
    """Steps of a point that ran and that were reused, and the seconds that the reused steps took when they ran."""

    run: float
    reused: float
    saved_s: float

    @property
    def line(self) -> str:
        """What the points of a sweep shared, for people."""
        return number_format.sharing_line(self.run, self.reused, self.saved_s)


@dataclass(frozen=True)
class SweepPoint:
    """One point of a sweep, as its run directory describes it.

    Attributes:
        point: name of its run directory.
        state: what became of it; its exit code is None where it never ended.
        bundle: path of the bundle in the sweep's folder.
        weights: sha256 of the weights.
        judged_on: the data set and the split.
        figures: None where the job ended before they were known; the following too.
        address: of the device that it was measured on; None for the machine that built it.
        machine: the machine that latency was measured on, in a line; None where latency was not measured.
        varies: overrides that not all points of the sweep have.
        speedup: over the float model, which took turns with it; None where that was not measured.
        noise: what speaks against the latency; "" where nothing does, None where it was not measured.
        front, size_front: whether it is on the Pareto front of accuracy and latency, and of accuracy and size.
    """

    point: str
    name: str | None
    overrides: tuple[str, ...]
    state: str
    exit_code: int | None
    problems: tuple[str, ...]
    steps: StepCounts | None
    bundle: str | None
    device: str | None = None
    runtime: str | None = None
    weights: str | None = None
    precision: str | None = None
    imgsz: tuple[int, ...] | None = None
    judged_on: JsonObject | None = None
    address: str | None = None
    figures: Figures | None = None
    latency_p50_ms: float | None = None
    latency_p95_ms: float | None = None
    peak_memory_mb: float | None = None
    machine: str | None = None
    threads: int | None = None
    clock_mhz: int | None = None
    exclusive: bool | None = None
    noise: str | None = None
    speedup: SpeedUpDocument | None = None
    gates: tuple[GateState, ...] | None = None
    did: tuple[StepAccount, ...] = ()
    varies: tuple[str, ...] = ()
    front: bool = False
    size_front: bool = False

    @property
    def accuracy(self) -> float:
        """The main metric of a point whose figures are known; 0 for any other point."""
        return self.figures.accuracy if self.figures else 0.0

    @property
    def standing_p50_ms(self) -> float | None:
        """The median latency, ms, where it is known and nothing speaks against it."""
        return None if self.noise else self.latency_p50_ms

    @property
    def p50(self) -> float:
        """The median latency, ms, of a point whose latency stands; 0 for any other point."""
        return self.standing_p50_ms or 0.0

    @property
    def size_bytes(self) -> int | None:
        return self.figures.size_bytes if self.figures else None

    @property
    def reason(self) -> str | None:
        """Why there is no bundle, in a line."""
        return "; ".join(self.problems) or None

    @property
    def unmet(self) -> tuple[str, ...]:
        return tuple(state.gate for state in self.gates or () if state.met is False)

    def to_json(self) -> dict[str, Any]:
        """Returns the point as it stands in results.json: its metrics under their names, with those of each class."""
        plain = asdict(replace(self, figures=None))
        numbers = self.figures.by_name() if self.figures else {}
        falls = self.figures.falls() if self.figures else []
        classes = [{"name": name, "reference": before, "artifact": after} for name, before, after in falls]
        error = self.figures.drop_error if self.figures else None
        del plain["figures"]
        plain |= {"reason": self.reason, "size_bytes": self.size_bytes, "classes": classes, **numbers}
        plain["drop_error"] = error["standard_error"] if error else None
        return plain


@dataclass(frozen=True)
class DeviceVerdict:
    """What to ship on one device, of points that were judged on the same pictures.

    Attributes:
        points, front, size_front: names of points.
        ship: name of the point; None where none met its gates.
        because: a sentence for each reason.
        machines: the machines that latencies were measured on.
        address: of the device, where it was reached by ssh.
    """

    device: str
    judged_on: JsonObject
    points: tuple[str, ...]
    front: tuple[str, ...]
    size_front: tuple[str, ...]
    ship: str | None
    verdict: str
    because: tuple[str, ...]
    machines: tuple[str, ...]
    address: str | None = None

    @property
    def title(self) -> str:
        """The device, and where it is, for people."""
        return f"{self.device} at {self.address}" if self.address else self.device


@dataclass(frozen=True)
class Sweep:
    """A whole sweep.

    Attributes:
        shared: overrides that all points have.
        states: how many points ended in each state, what was built first.
        sharing: steps that ran and that were reused; None where no point noted its steps.
        fleet: what to ship on all devices of one kind, a sentence each; none where no two devices are of one kind.
    """

    name: str
    shared: tuple[str, ...]
    states: Mapping[str, int]
    sharing: StepCounts | None
    devices: tuple[DeviceVerdict, ...]
    points: tuple[SweepPoint, ...]
    fleet: tuple[str, ...] = ()

    @property
    def metrics(self) -> tuple[str, ...]:
        """Names of all metrics of its points, each main metric first with its drop, as columns of a table."""
        names: dict[str, None] = {}
        for figures in (point.figures for point in self.points if point.figures):
            names |= dict.fromkeys((figures.main, figures.drop, *figures.metrics))
        return tuple(names)

    @property
    def accuracy_title(self) -> str:
        """What the main metric is called, where all points have the same; else "accuracy"."""
        titles = {point.figures.title(point.figures.main) for point in self.points if point.figures}
        return titles.pop() if len(titles) == 1 else "accuracy"

    def to_json(self) -> dict[str, Any]:
        """Returns results.json."""
        plain = asdict(replace(self, points=()))
        return {"schema": SCHEMA, **plain, "points": [point.to_json() for point in self.points]}
