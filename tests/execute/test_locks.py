from __future__ import annotations

import errno
import fcntl
import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgecompile.execute import locks
from edgecompile.execute.locks import Cancelled, Holder, Lock
from execute.plans import python, until

HOLD = """
import sys, time
from pathlib import Path
from edgecompile.execute.locks import Lock
lock = Lock(Path(sys.argv[1]), "simplify", keep=sys.argv[2] == "keep").acquire()
print("held", flush=True)
sys.stdin.readline()
lock.release()
print("released", flush=True)
sys.stdin.readline()
"""


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locks, "PATIENCE_S", 0.2)
    monkeypatch.setattr(locks, "LOOK_S", 0.1)


@pytest.fixture(params=["remove", "keep"])
def held(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Lock, subprocess.Popen[str]]]:
    """A lock, and another process that holds it."""
    path, keep = tmp_path / "lock", request.param
    process = python(HOLD, path, keep, stdin=subprocess.PIPE)
    assert process.stdout.readline() == "held\n"
    yield Lock(path, "waiting", keep=keep == "keep"), process
    process.kill()
    process.communicate()


def test_one_holds_it_at_a_time(held: tuple[Lock, subprocess.Popen[str]]) -> None:
    lock, process = held
    assert lock.is_held()
    assert not lock.try_acquire()
    assert lock.holder() == Holder(process.pid, os.uname().nodename, "simplify")
    process.stdin.write("\n")
    process.stdin.flush()
    assert process.stdout.readline() == "released\n"
    assert not lock.is_held()
    assert lock.holder() is None
    assert lock.try_acquire()
    lock.release()


def test_a_killed_holder_frees_it_at_once(held: tuple[Lock, subprocess.Popen[str]]) -> None:
    lock, process = held
    process.kill()
    process.wait()
    assert lock.try_acquire()
    lock.release()


@pytest.mark.slow
def test_who_waits_is_told_for_whom_and_once(held: tuple[Lock, subprocess.Popen[str]]) -> None:
    lock, process = held
    said: list[str] = []
    began, cancelled = time.monotonic(), threading.Event()
    threading.Timer(0.7, cancelled.set).start()
    with pytest.raises(Cancelled):
        lock.acquire(waiting=lambda holder: said.append(f"{holder}"), cancelled=cancelled.is_set)
    assert said == [f"process {process.pid} (simplify)"]
    assert time.monotonic() - began >= 0.7


def test_a_stopped_holder_loses_it_and_harms_nobody_on_waking(held: tuple[Lock, subprocess.Popen[str]]) -> None:
    lock, process = held
    process.send_signal(signal.SIGSTOP)
    until(Holder(process.pid, os.uname().nodename, "").stopped)
    lock.acquire()
    process.send_signal(signal.SIGCONT)
    process.stdin.write("\n")
    process.stdin.flush()
    assert process.stdout.readline() == "released\n"
    assert Lock(lock.path).is_held(), "the one that was stopped released the lock of the one that took over"
    lock.release()
    assert not Lock(lock.path).is_held()


def test_a_holder_that_waits_for_a_stopped_worker_loses_it_too(tmp_path: Path) -> None:
    worker = subprocess.Popen(["sleep", "60"])
    try:
        holder = Lock(tmp_path / "lock", "simplify").acquire()
        holder.note_worker(worker.pid)
        assert not holder.holder().stopped()
        worker.send_signal(signal.SIGSTOP)
        until(holder.holder().stopped)
        taken: list[bool] = []
        thread = threading.Thread(target=lambda: taken.append(bool(Lock(tmp_path / "lock").acquire())))
        thread.start()
        thread.join(10)
        assert taken == [True]
        holder.release()
    finally:
        worker.kill()
        worker.wait()


NAMELESS = """
import fcntl, os, signal, sys
for path in sys.argv[2:]:
    file = os.open(path, os.O_RDWR | os.O_CREAT)
    fcntl.flock(file, fcntl.LOCK_EX)
print("held", flush=True)
if sys.argv[1] == "stopped":
    os.kill(os.getpid(), signal.SIGSTOP)
sys.stdin.readline()
"""


@pytest.mark.skipif(not Path("/proc/locks").exists(), reason="only Linux tells who holds a lock")
@pytest.mark.parametrize("others", [[], ["edgecompile-takeover.lock"]])
def test_one_that_was_stopped_before_it_wrote_its_name_loses_it(tmp_path: Path, others: list[str]) -> None:
    """The second time it was stopped while it was about to take over another lock, too."""
    lock = Lock(tmp_path / "lock", keep=True)
    process = python(NAMELESS, "stopped", lock.path, *(tmp_path / name for name in others), stdin=subprocess.PIPE)
    try:
        assert process.stdout.readline() == "held\n"
        until(Holder(process.pid, os.uname().nodename, "").stopped)
        assert lock.holder() is None
        began = time.monotonic()
        lock.acquire(cancelled=lambda: time.monotonic() - began > 30)
        lock.release()
    finally:
        process.kill()
        process.communicate()


@pytest.mark.slow
def test_one_that_has_not_written_its_name_yet_keeps_it(tmp_path: Path) -> None:
    lock = Lock(tmp_path / "lock", keep=True)
    process = python(NAMELESS, "running", lock.path, stdin=subprocess.PIPE)
    try:
        assert process.stdout.readline() == "held\n"
        began = time.monotonic()
        with pytest.raises(Cancelled):
            lock.acquire(cancelled=lambda: time.monotonic() - began > 1)
        lock.pass_on()
        assert lock.is_held()
    finally:
        process.kill()
        process.communicate()


def test_a_file_that_another_machine_removed_meanwhile_is_tried_again(tmp_path: Path, monkeypatch) -> None:
    """On NFS a lock file that is gone on the server answers ESTALE; a `flock` that does stands in for it."""
    real, left = fcntl.flock, [errno.ESTALE, errno.ESTALE]

    def stale(*arguments: int) -> None:
        if left:
            raise OSError(left.pop(), "Stale file handle")
        real(*arguments)

    monkeypatch.setattr(fcntl, "flock", stale)
    lock = Lock(tmp_path / "lock")
    assert not lock.try_acquire()
    lock.acquire()
    assert Lock(lock.path).is_held()
    lock.release()


def test_a_holder_on_another_machine_is_waited_for() -> None:
    assert not Holder(os.getpid(), "another-machine", "").stopped()
    assert str(Holder(1, "another-machine", "simplify")) == "process 1 on another-machine (simplify)"


@pytest.mark.parametrize("keep", [False, True])
def test_threads_of_one_process_exclude_each_other(tmp_path: Path, keep: bool) -> None:
    inside, most, lock = [0], [0], threading.Lock()

    def work() -> None:
        for _ in range(20):
            with Lock(tmp_path / "lock", keep=keep):
                with lock:
                    inside[0] += 1
                    most[0] = max(most[0], inside[0])
                time.sleep(0.0005)
                with lock:
                    inside[0] -= 1

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1]
    assert (tmp_path / "lock").exists() == keep
