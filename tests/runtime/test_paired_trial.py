"""Trials stop when they can tell, with processes and a machine of the test's own."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable

import pytest

from edgecompile.runtime import paired_trial
from edgecompile.runtime.machine_load import Observed
from edgecompile.runtime.paired_trial import LOOKS, compare
from edgecompile.runtime.probe import Turn, Turned


class Process:
    """Stands for a measured process: each turn takes as long as `duration` returns, in ms."""

    def __init__(self, pid: int, duration: Callable[[], float]) -> None:
        self.pid, self._duration, self.turns = pid, duration, 0

    def turn(self, turn: Turn) -> Turned:
        samples = [[0.1, 0.1, 0.1, 0.1, self._duration()] for _ in range(turn["least"])]
        self.turns += bool(samples)
        return {"samples": samples, "reference_ms": 1.0, "peak_memory_mb": 1.0}  # type: ignore[typeddict-item]


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = itertools.count()
    monkeypatch.setattr(paired_trial.time, "monotonic", lambda: next(ticks) / 10)
    seen = lambda own: Observed(next(ticks) / 10, 0.0, 0.0, 0.0, 0, 2400, None, None, None, None)  # noqa: E731
    monkeypatch.setattr(paired_trial, "observe", seen)


def noisy(mean: float, seed: int, spread: float = 0.05) -> Callable[[], float]:
    rng = random.Random(seed)
    return lambda: mean * (1 + rng.uniform(-spread, spread))


def test_a_clear_gain_and_a_clear_loss_end_at_the_first_look():
    for ratio in (1.3, 0.7):
        first = Process(1, noisy(10.0, 1))
        found = compare(first, Process(2, noisy(10.0 * ratio, 2)), 1e9)
        assert found.gains is (ratio > 1)
        assert abs(found.ratio - ratio) < 0.1
        assert first.turns == LOOKS[0]


def test_a_small_gain_takes_more_pairs_and_time_ends_it():
    found = compare(Process(1, noisy(10.0, 3)), Process(2, noisy(10.2, 4)), 1e9)
    assert found.pairs > LOOKS[0]
    first = Process(1, noisy(10.0, 3, 0.5))
    found = compare(first, Process(2, noisy(10.2, 4, 0.5)), 0.0)
    assert (found.pairs, found.gains) == (LOOKS[0], False)


def test_chance_finds_a_gain_where_there_is_none_in_two_of_a_hundred_trials_at_most():
    trials = 200
    false = sum(
        compare(Process(1, noisy(10.0, 2 * seed)), Process(2, noisy(10.0, 2 * seed + 1)), 1e9).gains
        for seed in range(trials)
    )
    assert false <= 0.02 * trials
