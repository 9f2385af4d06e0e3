"""What `edgecompile tune` chose on this device for a bundle: where it is kept, and when it may be used.

It lies in the user's own folder of compiled models (`device_cache`), under a key of the bundle's digest and this
machine: of anything else it is not found. It states the version of the library. It changes no byte of the bundle. It
names alternatives that the backend declares, and what they came to when they were measured; where the two do not agree,
it is ignored.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, TypedDict, cast

from edgecompile.json_types import JsonObject
from edgecompile.runtime import device_cache, machine
from edgecompile.runtime.archive import Archive
from edgecompile.runtime.backends import Setting
from edgecompile.runtime.knobs import Knob, Site, knobs_of, resolve
from edgecompile.runtime.machine import available_cores
from edgecompile.runtime.quality import noise_line
from edgecompile.runtime.speedup import SpeedUp, SpeedUpDocument
from edgecompile.runtime.target import BundleTarget, read_target

if TYPE_CHECKING:
    from edgecompile.runtime.predictor import Predictor

SCHEMA = 1
LONGEST = 1 << 16
"""Bytes of a kept choice; one has a few hundred."""


class TuningDocument(TypedDict):
    """`Tuning` as JSON."""

    schema: int
    library: str
    chosen: dict[str, str]
    threads: int
    options: JsonObject
    speedup: SpeedUpDocument | None
    noise: list[str]
    taken: str


@dataclass(frozen=True)
class Tuning:
    """A choice for one bundle on one machine.

    Attributes:
        library: that it was measured with, see `library_of`.
        chosen: name of the knob to name of the alternative; empty where nothing gains.
        setting: what that comes to: threads, and all options.
        speedup: over the bundle's own setting, measured at the end, anew; None where nothing was chosen.
        noise: what speaks against that measurement, a line each.
        taken: when, UTC.
    """

    library: str
    chosen: Mapping[str, str]
    setting: Setting
    speedup: SpeedUp | None
    noise: tuple[str, ...]
    taken: str

    def to_json(self) -> TuningDocument:
        """Returns the choice as plain JSON."""
        return {
            "schema": SCHEMA,
            "library": self.library,
            "chosen": dict(self.chosen),
            "threads": self.setting.threads,
            "options": dict(self.setting.options),
            "speedup": self.speedup.to_json() if self.speedup else None,
            "noise": list(self.noise),
            "taken": self.taken,
        }

    def line(self) -> str:
        """Returns the choice in one line for people."""
        if self.speedup is None:
            return f"nothing is proven to gain over the bundle's own setting here ({self.taken})"
        chosen = ", ".join(f"{name} {alternative}" for name, alternative in self.chosen.items())
        gain = f"{self.speedup.ratio:.3f}x as fast [{self.speedup.low:.3f}-{self.speedup.high:.3f}]"
        noise = f"; NOISY: {noise_line({'noise': list(self.noise)})}" if self.noise else ""
        return f"{chosen}: {gain}{noise} ({self.taken})"


@dataclass(frozen=True)
class Opened:
    """How a bundle is opened here.

    Attributes:
        setting: threads and options.
        tuning: that was found and is used; None where none is.
        ignored: why one that is there is not used; "" where there is none, or it is used.
    """

    setting: Setting
    tuning: Tuning | None = None
    ignored: str = ""


def tuning_lines(predictor: Predictor) -> list[str]:
    """Returns how a predictor was opened otherwise than its bundle says, and why a kept choice was not used."""
    used = [predictor.tuning.line()] if predictor.tuning and predictor.tuning.chosen else []
    return used + ([f"ignored: {predictor.tuning_ignored}"] if predictor.tuning_ignored else [])


def remark_on(archive: Archive) -> str:
    """Returns what a person should know of a bundle on this machine, such as that it lacks the precision; "" where
    there is nothing."""
    target = read_target(archive)
    remark = getattr(target.backend, "remark", None)
    return remark(target.options, machine.instruction_sets()) if remark else ""


def own_setting(target: BundleTarget, threads: int | None = None) -> Setting:
    """Returns how a bundle says that it is opened: with no more threads than there are cores."""
    return Setting(min(target.threads, available_cores()) if threads is None else threads, target.options)


def find_setting(archive: Archive, target: BundleTarget, threads: int | None) -> Opened:
    """Returns how a bundle is opened here: as it was tuned, else as it says itself.

    Args:
        threads: that were asked for; a choice that was measured with another number is not used.
    """
    own = own_setting(target, threads)
    ignored: list[str] = []
    content = device_cache.find(_facts(archive, target), ignored.append)
    if content is None:
        return Opened(own, ignored=ignored[0] if ignored else "")
    try:
        document = _document(content)
        if (library := library_of(target)) != document["library"]:
            return Opened(own, ignored=f"it was measured with {document['library']:.100}, here is {library}")
        tuning = _read(document, target)
    except (ValueError, KeyError, TypeError, RecursionError, AttributeError):
        return Opened(own, ignored="it is damaged, or says something else than the backend of this version knows")
    if threads is not None and tuning.setting.threads != threads:
        words = f"it was measured with {tuning.setting.threads} threads, and {threads} were asked for"
        return Opened(own, ignored=words if tuning.chosen else "")
    return Opened(tuning.setting, tuning)


def keep(archive: Archive, target: BundleTarget, tuning: Tuning) -> bool:
    """Keeps a choice on this device; returns whether it is there now."""
    facts = _facts(archive, target)
    content = json.dumps(tuning.to_json(), sort_keys=True).encode()
    device_cache.keep(facts, content)
    return device_cache.find(facts) == content


def forget(archive: Archive, target: BundleTarget) -> None:
    """Removes the choice that is kept here; the bundle is opened as it says itself again."""
    device_cache.forget(_facts(archive, target))


def declared(target: BundleTarget) -> list[Knob]:
    """Returns what the backend of a bundle leaves open on this machine."""
    return knobs_of(target.backend, own_setting(target), this_site())


def this_site() -> Site:
    """Returns this machine, as far as it decides what can be chosen."""
    two_kinds = machine.has_two_kinds_of_cores()
    return Site(available_cores(), machine.instruction_sets(), machine.has_threads_of_cores(), two_kinds)


def _facts(archive: Archive, target: BundleTarget) -> JsonObject:
    """Returns all that a choice depends on."""
    return {
        "tuning": SCHEMA,
        "bundle": archive.digest,
        "backend": target.name,
        "cores": available_cores(),
        **device_cache.machine(),
    }


def library_of(target: BundleTarget) -> str:
    """Returns the distributions of a backend and their versions, without importing them. What is not installed has no
    version."""
    return ", ".join(f"{name} {_version(name)}".strip() for name in target.backend.distributions)


def _version(distribution: str) -> str:
    from importlib import metadata  # which takes memory, and is needed where something was tuned

    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return ""


def _document(content: bytes) -> Any:
    if len(content) > LONGEST:
        raise ValueError("is too long")
    return json.loads(content)


def _read(document: Any, target: BundleTarget) -> Tuning:
    """Returns the choice in a kept document.

    Raises:
        ValueError, KeyError, TypeError: it is none, or it does not mean what it did when it was measured.
    """
    chosen = {str(name): str(alternative) for name, alternative in document["chosen"].items()}
    setting = resolve(declared(target), chosen, own_setting(target))
    if document["schema"] != SCHEMA or setting != Setting(document["threads"], document["options"]):
        raise ValueError("means something else now")
    speedup = SpeedUp.from_json(document["speedup"]) if chosen else None
    if speedup is not None and not all(type(value) in (int, float) for value in list(asdict(speedup).values())[:4]):
        raise TypeError("its gain is no number")
    noise = tuple(str(line) for line in cast("list[Any]", document["noise"]))
    return Tuning(document["library"], chosen, setting, speedup, noise, str(document["taken"])[:40])
