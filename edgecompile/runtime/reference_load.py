"""A short fixed load, run between what is measured: when it takes longer, the machine has become slower, not the model.

Plain integers in one thread: no library, no memory and no instruction set has a say in it.
"""

from __future__ import annotations

import statistics
import time

STEPS = 10_000
"""Steps of the load: 0.5 to 3 ms on processors of today, in Python."""
TIMES = 3


def reference_ms() -> float:
    """Returns how long the load takes now, in milliseconds: the median of a few runs."""
    return statistics.median(_once() for _ in range(TIMES))


def _once() -> float:
    began, number = time.perf_counter(), 1
    for _ in range(STEPS):
        number = (number * 1_103_515_245 + 12_345) & 0x7FFF_FFFF  # a linear congruential generator
    return 1e3 * (time.perf_counter() - began)
