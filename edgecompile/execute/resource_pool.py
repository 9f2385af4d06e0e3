"""Room for steps: which core a step gets, and when there is memory for it.

Cores are shared by all processes of the machine, one step to a core, by locks in the folder for temporary files. So
sixteen builds side by side run no more steps at a time than one build does, and never sit on each other's core. A
measurement takes all cores: nothing that edgecompile runs disturbs it, in whichever process. It waits a while for the
machine to fall idle before it keeps others from starting: a core would stand still until the longest step has ended.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass

from edgecompile.execute import hardware
from edgecompile.execute.locks import LONGEST_PAUSE_S, Cancelled, Holder, Lock, Wait, machine_lock
from edgecompile.plan.step import Step
from edgecompile.runtime import machine

LET_OTHERS_START_S = 60.0
"""So long a measurement waits before it keeps other steps of the machine from starting."""

NEXT_TO_MEASURE_S = 0.02
"""Between two attempts of a measurement to get all cores."""


@dataclass(frozen=True)
class Cores:
    """What a step runs on: the numbers of its cores, and whether it has the machine, as far as edgecompile goes, to
    itself. Only a measured step asks for that; it goes without where a lock of another user cannot be opened."""

    numbers: list[int]
    exclusive: bool = False


class ResourcePool:
    """What steps of one build may use at a time.

    Args:
        jobs: most steps at a time; None for as many as there are usable cores.
        cancelled: asked while a step waits.
    """

    def __init__(self, jobs: int | None, cancelled: Callable[[], bool]) -> None:
        self._numbers = machine.usable_cores()
        self._jobs = min(jobs or len(self._numbers), len(self._numbers))
        self._cancelled = cancelled
        self._changed = threading.Condition()
        self._running = 0
        self._memory_mb = 0
        self._budget_mb = 0

    @contextmanager
    def share(self, step: Step) -> Iterator[None]:
        """Holds a place for a step among those of this build, as many at a time as jobs and memory allow.

        Raises:
            Cancelled: when the build was cancelled meanwhile.
        """
        with self._changed:
            while not self._fits(step):
                if self._cancelled():
                    raise Cancelled
                self._changed.wait(0.1)
            self._running += 1
            self._memory_mb += step.memory_mb
        try:
            yield
        finally:
            with self._changed:
                self._running -= 1
                self._memory_mb -= step.memory_mb
                self._changed.notify_all()

    @contextmanager
    def cores(self, step: Step, waiting: Callable[[str], None]) -> Iterator[Cores]:
        """Holds cores for a step and yields them: all for a measured step, one for any other.

        Args:
            step: holds a share already.
            waiting: called with a line for people when the wait grows long.

        Raises:
            Cancelled: when the build was cancelled meanwhile.
        """
        # Of those that wait while somebody measures, the next to measure looks most often: the machine is idle already.
        longest_s = NEXT_TO_MEASURE_S if step.measured else LONGEST_PAUSE_S
        wait = Wait(self._cancelled, lambda holder: waiting(_line(holder)), longest_s)
        with ExitStack() as held:
            yield self._all_cores(step, held, wait) if step.measured else Cores([self._one_core(step, held, wait)])

    def _fits(self, step: Step) -> bool:
        """Returns whether a step may start: always when nothing runs, for else it never could."""
        if self._running == 0:
            self._budget_mb = hardware.available_memory_mb()
            return True
        return not step.measured and self._running < self._jobs and self._memory_mb + step.memory_mb <= self._budget_mb

    def _all_cores(self, step: Step, held: ExitStack, wait: Wait) -> Cores:
        """Takes the gate and every core: at once when the machine is idle, or, where it never is, first the gate, which
        keeps others from starting anything, and then every core as it becomes free."""
        exclusive, locks, end = True, self._locks(step.name), time.monotonic() + LET_OTHERS_START_S
        with suppress(OSError):
            while time.monotonic() < end:
                if _take_together(locks, held):
                    return Cores(self._numbers, exclusive)
                wait.pause(*locks)
        for lock in locks:
            try:
                while not lock.try_acquire():
                    wait.pause(lock)
                held.callback(lock.release)
            except OSError:  # a lock of another user that may not be opened: measure all the same
                exclusive = False
        return Cores(self._numbers, exclusive)

    def _one_core(self, step: Step, held: ExitStack, wait: Wait) -> int:
        """Takes a core that nobody uses, while nobody measures."""
        gate, *cores = self._locks(step.name)
        while True:
            try:
                if not gate.is_held():
                    for number, core in zip(self._numbers, cores, strict=True):
                        if core.try_acquire():
                            held.callback(core.release)
                            return number
            except OSError:
                return random.choice(self._numbers)  # locks that another user made private: share with their processes
            wait.pause(gate, *cores)

    def _locks(self, step_name: str) -> list[Lock]:
        """Returns the gate and a lock for each core, shared by all processes of the machine."""
        return [
            machine_lock(name, step_name) for name in ("measuring", *(f"core-{number}" for number in self._numbers))
        ]


def _take_together(locks: list[Lock], held: ExitStack) -> bool:
    """Takes all of the locks or none; returns which."""
    with ExitStack() as taken:
        for lock in locks:
            if not lock.try_acquire():
                return False
            taken.callback(lock.release)
        held.push(taken.pop_all())
    return True


def _line(holder: Holder | None) -> str:
    return f"waiting for {holder}, which has the machine" if holder else "waiting for a core that no other build uses"
