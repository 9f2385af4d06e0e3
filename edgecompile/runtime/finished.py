"""The model that `edgecompile finalize` built on this device: where it lies, and whether it may be used.

It stands next to the bundle, in `<bundle>.device/<key>/`; the key names the bundle's digest, the version of the runtime
and the fingerprint of the device:

    finalized.json    what was built, on what, how it was checked and judged; written last: the files it names are whole
    engine-<digest>/  the files of the built model, immutable
    cache/            a timing cache that makes the next build quicker; outlives failed builds
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict

from edgecompile.errors import BundleError, StepError
from edgecompile.files import write_atomically
from edgecompile.runtime import machine
from edgecompile.runtime.archive import Archive
from edgecompile.runtime.check import Check
from edgecompile.runtime.measured_gates import ReportedGate
from edgecompile.runtime.measurement import MeasurementDocument
from edgecompile.runtime.target import BundleTarget

SCHEMA = 1
RECORD = "finalized.json"
SUFFIX = ".device"
PART = ".part"
SHOWN = 16
"""Digits of a digest that stand in a folder's name; whole digests stand in the record and are compared."""


class FileDigest(TypedDict):
    """One file, by content; size in bytes."""

    sha256: str
    size: int


class Engine(TypedDict):
    """The files of a built model, and the folder they stand in."""

    folder: str
    files: dict[str, FileDigest]


class CheckDocument(TypedDict):
    """A `Check` of the golden vectors or of the device, as JSON."""

    name: str
    met: bool
    detail: str
    decoded: bool


def check_document(check: Check) -> CheckDocument:
    """Returns a check as JSON."""
    return {"name": check.name, "met": check.met, "detail": check.detail, "decoded": check.decoded}


class Record(TypedDict, total=False):
    """The findings on a bundle's model on this device; its keys are described at `edgecompile.runtime.finalize`."""

    schema: int
    bundle: str
    sha256: str
    name: str | None
    device: str
    facts: dict[str, str]
    fingerprint: str | None
    key: str | None
    folder: str | None
    runtime: list[str]
    built: bool
    checks: list[CheckDocument]
    figures: MeasurementDocument
    gates: list[ReportedGate]
    engine: Engine | None
    accepted: bool


@dataclass(frozen=True)
class Place:
    """Where the built model of one bundle, for one runtime on one device, lies or would lie.

    Attributes:
        bundle: path of the bundle.
        digest: sha256 of the bundle.
        facts: of the device; "runtime" is the version of the runtime there.
    """

    bundle: Path
    digest: str
    facts: dict[str, str]

    @property
    def home(self) -> Path:
        """The folder of all models that were built of this bundle, and of former bundles of its name."""
        return self.bundle.with_name(self.bundle.name + SUFFIX)

    @property
    def fingerprint(self) -> str:
        return hashlib.sha256(json.dumps(self.facts, sort_keys=True).encode()).hexdigest()

    @property
    def key(self) -> str:
        runtime = re.sub(r"[^A-Za-z0-9.]+", "_", self.facts["runtime"])
        return f"{self.digest[:SHOWN]}-{runtime}-{self.fingerprint[:SHOWN]}"

    @property
    def folder(self) -> Path:
        return self.home / self.key

    @property
    def command(self) -> str:
        """The command that builds the model."""
        return f"run: edgecompile finalize {self.bundle}"


def device_facts(target: BundleTarget) -> dict[str, str]:
    """Returns the facts that a built model is tied to: architecture, system, and the facts that the backend names.

    Raises:
        MissingToolError: the runtime is not installed.
        BundleError: there is no such device here, or the backend builds nothing.
    """
    backend: Any = target.backend
    if not hasattr(backend, "device") or not hasattr(backend, "build"):
        raise BundleError(f"the backend '{target.name}' cannot build a model on a device")
    own = {str(name): str(value) for name, value in backend.device(target.options).items()}
    return {"arch": machine.architecture(), "os": machine.system(), **own}


def find_place(archive: Archive, target: BundleTarget) -> Place:
    """Returns where the model of a bundle that was built on this device lies. Raises as `device_facts`."""
    return Place(archive.path.resolve(), archive.digest, device_facts(target))  # `deploy` links to a bundle


def engine_of(place: Place) -> Path:
    """Returns the folder of the built model, after comparing its files with their digests.

    Raises:
        BundleError: it was not built here, was built for another device or driver, or is damaged; with the command that
            builds it.
    """
    record = read_record(place.folder / RECORD)
    if record is None:
        raise BundleError(_why_none(place), where=str(place.bundle), fix=place.command)
    if record.get("facts") != place.facts or record.get("sha256") != place.digest:
        raise BundleError("the built model belongs to something else", where=str(place.folder), fix=place.command)
    damage = find_damage(place.folder, record)
    if damage:
        raise BundleError(
            f"the model that was built here is damaged: {damage}", where=str(place.folder), fix=place.command
        )
    built = record["engine"]
    assert built is not None  # `read_record` has looked
    return place.folder / built["folder"]


