"""Measurements, kept apart from what is found by content: a measurement is no content, and never the same again.

    measurements/<aa>/<key>.json      facts and record of the last measurement under a key. Sealed.

The key is that of its step, which holds the fingerprint of the machine: kernel, processor, settings of clock and power,
versions of the libraries. A measurement is kept where nothing speaks against it, and reused until it is too old. A new
one takes its place; no digest of a bundle depends on either.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgecompile.execute.canonical_json import Damaged, digest_of, seal, unseal
from edgecompile.execute.entry import Entry, StepRecord
from edgecompile.plan.step import FACTS

if TYPE_CHECKING:
    from edgecompile.execute.store import Store

FOLDER = "measurements"
SCHEMA = 1


@dataclass(frozen=True)
class Kept:
    """A measurement in the store.

    Attributes:
        entry: its facts, and how it was taken.
        age_s: seconds since it was taken.
    """

    entry: Entry
    age_s: float


def noise_of(facts: Mapping[str, Any]) -> list[str]:
    """Returns what speaks against a measurement, as its step's function found it; nothing where it says nothing."""
    return list((facts.get("quality") or {}).get("noise") or ())


def find(store: Store, key: str, max_age_s: float | None = None) -> Entry | None:
    """Returns the measurement under a key; None where there is none, or it is damaged or too old.

    Raises:
        StepError: when the store may not be read.
    """
    path = _path(store, key)
    try:
        kept = _read(path, key)
    except (FileNotFoundError, Damaged):
        return None
    except OSError as error:
        raise store.trouble(error) from error
    return kept.entry if max_age_s is None or kept.age_s <= max_age_s else None


def take(store: Store, key: str, folder: Path, record: StepRecord) -> Entry:
    """Returns the measurement that a step's function left in a folder. Keeps it, unless it is noisy: whatever was kept
    under the key before then stays.

    Raises:
        StepError: when the disk is full or may not be written.
    """
    with store.translated():
        facts = json.loads((folder / FACTS).read_bytes())
        entry = _entry(key, facts, record, store)
        if not noise_of(facts):
            document = {"schema": SCHEMA, "key": key, "facts": facts, "record": record}
            with store.commit_lock():
                store.write(_path(store, key), seal(document), via=folder)
                store.remember(key, record)
    return entry


def kept(store: Store) -> list[Kept]:
    """Returns all measurements of a store, the newest first. Damaged ones are left out."""
    found = []
    for path in _paths(store):
        with suppress(OSError, Damaged):
            found.append(_read(path, path.stem))
    return sorted(found, key=lambda one: one.age_s)


def remove_damaged(store: Store) -> dict[str, str]:
    """Removes measurements that are not what was written; returns key to what is wrong."""
    wrong = {}
    for path in list(_paths(store)):
        try:
            _read(path, path.stem)
        except Damaged as damage:
            wrong[path.stem] = str(damage)
            path.unlink(missing_ok=True)
        except OSError:
            continue
    return wrong


def remove_old(store: Store, older_than_s: float) -> None:
    """Removes measurements that were taken so long ago."""
    for one in kept(store):
        if one.age_s > older_than_s:
            with suppress(OSError):
                os.unlink(_path(store, one.entry.key))


def record_of(store: Store, key: str) -> StepRecord | None:
    """Returns how a measurement was taken; None where there is none."""
    try:
        return _read(_path(store, key), key).entry.record
    except (OSError, Damaged):
        return None


def _read(path: Path, key: str) -> Kept:
    """Raises:
    FileNotFoundError: it is not there, or of another schema.
    Damaged: it is not what was written.
    """
    document = unseal(path.read_bytes())
    try:
        if document["schema"] != SCHEMA:
            raise FileNotFoundError(path)
        if document["key"] != key:
            raise Damaged("it is the measurement of another key")
        record: StepRecord = document["record"]
        taken = datetime.fromisoformat(record["finished"].replace("Z", "+00:00")).timestamp()
        return Kept(_entry_in(path.parent, key, document["facts"], record), max(time.time() - taken, 0.0))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise Damaged("it is no measurement") from error


def _entry(key: str, facts: Mapping[str, Any], record: StepRecord, store: Store) -> Entry:
    return _entry_in(_path(store, key).parent, key, facts, record)


def _entry_in(folder: Path, key: str, facts: Mapping[str, Any], record: StepRecord) -> Entry:
    return Entry(key, digest_of(facts), {}, facts, record, folder)


def _path(store: Store, key: str) -> Path:
    return store.root / FOLDER / key[:2] / f"{key}.json"


def _paths(store: Store) -> Iterator[Path]:
    return (store.root / FOLDER).glob("*/*.json")
