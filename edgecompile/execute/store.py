"""The store: results of steps, kept by the digest of all that led to them and shared by all processes.

    entries/<aa>/<key>.json      what a step put out: digest of its output, its files, how it was made. Sealed.
    outputs/<aa>/<digest>/...    the files, one folder for each different output. Never changed once there.
    sources/<aa>/<digest>.json   base names and digests of the files of a source, to say later which file changed
    measurements/                see `edgecompile.execute.measurements`
    history/<function>.json      the newest keys of each step function, to say what changed since
    stat/<folder>.json           digests of source files by their stat
    locks/  sessions/  staging/  who does what, and what is being written by whom
    aside/                       what was found damaged
    logs/                        what failing steps printed
    machines/<host>.txt          the warning given there about a remote file system

Equal outputs share one folder. Files are copied into no place: steps read them where they lie, under their own names,
each with a single link (onnx refuses external data with more).

Published is what an entry stands for: files first, then the entry, each by write, fsync and rename. So a process that
is killed, a full disk or a power cut leaves an entry whole or absent. An entry counts only while its seal, its set of
files and their digests fit; otherwise it is set aside and its step runs again.

A store may be shared by the members of a group (`edgecompile.execute.group_access`), and by machines over a file system
that offers flock across them, atomic rename, and times of change that grow: docs/sweeps.md says what exactly. Without
locks that work it is refused.
"""

from __future__ import annotations

import errno
import json
import os
import secrets
import shutil
import sys
import threading
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from edgecompile.errors import StepError
from edgecompile.execute import group_access
from edgecompile.execute.canonical_json import Damaged, digest_of, seal, unseal
from edgecompile.execute.entry import SCHEMA, Entry, EntryDocument, Files, StepRecord, check, read_entry, seal_output
from edgecompile.execute.locks import BY_UMASK, Lock
from edgecompile.execute.sharing import LOCATION, require_locks, warn_of_owner
from edgecompile.execute.source_digests import SourceDigest
from edgecompile.execute.store_session import Session, sweep
from edgecompile.files import sync_folder, write_atomically
from edgecompile.plan.step import FACTS

FOLDERS = (
    "entries",
    "outputs",
    "sources",
    "history",
    "stat",
    "locks",
    "sessions",
    "staging",
    "aside",
    "logs",
    "machines",
)
REMEMBERED = 32
"""Keys of one step function that the history holds."""


