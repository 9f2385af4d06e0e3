"""`Measurement`: what an artifact costs on one machine, in the same words wherever it is measured: by `build`, `bench`
or `finalize`, here or on a device that is reached by ssh."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any, TypedDict, cast

from edgecompile.runtime.machine import Machine
from edgecompile.runtime.quality import Quality, QualityDocument
from edgecompile.runtime.speedup import SpeedUp, SpeedUpDocument
from edgecompile.runtime.stream_rate import StreamRate, StreamRateDocument

PARTS = ("read", "preprocess", "inference", "postprocess", "total")
"""From the file to pixels; the three parts of a prediction; all three, a picture in memory to its result. Gates on
latency mean the last."""
MEMORY_PARTS = ("library", "model", "buffers")
"""What a peak of memory consists of, in the order in which it is taken."""
GATED = (
    "latency_p95_ms", "jitter_ms", "fps", "stream_fps", "peak_memory_mb", "peak_memory_percent", "fps_per_watt",
    "energy_per_picture_j", "temperature_c", "throttled",
)  # fmt: skip
"""Figures of a measurement that gates read."""
MOST_SAMPLES = 1000
"""Predictions of a measurement whose time is kept."""


class MachineDocument(TypedDict, total=False):
    """`Machine` as JSON."""

    arch: str
    cpu: str | None
    board: str | None
    cores: int | None
    memory_mb: int | None
    governor: str | None
    max_mhz: int | None
    mhz: int | None
    system: str
    python: str


class MeasurementDocument(TypedDict, total=False):
    """`Measurement` as JSON, in reports and in the output of `bench` and `finalize`; older documents lack keys."""

    machine: MachineDocument
    threads: int
    backend: str | None
    latency_ms: dict[str, dict[str, float]]
    latency_p95_ms: float | None
    fps: float | None
    jitter_ms: float | None
    predictions: int
    batch: int
    import_ms: float | None
    open_ms: float | None
    first_ms: float | None
    peak_memory_mb: float | None
    peak_memory_percent: float | None
    memory_parts_mb: dict[str, float]
    bound_bytes: int | None
    accelerator_memory_mb: float | None
    accelerator_memory_meter: str | None
    device_memory_mb: int | None
    power_watt: float | None
    fps_per_watt: float | None
    energy_per_picture_j: float | None
    power_meter: str | None
    temperature_c: list[float | None]
    unmeasured: dict[str, str]
    exclusive: bool | None
    taken: str | None
    extremes_ms: list[float] | None
    quality: QualityDocument | None
    speedup: SpeedUpDocument | None
    over_plain: SpeedUpDocument | None
    stream: StreamRateDocument | None
    samples_us: list[int]


@dataclass(frozen=True)
class Percentiles:
    """Median, 95th and 99th percentile."""

    p50: float
    p95: float
    p99: float

    @classmethod
    def of(cls, samples: Sequence[float]) -> Percentiles:
        """Returns the percentiles of samples, to three digits: microseconds where samples are milliseconds."""
        import numpy as np

        return cls(*(round(float(value), 3) for value in np.percentile(samples, (50, 95, 99))))


@dataclass(frozen=True)
class Measurement:
    """What one artifact costs on one machine. None stands for unknown figures; `unmeasured` gives the reasons.

    Attributes:
        machine: where it was measured.
        threads: of the backend.
        backend: version of the library that ran the artifact.
        latency_ms: milliseconds of each part of `PARTS`; empty where nothing was measured.
        fps: pictures a second, one prediction after another, from a picture in memory.
        jitter_ms: p95 - p50 of the total.
        predictions: how many were timed.
        batch: pictures of one prediction.
        import_ms, open_ms, first_ms: of a fresh process: import of the runtime, opening of the model, first prediction.
        peak_memory_mb: of the whole process, 10^6 bytes.
        memory_parts_mb: what of it the library takes (with Python, NumPy and OpenCV), the opened model, and the buffers
            and all else up to the peak; empty where these cannot be told apart.
        bound_bytes: of outputs that each prediction fills again instead of making them anew; None where that is not
            known.
        accelerator_memory_mb, accelerator_memory_meter: taken on a GPU or NPU, beside the memory of the process, and
            who counted it.
        device_memory_mb: memory of the device that the artifact is for.
        power_watt, fps_per_watt, power_meter: while predicting; the name of the meter.
        temperature_c: of the hottest zone, before and after.
        unmeasured: name of an unknown figure to the reason.
        exclusive: whether no other step and no other measurement of this program ran meanwhile; None where unknown.
        taken: when, ISO 8601, UTC.
        extremes_ms: shortest and longest total of all predictions.
        quality: the evidence of how good the figures are; None where there is none, as of older versions.
        speedup: over the float model, which took turns with it; None where that was not measured.
        over_plain: over INT8 before it was repaired, likewise; None where nothing was repaired, or not here and now.
        stream: pictures a second of a stream, several in flight; None where that was not asked for.
        samples_us: the total of predictions in the order in which they ran, microseconds: of all where they are at most
            `MOST_SAMPLES`, else of every n-th (`kept_every`). Empty as of older versions.
    """

    machine: Machine
    threads: int
    backend: str | None = None
    latency_ms: Mapping[str, Percentiles] = field(default_factory=dict)
    fps: float | None = None
    jitter_ms: float | None = None
    predictions: int = 0
    batch: int = 1
    import_ms: float | None = None
    open_ms: float | None = None
    first_ms: float | None = None
    peak_memory_mb: float | None = None
    memory_parts_mb: Mapping[str, float] = field(default_factory=dict)
    bound_bytes: int | None = None
    accelerator_memory_mb: float | None = None
    accelerator_memory_meter: str | None = None
    device_memory_mb: int | None = None
    power_watt: float | None = None
    fps_per_watt: float | None = None
    power_meter: str | None = None
    temperature_c: tuple[float | None, float | None] = (None, None)
    unmeasured: Mapping[str, str] = field(default_factory=dict)
    exclusive: bool | None = None
    taken: str | None = None
    extremes_ms: tuple[float, float] | None = None
    quality: Quality | None = None
    speedup: SpeedUp | None = None
    over_plain: SpeedUp | None = None
    stream: StreamRate | None = None
    samples_us: tuple[int, ...] = ()

    @property
    def stream_fps(self) -> float | None:
        """Pictures a second of a stream, which the gate of that name reads."""
        return self.stream.fps if self.stream else None

    @property
    def noise(self) -> tuple[str, ...]:
        """What speaks against the figures of time, a line each; nothing where they stand, or nothing is known."""
        return self.quality.noise if self.quality else ()

    @property
    def latency_p95_ms(self) -> float | None:
        """The 95th percentile of the total, which gates read."""
        return self.latency_ms["total"].p95 if self.latency_ms else None

    @property
    def all_memory_mb(self) -> float | None:
        """The peak of the process and what it takes on an accelerator, which gates read."""
        return None if self.peak_memory_mb is None else self.peak_memory_mb + (self.accelerator_memory_mb or 0.0)

    @property
    def peak_memory_percent(self) -> float | None:
        """The same as a share of the device's memory, in percent."""
        if self.all_memory_mb is None or not self.device_memory_mb:
            return None
        return round(100 * self.all_memory_mb / self.device_memory_mb, 2)

    @property
    def energy_per_picture_j(self) -> float | None:
        """Joules of one picture, one after another: power by pictures a second."""
        return round(self.power_watt / self.fps, 6) if self.power_watt and self.fps else None

    @property
    def highest_temperature_c(self) -> float | None:
        """The higher of the temperatures before and after, which the gate reads."""
        return max((value for value in self.temperature_c if value is not None), default=None)

    @property
    def throttled(self) -> float | None:
        """1 where the processor was slowed by heat or low voltage, 0 where it was not; None where nothing tells."""
        slowed = self.quality.throttled if self.quality else None
        return None if slowed is None else float(slowed)

    @property
    def start_ms(self) -> float:
        """From the start of the import to the first result."""
        return (self.import_ms or 0) + (self.open_ms or 0) + (self.first_ms or 0)

    def by_name(self) -> dict[str, float | None]:
        """Returns the figures that gates read."""
        others = {"peak_memory_mb": self.all_memory_mb, "temperature_c": self.highest_temperature_c}
        return {name: others[name] if name in others else getattr(self, name) for name in GATED}

    def to_json(self) -> MeasurementDocument:
        """Returns the measurement as plain JSON."""
        plain = {**asdict(self), "temperature_c": list(self.temperature_c), "latency_p95_ms": self.latency_p95_ms}
        plain["peak_memory_percent"] = self.peak_memory_percent
        plain["energy_per_picture_j"] = self.energy_per_picture_j
        plain["extremes_ms"] = list(self.extremes_ms) if self.extremes_ms else None
        plain["samples_us"] = list(self.samples_us)
        plain["stream"] = self.stream.to_json() if self.stream else None
        plain["quality"] = self.quality.to_json() if self.quality else None
        return cast("MeasurementDocument", plain)

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Measurement:
        """Returns the measurement that `to_json` wrote.

        Raises:
            KeyError, TypeError, ValueError: it is no measurement.
        """
        known = {field.name: document[field.name] for field in fields(cls) if field.name in document}
        known["machine"] = Machine(**document["machine"])
        known["latency_ms"] = {part: Percentiles(**ranks) for part, ranks in (document["latency_ms"] or {}).items()}
        known["temperature_c"] = tuple(document["temperature_c"] or (None, None))
        known["extremes_ms"] = tuple(document.get("extremes_ms") or ()) or None
        known["samples_us"] = tuple(document.get("samples_us") or ())
        for name in ("speedup", "over_plain"):
            known[name] = SpeedUp.from_json(speedup) if (speedup := document.get(name)) else None
        known["stream"] = StreamRate.from_json(stream) if (stream := document.get("stream")) else None
        known["quality"] = Quality.from_json(quality) if (quality := document.get("quality")) else None
        return cls(**known)


def kept_every(predictions: int) -> int:
    """Returns the n of which every n-th prediction's time is kept."""
    return -(-predictions // MOST_SAMPLES) or 1


def kept_samples(totals_ms: Sequence[float]) -> tuple[int, ...]:
    """Returns `Measurement.samples_us` of the milliseconds of all predictions."""
    return tuple(round(1e3 * total) for total in totals_ms[:: kept_every(len(totals_ms))])


def memory_words(parts: Mapping[str, float]) -> str:
    """Returns the parts of a peak of memory, for people."""
    return ", ".join(f"{name} {parts[name]:.0f} MB" for name in MEMORY_PARTS)


def not_measured(reason: str, threads: int, machine: Machine) -> Measurement:
    """Returns a measurement without figures, for an artifact that cannot be measured here."""
    return Measurement(machine, threads, unmeasured=dict.fromkeys(GATED, reason))
