"""A share of this machine for each process of pytest: its own cores, and its own locks on them.

A measurement takes all cores, and whatever builds beside it waits. No test that runs beside others judges a latency, so
each process of pytest has a machine to itself, as far as builds can tell: else each would stand still while the other
measures, and a measurement until the other's longest step has ended.
"""

from __future__ import annotations

import os
import tempfile
from functools import cache

from edgecompile.execute.locks import MACHINE


def cores() -> list[int]:
    """Returns the numbers of the cores that builds of this process of pytest use: all where it is alone, or where there
    are more processes than cores."""
    usable = sorted(os.sched_getaffinity(0))
    worker, count = os.environ.get("PYTEST_XDIST_WORKER", "gw0"), int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    return usable[int(worker.removeprefix("gw")) % count :: count] if count <= len(usable) else usable


@cache
def settings() -> dict[str, str]:
    """Returns the environment variable by which builds find the locks of this share."""
    return {MACHINE: tempfile.mkdtemp(prefix="edgecompile-tests-machine-")}


def keep_to() -> None:
    """Keeps this process to its share, and all that it starts; for `preexec_fn` too."""
    os.sched_setaffinity(0, cores())
