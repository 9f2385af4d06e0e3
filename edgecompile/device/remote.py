"""A device that is ready to run bundles: the runtime is on it, and the verbs of the runtime run there."""

from __future__ import annotations

import hashlib
import json
import tarfile
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from edgecompile.device.address import Address
from edgecompile.device.connection import SCRATCH, Connection, DeviceFacts, Listener
from edgecompile.device.measurement_signature import Evidence, evidence_of
from edgecompile.device.wheel import NEEDS, runtime_wheel
from edgecompile.errors import BundleError, RecipeError, StepError
from edgecompile.files import hash_file
from edgecompile.runtime.archive import Archive
from edgecompile.runtime.device_key import SIGNATURE
from edgecompile.runtime.signatures import SUFFIX, beside
from edgecompile.runtime.target import BundleTarget, read_target_facts

ALONE = ("bench", "diagnose", "finalize", "tune")
"""Verbs that measure, one at a time on a device."""
IMPORTS = ("numpy", "cv2")


@dataclass(frozen=True)
class Place:
    """A device, and how the runtime gets onto it.

    Attributes:
        address: where it is.
        wheels: local folder with wheels from which its environment is installed; None for the device's package index.
        python: a Python there that has numpy, OpenCV and the backend already; None where an environment is to be made.
        limits: arguments that limit the time and memory of a model there.
    """

    address: Address
    wheels: Path | None = None
    python: str | None = None
    limits: tuple[str, ...] = ()


@dataclass(frozen=True)
class Bundle:
    """A bundle on this machine: its file, its digest and its manifest, verified; and the file of its signatures."""

    path: Path
    sha256: str
    manifest: Mapping[str, Any]
    target: BundleTarget
    signatures: Path | None = None


class Remote:
    """A device with the runtime on it.

    Attributes:
        connection: to the device.
        command, settings: words that run the program there, and the environment variables that it needs.
        limits: arguments that limit the time and memory of a model.
    """

    limits: tuple[str, ...] = ()

    def __init__(self, connection: Connection, command: Sequence[str], settings: Mapping[str, str]) -> None:
        self.connection = connection
        self.command = list(command)
        self.settings = dict(settings)

    @property
    def facts(self) -> DeviceFacts:
        return self.connection.facts

    @property
    def root(self) -> PurePosixPath:
        return PurePosixPath(self.facts["root"])

    def put(self, bundle: Bundle) -> PurePosixPath:
        """Copies a bundle to the device, unless it is there, and returns its path there.

        Raises:
            BundleError: it is for another architecture.
            StepError: the disk there is full, or the connection broke; nothing of the bundle's name is there then.
        """
        needed, actual = bundle.target.arch, self.facts["arch"]
        if needed != actual:
            raise BundleError(
                f"is for {bundle.target.device} ({needed}); {self.connection.address} is {actual}",
                where=str(bundle.path),
                fix="build it for a target of that architecture",
            )
        path = self.root / "bundles" / bundle.sha256[:16] / bundle.path.name
        self.connection.send(bundle.path, str(path), bundle.sha256)
        if bundle.signatures:
            self.connection.send(bundle.signatures, f"{path}{SUFFIX}", sha256_of(bundle.signatures))
        return path

    def put_key(self, key: Path) -> PurePosixPath:
        """Copies a file of public keys or certificates to the device and returns its path there."""
        digest = sha256_of(key)
        path = self.root / "keys" / digest[:16] / key.name
        self.connection.send(key, str(path), digest)
        return path

    def put_pictures(self, pictures: Sequence[Path]) -> PurePosixPath:
        """Copies pictures into a folder of their own on the device and returns it; the caller removes it."""
        with tempfile.TemporaryDirectory(prefix=SCRATCH) as scratch:
            packed = Path(scratch) / "pictures.tar"
            with tarfile.open(packed, "w") as archive:
                for number, path in enumerate(pictures):
                    archive.add(path.resolve(), f"{number:04d}{path.suffix.lower()}")
            digest = sha256_of(packed)
            folder = self.root / "pictures" / digest[:16]
            self.connection.send(packed, f"{folder}.tar", digest)
        self.connection.call("unpack", archive=f"{folder}.tar", folder=str(folder))
        return folder

    def run(self, verb: str, bundle: PurePosixPath, *words: str, unfinished: Listener = lambda text: None) -> str:
        """Runs a verb of the runtime on a bundle there and returns its output.

        Args:
            words: further arguments.
            unfinished: called with its output before it failed.

        Raises:
            EdgecompileError: of the kind that the verb ended with.
        """
        command = [*self.command, verb, str(bundle), *words, *self.limits]
        return self.connection.output(
            "run",
            command=command,
            folder=str(self.root),
            settings=self.settings,
            alone=verb in ALONE,
            unfinished=unfinished,
        )

    def evidence_of(self, document: Mapping[str, Any]) -> Evidence:
        """Returns who vouches for a measurement that the device printed; raises as that of `measurement_signature`."""
        return evidence_of(document, self.connection.known_keys() if SIGNATURE in document else {})

    def publish(self, bundle: PurePosixPath) -> PurePosixPath:
        """Gives a bundle there its lasting name, which programs on the device open; returns it."""
        link = self.root / bundle.name
        launcher = str(self.root / "edgecompile")
        self.connection.call(
            "publish",
            bundle=str(bundle),
            link=str(link),
            launcher=launcher,
            command=self.command,
            settings=self.settings,
        )
        return link

    def remove(self, *paths: PurePosixPath) -> None:
        """Removes files and folders there."""
        self.connection.call("remove", paths=[str(path) for path in paths])


