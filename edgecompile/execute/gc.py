"""Looking after a store: what it holds, whether all of it is whole, and removing what nobody used for long.

Removing is safe beside running builds. A build marks an entry as used before it reads it, and a collector moves an
entry away before it looks at that mark: so either the build finds nothing, or the collector sees the mark and puts the
entry back. Whatever was used since the oldest living build began stays.
"""

from __future__ import annotations

import os
import secrets
import shutil
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from edgecompile.execute import measurements
from edgecompile.execute.canonical_json import Damaged, digest_of, unseal
from edgecompile.execute.entry import Entry, walk
from edgecompile.execute.store import Store
from edgecompile.execute.store_session import sweep
from edgecompile.files import hash_file

DAY_S = 86_400
ABANDONED_S = 3_600
"""A temporary file that nobody's session owns is removed when it is so old."""


@dataclass(frozen=True)
class Kept:
    """One result in the store."""

    entry: Entry
    used: float
    """When it was last used, seconds since 1970."""


@dataclass(frozen=True)
class Swept:
    """What garbage collection removed and what it left."""

    results: int
    outputs: int
    bytes: int
    left_results: int
    left_bytes: int


def kept(store: Store) -> list[Kept]:
    """Returns all results of a store, the last used first. Damaged results are left out, and left alone."""
    results = []
    for key in list(_keys(store)):
        with suppress(OSError, Damaged):
            used = store.entry_path(key).stat().st_mtime
            results.append(Kept(store.load(key, thorough=False), used))
    return sorted(results, key=lambda result: -result.used)


def verify(store: Store) -> dict[str, str]:
    """Reads every file of every result, sets aside what is damaged, and returns key (or digest) to what is wrong.

    Raises:
        StepError: when the store may not be read.
    """
    wrong: dict[str, str] = {}
    with store.translated():
        for key in list(_keys(store)):
            try:
                store.load(key)
            except Damaged as damage:
                wrong[key] = str(damage)
                store.quarantine(key)
            except FileNotFoundError:
                pass  # collected or set aside meanwhile
        for output in list(_outputs(store)):
            with suppress(FileNotFoundError):
                if _digest(output) != output.name:
                    wrong[output.name] = "an output that no result refers to is damaged"
                    store.set_output_aside(output)
        wrong |= measurements.remove_damaged(store)
    return wrong


def collect(store: Store, *, older_than_s: float, max_bytes: int | None = None) -> Swept:
    """Removes results not used for `older_than_s` seconds, then, while the rest is larger than `max_bytes`, those whose
    use lies furthest back; and all that dead processes left behind.

    Raises:
        StepError: when the store may not be written.
    """
    store.begin()
    with store.translated():
        sweep(store.root)
        with store.commit_lock():
            # No result is half published now: each has its entry already, or an output that will be newer than this.
            now = _now(store)
        protected = _oldest_session(store, now)
        trash = store.staging_dir()
        remaining = kept(store)
        going = _chosen(remaining, min(now - older_than_s, protected), protected, max_bytes)
        results = sum(_remove(store, result.entry.key, protected, trash) for result in going)
        outputs = _remove_unreferenced(store, now, trash)
        freed = sum(path.stat().st_size for path in trash.rglob("*") if path.is_file() and path.suffix != ".entry")
        shutil.rmtree(trash, ignore_errors=True)
        _tidy(store, now, older_than_s)
        measurements.remove_old(store, older_than_s)
        remaining = kept(store)
    sizes = {result.entry.digest: result.entry.size for result in remaining}
    return Swept(results, outputs, freed, len(remaining), sum(sizes.values()))


def _chosen(results: list[Kept], limit: float, protected: float, max_bytes: int | None) -> list[Kept]:
    """Returns the results to remove: those last used before `limit`, then the least recently used until all fits."""
    going = [result for result in results if result.used < limit]
    if max_bytes is None:
        return going
    staying = [result for result in results if result.used >= limit]
    users = Counter(result.entry.digest for result in staying)
    total = sum({result.entry.digest: result.entry.size for result in staying}.values())
    for result in reversed(staying):
        if total <= max_bytes or result.used >= protected:
            break
        going.append(result)
        users[result.entry.digest] -= 1
        total -= result.entry.size if users[result.entry.digest] == 0 else 0
    return going


def _remove(store: Store, key: str, protected: float, trash: Path) -> bool:
    """Removes an entry unless somebody has used it since the oldest living build began; returns whether it did."""
    path, away = store.entry_path(key), trash / f"{key}.entry"
    with store.commit_lock():
        try:
            os.rename(path, away)
        except FileNotFoundError:
            return False
        if away.stat().st_mtime >= protected:
            os.rename(away, path)
            return False
    return True


def _remove_unreferenced(store: Store, before: float, trash: Path) -> int:
    """Moves to the trash each output that no entry refers to and that was not published just now."""
    referenced = set()
    for key in list(_keys(store)):
        with suppress(OSError, Damaged):
            referenced.add(unseal(store.entry_path(key).read_bytes())["output"])
    count = 0
    for output in list(_outputs(store)):
        if output.name not in referenced:
            with store.commit_lock(), suppress(FileNotFoundError):
                # Whoever publishes an output, new or again, marks its folder, and does so under this lock.
                if output.stat().st_mtime < before:
                    os.rename(output, trash / output.name)
                    count += 1
    return count


def _tidy(store: Store, now: float, older_than_s: float) -> None:
    """Removes abandoned temporary files, and notes that have grown old."""
    limits = {"staging": ABANDONED_S, "stat": max(older_than_s, DAY_S), "sources": max(older_than_s, DAY_S)}
    limits |= {"aside": max(older_than_s, DAY_S), "logs": max(older_than_s, DAY_S)}
    for name, limit in limits.items():
        for path in (store.root / name).glob("*/*.json" if name == "sources" else "*"):
            _remove_if_old(store, path, now - limit)


def _remove_if_old(store: Store, path: Path, limit: float) -> None:
    with suppress(OSError):
        living = (store.root / "sessions" / f"{path.name}.lock").exists()
        if living or path.stat().st_mtime >= limit:
            return
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink()


def _now(store: Store) -> float:
    """Returns the time of the store's file system, which may be another machine's clock."""
    path = store.staging_dir()
    try:
        return path.stat().st_mtime
    finally:
        path.rmdir()


def _oldest_session(store: Store, now: float) -> float:
    """Returns when the oldest living build began to use the store; this process's own use does not count."""
    own = store.session_file()
    begun = [now]
    for path in (store.root / "sessions").glob("*.lock"):
        with suppress(FileNotFoundError):
            if path != own:
                begun.append(path.stat().st_mtime)
    return min(begun)


def _keys(store: Store) -> Iterator[str]:
    return (path.stem for path in (store.root / "entries").glob("*/*.json"))


def _outputs(store: Store) -> Iterator[Path]:
    return (store.root / "outputs").glob("*/*")


def _digest(output: Path) -> str:
    """Returns the digest that an output has now, whatever its folder is called."""
    if not output.is_dir():
        return secrets.token_hex()
    return digest_of({name: list(hash_file(entry.path)) for name, entry in walk(output)})


def age(used: float) -> str:
    """Returns how long ago something was, for a person."""
    seconds = max(0, time.time() - used)
    for unit, length in (("d", DAY_S), ("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"
