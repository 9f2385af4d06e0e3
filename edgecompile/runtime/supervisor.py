"""Runs a verb in a process of its own, and ends it where a bundle's model takes more time or memory than it may."""

from __future__ import annotations

import argparse
import base64
import json
import math
import os
import pickle
import select
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, cast

from edgecompile.errors import KINDS, BundleError, EdgecompileError, Problem
from edgecompile.runtime.child_process import start
from edgecompile.runtime.confinement import NO_MEMORY, Limits, choose_limits
from edgecompile.runtime.worker import Answer, Work

BOOT = "import sys; sys.path[:] = sys.argv.pop(1).split(chr(10)); from edgecompile.runtime.worker import main; main()"
"""Program of the new process: it imports the same modules as this process."""
PATIENCE = 3.0
"""Seconds that an interrupted process has to tidy up after itself."""
CHUNK = 1 << 16


def run_confined(work: Work, arguments: argparse.Namespace, *, kept: Sequence[int] = ()) -> int:
    """Runs the work of a verb on a bundle's model in a process of its own, and returns its exit code. This process
    prints its output.

    Args:
        work: a function of a module, which the other process imports.
        arguments: of the verb: `bundle` is the path to open, `timeout` and `memory` are the limits asked for.
        kept: descriptors that the process has too, by the same numbers; closed here.

    Raises:
        EdgecompileError: the verb raised it.
        BundleError: it took too long, or its process died.
    """
    bundle, limits = arguments.bundle, choose_limits(arguments.timeout, arguments.memory)
    worker = _Worker(work, arguments, limits, kept)
    for descriptor in kept:
        os.close(descriptor)
    try:
        answer = worker.wait()
        worker.end()
    except TimeoutError:
        message, fix = limits.too_slow(worker.operation)
        raise BundleError(message, where=str(bundle), fix=fix) from None
    except KeyboardInterrupt:
        worker.interrupt()
        raise
    finally:
        worker.end()
    if answer is None:
        raise _died(worker, bundle, limits)
    if "code" in answer:
        return answer["code"]
    raise _error_of(answer, bundle, limits)


class _Worker:
    """The process that runs the verb.

    Attributes:
        operation: the last operation that it reported.
    """

    def __init__(self, work: Work, arguments: argparse.Namespace, limits: Limits, kept: Sequence[int]) -> None:
        self.operation = "starting"
        self._limits = limits
        self._partial = b""
        flags = ["-I"] if sys.flags.isolated else ["-s"] if sys.flags.no_user_site else []
        path = "\n".join(entry or os.getcwd() for entry in sys.path)
        memory = None if math.isinf(limits.memory_mb) else int(limits.memory_mb * 10**6)
        job = {"work": work, "arguments": vars(arguments), "memory_bytes": memory}
        packed = base64.b64encode(pickle.dumps(job))
        self._process, self._notes = start([*flags, "-c", BOOT, path], packed, output=subprocess.PIPE, kept=kept)

    @property
    def _stdin(self) -> IO[bytes]:
        assert self._process.stdin is not None
        return self._process.stdin

    @property
    def _stdout(self) -> IO[bytes]:
        assert self._process.stdout is not None
        return self._process.stdout

    @property
    def returncode(self) -> int:
        return self._process.wait()

    def wait(self) -> Answer | None:
        """Returns the answer of the process, None where it died without an answer; prints its output meanwhile.

        Raises:
            TimeoutError: it has done the same for longer than it may.
        """
        answer, heard = None, time.monotonic()
        output = self._stdout.fileno()
        waiting = {output, self._notes}
        while waiting:
            left = heard + self._limits.seconds(self.operation) - time.monotonic()
            ready, _, _ = select.select(list(waiting), [], [], None if math.isinf(left) else max(left, 0))
            if not ready:
                raise TimeoutError
            for descriptor in ready:
                content = os.read(descriptor, CHUNK)
                if not content:
                    waiting.discard(descriptor)
                elif descriptor == output:
                    _print(content)
                else:
                    heard, answer = time.monotonic(), self._listen(content) or answer
            if answer is not None:
                waiting.discard(self._notes)
        return answer

    def _listen(self, content: bytes) -> Answer | None:
        """Reads the messages of the process; returns its answer once that is there."""
        *lines, self._partial = (self._partial + content).split(b"\n")
        for line in lines:
            message = json.loads(line)
            if isinstance(message, dict):
                return cast("Answer", message)
            self.operation = message
        return None

    def interrupt(self) -> None:
        """Asks the process to end itself."""
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGINT)
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(PATIENCE)

    def end(self) -> None:
        """Kills the process and those that it started, where they still run. Harmless when called again."""
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        with suppress(OSError):
            self._stdin.close()
        self._stdout.close()
        if self._notes >= 0:
            os.close(self._notes)
            self._notes = -1


def _print(content: bytes) -> None:
    stream = getattr(sys.stdout, "buffer", None)
    if stream is None:
        sys.stdout.write(content.decode("utf-8", "replace"))
    else:
        sys.stdout.flush()
        stream.write(content)
    sys.stdout.flush()


def _error_of(answer: Answer, bundle: Path, limits: Limits) -> Exception:
    """Returns the error that the process was ended by."""
    messages = [problem[0] for problem in answer.get("problems", ())]
    if answer["error"] == "MemoryError" or (answer["error"] == "BundleError" and any(map(NO_MEMORY.search, messages))):
        message, fix = limits.too_large()
        return BundleError(message, where=str(bundle), fix=fix)
    kinds = {kind.__name__: kind for kind in KINDS}
    if answer["error"] in kinds:
        return kinds[answer["error"]](Problem(*problem) for problem in answer["problems"])
    if answer.get("strerror"):
        return OSError(answer["errno"], answer["strerror"], answer["filename"])
    return type(answer["error"], (Exception,), {})(answer["message"])


def _died(worker: _Worker, bundle: Path, limits: Limits) -> EdgecompileError:
    """Returns the error for a process that ended without an answer, as native code also does that gets no memory."""
    code = worker.returncode
    how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
    _, fix = limits.too_large()
    hint = f"if it is memory that it lacks (its limit is {limits.memory_mb / 1000:.2g} GB), {fix}" if fix else ""
    return BundleError(f"the process of the model {how} while {worker.operation}", where=str(bundle), fix=hint)
