"""Plans of small steps, and the means to run them in other processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from edgecompile.plan.graph import Model, Plan
from edgecompile.plan.step import Input, Output, Source, Stage, Step

REPOSITORY = Path(__file__).parents[2]


def step(name: str, function: str = "write", needs: tuple[str, ...] = (), **settings: Any) -> Step:
    """Returns a step that reads the output of the steps in `needs`; `params`, `inputs` and others as in `Step`."""
    inputs: dict[str, Input] = {f"of_{need}": Output(need, "result.txt") for need in needs}
    inputs |= settings.pop("inputs", {})
    return Step(name, f"execute.steps_for_tests:{function}", Stage.EXPORT, inputs=inputs, **settings)


def plan(*steps: Step) -> Plan:
    last = steps[-1].name
    return Plan(tuple(steps), Model(Output(last, "result.txt"), Output(last)))


def source(*paths: Path, name: str = "pictures", many: bool = True) -> Source:
    return Source(name, tuple(str(path) for path in paths), many)


def chain(length: int, **params: Any) -> Plan:
    """Returns steps of which each reads the one before it."""
    return plan(
        *(step(f"s{n}", needs=(f"s{n - 1}",) if n else (), params={"text": f"{n}", **params}) for n in range(length))
    )


def lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


def python(code: str, *arguments: object, **settings: Any) -> subprocess.Popen[str]:
    """Starts Python on `code`, with the package and these helpers within reach."""
    environment = {**os.environ, **settings.pop("env", {})}
    environment["PYTHONPATH"] = os.pathsep.join([str(REPOSITORY), str(REPOSITORY / "tests")])
    command = [sys.executable, "-c", code, *(str(one) for one in arguments)]
    settings = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, **settings}
    return subprocess.Popen(command, env=environment, **settings)


def finish(process: subprocess.Popen[str], timeout: float = 120) -> tuple[str, str]:
    """Waits for a process that should succeed and returns what it printed."""
    out, err = process.communicate(timeout=timeout)
    assert process.returncode == 0, err
    return out, err


def until(condition: Callable[[], Any], timeout: float = 30) -> Any:
    """Waits until `condition` returns something true, and returns that."""
    deadline = time.monotonic() + timeout
    while not (value := condition()):
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.005)
    return value


def alive(pid: int) -> bool:
    """Returns whether a process runs; one that ended and was not yet reaped does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def dump(value: Any) -> str:
    return json.dumps(value, sort_keys=True)
