"""Room for steps: which core a step gets, and when there is memory for it.

Cores are shared by all processes of the machine, one step to a core, by locks in the folder for temporary files. So
sixteen builds side by side run no more steps at a time than one build does, and never sit on each other's core. A
measurement takes all cores: nothing that edgecompile runs disturbs it, in whichever process.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from edgecompile.execute import machine
from edgecompile.execute.locks import Cancelled, Holder, Lock, Wait, machine_lock
from edgecompile.plan.step import Step


@dataclass(frozen=True)
class Cores:
    """What a step runs on: the numbers of its cores, and whether it has the machine, as far as edgecompile goes, to
    itself. Only a measured step asks for that; it goes without where a lock of another user cannot be opened."""

    numbers: list[int]
    alone: bool = False


class Room:
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
        """Holds cores for a step and yields them: all for a measured one, one for any other.

        Args:
            step: holds a share already.
            waiting: called with a line for people when the wait grows long.

        Raises:
            Cancelled: when the build was cancelled meanwhile.
        """
        wait = Wait(self._cancelled, lambda holder: waiting(_line(holder)))
        with ExitStack() as held:
            yield self._all_cores(step, held, wait) if step.measured else Cores([self._one_core(step, held, wait)])

    def _fits(self, step: Step) -> bool:
        """Returns whether a step may start: always when nothing runs, for else it never could."""
        if self._running == 0:
            self._budget_mb = machine.available_memory_mb()
            return True
        return not step.measured and self._running < self._jobs and self._memory_mb + step.memory_mb <= self._budget_mb

    def _all_cores(self, step: Step, held: ExitStack, wait: Wait) -> Cores:
        """Takes the gate, which keeps others from starting anything, then every core as it becomes free."""
        alone = True
        for lock in self._locks(step.name):
            try:
                while not lock.try_acquire():
                    wait.pause(lock)
                held.callback(lock.release)
            except OSError:  # a lock of another user that may not be opened: measure all the same
                alone = False
        return Cores(self._numbers, alone)

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

    def _locks(self, what: str) -> list[Lock]:
        """Returns the gate and a lock for each core, shared by all processes of the machine."""
        return [machine_lock(name, what) for name in ("measuring", *(f"core-{number}" for number in self._numbers))]


def _line(holder: Holder | None) -> str:
    return f"waiting for {holder}, which has the machine" if holder else "waiting for a core that no other build uses"
