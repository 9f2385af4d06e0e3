"""Starts the worker process of a step, waits for its result, and ends every process that it started."""

from __future__ import annotations

import errno
import json
import math
import os
import select
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgecompile import environment
from edgecompile.errors import KINDS, EdgecompileError, Problem, StepError
from edgecompile.execute.limits import FULL, NEAR, Limits, allocated_mb
from edgecompile.execute.step_worker import Job, Outcome
from edgecompile.plan.step import Step
from edgecompile.plan.step_progress import NOTE, StepProgress, read_note
from edgecompile.runtime.child_process import start
from edgecompile.runtime.confinement import NO_MEMORY

PINNED = {
    "PYTHONHASHSEED": "0",
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "TZ": "UTC",
    "LC_ALL": "C.UTF-8",
    "YOLO_AUTOINSTALL": "false",
    "ULTRALYTICS_SAFE_LOAD": "1",
    "YOLO_OFFLINE": "true",
    "YOLO_VERBOSE": "false",
    "ORT_DISABLE_TELEMETRY": "1",
}
"""What every step finds in its environment."""

SCRUBBED_ENV = (
    "PYTHON",
    "OMP_",
    "KMP_",
    "GOMP_",
    "MKL_",
    "OPENBLAS_",
    "ONEDNN_",
    "DNNL_",
    "ATEN_",
    "OV_",
    "LC_",
    "LANG",
)
"""Beginnings of variables that a person's shell may hold and that could change a result: no step sees them."""


@dataclass(frozen=True)
class Report:
    """What a worker that ended well measured of itself."""

    wall_seconds: float
    peak_memory_mb: int


