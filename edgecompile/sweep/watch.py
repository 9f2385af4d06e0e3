"""Reports how a sweep goes, from what its jobs write into its folder: they may run in other processes or machines.

A job writes `progress.json` into its run directory while it runs, and `status.json` when it ends.
"""

from __future__ import annotations

import sys
import threading
import time
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO, cast

from edgecompile.errors import EdgecompileError, GateError
from edgecompile.run_dir import PROGRESS, STATUS, JobStatus, job_folders, read_json
from edgecompile.text import escape, tell

if TYPE_CHECKING:
    from rich.live import Live

EVERY_S = 0.5
RECENT = 10
"""Points that ended last, from which the time left is estimated: the first points make what the others share."""
KINDS = {0: "built", **{kind.exit_code: kind.kind for kind in EdgecompileError.__subclasses__()}}


@dataclass(frozen=True)
class Counts:
    """Steps of jobs: how many ran, how many the store had, and how long those took when they ran."""

    run: int = 0
    reused: int = 0
    saved_s: float = 0.0

    def __add__(self, other: Counts) -> Counts:
        return Counts(self.run + other.run, self.reused + other.reused, self.saved_s + other.saved_s)

    @classmethod
    def of(cls, steps: Mapping[str, float] | None) -> Counts:
        """Returns the counts that a job noted; zeros where it noted none."""
        noted = steps or {}
        return cls(int(noted.get("run", 0)), int(noted.get("reused", 0)), noted.get("saved_s", 0.0))

    def __str__(self) -> str:
        return f"{_steps(self.run)} run, {self.reused} reused, {duration(self.saved_s)} saved by sharing"


