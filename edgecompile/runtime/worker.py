"""The process in which a verb of the device runs a bundle's model; started by `supervisor` alone.

It writes to a descriptor, a line of JSON each, what it is about to do, and in the end its answer. Output of libraries
is dropped: a person gets one line. It ends by itself when its starter has ended.
"""

from __future__ import annotations

import argparse
import base64
import io
import json
import os
import pickle
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NoReturn, TypedDict

from edgecompile.errors import BundleError, EdgecompileError, kind_name
from edgecompile.runtime.confinement import confine

Work = Callable[[argparse.Namespace], int]
"""The work of a verb on a bundle; returns the exit code."""


class Answer(TypedDict, total=False):
    """How the work of a verb ended: its exit code; or the class of the error that ended it, its message and fix."""

    code: int
    error: str
    message: str
    problems: list[list[str]]
    errno: int
    strerror: str
    filename: str | None


PATIENCE = 3.0


def main() -> NoReturn:
    """Runs a verb, and ends the process without the teardown of libraries, which takes time and may crash."""
    notes, job = int(sys.argv[1]), pickle.loads(base64.b64decode(sys.stdin.buffer.readline()))
    os.set_inheritable(notes, False)
    arguments = argparse.Namespace(**job["arguments"])
    threading.Thread(target=_end_with_starter, daemon=True).start()
    _settle_in(job["memory_bytes"], arguments.debug)
    confine(lambda operation: _say(notes, operation))
    answer = _answer(job["work"], arguments)
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError):
            stream.flush()
    _say(notes, answer)
    os._exit(0)


def run_in_this_process(work: Work, arguments: argparse.Namespace) -> int:
    """Runs the work of a verb on a bundle and returns its exit code; an error without a place gets the bundle's."""
    try:
        return work(arguments)
    except BundleError as error:
        raise error.located(arguments.bundle) from error


def _answer(work: Work, arguments: argparse.Namespace) -> Answer:
    """Runs the work of a verb; returns its exit code, or the error that ended it."""
    try:
        return {"code": run_in_this_process(work, arguments)}
    except BaseException as error:
        if arguments.debug:
            traceback.print_exc()
        return _described(error)


def _described(error: BaseException) -> Answer:
    if isinstance(error, EdgecompileError):
        return {
            "error": kind_name(error),
            "problems": [[problem.message, problem.where, problem.fix] for problem in error.problems],
        }
    answer: Answer = {"error": type(error).__name__, "message": str(error)}
    if isinstance(error, OSError) and error.strerror:
        name = error.filename
        answer["errno"], answer["strerror"] = error.errno or 0, error.strerror
        answer["filename"] = os.fsdecode(name) if name else None
    return answer


def _settle_in(memory_bytes: int | None, debug: bool) -> None:
    """Bounds the memory, prints lines as they come, writes no core, and hides the output of libraries from people."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace", line_buffering=True)
    with suppress(ImportError, ValueError, OSError):
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        if memory_bytes is not None:
            # Allocated memory, not the address space: a GPU's driver reserves many times the memory of the machine.
            resource.setrlimit(resource.RLIMIT_DATA, (memory_bytes, memory_bytes))
    if not debug:
        sys.stderr = os.fdopen(os.dup(2), "w", errors="backslashreplace")
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 2)
        os.close(nowhere)


def _say(notes: int, message: Any) -> None:
    line = json.dumps(message).encode() + b"\n"
    try:
        while line:
            line = line[os.write(notes, line) :]
    except BrokenPipeError:  # nobody is left to read it
        os._exit(1)


def _end_with_starter() -> None:
    """Waits until the starter has ended, then ends this process and those that it started."""
    while sys.stdin.buffer.read(1):
        pass
    os.kill(os.getpid(), signal.SIGINT)  # it tidies up after itself
    time.sleep(PATIENCE)
    os.killpg(0, signal.SIGKILL)
