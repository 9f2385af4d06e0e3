"""Measures what a bundle costs on this machine."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from edgecompile.errors import InputError
from edgecompile.runtime import machine
from edgecompile.runtime.archive import Archive
from edgecompile.runtime.chosen_size import chosen_size
from edgecompile.runtime.layer_lines import SLOWEST, layer_lines
from edgecompile.runtime.layer_profile import LayerProfile
from edgecompile.runtime.layer_times import layer_times_of_bundle
from edgecompile.runtime.layer_timings import Rounds
from edgecompile.runtime.measure import Extent, Other, Subject, golden_picture, measure
from edgecompile.runtime.measurement import Measurement, memory_words
from edgecompile.runtime.quality import evidence_line
from edgecompile.runtime.spec import read_spec
from edgecompile.runtime.target import read_target
from edgecompile.runtime.tuning import find_setting, remark_on

FEWEST = 100
"""Predictions that are timed at least, where the number of rounds is not given."""


@dataclass(frozen=True)
class Bench:
    """The result of `bench` for a bundle.

    Attributes:
        bundle, sha256: file name and digest.
        backend: and the version of its library.
        pictures: how many different pictures were predicted.
        imgsz: height and width that they were scaled to.
        power_mode: command to its output on clocks and limits of this machine.
        measurement: the figures.
        layers: what each layer costs; None where that was not asked for.
        tuned: how the model was opened otherwise than the bundle says, in a line (`edgecompile tune`); "" where not.
        remark: what a person should know of the bundle on this machine; "" where there is nothing.
        tuning_ignored: why a choice that is kept on this machine was not used; "" where there is none.
    """

    bundle: str
    sha256: str
    backend: str
    pictures: int
    imgsz: tuple[int, int]
    power_mode: Mapping[str, str]
    measurement: Measurement
    layers: LayerProfile | None = None
    tuned: str = ""
    tuning_ignored: str = ""
    remark: str = ""

    def to_json(self) -> dict[str, Any]:
        """Returns the result as plain JSON."""
        layers = self.layers.to_json() if self.layers else None
        plain = {**asdict(self), "imgsz": list(self.imgsz), "measurement": self.measurement.to_json()}
        return {**plain, "layers": layers}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Bench:
        """Returns the result that `to_json` wrote."""
        height, width = document["imgsz"]
        measurement = Measurement.from_json(document["measurement"])
        layers = LayerProfile.from_json(document["layers"]) if document.get("layers") else None
        return cls(**{**document, "imgsz": (height, width), "measurement": measurement, "layers": layers})


def bench(
    archive: Archive,
    pictures: Sequence[Path],
    *,
    threads: int | None,
    rounds: int | None,
    imgsz: tuple[int, int] | None = None,
    batch: int = 1,
    layer_rounds: Rounds | None = None,
    stream_seconds: float = 0.0,
    against: Path | None = None,
) -> Bench:
    """Predicts pictures from their files, one run after another, and returns figures.

    Args:
        pictures: the golden picture of the bundle where there are none.
        rounds: how often each picture begins a run; as often as it takes to know the figures, and as makes `FEWEST`
            runs, where None.
        imgsz: height and width that pictures are scaled to; the bundle's where None.
        batch: pictures of one run.
        layer_rounds: how often the model runs to time its layers; None for no times of layers.
        stream_seconds: for how long streams are measured too; 0 for no streams.
        against: another bundle that takes turns with it on the same pictures and threads; None for none.

    Raises:
        InputError: the bundle does not take that size or that many pictures.
        BundleError: it cannot be opened or measured here.
        MissingToolError: its backend is not installed.
    """
    target = read_target(archive)
    opened = find_setting(archive, target, threads)
    threads = opened.setting.threads
    spec = read_spec(archive.read_json("spec.json"))
    size = chosen_size(spec, imgsz) if imgsz else spec.frame.size
    if batch > spec.input.batches[1]:
        raise InputError(f"batch is {batch}, and the bundle takes {spec.input.batches[1]} at most")
    with tempfile.TemporaryDirectory(prefix="edgecompile-") as folder:
        paths = list(pictures) or [golden_picture(archive, Path(folder))]
        subject = Subject(
            paths, threads, archive.path, backend=target.name, imgsz=size, batch=batch, memory_mb=target.memory_mb
        )
        if rounds:
            extent = Extent(predictions=len(paths) * rounds, most=len(paths) * rounds, seconds=math.inf)
        else:
            extent = Extent(predictions=len(paths) * math.ceil(FEWEST / len(paths)))
        other = _other(against, subject) if against else None
        measurement = measure(subject, replace(extent, stream_seconds=stream_seconds), other)
        first = [paths[slot % len(paths)] for slot in range(batch)]
        layers = (
            layer_times_of_bundle(archive, first, threads=threads, imgsz=size, rounds=layer_rounds)
            if layer_rounds
            else None
        )
    backend = f"{target.name} {measurement.backend}"
    power_mode = machine.power_mode()
    about = (archive.path.name, archive.digest, backend, len(paths), size)
    tuned = opened.tuning.line() if opened.tuning else ""
    return Bench(*about, power_mode, measurement, layers, tuned, opened.ignored, remark_on(archive))


def _other(bundle: Path, subject: Subject) -> Other:
    """Returns another bundle, to be measured in turns with the subject: in its own usual size.

    Raises:
        RecipeError: there is no such file.
        BundleError: it is damaged, or for another backend than this version knows.
    """
    with Archive(bundle) as archive:
        target, precision = read_target(archive), str(archive.manifest.get("precision", "model"))
    twin = Subject(subject.pictures, subject.threads, bundle, backend=target.name, memory_mb=target.memory_mb)
    return Other(replace(twin, batch=subject.batch), precision)


def speedup_line(figures: Measurement) -> str:
    """Returns how many times as fast a bundle is as the one that took turns with it, or why that is not known; "" where
    none did."""
    found = figures.speedup
    if found is None:
        return figures.unmeasured.get("speedup", "")
    interval = f"[{found.low:.2f}-{found.high:.2f}], {found.rounds} rounds in turns"
    return f"{found.ratio:.2f}x as fast as {found.against} {interval} (its p50 {found.reference_p50_ms:.2f} ms)"


def memory_lines(figures: Measurement) -> Iterator[str]:
    """Yields the peak of memory, its share of the device's, and what of it is what."""
    share = (
        f", {figures.peak_memory_percent:.1f} % of {figures.device_memory_mb} MB" if figures.device_memory_mb else ""
    )
    taken = figures.accelerator_memory_mb
    beside = f" and {taken:.0f} MB on the accelerator ({figures.accelerator_memory_meter})" if taken is not None else ""
    yield f"peak memory {figures.peak_memory_mb:.0f} MB{beside}{share}"
    if figures.memory_parts_mb:
        yield f"of the process: {memory_words(figures.memory_parts_mb)}"
    if figures.bound_bytes:
        yield f"outputs bound once: {figures.bound_bytes / 1e3:.1f} kB less to allocate at each prediction"


