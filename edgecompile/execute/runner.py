"""Runs a plan: finds what the store has, runs what it has not, side by side as far as the machine allows."""

from __future__ import annotations

import queue
import re
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

from edgecompile import __version__
from edgecompile.errors import EdgecompileError, StepError
from edgecompile.execute import measurements, step_key
from edgecompile.execute.entry import Ingredients, StepRecord
from edgecompile.execute.limits import Asked, asked_for, limits_of
from edgecompile.execute.locks import Cancelled, Lock, Wait
from edgecompile.execute.process import Report, Worker
from edgecompile.execute.progress import Event, Listener, State
from edgecompile.execute.resource_pool import ResourcePool
from edgecompile.execute.source_digests import Sources
from edgecompile.execute.store import Entry, Store
from edgecompile.execute.tools import require_tools
from edgecompile.plan.graph import Plan
from edgecompile.plan.step import Output, Source, Step
from edgecompile.plan.step_progress import StepProgress

ATTEMPTS = 3
"""How often a plan is tried while what its steps read keeps changing."""


class InputsChanged(Exception):
    """What a step read is no longer what its key says. Its result is thrown away."""


def execute(
    plan: Plan,
    store: Store,
    *,
    jobs: int | None = None,
    progress: Listener | None = None,
    measure_again: bool = False,
) -> dict[str, Entry]:
    """Returns the results of the steps of a plan, by step name, running those that the store does not have.

    Args:
        plan: what to run.
        store: where results are found and kept.
        jobs: most steps at a time; None for as many as there are usable cores.
        progress: called with what happens, one event at a time, from any thread. What it raises is ignored.
        measure_again: whether steps that measure run, whatever was measured before.

    Raises:
        MissingToolError: before anything runs, naming all the tools that are missing.
        RecipeError: when a source cannot be read, or a limit of steps is malformed.
        StepError: when a step fails (the others are cancelled), or the store cannot be written.
        EdgecompileError: what a step's function raises of that kind.
        KeyboardInterrupt: after Ctrl-C, once all workers are gone. What was finished is kept.
    """
    require_tools(plan)
    asked = asked_for()
    with suppress(StepError):  # a store that cannot be written still serves what it has
        store.begin()
    for attempt in range(1, ATTEMPTS + 1):
        try:
            return _Run(plan.steps, store, jobs, progress or (lambda event: None), asked, measure_again).finish()
        except InputsChanged as change:
            if attempt == ATTEMPTS:
                raise StepError(str(change)) from change
    raise AssertionError("unreachable")