@contextmanager
def connect(place: Place, target: BundleTarget, listener: Listener = lambda line: None) -> Iterator[Remote]:
    """Connects to a device and yields it with the runtime on it.

    Args:
        place: the device.
        target: of a bundle: it names the runtime that is needed.
        listener: called with a line for each event there.

    Raises:
        RecipeError: the folder of wheels holds no wheel.
        MissingToolError: there is no ssh here, or no Python, venv or package there.
        StepError: the device cannot be reached, refuses, or its disk is full.
    """
    wheels = wheels_of(place.wheels) if place.wheels else []
    listener(f"connecting to {place.address}")
    with Connection(place.address, listener) as connection, tempfile.TemporaryDirectory(prefix=SCRATCH) as scratch:
        runtime = runtime_wheel(Path(scratch))
        if place.python:
            remote = _prepared(connection, runtime, place.python)
        else:
            remote = _with_environment(connection, runtime, target, wheels)
        remote.limits = place.limits
        yield remote


def _prepared(connection: Connection, runtime: Path, python: str) -> Remote:
    """Returns the device with the runtime beside a Python that its owner has prepared; nothing is installed."""
    digest = sha256_of(runtime)
    there = PurePosixPath(connection.facts["root"]) / "runtime" / digest[:16] / runtime.name
    connection.send(runtime, str(there), digest)
    reply = connection.call("importable", python=python, modules=[*IMPORTS, "edgecompile"], path=str(there))
    # A wheel can be imported from as it is. `-s` leaves out packages that a user has installed beside the prepared.
    return Remote(connection, [reply["python"], "-s", "-m", "edgecompile"], {"PYTHONPATH": str(there)})


def _with_environment(connection: Connection, runtime: Path, target: BundleTarget, wheels: Sequence[Path]) -> Remote:
    """Returns the device with a virtual environment of the runtime, which is made where it does not exist."""
    root = PurePosixPath(connection.facts["root"])
    distribution, versions = _installable(target)
    system = target.system_runtime
    requirements = [*NEEDS, *([] if system else [f"{distribution}{versions}"])]
    digests = {wheel: sha256_of(wheel) for wheel in (runtime, *wheels)}
    made_of = {
        "requirements": requirements,
        "wheels": sorted(digests.values()),
        "system": system,
        "python": connection.facts["python"],
    }
    key = hashlib.sha256(json.dumps(made_of, sort_keys=True).encode()).hexdigest()[:16]
    folder = root / "environments" / key
    answer = connection.call("prepared", folder=str(folder))
    if not answer["python"]:
        where = root / "wheels" / key
        for wheel, digest in digests.items():
            connection.send(wheel, str(where / wheel.name), digest)
        answer = connection.call(
            "environment",
            folder=str(folder),
            runtime=str(where / runtime.name),
            requirements=requirements,
            wheels=str(where),
            offline=bool(wheels),
            system=system,
        )
    return Remote(connection, [answer["python"], "-I", "-m", "edgecompile"], {})


def _installable(target: BundleTarget) -> tuple[str, str]:
    """Returns the distribution that a device needs and its version range. Only a distribution that the backend of this
    machine declares is installed there, never a package that a bundle names.

    Raises:
        BundleError: this machine has no such backend, or it is of another distribution.
    """
    fix = "name a Python there that has what the bundle needs: --python PROGRAM"
    try:
        known = target.backend.distributions
    except BundleError as error:
        raise BundleError(error.problems[0].message, fix=fix) from None
    if target.runtime[0] not in known:
        raise BundleError(f"needs {target.runtime[0]}, and the backend '{target.name}' is of {' or '.join(known)}")
    return target.runtime


def wheels_of(folder: Path) -> list[Path]:
    """Returns the wheels in a folder.

    Raises:
        RecipeError: there is no such folder, or no wheel in it.
    """
    wheels = sorted(path for path in folder.glob("*.whl") if not path.name.startswith("edgecompile-"))
    if not wheels:
        fix = "fill it: pip download -d DIR --only-binary :all: --platform ... numpy opencv-python-headless ..."
        raise RecipeError(
            "holds no wheels" if folder.is_dir() else "there is no such folder", where=str(folder), fix=fix
        )
    return wheels


def opened(path: Path, *, trusting: bool = False) -> Bundle:
    """Returns a bundle, after verifying it whole.

    Args:
        trusting: as for `Archive`.

    Raises:
        RecipeError: there is no such file.
        BundleError: it is damaged, altered or no bundle.
    """
    with Archive(path, trusting=trusting) as archive:
        archive.check_members()
        signatures = beside(path)
        return Bundle(
            path.resolve(),
            archive.digest,
            archive.manifest,
            read_target_facts(archive),
            signatures if signatures.is_file() else None,
        )


def sha256_of(path: Path) -> str:
    """Returns the digest of a file.

    Raises:
        StepError: it cannot be read.
    """
    try:
        return hash_file(path)[0]
    except OSError as error:
        raise StepError(f"cannot be read: {error.strerror}", where=str(path)) from error
