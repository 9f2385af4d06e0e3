"""Backends: one runtime library a file. The file name is the registry; third parties add theirs by an entry point.

A backend is a class named `Backend` with the form of the protocol below. It imports its library when it is opened.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

from edgecompile.errors import BundleError, MissingToolError, nearest

ENTRY_POINTS = "edgecompile.backends"


class Backend(Protocol):
    """Runs one artifact.

    Attributes:
        version: of the library that runs it.
        outputs: the names each output goes by, in the order of the model's outputs.
    """

    version: str
    outputs: tuple[frozenset[str], ...]

    def __init__(
        self, artifact: Path | Mapping[str, bytes], spec: Mapping[str, Any], threads: int, options: Mapping[str, Any]
    ) -> None:
        """Opens an artifact.

        Args:
            artifact: a file, a folder of files, or the contents of a bundle's `artifact/` by name. Only these have a
                `digest`, that of the bundle: by it a backend may keep on the device what it compiled.
            spec: the document of `spec.json`.
            threads: that the library may use.
            options: native settings of the library, plain JSON.

        Raises:
            MissingToolError: the library is not installed.
            BundleError: the library cannot open the artifact.
        """

    def infer(self, tensor: Any) -> list[Any]:
        """Runs the model on `tensor` and returns its outputs, which may be overwritten by the next call."""


class Request(Protocol):
    """One inference that runs beside others. A backend that can do so has a method `requests()`, which returns as many
    as keep the device busy; all others run one at a time."""

    def start(self, tensor: Any) -> None:
        """Starts the model on `tensor`, which stays as it is until `wait`, and returns at once. A run whose `wait` an
        exception interrupted is waited for first."""

    def wait(self) -> list[Any]:
        """Returns the outputs once they are there, also when called again; they may be overwritten by the next start
        of this request."""


class Builder(Protocol):
    """What a backend offers besides whose model is built on the device (a target with `finalize`).

    Its `__init__` then opens the folder that `build` filled, not the artifact of the bundle.
    """

    @staticmethod
    def device(options: Mapping[str, Any]) -> dict[str, str]:
        """Returns the facts that a built model is tied to: version of the runtime ("runtime"), processor, driver.

        Raises:
            MissingToolError: the runtime or its tools are not installed.
            BundleError: there is no such device here.
        """

    @staticmethod
    def build(
        artifact: Mapping[str, bytes], spec: Mapping[str, Any], options: Mapping[str, Any], out: Path, kept: Path
    ) -> None:
        """Builds the model with the device's own tools.

        Args:
            artifact: the contents of the bundle's `artifact/` by name.
            spec: the document of `spec.json`.
            options: native settings of the library, plain JSON.
            out: an empty folder to fill: all that `__init__` needs.
            kept: a folder that outlives failed and outdated builds, for what makes the next one quicker (a timing
                cache).

        Raises:
            BundleError: the tools cannot build the model; with the last line of what they said.
        """


def find_backend(kind: str) -> type[Backend]:
    """Returns the backend class of the file `kind`, or of the entry point of that name.

    Raises:
        BundleError: there is no such backend.
    """
    if re.fullmatch(r"[a-z][a-z0-9_]*", kind) and find_spec(f"{__name__}.{kind}"):
        return import_module(f"{__name__}.{kind}").Backend
    from importlib.metadata import entry_points

    for entry in entry_points(group=ENTRY_POINTS):
        if entry.name == kind:
            return entry.load()
    here = [path.stem for path in Path(__file__).parent.glob("*.py") if not path.stem.startswith("_")]
    raise BundleError(f"needs the backend '{kind}', which this runtime does not have", fix=nearest(kind, here))


def missing(package: str, extra: str, error: ImportError) -> MissingToolError:
    """Returns the error that says how to get a library that is not installed, or cannot be imported."""
    reason = "is not installed" if isinstance(error, ModuleNotFoundError) else f"cannot be imported ({error})"
    return MissingToolError(f"{package} {reason}", fix=f"pip install 'edgecompile[{extra}]'")


def choose_file(artifact: Path | Mapping[str, bytes], suffix: str) -> str:
    """Returns the name of the one file of an artifact that ends in `suffix`.

    Raises:
        BundleError: there is none, or more than one.
    """
    if isinstance(artifact, Path):
        names = [path.name for path in artifact.iterdir()] if artifact.is_dir() else [artifact.name]
    else:
        names = list(artifact)
    matches = [name for name in names if name.endswith(suffix)]
    if len(matches) != 1:
        raise BundleError(f"expected one *{suffix} in the artifact, found {', '.join(sorted(names)) or 'nothing'}")
    return matches[0]


def last_line(error: Exception) -> str:
    """Returns the last line of a library's message: the one that says what is wrong."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
