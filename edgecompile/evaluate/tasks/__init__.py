"""Tasks where bundles are built: how labels are read, which metrics there are, and which of them the gates mean.

One file a task, beside that of `edgecompile.runtime.tasks`; the file name is the registry, and third parties add theirs
by an entry point. The module holds a subclass of `Task` named `Task`, of which one object serves all models. It imports
array libraries inside of functions: every recipe is checked against the gates that tasks declare.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypedDict, TypeVar

from edgecompile.data.label_lines import CheckedLabels, LabelFacts, LabelForm, LabelLines
from edgecompile.entry_points import entry_points, named_point
from edgecompile.errors import PlanError
from edgecompile.evaluate.class_names import class_name_mismatch
from edgecompile.json_types import JsonObject
from edgecompile.runtime.figures import ScoreChange
from edgecompile.runtime.spec_document import SpecDocument
from edgecompile.runtime.tasks import Given, Result

if TYPE_CHECKING:
    import numpy as np

    from edgecompile.evaluate.evidence import Evidence
    from edgecompile.runtime.spec import Spec

ENTRY_POINTS = "edgecompile.evaluate_tasks"


@dataclass(frozen=True)
class Metric:
    """A figure of accuracy, 0..1, the larger the better: a gate and an objective by its name.

    Attributes:
        name: in recipes, reports and manifests.
        title: beside the figure, for people.
    """

    name: str
    title: str


@dataclass(frozen=True)
class Setting:
    """A number by which accuracy is evaluated: `evaluate.<name>` of a recipe.

    Attributes:
        default: of the recipe; its type says whether it is a share, 0..1, or a whole number of at least 1.
        most: of a whole number.
        about: a line for people.
    """

    name: str
    default: float | int
    about: str
    most: int = 10_000


@dataclass(frozen=True)
class Accuracy:
    """How a model did on labelled pictures.

    Attributes:
        metrics: each metric of the task.
        per_class: name of each class that occurs to the same metrics of it alone, and `objects`, how many there are.
        objects: labelled, in all.
        found: things that count towards the metrics, right or wrong.
        pictures: that count towards the metrics; None for all.
    """

    metrics: dict[str, float]
    per_class: dict[str, dict[str, float | int]]
    objects: int
    found: int
    pictures: int | None = None


class AccuracyFacts(TypedDict):
    """Facts of the step that evaluates: an `Accuracy`, how many pictures counted, and the bytes of the artifact."""

    metrics: dict[str, float]
    per_class: dict[str, dict[str, float | int]]
    objects: int
    found: int
    pictures: int
    size_bytes: int


@dataclass(frozen=True)
class Outline:
    """A closed line around something found, for the page: corners (x, y) in pixels of the golden picture."""

    corners: tuple[tuple[float, float], ...]
    class_id: int
    score: float


@dataclass(frozen=True)
class WholeLabel:
    """A class that a whole picture was found to be, for the page, and how probable."""

    class_id: int
    score: float


@dataclass(frozen=True)
class OutputFacts:
    """What is known of a model's output when its spec is written: its name, its shape with -1 for what may change."""

    name: str
    shape: tuple[int, ...]


class StatedFacts(TypedDict, total=False):
    """What weights state of a model beside task and classes.

    imgsz: height and width of the input, pixels. kpt_shape: number of key points of an object, and of values of each.
    """

    imgsz: list[int]
    kpt_shape: list[int]


Found = TypeVar("Found", bound=Result)
Truth = TypeVar("Truth")
Judged = TypeVar("Judged")