class Store:
    """A store in a folder, which is made when something is first written. All methods may be called by any thread."""

    def __init__(self, path: Path | str) -> None:
        self.root = Path(path).expanduser().absolute()
        self._session: Session | None = None
        self._beginning = threading.Lock()

    @classmethod
    def default(cls) -> Store:
        """Returns the store at $EDGECOMPILE_CACHE, else in the user's cache folder."""
        if location := os.environ.get(LOCATION):
            return cls(location)
        if sys.platform == "darwin":
            return cls(Path.home() / "Library" / "Caches" / "edgecompile")
        base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
        return cls(Path(base) / "edgecompile")

    def find(self, key: str, *, thorough: bool = True, touch: bool = True) -> Entry | None:
        """Returns the result for a key, or None where there is none. A damaged result is set aside and counts as none.

        Args:
            key: of the step.
            thorough: whether to read every file and compare its digest, or only to compare sizes.
            touch: whether this counts as a use, which keeps the result from being collected as garbage.

        Raises:
            StepError: when the store may not be read.
        """
        try:
            if touch:
                self._touch(self.entry_path(key))
            return self.load(key, thorough=thorough)
        except FileNotFoundError:
            return None
        except Damaged:
            self.quarantine(key)
            return None
        except OSError as error:
            raise self.trouble(error) from error

    def publish(self, key: str, folder: Path, record: StepRecord) -> Entry:
        """Makes the files in `folder` the result for `key`. The folder is moved, or copied from outside the store.

        Where another process published a result for the key meanwhile, that result stays and is returned.

        Args:
            key: of the step.
            folder: holds plain files and folders only.
            record: its `step` and `function` are names by which it is found again.

        Raises:
            StepError: when the disk is full or may not be written; when the folder holds anything but plain files.
        """
        with self.translated():
            self.begin()
            if not folder.is_relative_to(self._staging()):
                folder = Path(shutil.copytree(folder, self.staging_dir() / "out", symlinks=True))
            files = seal_output(folder)
            output = digest_of(files)
            document: EntryDocument = {
                "schema": SCHEMA, "key": key, "output": output, "files": files, "record": record,
            }  # fmt: skip
            with self.commit_lock():
                try:
                    return self.load(key)
                except FileNotFoundError:
                    pass
                except Damaged:
                    self._set_aside(key)
                self._place(folder, output, files)
                self.write(self.entry_path(key), seal(document))
                self.remember(key, record)
            return self.load(key, thorough=False)

    def load(self, key: str, *, thorough: bool = True) -> Entry:
        """Returns the result for a key, checked, and changes nothing.

        Raises:
            FileNotFoundError: when there is none.
            Damaged: when it is not what was published.
        """
        path = self.entry_path(key)
        try:
            document = read_entry(path.read_bytes(), key)
        except OSError as error:
            raise _judged(error) from error
        root = self.output_path(document["output"])
        try:
            check(root, document["files"], thorough=thorough)
            facts = json.loads((root / FACTS).read_bytes()) if FACTS in document["files"] else {}
        except (FileNotFoundError, NotADirectoryError) as error:
            raise Damaged("its files are gone") from error
        except OSError as error:
            raise _judged(error) from error
        files = {name: (str(sha), int(size)) for name, (sha, size) in document["files"].items()}
        return Entry(key, document["output"], files, facts, document["record"], root)

    def intact(self, entry: Entry) -> bool:
        """Returns whether all files of a result are still there and still what they were, by digest."""
        try:
            check(entry.root, entry.files)
        except (OSError, Damaged):
            return False
        return True

    def lock(self, key: str, purpose: str = "") -> Lock:
        """Returns the lock under which the step of a key runs; `purpose` is shown to those who wait.

        Raises:
            StepError: when the store may not be written.
        """
        self.begin()
        return Lock(self.root / "locks" / f"{key}.lock", purpose, mode=self._lock_mode())

    def staging_dir(self) -> Path:
        """Returns a new, empty folder inside the store. It is removed later if its maker dies.

        Raises:
            StepError: when the disk is full or may not be written.
        """
        self.begin()
        folder = self._staging() / secrets.token_hex(6)
        with self.translated():
            folder.mkdir(parents=True)
        return folder

    def quarantine(self, key: str) -> None:
        """Moves a damaged result out of the way, after looking again. A store that cannot be written is left alone."""
        with suppress(OSError, StepError):
            self.begin()
            with self.commit_lock():
                try:
                    self.load(key)
                except Damaged:
                    self._set_aside(key)

    def set_output_aside(self, root: Path) -> None:
        """Moves an output that is not what its name says out of the way."""
        with self.commit_lock():
            self._move_aside(root)

    def session_file(self) -> Path | None:
        """Returns the file whose lock says that this process uses the store; None while it does not."""
        return self._session.file if self._session else None

    def keep_listing(self, source: SourceDigest) -> None:
        """Keeps the names and digests of a source's files, to say later which of them changed."""
        path = self._sharded("sources", source.digest, ".json")
        with suppress(OSError, UnicodeEncodeError):
            if path.exists():
                os.utime(path)
            else:
                self.write(path, seal(source.files), sync=False)

    def listing(self, digest: str) -> dict[str, str | None] | None:
        """Returns base name to sha256 of the files of a source, in order; None where that was not kept."""
        try:
            return dict(unseal(self._sharded("sources", digest, ".json").read_bytes()))
        except (OSError, Damaged):
            return None

    def history(self, function: str) -> list[tuple[str, str]]:
        """Returns (step name, key) of the results last published for a step function, newest first."""
        try:
            return [(name, key) for name, key in unseal(self._history_path(function).read_bytes())]
        except (OSError, Damaged, ValueError):
            return []

    def remember(self, key: str, record: StepRecord) -> None:
        """Adds a key to the history of its step function. Under the lock; a lost history costs only an explanation."""
        function, step = str(record.get("function", "")), str(record.get("step", ""))
        earlier = [pair for pair in self.history(function) if pair[1] != key]
        with suppress(OSError):
            content = seal([(step, key), *earlier][:REMEMBERED])
            self.write(self._history_path(function), content, sync=False)

    def record_of(self, key: str) -> StepRecord | None:
        """Returns how a result was made, without looking at its files; None where there is none."""
        try:
            return unseal(self.entry_path(key).read_bytes())["record"]
        except (OSError, Damaged):
            return None

    def begin(self) -> None:
        """Makes the folders, and shows other processes that this process uses the store from now on until it ends.

        Raises:
            StepError: when the store may not be written.
        """
        with self._beginning, self.translated():
            if self._session is None or self._session.pid != os.getpid():
                for name in FOLDERS:
                    (self.root / name).mkdir(parents=True, exist_ok=True)
                    self._open(self.root / name)
                tag = self.root / "CACHEDIR.TAG"  # https://bford.info/cachedir/: backups leave the folder out
                if not tag.exists():
                    tag.write_text("Signature: 8a477f597d28d172789f06886806bc55\n# results of edgecompile's steps\n")
                require_locks(self.root)
                warn_of_owner(self.root)
                sweep(self.root)
                self._session = Session(self.root)
                weakref.finalize(self, self._session.end)

    def warn_reader(self) -> None:
        """Warns of a store that belongs to somebody else, as `begin` does; for those that only read it."""
        with suppress(OSError):
            warn_of_owner(self.root, keep=False)

    def close(self) -> None:
        """Shows other processes that this process no longer uses the store. It may be used again afterwards."""
        if self._session:
            self._session.end()
        self._session = None

    @contextmanager
    def commit_lock(self) -> Iterator[None]:
        """Holds the lock under which results are put in place and moved away, for milliseconds at a time."""
        lock = self.root / "locks" / "edgecompile-commit.lock"
        with Lock(lock, "publishing", keep=True, mode=self._lock_mode()):
            yield

    @contextmanager
    def translated(self) -> Iterator[None]:
        """Turns trouble with the disk into one line for a person."""
        try:
            yield
        except OSError as error:
            raise self.trouble(error) from error

    def trouble(self, error: OSError) -> StepError:
        """Returns the error that says in one line what is wrong with the store's disk."""
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            return StepError(f"no space left for the store {self.root}", fix="free some, or run 'edgecompile cache gc'")
        if error.errno in (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP):
            reason = f"the file system of the store {self.root} has no file locks"
            return StepError(reason, fix=f"set {LOCATION} to a folder on a file system with locks (flock)")
        denied = error.errno in (errno.EROFS, errno.EACCES, errno.EPERM)
        fix = f"set {LOCATION} to a folder that can be written" if denied else ""
        return StepError(f"the store {self.root} cannot be written: {error.strerror or error}", fix=fix)

    def write(self, path: Path, content: bytes, *, sync: bool = True, via: Path | None = None) -> None:
        """Writes a file of the store, which appears whole or not at all; whoever shares the store may replace it.

        Args:
            via: folder of the temporary file, on the same file system.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        self._open(path.parent)
        mode = group_access.FILE_MODE if group_access.is_shared(self.root) else None
        write_atomically(path, content, via=via or self._staging(), sync=sync, mode=mode)

    def entry_path(self, key: str) -> Path:
        return self._sharded("entries", key, ".json")

    def output_path(self, digest: str) -> Path:
        return self._sharded("outputs", digest, "")

    def _sharded(self, kind: str, name: str, suffix: str) -> Path:
        return self.root / kind / name[:2] / f"{name}{suffix}"

    def _history_path(self, function: str) -> Path:
        return self.root / "history" / f"{digest_of(function)[:32]}.json"

    def _open(self, folder: Path) -> None:
        """Lets the group into a folder of a store that it shares."""
        if group_access.is_shared(self.root):
            group_access.open_folder(folder, self.root)

    def _lock_mode(self) -> int:
        return group_access.LOCK_MODE if group_access.is_shared(self.root) else BY_UMASK

    def _staging(self) -> Path:
        assert self._session is not None, "begin() comes first"
        return self._session.staging

    def _touch(self, path: Path) -> None:
        """Marks an entry as used now: before it is read, so that a collector either sees it or was first."""
        try:
            os.utime(path)
        except FileNotFoundError:
            raise
        except OSError:
            pass  # a read-only store still serves

    def _place(self, folder: Path, digest: str, files: Files) -> None:
        """Moves a sealed folder to where outputs of its digest lie, unless a good output lies there. Under the lock."""
        target = self.output_path(digest)
        target.parent.mkdir(exist_ok=True)
        self._open(target.parent)
        try:
            check(target, files)
            os.utime(target)
            return
        except FileNotFoundError:
            pass
        except (Damaged, NotADirectoryError):
            self._move_aside(target)
        if group_access.is_shared(self.root):
            group_access.open_tree(folder)
        os.utime(folder)  # a rename does not show a collector of garbage that the folder is new here
        os.rename(folder, target)
        sync_folder(target.parent)

    def _set_aside(self, key: str) -> None:
        """Moves a damaged entry, and its output if that is the damaged part, to aside/. Under the lock."""
        path = self.entry_path(key)
        with suppress(Damaged, OSError):
            document = read_entry(path.read_bytes(), key)
            root = self.output_path(document["output"])
            try:
                check(root, document["files"])
            except (Damaged, NotADirectoryError):
                self._move_aside(root)
        self._move_aside(path)

    def _move_aside(self, path: Path) -> None:
        stamp = time.strftime("%Y%m%dT%H%M%S", time.gmtime())
        with suppress(FileNotFoundError):
            os.rename(path, self.root / "aside" / f"{stamp}-{secrets.token_hex(3)}-{path.name}")


def _judged(error: OSError) -> Exception:
    """Returns what a failed read means: a bad sector or a folder for a file is damage, all else is trouble with the
    store as a whole."""
    damage = error.errno in (errno.EIO, errno.EISDIR)
    return Damaged(f"it cannot be read: {error}") if damage else error
