"""Requests of libraries that run one inference in a call: each call is made in a thread of a pool.

The library lets go of Python while it runs, so that as many inferences run at a time as the pool has threads.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from edgecompile.errors import BundleError, EdgecompileError
from edgecompile.runtime.backends import last_line

if TYPE_CHECKING:
    import numpy as np

Run = Callable[[Any, Mapping[str, Any]], "list[np.ndarray]"]
"""Runs the model on a tensor and on parameters by name; returns outputs that no other run overwrites."""


def threaded_requests(run: Run, at_once: int) -> list[ThreadedRequest]:
    """Returns requests of which `at_once` run at a time, and one more, which is prepared while the others run."""
    pool = ThreadPoolExecutor(at_once, thread_name_prefix="edgecompile-inference")
    return [ThreadedRequest(pool, run) for _ in range(at_once + 1)]


class ThreadedRequest:
    """An inference in a thread of a pool; see `edgecompile.runtime.backends.Request`."""

    def __init__(self, pool: ThreadPoolExecutor, run: Run) -> None:
        self._pool = pool
        self._run = run
        self._given: dict[str, np.ndarray] = {}
        self._begun: Future[list[np.ndarray]] | None = None

    def give(self, values: Mapping[str, np.ndarray]) -> None:
        self._given = dict(values)

    def start(self, tensor: np.ndarray) -> None:
        if self._begun is not None:  # whoever started it may have been interrupted before the result was there
            with suppress(Exception):
                self._begun.result()
        self._begun = self._pool.submit(self._run, tensor, self._given)

    def wait(self) -> list[np.ndarray]:
        assert self._begun is not None, "a request is started before it is waited for"
        try:
            return self._begun.result()
        except (EdgecompileError, MemoryError):
            raise
        except Exception as error:  # libraries raise errors of any type
            raise BundleError(f"the model cannot run: {last_line(error)}") from error
