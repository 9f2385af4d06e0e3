"""The estimate of memory: near what was measured, and remarked on where it is beyond what there is."""

from __future__ import annotations

import pytest

from edgecompile.plan.memory_estimate import estimated_mb, memory_remarks


@pytest.mark.parametrize(
    ("weights_mb", "side", "peak_mb"),
    [(10.5, 320, 130), (10.5, 640, 188), (38.0, 320, 215), (38.0, 640, 341), (80.5, 640, 627)],
)
def test_it_is_near_peaks_that_were_measured(weights_mb: float, side: int, peak_mb: float):
    assert estimated_mb(weights_mb, side * side) == pytest.approx(peak_mb, rel=0.14)


def test_what_is_beyond_the_memory_or_a_gate_is_remarked_on():
    assert memory_remarks(100.0, 8192, 512.0, 70.0) == []
    (beyond,) = memory_remarks(100.0, 64, None, None)
    told = "about 100 MB of memory at run time, which is more than target.memory_mb=64 allows (64 MB)"
    assert beyond.startswith(told)
    (beyond,) = memory_remarks(600.0, 800, None, 70.0)
    assert "gates.peak_memory_percent=70 allows (560 MB)" in beyond
    (beyond,) = memory_remarks(600.0, 8192, 512.0, None)
    assert "gates.peak_memory_mb=512" in beyond


def test_plan_says_so_and_a_plan_within_it_does_not(run, here):
    assert "of memory at run time, which is more than target.memory_mb=64" in run("plan", "target.memory_mb=64").out
    assert "of memory at run time" not in run("plan").out