class _Run:
    """One execution of a plan. The calling thread decides what comes next; each step to be run has its own thread."""

    def __init__(
        self,
        steps: tuple[Step, ...],
        store: Store,
        jobs: int | None,
        listener: Listener,
        asked: Asked,
        measure_again: bool,
    ) -> None:
        self._steps = steps
        self._asked = asked
        self._measure_again = measure_again
        self._store = store
        self._sources = Sources(store.root / "stat")
        self._entries: dict[str, Entry] = {}
        self._cancelled = threading.Event()
        self._pool = ResourcePool(jobs, self._cancelled.is_set)
        self._ended: queue.SimpleQueue[tuple[Step, Entry | BaseException]] = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._workers: set[Worker] = set()
        self._listener = listener
        self._one_at_a_time = threading.Lock()
        self._emitting = threading.Lock()

    def finish(self) -> dict[str, Entry]:
        """Goes through all steps and returns their results.

        Raises:
            InputsChanged: when what a step read changed meanwhile.
        """
        waiting = list(self._steps)
        running = 0
        try:
            while waiting or running:
                for step in [step for step in waiting if all(need in self._entries for need in step.needs)]:
                    waiting.remove(step)
                    running += not self._reuse(step)
                if running and not self._any_ready(waiting):
                    step, outcome = self._ended.get()
                    running -= 1
                    if isinstance(outcome, BaseException):
                        raise outcome
                    self._entries[step.name] = outcome
        finally:
            self._cancel()
        return {step.name: self._entries[step.name] for step in self._steps}

    def _any_ready(self, waiting: list[Step]) -> bool:
        return any(all(need in self._entries for need in step.needs) for step in waiting)

    def _reuse(self, step: Step) -> bool:
        """Takes the step's result from the store and returns True, or starts a thread that runs it."""
        ingredients = step_key.ingredients(step, self._sources, self._entries)
        key = step_key.key_of(ingredients)
        if entry := self._find(step, key):
            self._entries[step.name] = entry
            self._emit(step, State.REUSED, entry)
            return True
        self._store.begin()
        inputs = dict(self._entries)
        thread = threading.Thread(
            target=self._obtain, args=(step, key, ingredients, inputs), name=step.name, daemon=True
        )
        self._threads.append(thread)
        thread.start()
        return False

    def _find(self, step: Step, key: str) -> Entry | None:
        """Returns the result of a step, where the store has it and it still stands."""
        if not step.measured:
            return self._store.find(key)
        return None if self._measure_again else measurements.find(self._store, key, step.max_age_s)

    def _obtain(self, step: Step, key: str, ingredients: Ingredients, entries: Mapping[str, Entry]) -> None:
        """Runs a step, unless another process does so first, and reports the outcome to the calling thread."""
        outcome: Entry | BaseException
        try:
            outcome = self._run_once(step, key, ingredients, entries)
        except BaseException as error:  # whatever it is, the calling thread raises it
            outcome = self._store.trouble(error) if isinstance(error, OSError) else error
        if isinstance(outcome, Cancelled):
            self._emit(step, State.CANCELLED)
        elif isinstance(outcome, BaseException) and not isinstance(outcome, InputsChanged):
            self._emit(step, State.FAILED, detail=str(outcome))
        self._ended.put((step, outcome))

    def _run_once(self, step: Step, key: str, ingredients: Ingredients, entries: Mapping[str, Entry]) -> Entry:
        def waiting(detail: str) -> None:
            self._emit(step, State.WAITING, detail=detail)

        lock = self._store.lock(key, step.name)
        wait = Wait(
            self._cancelled.is_set,
            lambda holder: waiting(f"waiting for {holder or 'another process'}, which runs the same step"),
        )
        while True:
            # The place among this build's steps comes first, and is given back while another process has the step.
            with self._pool.share(step):
                if lock.try_acquire():
                    with lock:
                        return self._find_or_run(step, key, ingredients, entries, lock, waiting)
            wait.pause(lock)

    def _find_or_run(
        self,
        step: Step,
        key: str,
        ingredients: Ingredients,
        entries: Mapping[str, Entry],
        lock: Lock,
        waiting: Callable[[str], None],
    ) -> Entry:
        """Returns the result of a step whose lock this thread holds."""
        if entry := self._find(step, key):
            self._emit(step, State.REUSED, entry)
            return entry
        with self._pool.cores(step, waiting) as cores, self._staging_dir() as place:
            self._emit(step, State.RUNNING)
            worker, report = self._work(step, entries, place, cores.numbers, lock.note_worker)
            self._require_unchanged(step, entries)
            record = _record(step, ingredients, report, cores.exclusive)
            if step.measured:
                entry = measurements.take(self._store, key, worker.out, record)
            else:
                entry = self._store.publish(key, worker.out, record)
            self._keep_listings(step)
        entry = replace(entry, fresh=True)
        self._emit(step, State.DONE, entry)
        return entry

    def _work(
        self,
        step: Step,
        entries: Mapping[str, Entry],
        place: Path,
        cores: list[int],
        note: Callable[[int], None],
    ) -> tuple[Worker, Report]:
        """Runs the step's function in a process of its own and waits for its end."""
        inputs = {name: _materialise(value, entries) for name, value in step.inputs.items()}
        with self._one_at_a_time:
            if self._cancelled.is_set():
                raise Cancelled
            worker = Worker(
                step, inputs, place, cores, limits_of(step, self._asked),
                lambda far: self._emit(step, State.RUNNING, far=far),
            )  # fmt: skip
            self._workers.add(worker)
        note(worker.pid)
        try:
            return worker, worker.wait()
        except EdgecompileError as error:
            if self._cancelled.is_set():
                raise Cancelled from error
            self._require_unchanged(step, entries)
            if worker.unexplained:
                raise self._with_log(error, step, worker.log) from error
            raise
        finally:
            with self._one_at_a_time:
                self._workers.discard(worker)

    def _require_unchanged(self, step: Step, entries: Mapping[str, Entry]) -> None:
        """Makes sure that a step read what its key says, whatever happened to disk or data while it ran.

        Raises:
            InputsChanged: when it did not. A damaged result is set aside, so that the next attempt heals it.
        """
        for value in step.inputs.values():
            if isinstance(value, Output):
                entry = entries[value.step]
                if not self._store.intact(entry):
                    self._store.quarantine(entry.key)
                    raise InputsChanged(f"the output of '{value.step}' changed while step '{step.name}' read it")
            elif not self._sources.unchanged(value):
                raise InputsChanged(f"{value.name} changed while step '{step.name}' read them")

    def _keep_listings(self, step: Step) -> None:
        for value in step.inputs.values():
            if isinstance(value, Source) and value.many:
                self._store.keep_listing(self._sources.of(value))

    def _with_log(self, error: EdgecompileError, step: Step, log: Path) -> StepError:
        """Returns the error with a pointer to all that the step printed, which is kept."""
        stamp, name = time.strftime("%Y%m%dT%H%M%S", time.gmtime()), re.sub(r"[^\w.-]+", "-", step.name)
        copy = self._store.root / "logs" / f"{stamp}-{name}-{log.parent.name}.txt"
        try:
            shutil.copyfile(log, copy)
        except OSError:
            return StepError(error.problems)
        note = f"all it printed: {copy}"
        return StepError(
            [replace(problem, fix=f"{problem.fix}; {note}" if problem.fix else note) for problem in error.problems]
        )

    @contextmanager
    def _staging_dir(self) -> Iterator[Path]:
        place = self._store.staging_dir()
        try:
            yield place
        finally:
            shutil.rmtree(place, ignore_errors=True)

    def _cancel(self) -> None:
        """Ends all that still runs, and waits until it has. A second Ctrl-C does not shorten that: it is short."""
        self._cancelled.set()
        with self._one_at_a_time:
            for worker in self._workers:
                worker.kill()
        for thread in self._threads:
            with suppress(KeyboardInterrupt):
                thread.join()

    def _emit(
        self,
        step: Step,
        state: State,
        entry: Entry | None = None,
        detail: str = "",
        far: StepProgress | None = None,
    ) -> None:
        seconds = entry.record.get("wall_seconds") if entry else None
        memory = entry.record.get("peak_memory_mb") if entry else None
        with self._emitting, suppress(Exception):  # a closed terminal must not end a build
            self._listener(Event(step, state, seconds, memory, detail, far))


def _materialise(value: Source | Output, entries: Mapping[str, Entry]) -> Path | list[Path]:
    """Returns what a step function receives for an input."""
    if isinstance(value, Output):
        return entries[value.step].path(value.path)
    paths = [Path(path) for path in value.paths]
    return paths if value.many else paths[0]


def _record(step: Step, ingredients: Ingredients, report: Report, exclusive: bool) -> StepRecord:
    """Returns what is kept about the making of a result. None of it counts as part of the result."""
    return {
        "step": step.name,
        "stage": step.stage.value,
        "function": step.function,
        "ingredients": ingredients,
        "wall_seconds": report.wall_seconds,
        "peak_memory_mb": report.peak_memory_mb,
        **({"exclusive": exclusive} if step.measured else {}),
        "finished": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "edgecompile": __version__,
    }
