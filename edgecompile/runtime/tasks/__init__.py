"""Tasks on the device: how the raw outputs of a model become a result, and how a result is drawn, written and compared.

One file a task; the file name is the registry, and third parties add theirs by an entry point. The module holds a
subclass of `Task` named `Task`. It imports numpy and OpenCV inside of functions, because `predict --help` too asks for
the names and settings of tasks.

To add a task: `runtime/tasks/<task>.py`, `evaluate/tasks/<task>.py`, and a test; docs/extending.md shows both.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from numbers import Integral, Real
from pkgutil import iter_modules
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Protocol, TypeVar

from edgecompile.entry_points import entry_points, named_point
from edgecompile.errors import BundleError, InputError, MissingToolError
from edgecompile.json_types import JsonObject

if TYPE_CHECKING:
    import numpy as np

    from edgecompile.runtime.geometry import Geometry
    from edgecompile.runtime.spec_document import SpecDocument

ENTRY_POINTS = "edgecompile.runtime_tasks"

Parts = dict[str, tuple["np.ndarray", "np.ndarray"]]
"""Part of the outputs to its numbers in the first and in the second model, of equal shapes."""


Given = Mapping[str, "float | int | bool | None"]
"""Settings and switches of a prediction by their names; what is None or not there is the spec's."""


class OutputError(ValueError):
    """An output holds numbers that no model of its task gives. The message names the output."""


@dataclass(frozen=True)
class Setting:
    """A number that a prediction takes.

    Attributes:
        name: in `predict(image, name=...)`, and of the flag of the verb.
        kind: float for a share in 0..1, int for a whole number of at least 1.
        about: a line for people.
    """

    name: str
    kind: type[float] | type[int]
    about: str

    def checked(self, value: Any) -> float | int:
        """Returns the value.

        Raises:
            InputError: it is out of range.
        """
        if self.kind is float:
            if not isinstance(value, Real) or not 0 <= float(value) <= 1:
                raise InputError(f"{self.name} is {value!r}, expected a number in 0..1")
            return float(value)
        if not isinstance(value, Integral) or int(value) < 1:
            raise InputError(f"{self.name} is {value!r}, expected a whole number of at least 1")
        return int(value)


class Result(Protocol):
    """What a model finds on one picture. `len` is the number of its parts; a result without parts counts as one."""

    def __len__(self) -> int: ...

    def to_dict(self) -> JsonObject:
        """Returns plain JSON values."""


Found = TypeVar("Found", bound=Result)


@dataclass(frozen=True)
class Agreement:
    """Whether two results agree, and a line that says how near they are."""

    met: bool
    detail: str


class Task(ABC, Generic[Found]):
    """One task, for one model.

    Attributes:
        noun: name of the results of the task, in the plural: "detections".
        settings: of a prediction; the spec of the model has a default for each.
        switches: further settings of `decode`, for the evaluation of a model.
        names: class names of the model, in the order of their numbers.
        outputs: names of the outputs that are read, in the order in which `decode` takes them.
        categories: ids by which COCO's JSON of the data set knows the classes, by number; None for a class that it does
            not have. None at all where the numbers are the ids.
    """

    noun: ClassVar[str]
    settings: ClassVar[tuple[Setting, ...]] = ()
    switches: ClassVar[frozenset[str]] = frozenset()
    names: tuple[str, ...]
    outputs: tuple[str, ...]
    categories: tuple[int | None, ...] = ()

    @abstractmethod
    def __init__(self, document: SpecDocument, names: tuple[str, ...]) -> None:
        """Reads the parts of `spec.json` that are the task's.

        Raises:
            BundleError: this runtime does not support them, or they contradict one another.
            KeyError, TypeError, ValueError: a part is missing or of another kind; the caller reports it.
        """

    @property
    def without_effect(self) -> Mapping[str, str]:
        """Settings that change nothing of what this model finds, and why."""
        return {}

    def parameters(self, given: Given) -> dict[str, np.ndarray]:
        """Returns what the model takes beside the picture, by the name of the input: nothing, for most models.

        Args:
            given: settings, as for `decode`.

        Raises:
            InputError: a setting is out of range.
        """
        return {}

    @abstractmethod
    def decode(self, outputs: Sequence[np.ndarray], geometry: Geometry, slot: int, given: Given) -> Found:
        """Returns what the model found on one picture.

        Args:
            outputs: those that `outputs` names.
            geometry: where the picture stands in the input.
            slot: which picture of the stack.
            given: settings and switches by name; a setting that is None or not there is the spec's.

        Raises:
            OutputError: an output has another form than the spec says, or holds numbers that mean nothing.
            InputError: a setting is out of range.
        """

    @abstractmethod
    def parts(self, reference: Sequence[np.ndarray], other: Sequence[np.ndarray]) -> Parts:
        """Pairs the raw outputs of two models on one picture, with their batch axis, so that they can be compared
        number by number: numbers of different units, such as boxes and scores, apart."""

    @abstractmethod
    def draw(self, image: np.ndarray, result: Found) -> np.ndarray:
        """Returns a copy of a BGR picture with the result drawn on it."""

    @abstractmethod
    def lines(self, result: Found) -> Iterable[str]:
        """Returns the result as lines of text for people: first a summary ("3 objects"), then a line a part. Texts of
        the model are escaped."""

    @abstractmethod
    def fields(self, result: Found) -> JsonObject:
        """Returns the result as fields of a JSON object."""

    def coco(self, result: Found) -> list[JsonObject]:
        """Returns the result in COCO's results format, without the name of the picture.

        Raises:
            InputError: the task has no such form.
        """
        raise InputError("COCO has no format for results of this task", fix="take --format json")

    @abstractmethod
    def golden(self, result: Found) -> JsonObject:
        """Returns the result as the golden vectors keep it: plain JSON values."""

    @abstractmethod
    def agreement(self, result: Found, golden: Any) -> Agreement:
        """Compares a result with a result that `golden` made, from whatever bundle.

        Raises:
            BundleError: the golden result is malformed.
        """


@cache
def find_task(name: str) -> type[Task[Any]]:
    """Returns the class of a task.

    Raises:
        BundleError: this runtime has no such task.
        MissingToolError: the package that brings it cannot be imported.
    """
    if name in _shipped():
        shipped: Any = import_module(f"{__name__}.{name}").Task
        return shipped
    if point := named_point(ENTRY_POINTS, name):
        try:
            return point.load()
        except Exception as error:  # of somebody else's package
            message = f"the task '{name}' ({point.value}) cannot be imported: {type(error).__name__}: {error}"
            raise MissingToolError(message) from error
    raise BundleError(f"the task is {name[:60]!r}, this runtime does {', '.join(task_names())}")


def task_names() -> tuple[str, ...]:
    """Returns the names of all tasks, sorted."""
    return tuple(sorted({*_shipped(), *(point.name for point in entry_points(ENTRY_POINTS))}))


def all_settings() -> tuple[Setting, ...]:
    """Returns the settings of predictions of any task, each name once."""
    settings: dict[str, Setting] = {}
    for task in task_names():
        for setting in find_task(task).settings:
            settings.setdefault(setting.name, setting)
    return tuple(settings.values())


@cache
def _shipped() -> frozenset[str]:
    """Names of the tasks in this folder; also where a device imports them from a wheel as it is."""
    return frozenset(module.name for module in iter_modules(__path__) if not module.name.startswith("_"))
