"""A process's use of a store, and what processes that died have left there."""

from __future__ import annotations

import os
import secrets
import shutil
import socket
from contextlib import suppress
from pathlib import Path

from edgecompile.execute import group_access
from edgecompile.execute.locks import BY_UMASK, Lock


class Session:
    """One process's use of a store: a lock that lives as long as the process, and a folder for what it writes."""

    def __init__(self, root: Path) -> None:
        self.pid = os.getpid()
        token = f"{socket.gethostname()}-{self.pid}-{secrets.token_hex(4)}"
        self.file = root / "sessions" / f"{token}.lock"
        shared = group_access.is_shared(root)
        self._lock = Lock(self.file, "in use", mode=group_access.LOCK_MODE if shared else BY_UMASK)
        self._lock.acquire()
        self.staging = root / "staging" / token
        self.staging.mkdir()
        if shared:
            group_access.open_folder(self.staging, root)

    def end(self) -> None:
        """Removes the folder and frees the lock, once; a forked child leaves its parent's alone."""
        if self.pid == os.getpid():
            self.pid = 0
            shutil.rmtree(self.staging, ignore_errors=True)
            self._lock.release()


def sweep(root: Path) -> None:
    """Removes what processes that died had begun to write, and their locks. Those that live hold theirs."""
    mode = group_access.LOCK_MODE if group_access.is_shared(root) else BY_UMASK
    for path in [*(root / "sessions").glob("*.lock"), *(root / "locks").glob("*.lock")]:
        lock = Lock(path, "sweeping", mode=mode)
        if path.name.startswith("edgecompile-"):
            continue  # taken so often that they stay
        with suppress(OSError):
            if lock.try_acquire():
                if path.parent.name == "sessions":
                    shutil.rmtree(root / "staging" / path.stem, ignore_errors=True)
                lock.release()
