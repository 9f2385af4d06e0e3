"""A sweep in MLflow's store of files, where mlflow is installed; it is no tool of the tests' environment."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgecompile.errors import MissingToolError
from edgecompile.sweep.mlflow_runs import _metrics, _parameters, log_sweep
from edgecompile.sweep.report_files import read

from .sweeps import mixed


def test_each_point_is_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    mlflow = pytest.importorskip("mlflow")
    folder = mixed(tmp_path / "sweep")
    uri = (tmp_path / "mlruns").as_uri()
    assert log_sweep(read(folder), folder, uri, "parts") == 5
    client = mlflow.MlflowClient(uri)
    runs = client.search_runs([client.get_experiment_by_name("parts").experiment_id])
    states = {run.info.run_name: run.info.status for run in runs}
    assert states == {
        "sweep/0_x": "FINISHED", "sweep/1_x": "FINISHED", "sweep/2_x": "FAILED", "sweep/10_x": "FAILED",
        "sweep/11_x": "FAILED",
    }  # fmt: skip
    run = next(run for run in runs if run.info.run_name == "sweep/1_x")
    assert run.data.params["passes.int8_static.method"] == "minmax"
    assert run.data.metrics["map50_95"] == pytest.approx(0.746)
    assert [file.path for file in client.list_artifacts(run.info.run_id)] == ["report.json"]


def test_what_a_point_has_is_what_is_logged(tmp_path: Path) -> None:
    sweep = read(mixed(tmp_path / "sweep"))
    assert _metrics(sweep.points[0])["latency_p50_ms"] == 10.0
    assert _metrics(sweep.points[-1]) == {}
    assert _parameters(sweep.points[0])["recipe"] == "x_fp32"


def test_mlflow_that_is_not_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "mlflow", None)
    folder = mixed(tmp_path / "sweep")
    with pytest.raises(MissingToolError, match="pip install mlflow-skinny"):
        log_sweep(read(folder), folder, "file:///tmp", "x")
