"""File systems that machines share: what a person reads, and that locks which do not exclude are refused."""

from __future__ import annotations

import errno
import fcntl
import os
import subprocess
import sys
import tempfile
from itertools import pairwise
from pathlib import Path

import pytest

from edgecompile.errors import StepError
from edgecompile.execute import sharing
from edgecompile.execute.locks import MACHINE
from edgecompile.execute.sharing import FileSystem, fault, file_system, remark
from edgecompile.execute.store import Store
from execute.plans import python

MOUNTS = """\
22 1 0:1 / / rw,relatime - overlay overlay rw,lowerdir=/a
30 22 0:5 / /home rw,relatime shared:1 - nfs4 server:/home rw,vers=4.2,local_lock=none,lookupcache=all
31 22 0:6 / /mnt/my\\040disk rw - ext4 /dev/sda1 rw
32 22 0:7 / /mnt/old rw - nfs server:/old rw,vers=3,nolock,local_lock=all
33 22 0:8 / /mnt/ssh rw - fuse.sshfs somebody@server:/ rw
34 30 0:9 / /home/somebody/local rw - xfs /dev/sdb1 rw
"""


@pytest.fixture
def mounts(tmp_path: Path) -> Path:
    file = tmp_path / "mountinfo"
    file.write_text(MOUNTS)
    return file


@pytest.mark.parametrize(
    ("folder", "kind", "remote"),
    [
        ("/", "overlay", False),
        ("/home/somebody", "nfs4", True),
        ("/homely", "overlay", False),
        ("/mnt/my disk/store", "ext4", False),
        ("/mnt/ssh/store", "fuse.sshfs", True),
        ("/home/somebody/local/store", "xfs", False),
    ],
)
def test_a_folder_lies_on_the_mount_nearest_to_it(
    mounts: Path, monkeypatch, folder: str, kind: str, remote: bool
) -> None:
    monkeypatch.setattr(Path, "exists", lambda self: True)
    found = file_system(Path(folder), mounts)
    assert (found.kind, found.remote) == (kind, remote)


def test_options_by_which_locks_hold_on_one_machine_are_told(mounts: Path, monkeypatch) -> None:
    monkeypatch.setattr(Path, "exists", lambda self: True)
    assert file_system(Path("/home"), mounts).one_machine is None
    old = file_system(Path("/mnt/old"), mounts)
    assert remark(Path("/mnt/old"), old).startswith("/mnt/old is on nfs mounted with nolock: its locks hold on this")
    assert remark(Path("/x"), FileSystem("ext4", "rw,nolock")) is None


def test_a_system_that_tells_nothing(tmp_path: Path) -> None:
    assert file_system(tmp_path, tmp_path / "none") == FileSystem("unknown")


def test_locks_here_exclude(tmp_path: Path) -> None:
    assert fault(tmp_path) is None
    assert list(tmp_path.iterdir()) == []


def on(kind: str, monkeypatch: pytest.MonkeyPatch, options: str = "rw") -> None:
    monkeypatch.setattr(sharing, "file_system", lambda folder: FileSystem(kind, options))


def test_negative_control_a_lock_that_does_not_exclude_is_refused(store: Store, monkeypatch) -> None:
    """`flock` that only seems to lock stands in for a file system on which it does."""
    on("nfs4", monkeypatch)
    monkeypatch.setattr(fcntl, "flock", lambda *_: None)
    with pytest.raises(StepError, match=r"^the locks of the store .* \(nfs4\) do not work: two processes got the same"):
        store.begin()
    assert not list((store.root / "sessions").iterdir())


def test_locks_that_another_process_cannot_try_are_refused(store: Store, monkeypatch) -> None:
    on("fuse.odd", monkeypatch)
    monkeypatch.setattr(sharing, "TRIAL", "import os, sys; os.open(sys.argv[1] + '/none', os.O_RDWR)")
    with pytest.raises(StepError, match="a second process could not try the lock"):
        store.begin()


def test_no_locks_are_refused_on_a_remote_file_system_too(store: Store, monkeypatch) -> None:
    def no_locks(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    on("lustre", monkeypatch)
    monkeypatch.setattr(fcntl, "flock", no_locks)
    with pytest.raises(StepError, match="has no file locks"):
        store.begin()


def test_a_remote_file_system_is_told_once_for_each_machine(tmp_path: Path, monkeypatch, capsys) -> None:
    on("nfs4", monkeypatch)
    for _ in range(2):
        one = Store(tmp_path / "store")
        one.begin()
        one.close()
    assert capsys.readouterr().err.count("edgecompile: warning: ") == 1
    on("nfs4", monkeypatch, "rw,local_lock=flock")
    Store(tmp_path / "store").begin()
    assert "mounted with local_lock=flock: its locks hold on this machine only" in capsys.readouterr().err


def test_a_local_file_system_costs_no_process(store: Store, monkeypatch, capsys) -> None:
    on("ext4", monkeypatch)
    monkeypatch.setattr(subprocess, "run", None)
    store.begin()
    assert capsys.readouterr().err == ""


@pytest.mark.slow
def test_doctor_tells_where_the_store_lies(store: Store) -> None:
    store.begin()
    settings = {**os.environ, "EDGECOMPILE_CACHE": str(store.root)}
    command = [sys.executable, "-m", "edgecompile", "doctor"]
    said = subprocess.run(command, env=settings, capture_output=True, text=True).stdout
    assert f"store {store.root}: {file_system(store.root).kind}, locks work" in said


MEASURE = """
import sys
from itertools import pairwise
from pathlib import Path
from edgecompile.execute.runner import execute
from edgecompile.execute.store import Store
from execute.plans import plan, step
root, journal, name = sys.argv[1:]
one = step(name, "interval", params={"journal": journal, "name": name, "seconds": 0.3}, measured=True)
execute(plan(one), Store(root))
"""


@pytest.mark.slow
def test_measurements_of_two_stores_never_overlap(tmp_path: Path) -> None:
    names = ("one", "two", "three")
    started = [python(MEASURE, tmp_path / f"store-{name}", tmp_path / "journal", name) for name in names]
    assert [process.wait(120) for process in started] == [0, 0, 0]
    spans = sorted(tuple(map(float, line.split()[1:])) for line in (tmp_path / "journal").read_text().splitlines())
    assert len(spans) == 3
    assert all(before[1] <= after[0] for before, after in pairwise(spans))


OTHER_USER = """
import os, sys
from edgecompile.execute.locks import machine_lock
mine = machine_lock("measuring", "measure").acquire()
def as_somebody_else() -> int:
    child = os.fork()
    if child == 0:
        os.setgid(65534)
        os.setuid(65534)
        got = machine_lock("measuring", "measure").try_acquire()
        os._exit(1 if got else 0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
held = as_somebody_else()
mine.release()
print(held, as_somebody_else())
"""


@pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="only root can become another user")
def test_the_lock_of_the_machine_holds_between_users() -> None:
    with tempfile.TemporaryDirectory() as folder:  # not below pytest's own, which no other user may enter
        os.chmod(folder, 0o1777)
        process = python(OTHER_USER, env={MACHINE: folder})
        assert process.communicate(timeout=60)[0].split() == ["0", "1"]
