"""A build beside real competing processes: its latency is noisy, is not kept, and no gate turns because of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from needed import needs
from rough_measurement import ROUGH
from test_every_recipe import edgecompile

from edgecompile.execute import measurements
from edgecompile.execute.store import Store
from edgecompile.runtime.machine import architecture, usable_cores

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not Path("/proc/stat").exists(), reason="the time of other processes is not shown"),
    pytest.mark.skipif(architecture() != "x86_64", reason="the recipe's target is an x86-64 CPU"),
]
needs("ultralytics")

BUSY = "import os\nparent = os.getppid()\nwhile os.getppid() == parent: pass"
"""Computes until its starter has ended."""
RECIPE = ("x86-cpu_onnxruntime_fp32", "model=sample", "data=sample", "data.validation.images=8", "--quiet")
BRIEF = "measurement.seconds=1"
"""Noise shows at once, and each build measures three times because of it."""


@pytest.fixture(scope="module")
def prepared(shared) -> None:
    """What no noise changes is built while the machine is quiet."""
    built = edgecompile(shared, "build", *RECIPE, *ROUGH)
    assert built.returncode == 0, built.stderr


@pytest.fixture(scope="module")
def neighbours(prepared) -> Iterator[None]:
    """A competing process for each core."""
    started = [subprocess.Popen([sys.executable, "-S", "-c", BUSY]) for _ in usable_cores()]
    yield
    for process in started:
        process.kill()
        process.wait()


@pytest.fixture(scope="module")
def build(neighbours, shared, tmp_path_factory) -> Callable[..., tuple[int, str, dict[str, Any], Path]]:
    """Builds beside the neighbours: exit code, messages, report and run directory."""
    root = Path(__file__).parent.parent
    place = tmp_path_factory.mktemp("noisy")

    def run(name: str, *words: str) -> tuple[int, str, dict[str, Any], Path]:
        folder = place / name
        command = [sys.executable, "-m", "edgecompile", "build", *RECIPE, BRIEF, f"hydra.run.dir={folder}", *words]
        settings = {**os.environ, "PYTHONPATH": str(root), "EDGECOMPILE_CACHE": str(shared / "cache")}
        ended = subprocess.run(command, cwd=place, env=settings, capture_output=True, text=True, timeout=600)
        return ended.returncode, ended.stderr, json.loads((folder / "report.json").read_text()), folder

    return run


@pytest.fixture(scope="module")
def middle(build) -> float:
    """A limit that the noisy figures are neither clearly within nor clearly beyond: their own median."""
    code, said, report, _ = build("without-gate")
    assert code == 0, said
    return report["measured"]["latency_ms"]["total"]["p50"]


def gate_of(report: dict[str, Any]) -> tuple[bool | None, bool]:
    (gate,) = [gate for gate in report["gates"] if gate["gate"] == "latency_p95_ms"]
    return gate["met"], gate["noisy"]


def test_a_limit_that_noise_may_have_turned_is_left_open_and_the_build_says_so(build, middle, shared):
    code, said, report, folder = build("open", f"gates.latency_p95_ms={middle}")
    assert code == 0, said
    assert gate_of(report) == (None, True)
    assert any("other processes took" in line for line in report["measured"]["quality"]["noise"])
    assert "noisy: not judged, for noise may have turned them: gates.latency_p95_ms" in said
    assert "build again when the machine is quiet" in said
    assert "not judged: noisy" in (folder / "report.html").read_text()
    taken = [kept.entry.facts.get("taken") for kept in measurements.kept(Store(shared / "cache"))]
    assert report["measured"]["taken"] not in taken


def test_limits_that_noise_cannot_turn_are_judged(build, middle):
    code, said, report, _ = build("met", f"gates.latency_p95_ms={1000 * middle}", "gates.fps=0.001")
    assert code == 0, said
    assert gate_of(report) == (True, True)
    code, said, report, folder = build("unmet", f"gates.latency_p95_ms={middle / 1000}")
    assert code == 6
    assert gate_of(report) == (False, True)
    assert "even the quickest prediction took" in said
    assert not list(folder.glob("*.zip"))


def test_a_recipe_may_refuse_what_was_not_judged(build, middle):
    words = (f"gates.latency_p95_ms={middle}", "measurement.refuse_noisy=true")
    code, said, _, folder = build("refused", *words)
    assert code == 6
    assert "edgecompile: gate latency_p95_ms: not judged: " in said
    assert "measure again on a quiet machine" in said
    assert not list(folder.glob("*.zip"))


def test_the_bundle_is_the_same_whatever_was_measured(build, middle):
    limit = f"gates.latency_p95_ms={1000 * middle}"
    bundles = []
    for name, words in (("strict", ()), ("rough", ("measurement.tolerance=10",))):
        code, said, _, folder = build(name, limit, *words)
        assert code == 0, said
        bundles += [path.read_bytes() for path in folder.glob("*.zip")]
    assert len(bundles) == 2
    assert bundles[0] == bundles[1]
