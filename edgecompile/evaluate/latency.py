"""Step: what an artifact costs on this machine: time, memory and power, in a fresh process that has only the runtime.

The result is a measurement: it is keyed by the machine, kept only where it stands, and stays out of the bundle.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TypedDict

from edgecompile.errors import BundleError, StepError
from edgecompile.runtime import machine
from edgecompile.runtime.measure import Extent, Other, Subject
from edgecompile.runtime.measure import measure as measure_subject
from edgecompile.runtime.measurement import MeasurementDocument, not_measured
from edgecompile.runtime.options import Options
from edgecompile.runtime.quality import TOLERANCE

PICTURES = 16
"""How many of the pictures are predicted, in turns."""


class ReferenceRun(TypedDict):
    """With what the float model is opened: backend and options; and its precision."""

    backend: str
    options: Options
    precision: str


def measure(
    out: Path,
    *,
    artifact: Path,
    spec: Path,
    pictures: list[Path],
    backend: str,
    options: Options,
    threads: int,
    arch: str,
    memory_mb: int | None = None,
    warmup: int = 10,
    predictions: int = 100,
    seconds: float = 10.0,
    tolerance: float = TOLERANCE,
    reference: Path | None = None,
    reference_spec: Path | None = None,
    reference_run: ReferenceRun | None = None,
    plain: Path | None = None,
    plain_spec: Path | None = None,
    stream_seconds: float = 0.0,
) -> MeasurementDocument:
    """Measures the artifact with `threads` threads, picture by picture.

    Args:
        arch: architecture of the target. On a machine of another architecture nothing is measured: an emulated
            or foreign latency says nothing about the device.
        memory_mb: of the target.
        warmup: predictions before the clock runs.
        predictions: how many are timed at least.
        seconds: for how long, at most.
        tolerance: share by which figures may be off.
        reference, reference_spec: the float model that takes turns with the artifact; None for no speed-up.
        reference_run: with what it is opened.
        plain, plain_spec: INT8 before it was repaired, which takes turns too; None where nothing was repaired.
        stream_seconds: for how long streams are measured after that; 0 for no streams.

    Returns:
        `edgecompile.runtime.measurement.Measurement` as JSON.

    Raises:
        StepError: the measured process died.
    """
    host = machine.describe()
    if host.arch != arch:
        return not_measured(f"the target is {arch}, this machine {host.arch}", threads, host).to_json()
    subject = Subject(
        pictures[:PICTURES],
        threads,
        artifact=artifact,
        spec=spec,
        backend=backend,
        options=options,
        memory_mb=memory_mb,
    )
    other = before = None
    if reference and reference_spec and reference_run:
        backend, options = reference_run["backend"], reference_run["options"]
        twin = replace(subject, artifact=reference, spec=reference_spec, backend=backend, options=options)
        other = Other(twin, reference_run["precision"])
    if plain and plain_spec:
        before = Other(replace(subject, artifact=plain, spec=plain_spec), "plain INT8")
    try:
        extent = Extent(warmup, predictions, seconds, tolerance, stream_seconds=stream_seconds)
        return measure_subject(subject, extent, other, before).to_json()
    except BundleError as error:
        raise StepError(error.problems) from error