@dataclass
class Watch:
    """Looks into the folder of a sweep until it ends, and reports on stderr what has happened.

    On a terminal it updates one line, elsewhere it prints a line for each point that ended. It always reports what was
    wrong with a point. The path of each bundle goes to stdout.

    Args:
        folder: of the sweep.
        total: how many points there will be; None where that is not known.
        quiet: whether to report only what went wrong.
        searches: whether the points are those of a search, to which a gate is a constraint: that some points miss one
            is how it learns.
    """

    folder: Path
    total: int | None
    quiet: bool = False
    searches: bool = False
    stream: TextIO = field(default_factory=lambda: sys.stderr)
    ended: dict[str, JobStatus] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._began = time.monotonic()
        self._times: deque[float] = deque([self._began], RECENT)
        self._running: dict[str, dict[str, Any]] = {}
        self._stale = {path: mark for path in job_folders(self.folder) if (mark := _mark(path / STATUS))}
        self._stopping = threading.Event()
        self._looking = threading.Lock()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._live: Live | None = None

    def start(self) -> None:
        """Begins to look."""
        if not self.quiet and self.stream.isatty():
            from rich.console import Console
            from rich.live import Live

            # What is printed meanwhile goes above the line that moves; a stdout that leads elsewhere is left alone.
            console = Console(file=self.stream, highlight=False)
            self._live = Live(
                get_renderable=self._line, console=console, refresh_per_second=2, redirect_stdout=sys.stdout.isatty()
            )
            self._live.start()
        self._thread.start()

    def stop(self) -> None:
        """Looks a last time and ends. May be called again."""
        if self._stopping.is_set():
            return
        self._stopping.set()
        self._thread.join()
        self.look()
        if self._live:
            self._live.stop()

    def look(self) -> None:
        """Reads what is new in the folder, and reports it."""
        with self._looking:
            for path in job_folders(self.folder):
                name = path.relative_to(self.folder).as_posix()
                if name in self.ended or self._stale.get(path) == (mark := _mark(path / STATUS)) is not None:
                    continue
                if mark and (status := cast("JobStatus | None", read_json(path / STATUS))) is not None:
                    self.ended[name] = status
                    self._running.pop(name, None)
                    self._times.append(time.monotonic())
                    self._tell(name, status)
                elif (progress := read_json(path / PROGRESS)) is not None:
                    self._running[name] = progress

    @property
    def exit_code(self) -> int:
        """The worst of the points that ended; of a search that found a point, points that miss a gate do not count."""
        codes = [status.get("exit_code") or 0 for status in self.ended.values()]
        forgiven = GateError.exit_code if self.searches and 0 in codes else None
        return max((code for code in codes if code != forgiven), default=0)

    @property
    def failed(self) -> int:
        """Points that ended without a bundle."""
        return sum(bool(status.get("exit_code")) for status in self.ended.values())

    def counts(self) -> Counts:
        """Returns the steps of all points so far, including those that still run."""
        ended = [status.get("steps") for status in self.ended.values()]
        return sum(map(Counts.of, [*ended, *self._running.values()]), Counts())

    def left_s(self) -> float | None:
        """Returns the seconds left, at the pace of the points that ended last; None before a point has ended."""
        if self.total is None or len(self._times) < 2 or len(self.ended) >= self.total:
            return None
        pace = (self._times[-1] - self._times[0]) / (len(self._times) - 1)
        return max(0.0, pace * (self.total - len(self.ended)) - (time.monotonic() - self._times[-1]))

    def summary(self) -> str:
        """Returns the line that sums up the sweep."""
        done = len(self.ended)
        all_done = self.total is None or done >= self.total
        points = f"{done} point{'' if done == 1 else 's'}" if all_done else f"{done} of {self.total} points"
        took = duration(time.monotonic() - self._began)
        unmet = sum(status.get("exit_code") == GateError.exit_code for status in self.ended.values())
        missed = f", {unmet} missed a gate, as a search may" if self.searches and unmet else ""
        failed = self.failed - unmet if missed else self.failed
        return f"{points}: {done - self.failed} built{missed}, {failed} failed; {self.counts()}; took {took}"

    def _watch(self) -> None:
        while not self._stopping.wait(EVERY_S):
            with suppress(OSError):  # a shared folder that is away for a while
                self.look()

    def _tell(self, name: str, status: JobStatus) -> None:
        """Reports that a point ended, and what was wrong with it."""
        for problem in status.get("problems") or ():
            self._print(f"edgecompile: job {status.get('job', name)}: {problem}")
        if not self.quiet:
            state = KINDS.get(status.get("exit_code", -1), "failed")
            left = f"; about {duration(seconds)} left" if (seconds := self.left_s()) else ""
            place = f"[{len(self.ended)}/{self.total or '?'}]"
            failed = f"; {self.failed} failed so far" if self.failed else ""
            self._print(f"{place} {name}: {state}; {Counts.of(status.get('steps'))}{failed}{left}")
        if bundle := status.get("bundle"):
            tell(bundle)

    def _print(self, text: str) -> None:
        if self._live:
            from rich.text import Text

            self._live.console.print(Text(escape(text)), soft_wrap=True)
        else:
            tell(text, file=self.stream)

    def _line(self) -> Any:
        """Returns the lines that move: the sums, and how far the running points are."""
        from rich.text import Text

        left = f" · about {duration(seconds)} left" if (seconds := self.left_s()) else ""
        of = f" of {self.total}" if self.total else ""
        head = f"{len(self.ended)}{of} points done, {self.failed} failed · {self.counts()}{left}"
        now = [
            f"  {name}: {job.get('now') or 'waits'}, {job['run'] + job['reused']} of {job['total']} steps"
            for name, job in sorted(self._running.items())
            if "total" in job
        ]
        return Text("\n".join(map(escape, [head, *now])))


def duration(seconds: float) -> str:
    """Returns a duration for a person: seconds, minutes or hours."""
    whole = round(seconds)
    if whole < 100:
        return f"{whole} s"
    if whole < 6000:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def _steps(count: int) -> str:
    return f"{count} step{'' if count == 1 else 's'}"


def _mark(file: Path) -> tuple[int, int] | None:
    """Returns what distinguishes a file from an earlier file of its name; None where there is no file."""
    try:
        stat = file.stat()
    except OSError:
        return None
    return stat.st_mtime_ns, stat.st_ino