def artifact_of(archive: Archive, target: BundleTarget) -> Path | Mapping[str, bytes]:
    """Returns what the backend of a bundle opens: the contents of `artifact/`, or the folder of the model that was
    built of it on this device.

    Raises:
        BundleError: none was built here yet.
    """
    return engine_of(find_place(archive, target)) if target.finalize else archive.folder("artifact/")


def read_record(path: Path) -> Record | None:
    """Returns the record of a built model; None where there is none that can be read: it is then to be built."""
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        known = record["schema"] == SCHEMA and isinstance(record["facts"], dict) and record["accepted"] is True
        name, files = record["engine"]["folder"], record["engine"]["files"]
        whole = isinstance(files, dict) and all({"sha256", "size"} <= set(file) for file in files.values())
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
    return record if known and whole and re.fullmatch(r"engine-[0-9a-f]+", name) else None


def find_damage(folder: Path, record: Record) -> str:
    """Returns the fault of the files of a built model, or ""."""
    built = record["engine"]
    assert built is not None  # `read_record` has looked
    engine, files = folder / built["folder"], built["files"]
    present = file_digests(engine) if engine.is_dir() else {}
    for name in sorted(files.keys() | present.keys()):
        if files.get(name) != present.get(name):
            return f"'{name}' is not the file that {RECORD} names"
    return ""


def file_digests(folder: Path) -> dict[str, FileDigest]:
    """Returns name to {"sha256", "size"} of every file below a folder."""
    digests: dict[str, FileDigest] = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            content = path.read_bytes()
            digest = hashlib.sha256(content).hexdigest()
            digests[path.relative_to(folder).as_posix()] = {"sha256": digest, "size": len(content)}
    return digests


def describe(folder: Path) -> Engine:
    """Returns the record's entry on a built model's files: the folder they are moved to, and their digests."""
    files = file_digests(folder)
    digest = hashlib.sha256(json.dumps(files, sort_keys=True).encode()).hexdigest()
    return {"folder": f"engine-{digest[:SHOWN]}", "files": files}


@contextmanager
def building(place: Place) -> Iterator[tuple[Path, Path]]:
    """Yields an empty folder to build into and the folder of the cache; nobody else builds there at the same time.

    The first is removed at the end, whatever happens: `keep` moves a good model out of it. Leftovers of a killed build
    are removed at the beginning.

    Raises:
        StepError: the folders cannot be made, or another process builds there.
    """
    cache, part = place.folder / "cache", place.folder / f"engine-{os.getpid()}{PART}"
    with _writing(place):
        cache.mkdir(parents=True, exist_ok=True)
        lock = (place.folder / "lock").open("w")
    with lock:
        _take(lock, place)
        for left in place.folder.glob(f"*{PART}"):
            shutil.rmtree(left, ignore_errors=True) if left.is_dir() else left.unlink(missing_ok=True)
        with _writing(place):
            part.mkdir()
        try:
            yield part, cache
        finally:
            shutil.rmtree(part, ignore_errors=True)


def keep(place: Place, part: Path, record: Record) -> Record:
    """Puts a built model and its record where `engine_of` finds it, whole or not at all; removes the earlier model.

    Returns:
        the record as it was written.

    Raises:
        StepError: the disk refuses.
    """
    about = describe(part)
    engine = place.folder / about["folder"]
    written: Record = {**record, "engine": about}
    written.pop("built", None)  # of this call alone
    with _writing(place):
        for name in about["files"]:
            _flush(part / name)
        if engine.is_dir():  # of equal content that no record names, or damaged
            shutil.rmtree(engine)
        os.replace(part, engine)
        write_atomically(place.folder / RECORD, (json.dumps(written, indent=1, sort_keys=True) + "\n").encode())
    for folder in place.folder.glob("engine-*"):
        if folder != engine:
            shutil.rmtree(folder, ignore_errors=True)
    return written


def withdraw(place: Place) -> None:
    """Removes the record of a built model, and so the model."""
    with _writing(place):
        (place.folder / RECORD).unlink(missing_ok=True)


def _why_none(place: Place) -> str:
    """Returns why there is no built model to use: there is none at all, or only for something else."""
    for path in sorted(place.home.glob(f"{place.digest[:SHOWN]}-*/{RECORD}")):
        record = read_record(path)
        if record is not None and record.get("sha256") == place.digest:
            return f"its model was built for {differences(record['facts'], place.facts)}"
    return "its model must first be built and verified on this device"


def differences(built: Mapping[str, str], device: Mapping[str, str]) -> str:
    """Returns the facts in which two devices differ: "runtime 10.3.0, here is 10.7.0"."""
    names = [name for name in sorted(built.keys() | device.keys()) if built.get(name) != device.get(name)]
    return "; ".join(f"{name} {built.get(name, 'unknown')}, here is {device.get(name, 'unknown')}" for name in names)


def _take(lock: Any, place: Place) -> None:
    import fcntl

    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        raise StepError("another `edgecompile finalize` of this bundle is at work", where=str(place.folder)) from None


def _flush(path: Path) -> None:
    with path.open("rb") as stream:
        os.fsync(stream.fileno())


@contextmanager
def _writing(place: Place) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        fix = "copy the bundle to where it may be written, with room for the model"
        raise StepError(f"cannot be written: {error.strerror or error}", where=str(place.home), fix=fix) from error
