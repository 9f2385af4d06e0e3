"""File locks that die with their holder, say who holds them, and pass on when the holder is stopped.

The lock itself is the operating system's (`flock`, by way of filelock), so a killed holder frees it at once and nobody
ever unlocks anything by hand. A holder that was stopped (Ctrl-Z, SIGSTOP) keeps its `flock`; others then take the lock
over by unlinking its file and locking a new file. Both may end up doing the same work, which costs time and harms
nothing: what they publish is whole, and what is published first stays.
"""

from __future__ import annotations

import errno
import json
import os
import random
import socket
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import filelock

LOOK_S = 0.3
"""So often a waiting process looks whether the holder is stopped."""

PATIENCE_S = 1.0
"""After so long it says, once, whom it waits for."""

SHORTEST_PAUSE_S, LONGEST_PAUSE_S = 0.002, 0.1
"""Between two attempts to get a lock."""

MACHINE = "EDGECOMPILE_MACHINE"
"""Environment variable with the folder for locks that all processes of a machine share."""

BY_UMASK = -1
"""What filelock takes for permissions that nobody chose."""


class Cancelled(Exception):
    """Waiting ended because the caller's work was cancelled."""


@dataclass(frozen=True)
class Holder:
    """Who holds a lock, as the lock's file says. `worker` is the process that a holder waits for, 0 for none."""

    pid: int
    host: str
    purpose: str
    worker: int = 0

    def __str__(self) -> str:
        on_host = "" if self.host == socket.gethostname() else f" on {self.host}"
        return f"process {self.pid}{on_host}" + (f" ({self.purpose})" if self.purpose else "")

    def stopped(self) -> bool:
        """Returns whether the holder, or the process it waits for, is stopped. False where that cannot be known."""
        return self.host == socket.gethostname() and any(_is_stopped(pid) for pid in (self.pid, self.worker) if pid)


Waiting = Callable[[Holder | None], None]


class Lock:
    """One lock on a path. Not reentrant; an instance belongs to the thread that acquired it.

    Args:
        path: the lock file, in a folder that exists.
        purpose: what the holder does, for those who wait.
        keep: whether the file stays after release (a lock that is taken often), else it is removed.
        mode: permissions of the file, for locks that several users share.
    """

    def __init__(self, path: Path, purpose: str = "", *, keep: bool = False, mode: int = BY_UMASK) -> None:
        self.path = path
        self._purpose = purpose
        self._keep = keep
        self._fd = -1
        self._mode = mode
        self._probe: filelock.BaseFileLock | None = None
        self._lock = filelock.FileLock(
            path,
            thread_local=False,
            fallback_to_soft=False,
            on_acquired=self._acquired,
            mode=self._mode,
        )

    def try_acquire(self) -> bool:
        """Acquires the lock if it is free; returns whether it did.

        Raises:
            OSError: when the file cannot be opened, or the file system has no locks.
        """
        try:
            self._lock.acquire(blocking=False)
        except filelock.Timeout:
            return False
        except OSError as error:
            if error.errno != errno.ESTALE:
                raise
            return False  # another machine removed the file between opening and locking: the next attempt makes it
        return True

    def acquire(self, *, cancelled: Callable[[], bool] | None = None, waiting: Waiting | None = None) -> Lock:
        """Acquires the lock, waiting while another holds it.

        Args:
            cancelled: asked all the while; once true, the wait ends.
            waiting: called once, when the wait grows long, with the holder as far as it is known.

        Raises:
            Cancelled: when `cancelled` said so.
            OSError: when the file cannot be opened, or the file system has no locks.
        """
        wait = Wait(cancelled, waiting)
        while not self.try_acquire():
            wait.pause(self)
        return self

    def is_held(self) -> bool:
        """Returns whether anybody holds the lock now."""
        if not self.path.exists():
            return False
        if self._probe is None:  # kept, for those who wait ask often
            self._probe = filelock.FileLock(self.path, thread_local=False, fallback_to_soft=False, mode=self._mode)
        try:
            with self._probe.acquire(blocking=False):
                return False
        except filelock.Timeout:
            return True

    def holder(self) -> Holder | None:
        """Returns who acquired the lock and has not released it; None where that is not known."""
        try:
            pid, host, purpose, worker = json.loads(self.path.read_bytes())
            return Holder(int(pid), str(host), str(purpose), int(worker))
        except (OSError, ValueError, TypeError):
            return None

    def is_stuck(self) -> bool:
        """Returns whether a process that holds the lock, or a process that it waits for, is stopped.

        Both its file and the kernel say who holds it: a process can be stopped after it got the lock and before it
        wrote its name, and while it only looked whether the lock is free.
        """
        holder = self.holder()
        return bool(holder and holder.stopped()) or any(_is_stopped(pid) for pid in _holders_by_kernel(self.path))

    def pass_on(self) -> None:
        """Unlinks the file of a lock that is stuck, so that the next to acquire it locks a new file."""
        path = self.path.parent / "edgecompile-takeover.lock"
        guard = filelock.FileLock(path, fallback_to_soft=False, mode=self._mode)
        with suppress(OSError):
            try:
                with guard.acquire(timeout=LOOK_S):
                    if self.is_stuck():  # nobody else was quicker
                        os.unlink(self.path)
            except filelock.Timeout:  # held for microseconds, unless by a process that was stopped just then
                if any(_is_stopped(pid) for pid in _holders_by_kernel(path)):
                    os.unlink(path)

    def note_worker(self, pid: int) -> None:
        """Writes down the process that the holder waits for: where that process is stopped, others take over too."""
        self._write(pid)

    def release(self) -> None:
        """Frees the lock."""
        with suppress(OSError):
            if self._keep:
                os.ftruncate(self._fd, 0)
            # Another's file stands here when the lock was taken over while this process was stopped.
            elif os.stat(self.path).st_ino == os.fstat(self._fd).st_ino:
                os.unlink(self.path)
        self._fd = -1
        self._lock.release()

    def __enter__(self) -> Lock:
        return self if self._fd >= 0 else self.acquire()

    def __exit__(self, *_: object) -> None:
        self.release()

    def _acquired(self, descriptor: int) -> None:
        self._fd = descriptor
        self._write(0)

    def _write(self, worker: int) -> None:
        holder = json.dumps([os.getpid(), socket.gethostname(), self._purpose, worker]).encode()
        with suppress(OSError):  # a full disk: the lock still holds, nobody can see by whom
            os.ftruncate(self._fd, 0)
            os.pwrite(self._fd, holder, 0)


