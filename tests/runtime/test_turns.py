"""Measuring in turns, with processes and a machine of the test's own: nothing here takes the time of a real one."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator

import pytest

from edgecompile.runtime import turns
from edgecompile.runtime.machine_load import Observed
from edgecompile.runtime.probe import Turn, Turned
from edgecompile.runtime.speedup import SpeedUp, is_known, speedup_of, speedup_words
from edgecompile.runtime.turns import ATTEMPTS, LEAST_ROUNDS, Extent, measure_in_turns

COUNTED = 20
"""Predictions of a turn."""


class Clock:
    """Time that passes when a process has its turn."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Process:
    """Stands for a measured process: each prediction takes as long as `duration` returns, in ms."""

    def __init__(self, pid: int, clock: Clock, journal: list[int], duration: Callable[[], float]) -> None:
        self.pid, self._clock, self._journal, self._duration = pid, clock, journal, duration

    def turn(self, turn: Turn) -> Turned:
        count = COUNTED if turn["most"] is None else min(COUNTED, turn["most"])
        if count:
            self._journal.append(self.pid)
            self._clock.now += 0.125
        samples = [[0.1, 0.1, total - 0.2, 0.1, total] for total in (self._duration() for _ in range(count))]
        return {"samples": samples, "reference_ms": 1.0, "peak_memory_mb": 50.0 + len(self._journal)}


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(turns.time, "monotonic", clock)
    return clock


@pytest.fixture
def journal() -> list[int]:
    return []


def watched(monkeypatch: pytest.MonkeyPatch, clock: Clock, busy: Callable[[float], float]) -> list[float]:
    """Has the machine be observed as busy with others; returns when it was."""
    seen: list[float] = []

    def observe(own: object) -> Observed:
        seen.append(clock.now)
        return Observed(clock.now, busy(clock.now), 0.0, 0.0, 0, 2400, None, None, None, None)

    monkeypatch.setattr(turns, "observe", observe)
    return seen


def steady(value: float) -> Callable[[], float]:
    ticking: Iterator[float] = itertools.cycle([value, value * 1.001])
    return lambda: next(ticking)


def test_it_goes_on_until_the_median_is_known(clock, journal, monkeypatch):
    watched(monkeypatch, clock, lambda now: 0.0)
    run = measure_in_turns([Process(1, clock, journal, steady(5.0))], Extent())
    assert len(run.samples(0)) == 100
    assert not run.quality(0.03).noise
    wide = itertools.cycle([4.0, 6.0])
    rough = measure_in_turns([Process(1, clock, journal, lambda: next(wide))], Extent(seconds=3.0))
    assert len(rough.samples(0)) > 400, "its samples spread: more of them, as long as there is time"
    assert rough.quality(0.03).noise


def test_a_disturbed_measurement_begins_anew_and_a_quiet_one_is_taken(clock, journal, monkeypatch):
    watched(monkeypatch, clock, lambda now: min(now - 100.0, 0.7) * 4)  # busy for 0.7 s
    run = measure_in_turns([Process(1, clock, journal, steady(5.0))], Extent())
    assert not run.quality(0.03).noise
    assert len(run.samples(0)) == 100, "those beside the neighbour do not count"


def test_a_machine_that_stays_busy_is_given_up_and_told(clock, journal, monkeypatch):
    watched(monkeypatch, clock, lambda now: 4 * now)
    run = measure_in_turns([Process(1, clock, journal, steady(5.0))], Extent(seconds=60))
    assert "other processes took" in run.quality(0.03).noise[0]
    assert len(journal) * COUNTED == ATTEMPTS * 100


def test_two_take_turns_and_each_begins_as_often(clock, journal, monkeypatch):
    watched(monkeypatch, clock, lambda now: 0.0)
    pair = [Process(1, clock, journal, steady(5.0)), Process(2, clock, journal, steady(9.0))]
    run = measure_in_turns(pair, Extent())
    assert journal[:8] == [1, 2, 2, 1, 1, 2, 2, 1]
    assert len(run.turns[0]) == len(run.turns[1])
    assert run.totals(1)[0] == 9.0


