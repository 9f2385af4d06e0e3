"""Gates on measured figures: time, frames a second, memory and power. Pure, and standard library only: they are judged
on the machine that builds (`edgecompile.evaluate.gates`) or on the device (`edgecompile.runtime.finalize`).

Other processes make a prediction slower, never quicker. So where the figures of time are noisy
(`edgecompile.runtime.quality`), a gate on them is met only if each single prediction was within its limit, and unmet
only if the quickest of all took `BEYOND` times what it may; in between it is not judged, neither way. So a busy
neighbour never turns a gate.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TypedDict

from edgecompile.errors import GateError, Problem
from edgecompile.runtime.measurement import Measurement

BEYOND = 20.0
"""How many times what it may the quickest of all predictions takes where noise is no excuse. Beside ten busy processes
on two cores the quickest of 50 was seen to take six times as long as it can."""
MEASURE_AGAIN = "measure again on a quiet machine"


class GateDocument(TypedDict):
    """A gate as manifests state it; the meaning of each key stands at `Verdict`."""

    gate: str
    limit: float
    figure: float | None
    met: bool | None
    measured: bool
    proven: bool | None


class ReportedGate(GateDocument):
    """A gate as reports state it, with a line for people."""

    text: str
    noisy: bool


Numbers = Mapping[str, "float | int | None"]
"""Figures by name."""


@dataclass(frozen=True)
class Verdict:
    """One gate, judged.

    Attributes:
        gate: its name in the recipe.
        limit: its number there.
        figure: the figure that it was compared with; None where that is unknown.
        met: whether it holds. An unknown figure meets no gate. None where it is judged on the device, and where noise
            leaves it open.
        measured: whether the figure is a measurement of this machine, and so stays out of the bundle.
        text: one line for a person.
        proven: of a gate on a drop of accuracy whose standard error is known: whether the limit holds for all pictures
            of the kind, at the confidence of the recipe (0.95 where it has none), and not only on those at hand.
        noisy: whether the figure is noisy. It may have been judged even so; `met` says so.
    """

    gate: str
    limit: float
    figure: float | None
    met: bool | None
    measured: bool
    text: str
    proven: bool | None = None
    noisy: bool = False

    def __str__(self) -> str:
        return f"gate {self.gate}: {self.text}"

    def for_manifest(self) -> GateDocument:
        """Returns the verdict as the bundle states it: without what another machine, or the same at another time, would
        not repeat."""
        return {
            "gate": self.gate,
            "limit": self.limit,
            "figure": None if self.measured else self.figure,
            "met": None if self.measured else self.met,
            "measured": self.measured,
            "proven": self.proven,
        }

    def for_report(self) -> ReportedGate:
        """Returns the whole verdict as plain JSON values."""
        return {
            "gate": self.gate,
            "limit": self.limit,
            "figure": self.figure,
            "met": self.met,
            "measured": self.measured,
            "proven": self.proven,
            "text": str(self),
            "noisy": self.noisy,
        }


@dataclass(frozen=True)
class Gate:
    """The figure that a gate reads, and how the gate compares it.

    Attributes:
        read: takes the figure out of all figures; None where it is not there.
        title: the title beside its figure.
        about: the meaning of its limit, for the schema of recipes.
        floor: whether the limit is a lower bound, not an upper bound.
        measured: see `Verdict`.
        unit: of the limit, after a space.
        digits: after the point, where the figure is shown.
        share: whether the limit lies in 0..1; else it is any positive number.
        timed: whether the figure is one of time, which other processes change.
        forbids: whether the gate forbids something: its limit is `false`, and its figure 0 or 1.
        soak: whether only a run over minutes tells the figure: `edgecompile diagnose`.
    """

    read: Callable[[Numbers], float | None]
    title: str
    about: str
    floor: bool = False
    measured: bool = False
    unit: str = ""
    digits: int = 1
    share: bool = False
    timed: bool = False
    forbids: bool = False
    soak: bool = False

    @property
    def weighable(self) -> bool:
        """Whether a search may weigh the figure against others: it is a number, and a build tells it."""
        return not (self.forbids or self.soak)

    def show(self, value: float) -> str:
        return ("yes" if value else "no") if self.forbids else f"{value:.{self.digits}f}{self.unit}"


def named(name: str) -> Callable[[Numbers], float | None]:
    """Returns a function that reads the figure `name`."""
    return lambda figures: figures.get(name)


MEASURED = {
    "latency_p95_ms": Gate(
        named("latency_p95_ms"),
        title="latency, p95",
        about="largest 95th percentile of a whole prediction, in milliseconds",
        measured=True,
        unit=" ms",
        digits=2,
        timed=True,
    ),
    "fps": Gate(
        named("fps"),
        title="throughput",
        about="smallest number of whole predictions a second, one after another (see stream_fps)",
        floor=True,
        measured=True,
        unit=" FPS",
        timed=True,
    ),
    "stream_fps": Gate(
        named("stream_fps"),
        title="throughput of a stream",
        about="smallest number of pictures a second of a stream, several in flight, in the runtime's setting for many",
        floor=True,
        measured=True,
        unit=" FPS",
        timed=True,
    ),
    "peak_memory_mb": Gate(
        named("peak_memory_mb"),
        title="peak memory",
        about="largest peak memory of the runtime, with what it takes on an accelerator, in MB",
        measured=True,
        unit=" MB",
    ),
    "peak_memory_percent": Gate(
        named("peak_memory_percent"),
        title="share of memory",
        about="largest peak memory as a share of the device's (target.memory_mb), in percent",
        measured=True,
        unit=" %",
    ),
    "fps_per_watt": Gate(
        named("fps_per_watt"),
        title="efficiency",
        about="smallest FPS per watt, where power is measured",
        floor=True,
        measured=True,
        unit=" FPS/W",
        digits=2,
        timed=True,
    ),
    "energy_per_picture_j": Gate(
        named("energy_per_picture_j"),
        title="energy of a picture",
        about="largest energy of one picture, one after another, in joules, where power is measured",
        measured=True,
        unit=" J",
        digits=4,
        timed=True,
    ),
    "jitter_ms": Gate(
        named("jitter_ms"),
        title="jitter",
        about="largest distance of the 95th percentile of a whole prediction from the median, in milliseconds",
        measured=True,
        unit=" ms",
        digits=2,
        timed=True,
    ),
    "temperature_c": Gate(
        named("temperature_c"),
        title="temperature",
        about="largest temperature of the hottest zone while measuring, in degrees Celsius, where a sensor shows it",
        measured=True,
        unit=" °C",
    ),
    "throttled": Gate(
        named("throttled"),
        title="slowed by heat or voltage",
        about="false: the processor may not be slowed by heat or low voltage while measuring; null: it may",
        measured=True,
        forbids=True,
    ),
    "memory_growth_mb_per_hour": Gate(
        named("memory_growth_mb_per_hour"),
        title="growth of memory",
        about="largest growth of the process while predicting, in MB an hour; judged by `edgecompile diagnose`",
        measured=True,
        unit=" MB/h",
        soak=True,
    ),
}
"""Gates on measurements by their names in a recipe. A megabyte is 10^6 bytes."""


def compared(
    name: str, gate: Gate, limit: float, numbers: Numbers, unmeasured: Mapping[str, str] | None = None
) -> Verdict:
    """Judges one gate by its figure alone. `unmeasured` gives the reason for a missing figure."""
    figure = gate.read(numbers)
    if figure is None:
        why = (unmeasured or {}).get(name)
        text = f"cannot be measured here{f' ({why})' if why else ''}; limit {limit:g}{gate.unit}"
        return Verdict(name, limit, None, False, gate.measured, text)
    met = figure >= limit if gate.floor else figure <= limit
    if gate.forbids:
        return Verdict(name, limit, figure, met, gate.measured, f"{gate.show(figure)}, and it must be no")
    side = ("at least" if gate.floor else "at most") if met else ("below" if gate.floor else "above")
    return Verdict(
        name, limit, figure, met, gate.measured, f"{gate.show(figure)}, {side} the limit {limit:g}{gate.unit}"
    )


def judge_one(name: str, limit: float, measured: Measurement) -> Verdict:
    """Judges one gate on a measurement; see above for noise."""
    gate = MEASURED[name]
    if gate.soak:
        return left_to_soak(name, limit)
    verdict = compared(name, gate, limit, measured.by_name(), measured.unmeasured)
    if not gate.timed or not measured.noise or verdict.figure is None:
        return verdict
    return replace(_despite_noise(verdict, gate, measured), noisy=True)


def left_to_soak(name: str, limit: float) -> Verdict:
    """Returns the verdict on a gate that only a run over minutes can judge."""
    text = f"judged by `edgecompile diagnose`; limit {limit:g}{MEASURED[name].unit}"
    return Verdict(name, limit, None, None, True, text)


def _despite_noise(verdict: Verdict, gate: Gate, measured: Measurement) -> Verdict:
    """Returns the verdict where noise cannot have turned it, or one that leaves the gate open."""
    slowest_allowed = {"latency_p95_ms": verdict.limit, "fps": 1e3 * measured.batch / verdict.limit}.get(verdict.gate)
    if slowest_allowed is not None and measured.extremes_ms:
        quickest, slowest = measured.extremes_ms
        if slowest <= slowest_allowed:
            return replace(verdict, met=True, text=f"{verdict.text}; noisy, but every single prediction was within it")
        if quickest >= BEYOND * slowest_allowed:
            times = f"even the quickest prediction took {quickest / slowest_allowed:.1f} times what it may"
            return replace(verdict, met=False, text=f"{verdict.text}; noisy, but {times}")
    if verdict.gate == "jitter_ms" and measured.extremes_ms and quickest_to_slowest(measured) <= verdict.limit:
        return replace(verdict, met=True, text=f"{verdict.text}; noisy, but no two predictions were farther apart")
    shown, limit = gate.show(verdict.figure or 0.0), f"limit {verdict.limit:g}{gate.unit}"
    text = f"not judged: {shown} is noisy, {limit} ({'; '.join(measured.noise)}); {MEASURE_AGAIN}"
    return replace(verdict, met=None, text=text)


def quickest_to_slowest(measured: Measurement) -> float:
    """Returns how far the slowest prediction was from the quickest, in milliseconds."""
    quickest, slowest = measured.extremes_ms or (0.0, 0.0)
    return slowest - quickest


def raise_unmet(verdicts: Iterable[Verdict], fix: Callable[[Verdict], str] = lambda _: "") -> None:
    """Raises GateError with a line for each gate that is not met; returns where all are met.

    Args:
        fix: says of an unmet gate what to try.
    """
    unmet = [Problem(str(verdict), fix=fix(verdict)) for verdict in verdicts if verdict.met is False]
    if unmet:
        raise GateError(unmet)
