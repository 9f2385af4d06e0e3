"""Soak runs of a real model: what a leaking source, a caller that keeps results and a broken model are known by."""

from __future__ import annotations

import ctypes
import gc
import json
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgecompile.runtime import load
from edgecompile.runtime.archive import Archive
from edgecompile.runtime.diagnosis import Diagnosis, diagnosis_of, subject_of
from edgecompile.runtime.soak import Conditions, soak

from .tiny import photo


def soaked(bundle: Path, pictures: Any = None, seconds: float = 5.0, **conditions: Any) -> Diagnosis:
    model = load(bundle, threads=1)
    source = [photo(200, 300, seed) for seed in range(4)] if pictures is None else pictures
    with Archive(bundle) as archive:
        return diagnosis_of(subject_of(model), soak(model, source, Conditions(seconds, 1, **conditions), archive))


def causes(diagnosis: Diagnosis, symptom: str) -> list[str]:
    return [finding.cause for finding in diagnosis.findings if finding.symptom == symptom]


def endless() -> Iterator[np.ndarray]:
    while True:
        yield np.full((400, 400, 3), 90, np.uint8)


def give_back() -> None:
    """Gives freed memory back to the system: else the next leak of this process would fill that first, and not grow."""
    gc.collect()
    with suppress(OSError, AttributeError):  # of another C library
        ctypes.CDLL("libc.so.6").malloc_trim(0)


@pytest.mark.slow
def test_a_run_is_written_down_and_memory_stays(tiny_bundle: Path):
    diagnosis = soaked(tiny_bundle)
    timeline = diagnosis.timeline
    assert timeline.predicted > 100
    assert {moment.whole for moment in timeline.moments} == {True, False}
    assert all(look.met for look in (*timeline.built, *timeline.looks))
    assert causes(diagnosis, "memory") == causes(diagnosis, "results") == []


@pytest.mark.slow
@pytest.mark.parametrize("what", ["source", "pictures", "results"])
def test_a_leak_is_found_where_it_is(tiny_bundle: Path, what: str):
    kept: list[Any] = []

    def leaking() -> Iterator[np.ndarray]:
        for picture in endless():
            if what == "source":
                kept.append(np.ones(60_000))
            if what == "pictures":
                kept.append(picture)
            yield picture

    def handle(result: Any) -> None:
        if what == "results":
            object.__setattr__(result, "mask", np.ones(60_000))
            kept.append(result)

    try:
        diagnosis = soaked(tiny_bundle, leaking(), handle=handle)
    finally:
        kept.clear()
        give_back()
    assert causes(diagnosis, "memory") == [{"pictures": "pictures_kept", "results": "results_kept"}.get(what, what)], [
        diagnosis.growth,
        [one.grown_mb for one in diagnosis.timeline.moments],
    ]


@pytest.mark.slow
def test_garbage_collection_during_predictions_is_named(tiny_bundle: Path):
    ballast = [[number] for number in range(300_000)]
    before = gc.get_threshold()
    gc.set_threshold(2, 1, 1)  # a collection of all generations every few objects
    try:
        diagnosis = soaked(tiny_bundle, seconds=1.5)
    finally:
        gc.set_threshold(*before)
    assert ballast
    assert "garbage_collection" in causes(diagnosis, "latency")


@pytest.mark.slow
def test_heat_of_a_made_up_sysfs_is_named(tiny_bundle: Path, tmp_path: Path):
    """A fake: no machine at hand shows its heat, or can be made too hot."""
    zone = tmp_path / "sys/class/thermal/thermal_zone0"
    counter = tmp_path / "sys/devices/system/cpu/cpu0/thermal_throttle/core_throttle_count"
    for folder in (zone, counter.parent):
        folder.mkdir(parents=True)
    predicted: list[Any] = []

    def handle(result: Any) -> None:
        predicted.append(0)
        (zone / "temp").write_text(f"{60_000 + min(len(predicted), 300) * 100}")
        counter.write_text(str(len(predicted) // 2))

    handle(None)
    diagnosis = soaked(tiny_bundle, endless(), seconds=1.5, handle=handle, root=tmp_path)
    assert causes(diagnosis, "heat") == ["throttling"]
    assert "thermal" not in diagnosis.findings[0].evidence
    cool = soaked(tiny_bundle, endless(), seconds=0.3, root=tmp_path)
    assert causes(cool, "heat") == [], "the negative control: the counter stands still"


def test_what_a_system_hides_is_told(tiny_bundle: Path, tmp_path: Path):
    diagnosis = soaked(tiny_bundle, seconds=0.2, root=tmp_path)
    assert len(diagnosis.timeline.unseen) == 2
    assert diagnosis.findings == () or causes(diagnosis, "latency")


def test_a_source_that_ends_ends_the_run(tiny_bundle: Path):
    timeline = soaked(tiny_bundle, (photo(64, 96) for _ in range(40))).timeline
    assert timeline.seconds < 5
    with pytest.raises(ValueError, match="no picture"):
        soaked(tiny_bundle, [])


def test_the_timeline_is_json(tiny_bundle: Path):
    diagnosis = soaked(tiny_bundle, seconds=0.2)
    again = Diagnosis.from_json(json.loads(json.dumps(diagnosis.to_json())))
    assert again.timeline == diagnosis.timeline
