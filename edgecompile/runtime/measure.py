"""The only way to measure an artifact: time, memory and power, in a fresh process that has only the runtime."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgecompile.errors import BundleError, EdgecompileError
from edgecompile.runtime import machine
from edgecompile.runtime.archive import Archive
from edgecompile.runtime.measured_process import MeasuredProcess
from edgecompile.runtime.measurement import MEMORY_PARTS, PARTS, Measurement, Percentiles, kept_samples
from edgecompile.runtime.options import Options
from edgecompile.runtime.pictures import decode_member
from edgecompile.runtime.power import find_meter
from edgecompile.runtime.sensors import NO_TEMPERATURE, NO_THROTTLING
from edgecompile.runtime.speedup import STARTS, is_known, speedup_of
from edgecompile.runtime.turns import Extent, Run, measure_in_turns

__all__ = ["Extent", "Other", "Subject", "golden_picture", "measure"]

POWER_SECONDS = 1.0
"""For how long the meter of power reads."""


KNOWN = 0.5
"""Share of the tolerance within which a ratio over starts is to be known: two of them then differ by all of it."""
ROUNDS = 4
"""Of a start that serves a ratio alone: starts differ by more than the rounds of one."""
OF_POWER = ("fps_per_watt", "energy_per_picture_j")
"""Figures that need a meter of power."""
NO_STREAM = "streams are measured where the gate stream_fps or `bench --stream` asks for it"


@dataclass(frozen=True)
class Subject:
    """The subject of a measurement: a bundle, or an artifact that is in no bundle yet.

    Attributes:
        pictures: files that are predicted, in turns; each begins a batch.
        threads: of the backend.
        bundle: the bundle; `engine` is the folder of its built model, where `load` would take another folder.
        artifact, spec, options: as for `edgecompile.runtime.open_artifact`, where there is no bundle.
        backend: that runs it.
        imgsz: height and width that pictures are scaled to; the model's usual size where None.
        batch: pictures of one prediction.
        memory_mb: of the device that it is for; where None, that of this machine.
        as_is: whether a bundle is opened with `options` and `threads` whatever was chosen for it on this device.
    """

    pictures: Sequence[Path]
    threads: int
    bundle: Path | None = None
    engine: Path | None = None
    artifact: Path | None = None
    spec: Path | None = None
    backend: str = ""
    options: Options = field(default_factory=dict)
    imgsz: tuple[int, int] | None = None
    batch: int = 1
    memory_mb: int | None = None
    as_is: bool = False

    def request(self) -> dict[str, Any]:
        """Returns the subject as plain JSON."""
        paths = [str(path.resolve()) for path in self.pictures]
        places = {"bundle": self.bundle, "engine": self.engine, "artifact": self.artifact, "spec": self.spec}
        return {
            **{name: None if path is None else str(path.resolve()) for name, path in places.items()},
            "backend": self.backend,
            "options": dict(self.options),
            "threads": self.threads,
            "as_is": self.as_is,
            "imgsz": self.imgsz,
            "stacks": [
                [paths[(first + slot) % len(paths)] for slot in range(self.batch)] for first in range(len(paths))
            ],
        }


@dataclass(frozen=True)
class Other:
    """A model beside which another is measured, and what it is to a person, such as its precision."""

    subject: Subject
    words: str


def measure(subject: Subject, extent: Extent, other: Other | None = None, plain: Other | None = None) -> Measurement:
    """Measures a subject on this machine, one prediction after another.

    Args:
        other: takes turns with it, so that the speed-up over it is known far better than either latency.
        plain: the same for INT8 before it was repaired.

    Raises:
        BundleError: the measured process died, or the artifact cannot be opened.
        MissingToolError: its backend is not installed.
    """
    end = time.monotonic() + extent.seconds
    with ExitStack() as held:
        probe = held.enter_context(MeasuredProcess(subject.request()))
        began = probe.ask()
        twins = {name: _opened(one, held) for name, one in (("speedup", other), ("over_plain", plain)) if one}
        beside = [name for name, twin in twins.items() if twin.probe]
        run = measure_in_turns([probe, *(twin.probe for twin in twins.values() if twin.probe)], extent)
        watts, meter, no_meter = _power(probe, extent, gpu=began["gpu"])
        stream = probe.stream(extent.stream_seconds) if extent.stream_seconds else None
    compared = {"speedup": other, "over_plain": plain}
    beside_it = [one.subject for name in beside if (one := compared[name])]
    starts = _with_more_starts(run, [subject, *beside_it], extent, end)
    ratios = {
        name: speedup_of([start.pairs(place) for start in starts], twins[name].words)
        for place, name in enumerate(beside, 1)
    }
    peak, parts = run.peak_memory_mb(0), began["memory_mb"]
    accelerator, meter_of_memory = run.accelerator_memory(0)
    columns = list(zip(*run.samples(0), strict=True))
    latency = {part: Percentiles.of(column) for part, column in zip(PARTS, columns, strict=True)}
    totals = columns[-1]
    fps = 1e3 * subject.batch * len(totals) / sum(totals)
    return Measurement(
        machine=machine.describe(),
        threads=subject.threads,
        backend=began["backend"],
        latency_ms=latency,
        fps=round(fps, 2),
        jitter_ms=round(latency["total"].p95 - latency["total"].p50, 3),
        predictions=len(totals),
        batch=subject.batch,
        import_ms=round(began["import_ms"], 1),
        open_ms=round(began["open_ms"], 1),
        first_ms=round(began["first_ms"], 1),
        peak_memory_mb=round(peak, 1),
        memory_parts_mb=_parts(parts, peak) if parts else {},
        bound_bytes=began["bound_bytes"],
        accelerator_memory_mb=None if accelerator is None else round(accelerator, 1),
        accelerator_memory_meter=meter_of_memory,
        device_memory_mb=subject.memory_mb or machine.memory_mb(),
        power_watt=round(watts, 2) if watts else None,
        fps_per_watt=round(fps / watts, 3) if watts else None,
        power_meter=meter if watts else None,
        temperature_c=run.load.temperature_c,
        unmeasured={
            **(dict.fromkeys(OF_POWER, no_meter or "the power meter gave no reading") if not watts else {}),
            **({"temperature_c": NO_TEMPERATURE} if run.load.temperature_c == (None, None) else {}),
            **({"throttled": NO_THROTTLING} if run.load.throttled is None else {}),
            **{name: twin.words for name, twin in twins.items() if not twin.probe},
            **({} if stream else {"stream_fps": NO_STREAM}),
        },
        taken=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        extremes_ms=(round(min(totals), 3), round(max(totals), 3)),
        quality=run.quality(extent.tolerance),
        stream=stream,
        speedup=ratios.get("speedup"),
        over_plain=ratios.get("over_plain"),
        samples_us=kept_samples(totals),
    )


def _with_more_starts(first: Run, subjects: Sequence[Subject], extent: Extent, end: float) -> list[Run]:
    """Measures subjects in turns in processes started anew, for their ratios alone, until these are known, while there
    is time for it.

    Args:
        first: what the first processes found.
    """
    starts = [first]
    places = range(1, len(subjects))
    while places and extent.most is None and len(starts) < STARTS and time.monotonic() < end:
        if all(is_known([start.pairs(place) for start in starts], KNOWN * extent.tolerance) for place in places):
            break
        few = Extent(extent.warmup, 1, end - time.monotonic(), math.inf, least_rounds=ROUNDS, least_seconds=0.0)
        with ExitStack() as held:
            probes = [held.enter_context(MeasuredProcess(one.request())) for one in subjects]
            for probe in probes:
                probe.ask()
            starts.append(measure_in_turns(probes, few))
    return starts


@dataclass(frozen=True)
class _Twin:
    """The process of the model beside which is measured, and what it runs; None, and why, where it cannot be opened."""

    probe: MeasuredProcess | None
    words: str


def _opened(other: Other, held: ExitStack) -> _Twin:
    probe = held.enter_context(MeasuredProcess(other.subject.request()))
    try:
        version = probe.ask()["backend"]
    except EdgecompileError as error:  # it is no part of what is built, so it ends no build
        return _Twin(None, f"the {other.words} model cannot be measured beside it: {error}")
    return _Twin(probe, f"{other.words} on {other.subject.backend} {version}")


def _parts(known: Mapping[str, float], peak: float) -> dict[str, float]:
    """Returns what of the peak the library and the opened model take, and what is left of it for buffers."""
    library, model = known["library"], known["model"]
    sizes = (library, model, max(peak - library - model, 0.0))
    return {name: round(size, 1) for name, size in zip(MEMORY_PARTS, sizes, strict=True)}


def _power(probe: MeasuredProcess, extent: Extent, *, gpu: bool) -> tuple[float | None, str | None, str]:
    """Returns the mean power while a subject alone predicts, the name of the meter, and why there is none."""
    meter, no_meter = find_meter(gpu=gpu)
    if meter is None:
        return None, None, no_meter
    with meter:
        probe.turn({"warmup": 0, "least": 1, "most": None, "seconds": min(POWER_SECONDS, extent.seconds)})
    return meter.watts, meter.name, no_meter


def golden_picture(archive: Archive, folder: Path) -> Path:
    """Writes the golden picture of a bundle to a file and returns its path.

    Raises:
        BundleError: there is none, or it is no picture.
    """
    golden = archive.manifest.get("golden")
    name = golden.get("input") if isinstance(golden, dict) else None
    if not isinstance(name, str):
        raise BundleError("the manifest names no golden picture", where=str(archive.path))
    decode_member(archive, name)
    path = folder / Path(name).name
    path.write_bytes(archive.read(name))
    return path
