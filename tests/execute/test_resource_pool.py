from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from edgecompile.errors import EdgecompileError
from edgecompile.execute import hardware, locks, resource_pool
from edgecompile.execute.locks import Cancelled, Lock
from edgecompile.execute.resource_pool import ResourcePool
from edgecompile.execute.runner import execute
from edgecompile.execute.store import Store
from edgecompile.plan.step import Step
from edgecompile.runtime import machine
from execute.plans import lines, plan, step, until


@pytest.fixture(autouse=True)
def machine_of_our_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Four cores and 1000 MB, whatever this machine has and whoever else uses it."""
    monkeypatch.setattr(machine, "usable_cores", lambda: [0, 1, 2, 3])
    monkeypatch.setattr(hardware, "available_memory_mb", lambda: 1000)
    monkeypatch.setattr(locks, "PATIENCE_S", 0.2)
    monkeypatch.setattr(locks, "LOOK_S", 0.1)

    def lock(name: str, what: str) -> Lock:
        return Lock(tmp_path / f"{name}.lock", what, keep=True)

    monkeypatch.setattr(resource_pool, "machine_lock", lock)


class Trial:
    """Asks for room in a thread, and keeps it until told to leave."""

    def __init__(self, where: ResourcePool, one: Step) -> None:
        self.cores: list[int] | None = None
        self.exclusive: bool | None = None
        self.said: list[str] = []
        self.error: BaseException | None = None
        self._leave = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(where, one), daemon=True)
        self._thread.start()

    def _run(self, where: ResourcePool, one: Step) -> None:
        try:
            with where.share(one), where.cores(one, self.said.append) as got:
                self.cores, self.exclusive = got.numbers, got.exclusive
                self._leave.wait(30)
        except BaseException as error:
            self.error = error

    def settled(self, seconds: float = 0.25) -> list[int] | None:
        """Returns the cores it got, or None when it still waits after a while."""
        deadline = time.monotonic() + seconds
        while self.cores is None and time.monotonic() < deadline:
            time.sleep(0.005)
        return self.cores

    def leave(self) -> None:
        self._leave.set()
        self._thread.join(10)


Ask = Callable[..., Trial]


@pytest.fixture
def ask() -> Iterator[Ask]:
    trials: list[Trial] = []

    def ask(where: ResourcePool, name: str = "one", **settings: object) -> Trial:
        trials.append(Trial(where, step(name, **{"memory_mb": 10, **settings})))
        return trials[-1]

    yield ask
    for trial in trials:
        trial.leave()


def rooms(count: int = 1, jobs: int | None = None) -> list[ResourcePool]:
    return [ResourcePool(jobs, lambda: False) for _ in range(count)]


def test_each_step_gets_a_core_of_its_own_whichever_build_it_is_of(ask: Ask) -> None:
    one, two = rooms(2)
    got = [ask(where).settled() for where in (one, two, one, two)]
    assert sorted(core for cores in got for core in cores or []) == [0, 1, 2, 3]
    assert ask(two).settled() is None


def test_a_core_that_becomes_free_is_taken(ask: Ask) -> None:
    (one,) = rooms()
    first = [ask(one) for _ in range(4)]
    assert all(trial.settled() for trial in first)
    last = ask(one)
    assert last.settled() is None
    first[2].leave()
    assert last.settled(2) == first[2].cores


def test_jobs_limit_one_build_and_not_another(ask: Ask) -> None:
    one, two = rooms(2, jobs=1)
    assert ask(one).settled()
    assert ask(one).settled() is None
    assert ask(two).settled()


def test_memory_limits_what_runs_side_by_side(ask: Ask) -> None:
    (one,) = rooms()
    first = ask(one, memory_mb=600)
    assert first.settled()
    second = ask(one, memory_mb=600)
    assert second.settled() is None
    assert ask(one, memory_mb=300).settled()
    first.leave()
    assert second.settled(2)


def test_a_step_larger_than_the_machine_runs_alone(ask: Ask) -> None:
    (one,) = rooms()
    assert ask(one, memory_mb=5000).settled()
    assert ask(one, memory_mb=1).settled() is None


@pytest.mark.slow
def test_a_measurement_waits_a_while_for_an_idle_machine(ask: Ask) -> None:
    one, two = rooms(2)
    running = ask(one, "export")
    assert running.settled()
    measuring = ask(two, "measure", measured=True)
    assert measuring.settled() is None
    late = ask(one, "late")
    assert late.settled(2), "cores stand still while a measurement waits"
    running.leave()
    assert measuring.settled() is None
    late.leave()
    assert measuring.settled(2) == [0, 1, 2, 3]
    assert measuring.exclusive
    assert ask(one, "later").settled() is None


def test_measurements_follow_one_another(ask: Ask) -> None:
    first, second = [ask(where, "measure", measured=True) for where in rooms(2)]
    until(lambda: bool(first.cores or second.cores))
    inside, outside = (first, second) if first.cores else (second, first)
    assert outside.settled() is None
    inside.leave()
    assert outside.settled(2) == [0, 1, 2, 3]


@pytest.mark.slow
def test_a_measurement_has_the_machine_for_itself(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    """Even on a machine that is never idle: its patience is at an end at once."""
    monkeypatch.setattr(resource_pool, "LET_OTHERS_START_S", 0)
    one, two = rooms(2)
    running = ask(one, "export")
    assert running.settled()
    measuring = ask(two, "measure", measured=True)
    assert measuring.settled() is None
    late = ask(one, "late")
    assert late.settled() is None, "a step began while a measurement waits"
    running.leave()
    assert measuring.settled(2) == [0, 1, 2, 3]
    assert (measuring.exclusive, running.exclusive) == (True, False)
    assert late.settled() is None
    assert ask(one, "second", measured=True).settled() is None
    measuring.leave()
    assert late.settled(2)


@pytest.mark.slow
def test_who_holds_the_machine_is_named(ask: Ask) -> None:
    one, two = rooms(2)
    assert ask(one, "measure", measured=True).settled()
    waiting = ask(two, "late")
    assert waiting.settled(1) is None
    assert len(waiting.said) == 1
    assert "(measure), which has the machine" in waiting.said[0]


def test_waiting_ends_when_the_build_is_cancelled(ask: Ask) -> None:
    cancelled = threading.Event()
    where = ResourcePool(None, cancelled.is_set)
    (other,) = rooms()
    assert ask(other, measured=True).settled()
    trials = [ask(where), ask(where, measured=True), ask(where)]
    assert [trial.settled(0.1) for trial in trials] == [None] * 3
    cancelled.set()
    for trial in trials:
        trial._thread.join(5)
        assert isinstance(trial.error, Cancelled)


def test_locks_that_cannot_be_opened_stop_nobody(ask: Ask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()

    def denied(name: str, what: str) -> Lock:
        return Lock(tmp_path / "file" / name, what)

    monkeypatch.setattr(resource_pool, "machine_lock", denied)
    (one,) = rooms()
    assert ask(one).settled()
    (two,) = rooms()
    measuring = ask(two, measured=True)
    assert measuring.settled() == [0, 1, 2, 3]
    assert measuring.exclusive is False, "it claims to be alone and cannot know"


def overlaps(journal: Path) -> set[frozenset[str]]:
    """Returns the pairs of steps that ran at the same time."""
    spans = [(name, float(began), float(ended)) for name, began, ended in map(str.split, lines(journal))]
    return {
        frozenset({one, two})
        for one, from_one, to_one in spans
        for two, from_two, to_two in spans
        if one != two and from_one < to_two and from_two < to_one
    }


@pytest.mark.slow
def test_real_steps_run_side_by_side_and_measured_ones_alone(
    tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    if len(machine.usable_cores()) < 2:
        pytest.skip("one core: nothing runs side by side")
    names = ("a", "b", "m1", "m2")
    params = {name: {"journal": str(tmp_path / "journal"), "name": name, "seconds": 0.4} for name in names}
    steps = [step(name, "interval", params=params[name], measured=name.startswith("m"), memory_mb=1) for name in names]
    execute(plan(*steps), store)
    assert overlaps(tmp_path / "journal") <= {frozenset({"a", "b"})}


def test_a_build_without_room_locks_still_fails_properly(store: Store) -> None:
    with pytest.raises(EdgecompileError):
        execute(plan(step("a", "unexpected")), store)