class Task(ABC, Generic[Found, Truth, Judged]):
    """One task, for any model.

    Attributes:
        checkpoints: tasks that checkpoints state whose models can be used for this task.
        heads: names of the classes of Ultralytics heads whose outputs the task reads.
        plain_decode: how those put out what they find, in the words of `describe`, unless they are NMS-free.
        size_multiple: height and width of pictures are multiples of it, pixels.
        usual_size: pixels of the square input where neither recipe nor weights state any, as Ultralytics has it.
        label_form: what the lines of its labels state; data sets in other layouts are converted to that.
        metrics: figures of accuracy; the first is the main metric, which verdicts weigh.
        drop: the loss of the main metric against the float model, as a gate.
        settings: of the recipe's `evaluate` that it reads.
        embeds: outputs that the pass `embed_postprocess` can finish in the graph, see `targets.Target.embeds`.
        why_not_embedded: why one is missing among these.
    """

    checkpoints: ClassVar[tuple[str, ...]]
    heads: ClassVar[tuple[str, ...]] = ()
    plain_decode: ClassVar[str] = "yolo"
    size_multiple: ClassVar[int] = 32
    usual_size: ClassVar[int] = 640
    embeds: ClassVar[frozenset[str]] = frozenset()
    why_not_embedded: ClassVar[str] = "its outputs are no rows of objects"
    label_form: ClassVar[LabelForm] = LabelForm.BOXES
    metrics: ClassVar[tuple[Metric, ...]]
    drop: ClassVar[Metric]
    settings: ClassVar[tuple[Setting, ...]] = ()

    @property
    def main(self) -> Metric:
        return self.metrics[0]

    @abstractmethod
    def describe(self, outputs: Sequence[OutputFacts], decode: str, stated: StatedFacts) -> JsonObject:
        """Returns the parts of `spec.json` that are the task's, which `edgecompile.runtime.tasks` reads; they take the
        place of those that a model of any task has, as `letterbox`.

        Args:
            outputs: of the model, in its order.
            decode: how the head puts out what it finds; see `edgecompile.graphs.onnx.layouts`.
            stated: by the weights, beside task and classes: `imgsz`, height and width of the input; `kpt_shape`, number
                of key points and of values of each, where the head has them.
        """

    @abstractmethod
    def renamed(self, spec: SpecDocument, shapes: Sequence[Sequence[int]], names: Sequence[str]) -> dict[str, Any]:
        """Returns the parts of `spec.json` that change where outputs have other shapes or names.

        Args:
            spec: of the model before.
            shapes: of the outputs now, in their order.
            names: of the outputs now; empty where these are as before.
        """

    @abstractmethod
    def gaps(self, before: Sequence[np.ndarray], after: Sequence[np.ndarray], spec: SpecDocument) -> Gaps:
        """Returns how far the outputs of a rewritten graph are from those of the graph it was made of, by part.

        Args:
            before: outputs of the original graph, in the order of the model's, of equal shapes, finite.
            after: outputs of the rewritten graph.
            spec: the document of `spec.json`.
        """

    @abstractmethod
    def tolerances(self, size: Sequence[int]) -> dict[str, float]:
        """Returns the largest gap of each part that rounding explains, for pictures of height and width `size`."""

    def class_remarks(self, data: Sequence[str], model: Sequence[str]) -> list[str]:
        """Returns what to know where the class names of a data set are not those of the model."""
        return class_name_mismatch(data, model)

    def foreign_classes(self, data: Sequence[str], model: Sequence[str]) -> str:
        """Returns why no label of a data set can count for a model with these classes, "" where some can."""
        return ""

    @abstractmethod
    def check_labels(self, lines: LabelLines, facts: LabelFacts) -> CheckedLabels:
        """Returns what the labels of one picture hold and what is wrong with them. No line is a picture without
        objects. Needs no array library: `plan` calls it."""

    def fact_problems(self, facts: LabelFacts) -> Sequence[str]:
        """Returns what a data set does not say of its labels and has to."""
        return ()

    def label_remarks(self, checked: Sequence[CheckedLabels]) -> list[str]:
        """Returns what a person should know of labels that are well formed."""
        return []

    @abstractmethod
    def read_labels(self, lines: LabelLines, facts: LabelFacts) -> Truth:
        """Reads the labels of one picture.

        Args:
            facts: those of `check_labels`, but that classes may be more than the data set has.

        Raises:
            RecipeError: with a problem for each malformed line.
        """

    @abstractmethod
    def options(self, settings: Mapping[str, float | int], truth: Sequence[Truth]) -> Given:
        """Returns what the runtime's `decode` takes in the evaluation.

        Args:
            settings: those of the recipe.
            truth: of all pictures.
        """

    @abstractmethod
    def judge(self, result: Found, truth: Truth, size: tuple[int, int]) -> Judged:
        """Compares the result of one picture of `size` (height, width) with its labels."""

    @abstractmethod
    def accuracy(self, judged: Sequence[Judged], truth: Sequence[Truth], names: tuple[str, ...]) -> Accuracy:
        """Returns the figures over all pictures.

        Args:
            judged: of each picture.
            truth: of each picture.
            names: class names of the model. A class of the labels that it does not know counts as missed.
        """

    def evidence(self, result: Found, judged: Judged) -> dict[str, np.ndarray]:
        """Returns what to keep of one picture for `main_without` and `score_change`: arrays whose first axis grows with
        the pictures, under the same names for each picture. Empty for a task that cannot say how sure its drop is."""
        return {}

    def main_without(self, evidence: Evidence, groups: np.ndarray, count: int) -> np.ndarray:
        """Returns the main metric without the pictures of each group, not rounded, float64 (count,).

        Args:
            evidence: of all pictures.
            groups: int64 (pictures,), the group of each picture.
            count: groups from 0; one that has no picture leaves none out.
        """
        raise NotImplementedError("a task that keeps evidence says what comes of a part of it")

    def score_change(
        self, reference: Evidence, artifact: Evidence, spec: Spec, settings: Mapping[str, float | int]
    ) -> ScoreChange | None:
        """Returns what became of the scores of the float model; None for a task without scores.

        Args:
            reference: of the float model.
            artifact: on the same pictures.
            spec: of the artifact.
            settings: those of the recipe.
        """
        return None

    def disagreement(self, reference: Found, other: Found) -> tuple[float, float] | None:
        """Returns how far a result is from that of the float model on the same picture, and how far it can be about at
        most: the sums over several pictures are compared. None for a task that cannot say.

        Args:
            reference: result of the float model.
            other: of another model.
        """
        return None

    @abstractmethod
    def count_sure(self, result: Found, spec: Spec) -> int:
        """Returns how much of a result a prediction would show: the picture with most is the golden picture."""

    @abstractmethod
    def results(self, result: Found) -> list[JsonObject]:
        """Returns the result of one picture for the file of the evaluation's results, without what names the
        picture."""

    @abstractmethod
    def outlines(self, golden: Any) -> list[Outline]:
        """Returns what the page draws on the golden picture.

        Args:
            golden: what `edgecompile.runtime.tasks.Task.golden` returned.
        """

    def whole_labels(self, golden: Any) -> list[WholeLabel]:
        """Returns what the page says of the golden picture as a whole, best first; arguments as `outlines`."""
        return []