def summarize(result: Bench, slowest: int = SLOWEST) -> Iterator[str]:
    """Yields the result of `bench` as lines for people; `slowest` layers are listed one by one."""
    figures = result.measurement
    height, width = result.imgsz
    pictures = "a picture" if figures.batch == 1 else f"{figures.batch} pictures"
    yield (
        f"{result.bundle}, {result.backend}, {figures.threads} threads, {figures.predictions} predictions "
        f"of {pictures} at {height}x{width}"
    )
    if result.remark:
        yield f"note: {result.remark}"
    if result.tuned:
        yield f"tuned here: {result.tuned}"
    if result.tuning_ignored:
        yield f"what was tuned here is ignored: {result.tuning_ignored}"
    yield f"{'ms':<12}  {'p50':>8}  {'p95':>8}  {'p99':>8}"
    for part, ranks in figures.latency_ms.items():
        yield f"{part:<12}  {ranks.p50:8.2f}  {ranks.p95:8.2f}  {ranks.p99:8.2f}"
    yield "total: from a picture in memory to its result; read comes before it"
    if figures.quality:
        yield f"checked: {evidence_line(figures.quality.to_json())}"
    for line in figures.noise:
        yield f"NOISY: {line}"
    yield f"frames a second {figures.fps:.1f}, jitter {figures.jitter_ms:.2f} ms (p95 - p50)"
    if against := speedup_line(figures):
        yield against
    if figures.stream:
        yield f"stream {figures.stream.line()}"
    yield f"start to first result {figures.start_ms:.0f} ms (open {figures.open_ms:.0f} ms)"
    yield from memory_lines(figures)
    if figures.power_watt:
        energy = f"{figures.energy_per_picture_j:.3g} J a picture"
        yield f"power {figures.power_watt:.1f} W, {figures.fps_per_watt:.2f} FPS/W, {energy} ({figures.power_meter})"
    else:
        yield f"power unknown: {figures.unmeasured.get('fps_per_watt')}"
    for command, answer in result.power_mode.items():
        yield f"{command}: {' '.join(answer.split())}"
    if result.layers:
        yield from layer_lines(result.layers, slowest)
