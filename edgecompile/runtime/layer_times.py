"""Takes a `LayerProfile`: runs an artifact with the profiler of its runtime."""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from edgecompile.errors import BundleError
from edgecompile.runtime.archive import Archive
from edgecompile.runtime.backends import find_backend, last_line, open_backend
from edgecompile.runtime.confinement import OPENING, RUNNING, doing
from edgecompile.runtime.finished import artifact_of
from edgecompile.runtime.layer_profile import LayerProfile, LayerTime
from edgecompile.runtime.layer_timings import Feed, LayerRuns, LayerTimings, Rounds
from edgecompile.runtime.options import Options
from edgecompile.runtime.predictor import Predictor
from edgecompile.runtime.sources import Picture
from edgecompile.runtime.spec import read_spec
from edgecompile.runtime.spec_document import SpecDocument
from edgecompile.runtime.target import read_target
from edgecompile.runtime.tuning import find_setting

DIGITS = 4
"""After the point: a tenth of a microsecond, where times are milliseconds."""


def layer_times(
    artifact: Path | Mapping[str, bytes],
    spec: SpecDocument | Path,
    backend: str,
    options: Options,
    threads: int,
    *,
    pictures: Sequence[Picture] = (),
    imgsz: tuple[int, int] | None = None,
    rounds: Rounds | None = None,
) -> LayerProfile:
    """Runs an artifact with its runtime's own profiler and returns what each layer costs here.

    Args:
        artifact: file or folder of the model, or the contents of a bundle's `artifact/` by name.
        spec: document or file of its `spec.json`.
        backend: file of `edgecompile/runtime/backends/`.
        options: of those that the backend declares; the shipped model's, for another graph level has other layers.
        threads: that the backend may use.
        pictures: of one run; a picture of noise where there are none.
        imgsz: height and width that pictures are scaled to; the model's usual size where None.
        rounds: how often it runs; 50 timed runs where None.

    Returns:
        the profile; without layers, and with the reason, where the backend does not tell them.

    Raises:
        BundleError: the artifact cannot be opened or run.
        MissingToolError: the backend is not installed.
    """
    rounds = rounds or Rounds()
    known = read_spec(spec)
    plain = Predictor(open_backend(backend, artifact, known.document, threads, options), known)
    tensor, _ = plain.stack(pictures or [_noise(known.frame.size, known.input.channels)], imgsz=imgsz)
    feed = Feed(tensor, plain.task.parameters({}), lambda: doing(RUNNING))
    profile = LayerProfile(f"{backend} {plain.backend.version}", threads)
    kind: Any = find_backend(backend)
    if not hasattr(kind, "time_layers"):
        return replace(profile, unknown=getattr(kind, "no_layer_times", f"{backend} does not tell them"))
    try:
        before = _timed_runs(plain.backend, feed, rounds)
        del plain  # one model at a time in memory
        doing(OPENING)
        timings = kind.time_layers(artifact, known.document, threads, options, feed, rounds)
    except (BundleError, MemoryError):
        raise
    except Exception as error:  # libraries raise errors of any type
        raise BundleError(f"the layers cannot be timed: {last_line(error)}") from error
    return _with_layers(profile, statistics.median(before), timings)


def layer_times_of_bundle(
    archive: Archive,
    pictures: Sequence[Picture],
    *,
    threads: int,
    imgsz: tuple[int, int] | None = None,
    rounds: Rounds | None = None,
) -> LayerProfile:
    """Returns what each layer of a bundle's model costs here; as `layer_times`."""
    target = read_target(archive)
    spec = archive.read_json("spec.json")
    options = find_setting(archive, target, threads).setting.options
    try:
        artifact = artifact_of(archive, target)
        return layer_times(artifact, spec, target.name, options, threads, pictures=pictures, imgsz=imgsz, rounds=rounds)
    except BundleError as error:
        raise error.located(archive.path) from error


def _noise(size: tuple[int, int], channels: int) -> Any:
    import numpy as np

    return np.random.default_rng(0).integers(0, 256, (*size, channels), np.uint8)


def _timed_runs(backend: Any, feed: Feed, rounds: Rounds) -> list[float]:
    """Returns milliseconds of the timed runs."""
    samples = []
    for _ in range(rounds.total):
        feed.before()
        began = time.perf_counter()
        feed.run(backend)
        samples.append(1e3 * (time.perf_counter() - began))
    return samples[rounds.warmup :]


def _with_layers(profile: LayerProfile, inference_ms: float, timings: LayerTimings) -> LayerProfile:
    medians = [statistics.median(layer.samples_ms) for layer in timings.layers]
    whole = sum(medians) or 1.0
    return replace(
        profile,
        runs=len(timings.runs_ms),
        inference_ms=round(inference_ms, DIGITS),
        profiled_ms=round(statistics.median(timings.runs_ms), DIGITS),
        layers=tuple(_layer(layer, ms, ms / whole) for layer, ms in zip(timings.layers, medians, strict=True)),
        folded=dict(sorted(timings.folded.items())),
        remarks=timings.remarks,
    )


def _layer(layer: LayerRuns, ms: float, share: float) -> LayerTime:
    return LayerTime(
        layer.name,
        layer.operator,
        layer.precision,
        round(ms, DIGITS),
        round(share, DIGITS),
        layer.nodes,
        layer.fused,
    )
