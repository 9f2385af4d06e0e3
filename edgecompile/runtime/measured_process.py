"""A process that predicts while it is measured, and how it is spoken to: `edgecompile.runtime.probe`."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from edgecompile import errors
from edgecompile.errors import BundleError, Problem
from edgecompile.runtime import device_cache
from edgecompile.runtime.check import Check
from edgecompile.runtime.confinement import doing
from edgecompile.runtime.probe import DOING, Turn, Turned
from edgecompile.runtime.stream_rate import StreamRate

PINNED = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
"""Variables by which steps of a build are held to one thread; a device has none of them."""


class MeasuredProcess:
    """The measured process: `edgecompile.runtime.probe`.

    It runs only while it owes an answer. Threads of ONNX Runtime go on spinning for a fifth of a second behind a
    prediction (measured with 1.32, two threads), through the whole turn of whatever is measured beside it.

    Args:
        request: the subject, see `edgecompile.runtime.measure.Subject.request`.
        keeps: whether it may keep its compiled model on the device for the next start.

    Attributes:
        pid: its number.
    """

    def __init__(self, request: Mapping[str, Any], *, keeps: bool = True) -> None:
        environment = {name: value for name, value in os.environ.items() if name not in PINNED}
        if not keeps:
            environment[device_cache.VARIABLE] = device_cache.OFF
        package = str(Path(__file__).resolve().parents[2])
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, [package, environment.get("PYTHONPATH")]))
        self._request = json.dumps(request)
        self._messages = tempfile.TemporaryFile("w+")  # noqa: SIM115 - closed with the process
        self._process = subprocess.Popen(
            [sys.executable, "-m", "edgecompile.runtime.probe"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._messages,
            text=True,
            env=environment,
        )
        self.pid = self._process.pid

    def __enter__(self) -> MeasuredProcess:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()
        self._messages.close()

    def ask(self, line: str | None = None) -> dict[str, Any]:
        """Sends a line, by default the request, and returns the answer: the next line that is JSON, whatever else a
        library prints.

        Raises:
            EdgecompileError: the process raised it.
            BundleError: it died.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._signal("SIGCONT")
            self._process.stdin.write((line or self._request) + "\n")
            self._process.stdin.flush()
            for message in iter(self._process.stdout.readline, ""):
                if message.startswith("{"):
                    self._signal("SIGSTOP")
                    return _accepted(json.loads(message))
                if message.startswith(DOING):
                    doing(message.removeprefix(DOING).strip())
        except BrokenPipeError:
            pass
        self._process.wait()
        self._messages.seek(0)
        last = self._messages.read().strip().splitlines()[-1:] or ["no message"]
        raise BundleError(f"the measured process died (exit code {self._process.returncode}): {last[0]}")

    def _signal(self, name: str) -> None:
        """Sends a signal, where the system has it."""
        if hasattr(signal, name):
            self._process.send_signal(getattr(signal, name))

    def turn(self, turn: Turn) -> Turned:
        """Has the process predict for a while and returns what it found. Raises as `ask`."""
        return cast("Turned", self.ask(json.dumps(turn)))

    def golden_checks(self) -> list[Check]:
        """Has the process compare its bundle's outputs with the golden outputs. Raises as `ask`."""
        return [Check(**check) for check in self.ask(json.dumps({"golden": True}))["checks"]]

    def stream(self, seconds: float) -> StreamRate:
        """Has the process measure streams for a while. Raises as `ask`."""
        return StreamRate.from_json(self.ask(json.dumps({"stream_seconds": seconds})))


def _accepted(message: dict[str, Any]) -> dict[str, Any]:
    if "error" not in message:
        return message
    kind = getattr(errors, message["error"], BundleError)
    raise kind([Problem(*problem) for problem in message["problems"]])
