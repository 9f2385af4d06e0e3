"""Equal work is done once, also by points that run side by side in processes of their own, with the real steps."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from needed import needs
from rough_measurement import ROUGH

needs("hydra_plugins.hydra_joblib_launcher")
needs("ultralytics")

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parent.parent
METHODS = ("minmax", "percentile")
SHARED = {"onnx_export", "simplify", "reference.evaluate"}


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory) -> list[dict]:
    """The reports of three points, built at the same time by three processes with an empty store."""
    here = tmp_path_factory.mktemp("sweep")
    settings = {**os.environ, "PYTHONPATH": str(ROOT), "EDGECOMPILE_CACHE": str(here / "cache")}
    settings["EDGECOMPILE_MACHINE"] = str(tmp_path_factory.mktemp("machine"))
    words = ["passes.int8_static.method=minmax,percentile", "evaluate.latency_images=10,11", "model.imgsz=96"]
    words += [
        "data.calibration.images=32",
        "data.validation.images=8",
        "gates.accuracy_drop=null",
        "hydra/launcher=joblib",
        "hydra.launcher.n_jobs=4",
        *ROUGH,
        "--quiet",
    ]
    command = [sys.executable, "-m", "edgecompile", "build", "-m", *words]
    finished = subprocess.run(command, cwd=here, env=settings, capture_output=True, text=True, timeout=500)
    assert finished.returncode == 0, finished.stderr
    return [json.loads(file.read_text()) for file in sorted(here.glob("outputs/sweeps/*/*/report.json"))]


def ran(reports: list[dict]) -> Counter[tuple[str, str | None]]:
    """Returns how many points ran a step and did not find its result, by step and key."""
    steps = [step for report in reports for step in report["steps"] if step["run"]["state"] == "ran"]
    return Counter((step["name"], step["key"]) for step in steps if not step["measured"])


def test_what_points_share_ran_once_in_all_of_them(reports: list[dict]) -> None:
    assert len(reports) == 4
    counts = ran(reports)
    assert set(counts.values()) == {1}, counts
    by_step = Counter(name for name, _ in counts.elements())
    assert {name: by_step[name] for name in SHARED} == dict.fromkeys(SHARED, 1)
    assert by_step["evaluate"] == len(METHODS), "one for each INT8 model, not one for each point"


def test_every_point_has_its_own_measurement_taken_alone(reports: list[dict]) -> None:
    measured = [step["run"]["state"] for report in reports for step in report["steps"] if step["measured"]]
    assert measured == ["ran"] * 4
    assert [report["measured"]["exclusive"] for report in reports] == [True] * 4


def test_negative_control_a_step_that_two_points_ran_is_counted(reports: list[dict]) -> None:
    assert set(ran([*reports, *reports]).values()) == {2}
