"""Backends: one runtime library a file. The file name is the registry; third parties add theirs by an entry point.

A backend is a class named `Backend` with the form of the protocol below. It imports its library when it is opened.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from pkgutil import iter_modules
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from edgecompile.entry_points import entry_points
from edgecompile.errors import BundleError, MissingToolError, Problem, nearest
from edgecompile.runtime import onnx_wire
from edgecompile.runtime.confinement import OPENING, doing
from edgecompile.runtime.layer_timings import Feed, LayerTimings, Rounds
from edgecompile.runtime.options import MOST_THREADS, Option, Options, Whole, check_options
from edgecompile.runtime.spec_document import SpecDocument

if TYPE_CHECKING:
    import numpy as np

ENTRY_POINTS = "edgecompile.backends"


class Backend(Protocol):
    """Runs one artifact.

    Attributes:
        options: that it may be opened with; nothing else reaches the library, see `edgecompile.runtime.options`.
        distributions: names of the packages that bring its library; a bundle may demand a version of these alone.
        version: of the library that runs it.
        outputs: the names each output goes by, in the order of the model's outputs.
    """

    options: ClassVar[Mapping[str, Option]]
    distributions: ClassVar[tuple[str, ...]]
    version: str
    outputs: tuple[frozenset[str], ...]

    def __init__(
        self, artifact: Path | Mapping[str, bytes], spec: SpecDocument, threads: int, options: Options
    ) -> None:
        """Opens an artifact.

        Args:
            artifact: a file, a folder of files, or the contents of a bundle's `artifact/` by name. Only these have a
                `digest`, that of the bundle, under which a backend may keep its compiled model on the device.
            spec: the document of `spec.json`.
            threads: that the library may use.
            options: settings that the backend declares, checked.

        Raises:
            MissingToolError: the library is not installed.
            BundleError: the library cannot open the artifact.
        """

    def infer(self, tensor: Any) -> list[Any]:
        """Runs the model on `tensor` and returns its outputs, which may be overwritten by the next call."""


class Request(Protocol):
    """An inference that runs beside others, of a backend that `RunsSeveral`."""

    def start(self, tensor: Any) -> None:
        """Starts the model on `tensor`, which stays as it is until `wait`, and returns at once. A run whose `wait` an
        exception interrupted is waited for first."""

    def wait(self) -> list[Any]:
        """Returns the outputs once they are there, also when called again; they may be overwritten by the next start
        of this request."""


@dataclass(frozen=True)
class Setting:
    """How a backend is opened to run many pictures a second, rather than each as soon as possible.

    Attributes:
        threads: as for `Backend.__init__`.
        options: likewise.
        at_once: inferences that run at a time; None where the library decides.
    """

    threads: int
    options: Options
    at_once: int | None = None


class RunsSeveral(Protocol):
    """Further methods of a backend with several inferences in flight; all other backends run one at a time."""

    def requests(self, at_once: int | None = None) -> Sequence[Request]:
        """Returns as many requests as keep the device busy: one more than run at a time.

        Args:
            at_once: inferences that run at a time; None for as many as suit how the backend was opened.
        """

    @staticmethod
    def for_many(options: Options, threads: int) -> Setting | None:
        """Returns how the model is opened once more where many pictures are to be run; None where that gains nothing
        over the requests of the backend as it is open. A backend may lack this method.

        Args:
            options, threads: that it is open with.
        """


class TakesDeviceMemory(Protocol):
    """A further method of a backend that knows how much memory its model takes on an accelerator."""

    def accelerator_mb(self) -> float | None:
        """Returns megabytes (10^6) on the accelerator; None where it has none, or hides it."""


class ImportsLibrary(Protocol):
    """A further method of a backend whose library can be imported before a model is opened, which tells apart what
    memory each of them takes."""

    @staticmethod
    def import_library() -> object:
        """Imports the library.

        Raises:
            ImportError: it is not installed.
        """


class Remarks(Protocol):
    """A further method of a backend whose library does otherwise than its options say on some machines."""

    @staticmethod
    def remark(options: Options, isa: frozenset[str]) -> str:
        """Returns what a person should know where a model runs in these options on a machine of these instruction
        sets; "" where there is nothing."""


class TakesParameters(Protocol):
    """A backend, or a request, that runs models with `parameters` in their spec: inputs beside the picture."""

    def give(self, values: Mapping[str, np.ndarray]) -> None:
        """Sets the parameters of the runs to come, by the name of the input."""


class TimesLayers(Protocol):
    """A further method of a backend whose library tells the time of each layer. A backend without it may say why in
    `no_layer_times`."""

    @classmethod
    def time_layers(
        cls,
        artifact: Path | Mapping[str, bytes],
        spec: SpecDocument,
        threads: int,
        options: Options,
        feed: Feed,
        rounds: Rounds,
    ) -> LayerTimings:
        """Opens an artifact so that layers are timed, runs it, and returns their times.

        Args:
            artifact, spec, threads, options: as `Backend.__init__`.
            feed: what it runs on.
            rounds: how often.
        """


class Builder(Protocol):
    """Further methods of a backend whose model is built on the device (a target with `finalize`).

    Its `__init__` then opens the folder that `build` filled, not the artifact of the bundle.
    """

    @staticmethod
    def device(options: Options) -> dict[str, str]:
        """Returns the facts that a built model is tied to: version of the runtime ("runtime"), processor, driver.

        Raises:
            MissingToolError: the runtime or its tools are not installed.
            BundleError: there is no such device here.
        """

    @staticmethod
    def build(artifact: Mapping[str, bytes], spec: SpecDocument, options: Options, out: Path, kept: Path) -> None:
        """Builds the model with the device's own tools.

        Args:
            artifact: the contents of the bundle's `artifact/` by name.
            spec: the document of `spec.json`.
            options: settings that the backend declares, checked.
            out: an empty folder to fill: all that `__init__` needs.
            kept: a folder that outlives failed and outdated builds, for a timing cache that makes the next build
                quicker.

        Raises:
            BundleError: the tools cannot build the model; with the last line of their output.
        """


def find_backend(kind: str) -> type[Backend]:
    """Returns the backend class of the file `kind`, or of the entry point of that name.

    Raises:
        BundleError: there is no such backend, or it does not declare its options.
    """
    if re.fullmatch(r"[a-z][a-z0-9_]*", kind) and find_spec(f"{__name__}.{kind}"):
        return import_module(f"{__name__}.{kind}").Backend
    for entry in entry_points(ENTRY_POINTS):
        if entry.name == kind:
            return _declared(kind, entry.load())
    names = [module.name for module in iter_modules(__path__) if not module.name.startswith("_")]
    raise BundleError(f"needs the backend '{kind}', which this runtime does not have", fix=nearest(kind, names))


def _declared(kind: str, backend: Any) -> type[Backend]:
    if not hasattr(backend, "options") or not hasattr(backend, "distributions"):
        fix = "its package declares `options` and `distributions`, see CONTRIBUTING.md, Write a target"
        raise BundleError(f"the backend '{kind}' does not say which options it takes", fix=fix)
    return backend


def import_library(kind: str) -> bool:
    """Imports the library of a backend ahead of its opening; returns whether it could.

    Raises:
        BundleError: there is no such backend.
    """
    load = getattr(find_backend(kind), "import_library", None)
    try:
        return load is not None and bool(load())
    except ImportError:  # opening the model says what is missing
        return False


def open_backend(
    kind: str, artifact: Path | Mapping[str, bytes], spec: SpecDocument, threads: int, options: Options
) -> Backend:
    """Opens an artifact with the backend of a name; as `Backend.__init__`.

    Raises:
        BundleError: there is no such backend, it does not take these options, or the artifact cannot be opened.
        MissingToolError: the library is not installed.
    """
    backend = find_backend(kind)
    faults = [fault.below("options") for fault in check_options(backend.options, options)]
    faults += [fault.below("threads") for fault in Whole(1, MOST_THREADS).faults(threads)]
    if faults:
        raise BundleError(Problem(f"{kind}: {fault.key}: {fault.message}", "", fault.fix) for fault in faults)
    doing(OPENING)
    return backend(artifact, spec, threads, options)


def picture_input(names: Sequence[str], spec: SpecDocument) -> int:
    """Returns the place of the input that takes pictures: the one that is no parameter.

    Raises:
        BundleError: the inputs are others than a spec says.
    """
    parameters = spec.get("parameters", {})
    places = [place for place, name in enumerate(names) if name not in parameters]
    if len(places) != 1 or len(names) != 1 + len(parameters):
        expected = f"one, and {', '.join(sorted(parameters))}" if parameters else "one"
        raise BundleError(f"the model has {len(names)} inputs, expected {expected}")
    return places[0]


def missing(package: str, extra: str, error: ImportError) -> MissingToolError:
    """Returns the error that says how to get a library that is not installed, or cannot be imported."""
    reason = "is not installed" if isinstance(error, ModuleNotFoundError) else f"cannot be imported ({error})"
    return MissingToolError(f"{package} {reason}", fix=f"pip install 'edgecompile[{extra}]'")


def file_names(artifact: Path | Mapping[str, bytes]) -> list[str]:
    """Returns the names of the files of an artifact."""
    if not isinstance(artifact, Path):
        return list(artifact)
    return [path.name for path in artifact.iterdir()] if artifact.is_dir() else [artifact.name]


def choose_file(artifact: Path | Mapping[str, bytes], suffix: str) -> str:
    """Returns the name of the only file of an artifact that ends in `suffix`.

    Raises:
        BundleError: there is no such file, or more than one.
    """
    names = file_names(artifact)
    matches = [name for name in names if name.endswith(suffix)]
    if len(matches) != 1:
        raise BundleError(f"expected one *{suffix} in the artifact, found {', '.join(sorted(names)) or 'nothing'}")
    return matches[0]


def read_member(artifact: Path | Mapping[str, bytes], suffix: str) -> tuple[str, bytes]:
    """Returns name and content of the only file of an artifact that ends in `suffix`. Raises as `choose_file`.

    Libraries are given contents, never paths: beside a path they would look for further files.
    """
    name = choose_file(artifact, suffix)
    if not isinstance(artifact, Path):
        return name, artifact[name]
    return name, (artifact if artifact.is_file() else artifact / name).read_bytes()


def read_onnx(artifact: Path | Mapping[str, bytes]) -> bytes:
    """Returns the only ONNX model of an artifact, which names no other file.

    Raises:
        BundleError: there is no model, or more than one; it names other files; it is no ONNX file.
    """
    name, content = read_member(artifact, ".onnx")
    onnx_wire.require_self_contained(content, name)
    return content


def last_line(error: Exception) -> str:
    """Returns the last line of a library's message, which names the fault."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
