"""Whether the file system under a store keeps the promises that the store relies on, above all that locks exclude.

Locks that do not exclude harm silently: two machines would sweep away what the other is writing. So a folder on any
file system that is not known to be local is tried before the store is used: this process holds a lock, and another
process must not get it. What one machine cannot try is whether the lock also holds between machines; where the mount's
options say that it does not, a warning says so, and also that the file system is remote.
"""

from __future__ import annotations

import fcntl
import os
import pwd
import re
import secrets
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from edgecompile.errors import StepError
from edgecompile.execute import group_access
from edgecompile.text import tell

LOCATION = "EDGECOMPILE_CACHE"
"""Environment variable with the folder of the store."""
LOCAL = frozenset({"ext2", "ext3", "ext4", "xfs", "btrfs", "zfs", "f2fs", "bcachefs", "tmpfs", "ramfs", "overlay"})
"""File systems whose locks are the kernel's own: they need no trial."""
REMOTE = re.compile(r"nfs4?|cifs|smb3?|smbfs|9p|virtiofs|lustre|ceph|gpfs|beegfs|afs|glusterfs|ocfs2|gfs2|fuse(\..+)?")
"""File systems that other machines may share, and those of `fuse`, which may be anything."""
ONE_MACHINE = re.compile(r"local_lock=(all|flock)|nolock|localflock|nobrl|cache=(loose|mmap|fscache)")
"""Options of a mount by which locks hold on one machine only (nfs, lustre, cifs, 9p)."""
REFUSED = 75
"""Exit code of the other process where it did not get the lock."""
TRIAL = f"""\
import fcntl, os, sys
lock = os.open(sys.argv[1], os.O_RDWR)
try:
    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
except BlockingIOError:
    sys.exit({REFUSED})
"""


@dataclass(frozen=True)
class FileSystem:
    """What a folder lies on.

    Attributes:
        kind: the kernel's name, such as "ext4" or "nfs4"; "unknown" where the system does not report it.
        options: of the mount and of the file system, joined by commas.
    """

    kind: str
    options: str = ""

    @property
    def remote(self) -> bool:
        """Whether other machines may share it."""
        return REMOTE.fullmatch(self.kind) is not None

    @property
    def one_machine(self) -> str | None:
        """The option by which locks hold on one machine only; None where there is none."""
        match = ONE_MACHINE.search(self.options) if self.remote else None
        return match[0] if match else None


def file_system(folder: Path, mounts: Path = Path("/proc/self/mountinfo")) -> FileSystem:
    """Returns what a folder, or the nearest of its parents that exists, lies on."""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    place = os.path.realpath(folder)
    best = FileSystem("unknown")
    longest = -1
    for point, system in _mounts(mounts):
        inside = place == point or place.startswith(point.rstrip("/") + "/")
        if inside and len(point) >= longest:  # of two on one point, the later covers the earlier
            best, longest = system, len(point)
    return best


def _mounts(file: Path) -> Iterator[tuple[str, FileSystem]]:
    """Yields mount point and file system of each line of mountinfo; see proc_pid_mountinfo(5)."""
    with suppress(OSError):
        for line in file.read_text(encoding="utf-8", errors="surrogateescape").splitlines():
            before, _, after = line.partition(" - ")
            fields, tail = before.split(" "), after.split(" ")
            if len(fields) > 5 and len(tail) > 2:
                point = re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), fields[4])
                yield point, FileSystem(tail[0], f"{fields[5]},{tail[2]}")


def require_locks(root: Path) -> None:
    """Makes sure that locks of a store exclude, and warns of a remote store, once for each machine.

    Args:
        root: of the store; its folders exist.

    Raises:
        StepError: two processes got the same lock.
        OSError: the file system has no locks.
    """
    system = file_system(root)
    if system.kind in LOCAL:
        return
    if wrong := fault(root / "locks"):
        fix = f"set {LOCATION} to a folder on a file system with working locks (flock)"
        raise StepError(f"the locks of the store {root} ({system.kind}) do not work: {wrong}", fix=fix)
    note = root / "machines" / f"{socket.gethostname()}.txt"
    text = remark(root, system)
    if text and not _says(note, text):
        tell(f"edgecompile: warning: {text}", file=sys.stderr)
        note.write_text(f"{text}\n", encoding="utf-8")


def warn_of_owner(root: Path, *, keep: bool = True) -> None:
    """Warns of a store into which somebody else may place results, once for each machine and person.

    Args:
        keep: whether to note the warning in the store, so that it is not repeated.
    """
    owner = root.stat().st_uid
    if group_access.is_shared(root):
        whose = f"is shared with the group '{group_access.group_of(root)}', the results of whose members"
    elif owner != os.geteuid():
        whose = f"belongs to {_person(owner)}, whose results"
    else:
        return
    text = (
        f"the store {root} {whose} then go into your bundles; "
        f"where you do not trust them, set {LOCATION} to a folder of yours"
    )
    note = root / "machines" / f"{socket.gethostname()}-{os.geteuid()}.txt"
    if _says(note, text):
        return
    tell(f"edgecompile: warning: {text}", file=sys.stderr)
    if not keep:
        return
    with suppress(OSError), open(os.open(note, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW, 0o600), "w") as file:
        file.write(f"{text}\n")


def _person(number: int) -> str:
    """Returns the name of a user and the number by which the system knows them."""
    try:
        return f"{pwd.getpwuid(number).pw_name} (user {number})"
    except KeyError:
        return f"user {number}"


def _says(note: Path, text: str) -> bool:
    """Returns whether a note of this person's own holds this text already."""
    try:
        own = note.lstat().st_uid == os.geteuid()
        return own and note.read_text(encoding="utf-8").strip() == text
    except OSError:
        return False


def fault(folder: Path) -> str | None:
    """Tries the locks of a folder with a second process; returns what is wrong with them, None where nothing is.

    Raises:
        OSError: the file system has no locks, or the folder cannot be written.
    """
    with _held(folder) as path:
        if (code := _contend(path)) == 0:
            return "two processes got the same lock at once"
        if code != REFUSED:
            return "a second process could not try the lock"
    return None


@contextmanager
def _held(folder: Path) -> Iterator[Path]:
    """Yields a file that this process has locked, and removes it in the end."""
    path = folder / f"edgecompile-trial-{socket.gethostname()}-{secrets.token_hex(4)}.lock"
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield path
    finally:
        os.close(descriptor)
        with suppress(OSError):
            os.unlink(path)


def _contend(path: Path) -> int:
    """Lets another process try for a lock, and returns its exit code."""
    return subprocess.run([sys.executable, "-S", "-c", TRIAL, str(path)], stderr=subprocess.DEVNULL).returncode


def remark(root: Path, system: FileSystem) -> str | None:
    """Returns what a person should know about a store on a remote file system; None for a local file system."""
    if not system.remote:
        return None
    if option := system.one_machine:
        return (
            f"{root} is on {system.kind} mounted with {option}: its locks hold on this machine only, share it with none"
        )
    return f"{root} is on {system.kind}: machines that share it need locks that hold between them; see docs/sweeps.md"
