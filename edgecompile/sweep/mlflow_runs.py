"""A sweep in MLflow: one run for each point, with what was swept, its figures and its report."""

from __future__ import annotations

from pathlib import Path

from edgecompile.errors import MissingToolError
from edgecompile.run_dir import PAGE, REPORT
from edgecompile.sweep.sweep_point import BUILT, Sweep, SweepPoint

LONGEST = 500
"""Characters of a value of MLflow that every store takes."""


def log_sweep(sweep: Sweep, folder: Path, tracking_uri: str, experiment: str) -> int:
    """Logs the points of a sweep as runs of an experiment; returns how many. A point that failed is a failed run.

    Args:
        sweep: what `edgecompile.sweep.report_files.read` returned of `folder`.
        tracking_uri: where MLflow keeps it: a folder (`file:///…`), a database, or a server.

    Raises:
        MissingToolError: mlflow is not installed.
    """
    try:
        from mlflow import MlflowClient  # type: ignore[import-not-found, unused-ignore]
    except ImportError as error:
        raise MissingToolError("mlflow is not installed", fix="pip install mlflow-skinny") from error
    client = MlflowClient(tracking_uri)
    known = client.get_experiment_by_name(experiment)
    number = known.experiment_id if known else client.create_experiment(experiment)
    for point in sweep.points:
        run = client.create_run(number, run_name=f"{sweep.name}/{point.point}").info.run_id
        for name, value in _parameters(point).items():
            client.log_param(run, name, str(value)[:LONGEST])
        for name, figure in _metrics(point).items():
            client.log_metric(run, name, figure)
        for name in (REPORT, PAGE):
            if (folder / point.point / name).is_file():
                client.log_artifact(run, str(folder / point.point / name))
        client.set_terminated(run, "FINISHED" if point.state == BUILT else "FAILED")
    return len(sweep.points)


def _parameters(point: SweepPoint) -> dict[str, object]:
    """Returns what was asked for: the overrides by key, and what they led to."""
    words = (word.partition("=") for word in point.overrides)
    asked = {key.lstrip("+~"): value for key, equals, value in words if equals}
    stated = {"state": point.state, "device": point.device, "precision": point.precision, "address": point.address}
    return {**asked, **{name: value for name, value in stated.items() if value is not None}}


def _metrics(point: SweepPoint) -> dict[str, float]:
    """Returns the figures that are numbers; a noisy latency is under a name of its own."""
    noisy = "_noisy" if point.noise else ""
    figures: dict[str, float | None] = dict(point.figures.by_name()) if point.figures else {}
    figures |= {f"latency_p50_ms{noisy}": point.latency_p50_ms, f"latency_p95_ms{noisy}": point.latency_p95_ms}
    figures |= {"peak_memory_mb": point.peak_memory_mb, "size_bytes": point.size_bytes}
    figures |= {"speedup": point.speedup["ratio"]} if point.speedup else {}
    return {name: float(value) for name, value in figures.items() if value is not None}