Gaps = dict[str, float]
"""Part of the outputs to the largest difference in it."""


@cache
def find_task(name: str) -> Task[Any, Any, Any]:
    """Returns a task.

    Raises:
        PlanError: there is no task of that name, or the package that brings it cannot be imported.
    """
    if name in _shipped():
        task: Task[Any, Any, Any] = import_module(f"{__name__}.{name}").Task()
        return task
    if point := named_point(ENTRY_POINTS, name):
        try:
            return point.load()()
        except Exception as error:  # of somebody else's package
            message = f"the task '{name}' ({point.value}) cannot be imported: {type(error).__name__}: {error}"
            raise PlanError(message) from error
    raise PlanError(f"there is no task '{name}'", fix=f"tasks: {', '.join(task_names())}")


def task_names() -> tuple[str, ...]:
    """Returns the names of all tasks: those of this package first, each group sorted."""
    third_party = {point.name for point in entry_points(ENTRY_POINTS)} - _shipped()
    return (*sorted(_shipped()), *sorted(third_party))


def chosen_task(asked: str | None, stated: str | None) -> str:
    """Returns what a model is for: what the recipe asks, else what the weights state, else detection.

    Args:
        asked: `model.task` of the recipe.
        stated: by the weights; where no such task exists, `unfit` says so.
    """
    return asked or (stated if stated in task_names() else "detect")


def unfit(stated: str | None, task: str, name: str) -> str:
    """Returns why weights that state a task cannot be compiled for `task`, or ""."""
    if stated is None or stated in find_task(task).checkpoints:
        return ""
    loadable = ", ".join(
        sorted({f"'{checkpoint}'" for task_name in task_names() for checkpoint in find_task(task_name).checkpoints})
    )
    rest = "" if f"'{stated}'" in loadable else f"; only {loadable} can be compiled"
    return f"'{name}' is a model for the task '{stated[:60]}'{rest or f', which {task!r} cannot read'}"


@cache
def _shipped() -> frozenset[str]:
    return frozenset(file.stem for file in Path(__file__).parent.glob("[!_]*.py"))


@cache
def all_metrics() -> dict[str, Metric]:
    """Returns the metrics of all tasks by name, and their drops: for each task the drop first."""
    metrics: dict[str, Metric] = {}
    for name in task_names():
        task = find_task(name)
        for metric in (task.drop, *task.metrics):
            metrics.setdefault(metric.name, metric)
    return metrics


@cache
def all_drops() -> dict[str, Metric]:
    """Returns the drops of all tasks by name, each with the main metric that drops."""
    return {find_task(name).drop.name: find_task(name).main for name in task_names()}


@cache
def all_settings() -> dict[str, Setting]:
    """Returns the settings of all tasks by name."""
    settings: dict[str, Setting] = {}
    for name in task_names():
        for setting in find_task(name).settings:
            settings.setdefault(setting.name, setting)
    return settings