def test_a_number_that_was_asked_for_is_kept_to(clock, journal, monkeypatch):
    watched(monkeypatch, clock, lambda now: 4 * now)
    run = measure_in_turns([Process(1, clock, journal, steady(5.0))], Extent(predictions=25, most=25))
    assert len(run.samples(0)) == 25
    assert run.quality(0.03).noise


def test_the_peak_of_memory_is_that_of_all_turns(clock, journal, monkeypatch):
    watched(monkeypatch, clock, lambda now: 0.0)
    run = measure_in_turns([Process(1, clock, journal, steady(5.0))], Extent())
    assert run.peak_memory_mb(0) == 50.0 + len(journal)


def test_the_ratio_of_two_is_known_although_both_are_slowed(clock, journal, monkeypatch):
    """From the second second on a neighbour makes both half as fast: their latencies do not stand, their ratio does."""
    watched(monkeypatch, clock, lambda now: 4 * now)

    def slowed(value: float) -> Callable[[], float]:
        return lambda: value if clock.now < 102.0 else 2 * value

    pair = [Process(1, clock, journal, slowed(4.0)), Process(2, clock, journal, slowed(10.0))]
    run = measure_in_turns(pair, Extent(predictions=400))
    assert run.quality(0.03).noise
    found = speedup_of([run.pairs()], "fp32")
    assert (found.ratio, found.low, found.high) == (2.5, 2.5, 2.5)
    assert found.rounds >= LEAST_ROUNDS
    assert SpeedUp.from_json(json.loads(json.dumps(found.to_json()))) == found
    assert speedup_words(found.to_json()) == "2.50x as fast as float here [2.50-2.50]"


def test_rounds_go_on_until_the_ratio_is_known(clock, journal, monkeypatch):
    watched(monkeypatch, clock, lambda now: 0.0)
    wide = itertools.cycle([8.0] * COUNTED + [12.0] * COUNTED)
    pair = [Process(1, clock, journal, steady(5.0)), Process(2, clock, journal, lambda: next(wide))]
    run = measure_in_turns(pair, Extent(seconds=20))
    assert len(run.pairs()) > 70, "its ratio is 1.6 or 2.4"
    calm = [Process(1, clock, journal, steady(5.0)), Process(2, clock, journal, steady(9.0))]
    assert len(measure_in_turns(calm, Extent(seconds=20)).pairs()) == LEAST_ROUNDS


def test_starts_that_differ_widen_the_interval():
    """Rounds of one start agree with each other, and say nothing of the next one."""
    starts = [[(1.0, ratio), (1.0, ratio * 1.001)] * 10 for ratio in (0.90, 1.10, 0.94, 1.05, 1.0)]
    found = speedup_of(starts, "fp32")
    assert (found.starts, found.rounds) == (5, 100)
    assert found.low < 0.91
    assert found.high > 1.09
    assert found.ratio == pytest.approx(0.996, abs=0.005)
    one = speedup_of(starts[:1], "fp32")
    assert one.high - one.low < 0.002, "the control: what one start says of itself"
    assert speedup_of(starts[:2], "fp32").starts == 2


def test_a_ratio_is_known_when_starts_agree_and_are_no_accident():
    def starts(*ratios: float) -> list[list[tuple[float, float]]]:
        return [[(1.0, ratio)] * 4 for ratio in ratios]

    assert is_known(starts(1.00, 1.01, 1.0, 0.99, 1.0), 0.015)
    assert not is_known(starts(1.00, 1.01, 1.0), 0.015), "the spread of three is no evidence"
    assert not is_known(starts(0.94, 1.06, 1.0, 0.97, 1.03), 0.015)
    assert is_known(starts(*(0.98, 1.02) * 12), 0.015), "many starts that differ"
