"""What the kernel counts of this process, cheap enough to read around every prediction. Standard library; Linux.

Where a system shows a count not, it stays 0 and `CountReader.unseen` names it.
"""

from __future__ import annotations

import gc
import mmap
import os
import resource
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

CPU_MOUNTS = ("", "cpu", "cpu,cpuacct", "unified")
"""Folders below /sys/fs/cgroup under which the groups of processors stand: version 2, then version 1, then both."""
QUOTA_UNITS_MS = {"throttled_usec": 1e-3, "throttled_time": 1e-6}
"""Keys of a group's cpu.stat for the time in which it had used up its quota (version 2, 1), and their milliseconds."""
CALIBRATION_PAGES, CALIBRATIONS = 128, 16


@dataclass(frozen=True)
class Counts:
    """Counts since the process began.

    Attributes:
        waited_ms: of each thread, how long it was ready and got no core.
        quota_ms: how long the process's control group stood still because its quota of processor time was used up.
        gc_ms: how long Python collected garbage.
        minor, major: page faults without and with reading from a disk.
    """

    waited_ms: dict[int, float]
    quota_ms: float
    gc_ms: float
    minor: int
    major: int


class CountReader:
    """Reads counts of this process, and keeps what it reads from open. Close it, or use it as a context.

    Attributes:
        unseen: what this system does not show, a line each.
        page_fault_ms: how long a page fault takes here.

    Args:
        root: where /proc and /sys stand (another folder in tests).
    """

    def __init__(self, root: Path = Path("/")) -> None:
        self._root = root
        self._threads: dict[int, int] = {}
        self._quotas = [os.open(file, os.O_RDONLY) for file in quota_files(root)]
        self._gc_ms, self._gc_began = 0.0, 0.0
        gc.callbacks.append(self._collected)
        self.find_threads()
        self.page_fault_ms = page_fault_ms()
        hidden = {
            "how long threads wait for a core (/proc/self/task/*/schedstat)": bool(self._threads),
            "a quota of processor time (cpu.stat of the control group)": bool(self._quotas),
        }
        self.unseen = [what for what, shown in hidden.items() if not shown]

    def __enter__(self) -> CountReader:
        return self

    def __exit__(self, *_: object) -> None:
        gc.callbacks.remove(self._collected)
        for descriptor in (*self._threads.values(), *self._quotas):
            os.close(descriptor)

    def find_threads(self) -> int:
        """Looks which threads the process has now, and returns how many."""
        folder = self._root / "proc/self/task"
        known = {int(name) for name in os.listdir(folder) if name.isdigit()} if folder.is_dir() else set()
        for thread in self._threads.keys() - known:
            os.close(self._threads.pop(thread))
        for thread in known - self._threads.keys():
            with suppress(OSError):
                self._threads[thread] = os.open(folder / str(thread) / "schedstat", os.O_RDONLY)
        return len(known)

    def read(self) -> Counts:
        """Returns the counts now."""
        usage = resource.getrusage(resource.RUSAGE_SELF)
        waited = {thread: waited_ms(descriptor) for thread, descriptor in self._threads.items()}
        quota = max((_quota_ms(descriptor) for descriptor in self._quotas), default=0.0)
        return Counts(waited, quota, self._gc_ms, usage.ru_minflt, usage.ru_majflt)

    def _collected(self, phase: str, _: object) -> None:
        if phase == "start":
            self._gc_began = time.perf_counter()
        else:
            self._gc_ms += 1e3 * (time.perf_counter() - self._gc_began)


def waited_between(before: Counts, after: Counts) -> float:
    """Returns the longest that one thread waited for a core, in milliseconds: threads wait at the same time."""
    waits = (wait - before.waited_ms[one] for one, wait in after.waited_ms.items() if one in before.waited_ms)
    return max(waits, default=0.0)


def waited_ms(descriptor: int) -> float:
    """Returns how long a thread has waited for a core: the second number of its schedstat, nanoseconds."""
    try:
        fields = os.pread(descriptor, 100, 0).split()
    except OSError:  # the thread has ended
        return 0.0
    return int(fields[1]) / 1e6 if len(fields) > 1 else 0.0


def quota_files(root: Path = Path("/")) -> list[Path]:
    """Returns the cpu.stat of the control groups that this process is in, from its own up to the root."""
    return list(dict.fromkeys(_quota_files(root)))


def _quota_files(root: Path) -> Iterator[Path]:
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        for mount in CPU_MOUNTS:
            base = root / "sys/fs/cgroup" / mount
            group = base / path.lstrip("/")
            for folder in (group, *group.parents):
                if (folder / "cpu.stat").is_file() and any(
                    map((folder / "cpu.stat").read_text().count, QUOTA_UNITS_MS)
                ):
                    yield folder / "cpu.stat"
                if folder == base:
                    break


def _quota_ms(descriptor: int) -> float:
    try:
        lines = os.pread(descriptor, 4096, 0).decode().splitlines()
    except OSError:
        return 0.0
    pairs = (line.split() for line in lines)
    return sum(int(pair[1]) * QUOTA_UNITS_MS[pair[0]] for pair in pairs if len(pair) == 2 and pair[0] in QUOTA_UNITS_MS)


def page_fault_ms() -> float:
    """Returns how long a page fault takes here, in milliseconds: the least of several tries, for others may disturb."""
    return min(_one_fault_ms() for _ in range(CALIBRATIONS))


def _one_fault_ms() -> float:
    """Returns how long a page fault takes on average, by touching fresh memory."""
    page = mmap.PAGESIZE
    with mmap.mmap(-1, CALIBRATION_PAGES * page) as fresh:
        if hasattr(mmap, "MADV_NOHUGEPAGE"):
            with suppress(OSError):
                fresh.madvise(mmap.MADV_NOHUGEPAGE)
        faults, began = resource.getrusage(resource.RUSAGE_SELF).ru_minflt, time.perf_counter()
        for place in range(0, len(fresh), page):
            fresh[place] = 1
        took = 1e3 * (time.perf_counter() - began)
        faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - faults
    return took / max(faults, 1)
