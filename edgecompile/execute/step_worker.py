"""The process in which one step runs: `python -m edgecompile.execute.step_worker RESULT_DESCRIPTOR`.

The job comes as one line of JSON on standard input, the result goes as one line to a descriptor. A process of its own,
with a pinned environment, is what makes a step's result depend on its inputs alone: counters that libraries keep per
process start from zero, and sums are always taken in the order that one thread takes them in.

Standard input stays open as long as the starter of this process lives. A guard, forked before anything heavy is
imported, kills this whole process group once it closes: so nothing survives its starter, not even when the starter
was killed with a signal that nobody can catch.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import time
import traceback
from importlib import import_module
from pathlib import Path
from typing import TypedDict

from edgecompile.errors import EdgecompileError, Problem, StepError, kind_name
from edgecompile.execute.canonical_json import canonical_json
from edgecompile.execute.limits import allocated_mb
from edgecompile.json_types import JsonObject
from edgecompile.library_errors import explain, library_of, reason
from edgecompile.plan.step import FACTS

MOST_CHARACTERS = 2000
"""Of a library's message, for the starter to look through."""


class Job(TypedDict):
    """What a worker is to do.

    step, function, params: of the step.
    inputs: argument to a path, or to a list of them.
    out: folder that the function fills.
    cores: numbers of those that the worker may use.
    memory_bytes: that it may allocate, None for no limit.
    restore: environment variables as they were for the starter, None for those that it did not have.
    """

    step: str
    function: str
    params: JsonObject
    inputs: dict[str, str | list[str]]
    out: str
    cores: list[int]
    memory_bytes: int | None
    restore: dict[str, str | None]


class Outcome(TypedDict, total=False):
    """What a worker reports in the end. Of a function that raised:

    error: name of the class of an error made for people, "" for any other.
    problems: message, place and fix of each problem of an error made for people.
    reason, errno: of any other error: its class and words, its number.
    allocated_mb: by the process when it raised.
    problem: message, place and fix that a person gets for it.
    """

    wall_seconds: float
    peak_memory_mb: int
    error: str
    problems: list[list[str]]
    allocated_mb: float
    reason: str
    problem: list[str]
    errno: int | None


def main() -> None:
    """Runs one job and ends the process without the teardown of libraries, which takes time and may crash."""
    began = time.perf_counter()
    result = int(sys.argv[1])
    os.set_inheritable(result, False)
    job: Job = json.loads(_read_line(0))
    guard = _start_guard(result)
    _settle_in(job)
    outcome: Outcome = {}
    try:
        _run(job)
    except EdgecompileError as error:
        outcome = {"error": kind_name(error), "problems": [[p.message, p.where, p.fix] for p in error.problems]}
        outcome["allocated_mb"] = allocated_mb()
    except BaseException as error:  # a step function is anybody's code: whatever it raises becomes one line and a log
        with contextlib.suppress(OSError):  # the disk may be what is wrong
            traceback.print_exc()
        outcome = _unexpected(error)
    outcome["wall_seconds"] = round(time.perf_counter() - began, 3)
    outcome["peak_memory_mb"] = _peak_memory_mb()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError):
            stream.flush()
    os.kill(guard, signal.SIGKILL)
    os.waitpid(guard, 0)
    os.write(result, json.dumps(outcome).encode() + b"\n")
    os._exit(0)


def _run(job: Job) -> None:
    """Calls the step's function and writes its facts."""
    module, _, name = job["function"].partition(":")
    try:
        function = getattr(import_module(module), name)
    except (ModuleNotFoundError, AttributeError) as error:
        if getattr(error, "name", None) not in (module, name):
            raise  # the module is there, what it imports is not
        raise StepError(f"step '{job['step']}' names a function that does not exist: {job['function']}") from error
    inputs = {
        argument: Path(value) if isinstance(value, str) else [Path(path) for path in value]
        for argument, value in job["inputs"].items()
    }
    out = Path(job["out"])
    facts = function(out, **inputs, **job["params"])
    try:
        (out / FACTS).write_bytes(canonical_json(facts or {}))
    except (TypeError, ValueError) as error:
        raise StepError(f"the facts of step '{job['step']}' are not plain JSON: {error}") from error


def _settle_in(job: Job) -> None:
    """Makes this process what the contract with step functions says. The environment was set by its starter."""
    for name, value in job["restore"].items():
        os.environ.pop(name, None)
        if value is not None:
            os.environ[name] = value
    if sys.path and sys.path[0] in ("", os.getcwd()):
        del sys.path[0]  # the scratch folder, put there by `-m`: what a step writes must never be imported
    os.umask(0o022)
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, job["cores"])
    with contextlib.suppress(ImportError, ValueError, OSError):
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a crash of a native library must not fill the disk
        if job["memory_bytes"] is not None:
            # What is allocated, not the address space: a GPU's driver reserves many times the memory of the machine.
            resource.setrlimit(resource.RLIMIT_DATA, (job["memory_bytes"],) * 2)


def _start_guard(result: int) -> int:
    """Forks the guard, gives it standard input, and returns its process number."""
    guard = os.fork()
    if guard == 0:
        os.close(result)
        while os.read(0, 1):
            pass
        os.killpg(0, signal.SIGKILL)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    return guard


def _read_line(descriptor: int) -> bytes:
    """Reads a line byte by byte, so as to leave what follows it to the guard."""
    line = bytearray()
    while (byte := os.read(descriptor, 1)) not in (b"", b"\n"):
        line += byte
    return bytes(line)


def _unexpected(error: BaseException) -> Outcome:
    """Returns what is reported to the starter of an error that was not made for people."""
    message = " ".join(str(error).split())[:MOST_CHARACTERS]
    explained = explain(error, "the model") if library_of(error) else None
    problem = explained.problems[0] if explained else Problem(reason(error))
    return {
        "error": "",
        "reason": f"{type(error).__name__}: {message}",
        "problem": [problem.message, "", problem.fix],
        "errno": getattr(error, "errno", None),
        "allocated_mb": allocated_mb(),
    }


def _peak_memory_mb() -> int:
    """Returns the largest resident memory of this process or of one of its children, in MB.

    From /proc where it exists: Linux carries `ru_maxrss` over from the process that forked, however large that was.
    """
    import resource

    unit = 1 if sys.platform == "darwin" else 1024
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    children = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * unit
    with contextlib.suppress(OSError, StopIteration, ValueError):
        lines = Path("/proc/self/status").read_text().splitlines()
        own = int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) * 1024
    return max(own, children) >> 20


if __name__ == "__main__":
    main()
