"""How long a step may take, and how much memory: what a model of unknown origin can cost at most.

A limit is no part of what a step computes: it stands in no key and in no lock.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from edgecompile.errors import EdgecompileError, StepError
from edgecompile.plan.step import TIMEOUT, Source, Stage, Step
from edgecompile.runtime import machine
from edgecompile.runtime.confinement import megabytes_of, read_limit, seconds_of

MEMORY = "EDGECOMPILE_STEP_MEMORY"
"""Environment variable that says how much memory a step may allocate. The flags --step-timeout and --step-memory set
this variable and `TIMEOUT`, so that they reach the processes of a parallel sweep too."""

STAGE_S = {
    Stage.EXPORT: 900,
    Stage.FUSION: 900,
    Stage.CALIBRATION: 1800,
    Stage.QUANTIZATION: 3600,
    Stage.COMPILATION: 3600,
    Stage.VALIDATION: 1800,
    Stage.PACKAGING: 900,
}
"""Seconds that a step of each stage may take, beside what its pictures take."""

PICTURE_S = 20
"""Seconds that each picture may take: the largest models need about 10 on one core of a small board."""

MEMORY_SHARE = 0.75
"""Share of the machine's memory that a step may allocate."""

LEAST_MEMORY_MB = 4096
"""What a step may allocate on any machine: libraries allocate more than they touch."""

NEAR, FULL = 0.5, 0.75
"""Shares of its limit that a step has allocated from which on its error names the limit: near it where the cause is
unknown, full where it seems known. The allocation that failed may have been as large again, and libraries report
anything for it: "Failed to serialize", a picture that cannot be decoded."""


@dataclass(frozen=True)
class Asked:
    """What a person set; None for the default, infinity for no limit."""

    seconds: float | None = None
    memory_mb: float | None = None


@dataclass(frozen=True)
class Limits:
    """What one step may take: infinity where it has no limit."""

    seconds: float
    memory_mb: float

    def too_slow(self, step: Step) -> StepError:
        """Returns the error for a step that took longer."""
        fix = f"allow it more: --step-timeout {math.ceil(2 * self.seconds)}, or {TIMEOUT}"
        return StepError(f"step '{step.name}' was ended after {self.seconds:g} s, its limit", fix=fix)

    def noted(self, error: EdgecompileError, allocated_mb: float, share: float) -> EdgecompileError:
        """Returns the error of a step, with the limit of memory named where the step had allocated that share of it."""
        if allocated_mb < share * self.memory_mb:
            return error
        taken = f"{allocated_mb / 1000:.2g} of the {self.memory_mb / 1000:.2g} GB that the step may allocate"
        note = f"{taken} were taken: allow it more with --step-memory {self._twice()}, or {MEMORY}"
        fixes = (f"{note}; {problem.fix}" if problem.fix else note for problem in error.problems)
        return type(error)([replace(problem, fix=fix) for problem, fix in zip(error.problems, fixes, strict=True)])

    def _twice(self) -> str:
        return f"{math.ceil(2 * self.memory_mb / 1000)}G"

    def too_large(self, step: Step) -> StepError:
        """Returns the error for a step that could not allocate what it wanted."""
        if math.isinf(self.memory_mb):
            return StepError(f"step '{step.name}' ran out of the machine's memory")
        fix = f"allow it more: --step-memory {self._twice()}, or {MEMORY}"
        return StepError(f"step '{step.name}' ran out of memory: its limit is {self.memory_mb / 1000:.2g} GB", fix=fix)


def asked_for(environment: Mapping[str, str] = os.environ) -> Asked:
    """Returns the limits that a person set.

    Raises:
        RecipeError: what is set is no limit.
    """
    return Asked(read_limit(environment, TIMEOUT, seconds_of), read_limit(environment, MEMORY, megabytes_of))


def adjust(timeout: str | None, memory: str | None) -> None:
    """Sets limits for all steps that this process and its children run; None leaves a limit as it is.

    Raises:
        RecipeError: it is no limit.
    """
    for value, name, flag, read in (
        (timeout, TIMEOUT, "--step-timeout", seconds_of),
        (memory, MEMORY, "--step-memory", megabytes_of),
    ):
        if value is not None:
            location = f"command line:{flag}"
            read_limit({location: value}, location, read)
            os.environ[name] = value


def limits_of(step: Step, asked: Asked) -> Limits:
    """Returns what a step may take on this machine."""
    pictures = max(
        (len(value.paths) for value in step.inputs.values() if isinstance(value, Source) and value.many), default=0
    )
    seconds = STAGE_S[step.stage] + PICTURE_S * pictures
    memory_mb = max(MEMORY_SHARE * machine.memory_mb(), LEAST_MEMORY_MB)
    return Limits(
        seconds if asked.seconds is None else asked.seconds,
        memory_mb if asked.memory_mb is None else asked.memory_mb,
    )


def allocated_mb(pid: int | str = "self") -> float:
    """Returns what a process has allocated, as RLIMIT_DATA counts it; 0 where the system does not report it."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) * 1024 / 10**6 for line in lines if line.startswith("VmData:")), 0.0)