class Worker:
    """The process that runs one step. Made by one thread, which then waits; any thread may call `kill`.

    Args:
        step: the step.
        inputs: for each argument a path, or a list of paths.
        place: an empty folder for this worker alone: gets `out`, `scratch` and `log.txt`.
        cores: numbers of the cores it may use.
        limits: how long it may take, from now on, and how much memory it may allocate.
        progress: called with how far the step is, where it says so, each time that it says something new.

    Attributes:
        unexplained: whether the worker failed with anything but an error made for people: its log says more.
    """

    def __init__(
        self,
        step: Step,
        inputs: Mapping[str, Path | list[Path]],
        place: Path,
        cores: Sequence[int],
        limits: Limits,
        progress: Callable[[StepProgress], None] = lambda far: None,
    ) -> None:
        self._step = step
        self._progress, self._told = progress, StepProgress(0, 1)
        self._note = place / "progress.json"
        self._limits = limits
        self._end_by = time.monotonic() + limits.seconds
        self._allocated_mb = 0.0
        self.unexplained = False
        self.out = place / "out"
        self.log = place / "log.txt"
        scratch = place / "scratch"
        for folder in (self.out, scratch):
            folder.mkdir()
        job: Job = {
            "step": step.name,
            "function": step.function,
            "params": step.params,
            "inputs": {name: _sent(value) for name, value in inputs.items()},
            "out": str(self.out),
            "cores": list(cores),
            "memory_bytes": int(limits.memory_mb * 10**6) if limits.memory_mb != math.inf else None,
            "restore": {"PYTHONPATH": os.environ.get("PYTHONPATH")},
        }
        with open(self.log, "wb") as log:
            self._process, self._result = start(
                ["-m", "edgecompile.execute.step_worker"],
                json.dumps(job, default=_plain).encode(),
                output=log,
                errors=log,
                folder=scratch,
                environment={**_environment(scratch), NOTE: str(self._note)},
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    def kill(self) -> None:
        """Kills the worker and all that it started. Harmless when it has ended."""
        if self._process.returncode is None:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)

    def wait(self) -> Report:
        """Waits for the end of the step, then for the end of every process it started.

        Raises:
            EdgecompileError: what the step's function raised, if it raised such an error.
            StepError: when it raised anything else, took more than its limits allow, or the process was killed.
        """
        try:
            line = self._read_result()
        except TimeoutError as error:
            self.kill()
            raise self._limits.too_slow(self._step) from error
        finally:
            self._end()
        if not line.endswith(b"\n"):
            raise self._died(self._process.returncode)
        outcome: Outcome = json.loads(line)
        if "error" in outcome:
            raise self._failed(outcome)
        return Report(outcome["wall_seconds"], outcome["peak_memory_mb"])

    def _read_result(self) -> bytes:
        """Reads until the result is whole or the worker has ended (a process it forked may keep the pipe open).

        Raises:
            TimeoutError: the step has taken longer than its limit.
        """
        line, poll = b"", select.poll()
        poll.register(self._result, select.POLLIN)
        while not line.endswith(b"\n"):
            ended = _has_ended(self._process.pid)
            self._allocated_mb = max(self._allocated_mb, allocated_mb(self._process.pid))
            self._pass_on()
            if poll.poll(0 if ended else 100):
                chunk = os.read(self._result, 65536)
                line += chunk
                if not chunk:
                    break
            elif ended:
                break
            elif time.monotonic() > self._end_by:
                raise TimeoutError
        self._pass_on()
        return line

    def _pass_on(self) -> None:
        """Tells how far the step is, where that is news."""
        far = read_note(self._note)
        if far is not None and far != self._told:
            self._told = far
            self._progress(far)

    def _end(self) -> None:
        """Lets the worker go, kills what it left behind, and reaps it."""
        deadline = time.monotonic() + 5
        while not _has_ended(self._process.pid) and time.monotonic() < deadline:
            time.sleep(0.001)
        # The worker is not reaped yet, so its number, which is its group's, cannot be anybody else's.
        self.kill()
        self._process.wait()
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):
            self._process.stdin.close()
        os.close(self._result)

    def _died(self, code: int) -> EdgecompileError:
        """Returns the error for a worker that ended without a result."""
        if self._lacked_memory():
            return self._limits.too_large(self._step)
        self.unexplained = True
        if code >= 0:
            message = f"step '{self._step.name}' ended its process with exit code {code}"
            return self._noted(StepError(message), NEAR)
        names = {member.value: member.name for member in signal.Signals}
        name = names.get(-code, "unknown")
        guess = ": out of memory?" if -code == signal.SIGKILL else ""
        return self._noted(StepError(f"step '{self._step.name}' was killed by signal {-code} ({name}){guess}"), NEAR)

    def _failed(self, outcome: Outcome) -> EdgecompileError:
        """Returns the error for a function that raised."""
        reasons = [outcome.get("reason", ""), *(message for message, *_ in outcome.get("problems", ()))]
        if outcome.get("errno") == errno.ENOMEM or any(map(NO_MEMORY.search, reasons)):
            return self._limits.too_large(self._step)
        self._allocated_mb = max(self._allocated_mb, outcome["allocated_mb"])
        if outcome["error"]:
            kind = next((kind for kind in KINDS if kind.__name__ == outcome["error"]), StepError)
            return self._noted(kind([Problem(*problem) for problem in outcome["problems"]]), FULL)
        if outcome["errno"] in (errno.ENOSPC, errno.EDQUOT):
            return StepError(f"step '{self._step.name}' failed: no space left on the disk of {self.out.parent}")
        if self._lacked_memory():
            return self._limits.too_large(self._step)
        self.unexplained = True
        message, where, fix = outcome["problem"]
        return self._noted(StepError(Problem(f"step '{self._step.name}' failed: {message}", where, fix)), NEAR)

    def _noted(self, error: EdgecompileError, share: float) -> EdgecompileError:
        return self._limits.noted(error, self._allocated_mb, share)

    def _lacked_memory(self) -> bool:
        """Whether the last that the worker printed is the end of a program that could not allocate."""
        with self.log.open("rb") as log:
            log.seek(max(0, self.log.stat().st_size - 4096))
            return bool(NO_MEMORY.search(log.read().decode(errors="replace")))


def _environment(scratch: Path) -> dict[str, str]:
    """Returns the environment of a worker: the person's, less what could change results, plus what is pinned.

    What decides which code is loaded is taken as it was when this process started.
    """
    dropped = (*SCRUBBED_ENV, *environment.LOADING)
    kept = {name: value for name, value in os.environ.items() if not name.startswith(dropped)} | environment.AT_START
    # Absolute, because the worker starts in another folder than this process did.
    path = os.pathsep.join(os.path.abspath(folder) for folder in sys.path if os.path.exists(folder or "."))
    return {**kept, **PINNED, "PYTHONPATH": path, "TMPDIR": str(scratch), "YOLO_CONFIG_DIR": str(scratch)}


def _has_ended(pid: int) -> bool:
    """Returns whether a child has ended, without reaping it."""
    try:
        return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    except ChildProcessError:
        return True


def _sent(value: Path | list[Path]) -> str | list[str]:
    return [str(path) for path in value] if isinstance(value, list) else str(value)


def _plain(value: Any) -> Any:
    """Makes the read-only mappings of a frozen step acceptable to `json`."""
    return dict(value)