class Wait:
    """One wait for locks that others hold: short at first, shown to a person and looked into when it grows long.

    Args:
        cancelled: asked at each pause.
        waiting: called once, with the holder as far as it is known.
        longest_s: between two attempts.
    """

    def __init__(
        self,
        cancelled: Callable[[], bool] | None = None,
        waiting: Waiting | None = None,
        longest_s: float = LONGEST_PAUSE_S,
    ) -> None:
        self._cancelled = cancelled
        self._waiting = waiting
        self._pause_s = SHORTEST_PAUSE_S
        self._longest_s = longest_s
        self._began = self._looked = time.monotonic()

    def pause(self, *locks: Lock) -> None:
        """Waits a moment before the caller tries again to get one of `locks`, or all of them.

        Raises:
            Cancelled: when the wait is to end.
        """
        if self._cancelled and self._cancelled():
            raise Cancelled
        # Not in step with others that wait for the same lock: else the same process would always be first.
        time.sleep(self._pause_s * random.uniform(0.5, 1))
        self._pause_s = min(1.5 * self._pause_s, self._longest_s)
        if time.monotonic() - self._looked > LOOK_S:
            self._look([lock for lock in locks if lock.is_held()])
            self._looked = time.monotonic()

    def _look(self, held: list[Lock]) -> None:
        """Takes away what stopped processes hold, and says whom this waits for: those, or any after a while."""
        stopped = [lock for lock in held if lock.is_stuck()]
        named = stopped or (held if time.monotonic() - self._began > PATIENCE_S else [])
        if named and self._waiting:
            self._waiting(named[0].holder())
            self._waiting = None
        for lock in stopped:
            lock.pass_on()


def machine_lock(name: str, purpose: str) -> Lock:
    """Returns a lock that all processes of this machine share, whatever store they use and whoever runs them.

    $EDGECOMPILE_MACHINE names the folder for containers that share a machine but not /tmp.
    """
    if location := os.environ.get(MACHINE):
        folder = Path(location)
    else:  # not `gettempdir()` first: batch systems give each job a temporary folder of its own
        folder = Path("/tmp") if os.access("/tmp", os.W_OK) else Path(tempfile.gettempdir())
    return Lock(folder / f"edgecompile-{name}.lock", purpose, keep=True, mode=0o666)


def _is_stopped(pid: int) -> bool:
    import psutil

    try:
        return psutil.Process(pid).status() in (psutil.STATUS_STOPPED, psutil.STATUS_TRACING_STOP)
    except psutil.Error:
        return False


def _holders_by_kernel(path: Path) -> list[int]:
    """Returns the numbers of the processes of this machine that hold a `flock` on a file, as far as Linux reports.

    Source: proc_locks(5). A line is `1: FLOCK ADVISORY WRITE 4711 08:01:123456 0 EOF`: the process, then the device and
    the inode. The device is not compared: a file system made of layers shows another device there than to `stat`.
    """
    try:
        inode = str(path.stat().st_ino)
        lines = Path("/proc/locks").read_text().splitlines()
    except OSError:
        return []
    locks = [line.split() for line in lines if " FLOCK " in line]
    return [int(words[4]) for words in locks if len(words) == 8 and words[5].split(":")[-1] == inode]
