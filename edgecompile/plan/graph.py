"""The staged graph of steps, and the builder that passes and targets add to."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from edgecompile.data.counts import DataCounts
from edgecompile.data.label_reading import LabelReading
from edgecompile.errors import PlanError
from edgecompile.evaluate.tasks import find_task
from edgecompile.plan.shapes import Profile, profile_of, sides
from edgecompile.plan.step import Output, Source, Stage, Step


class Request(Protocol):
    """What lowering may read of a recipe; `edgecompile.recipe.schema.Recipe` satisfies it.

    Stated here so that the graph knows nothing of the room that makes recipes.
    """

    @property
    def model(self) -> Any: ...
    @property
    def data(self) -> Any: ...
    @property
    def target(self) -> Any: ...
    @property
    def evaluate(self) -> Any: ...
    @property
    def measurement(self) -> Any: ...
    @property
    def gates(self) -> Any: ...
    def ordered_passes(self) -> Sequence[Any]: ...
    def asks_for(self, figure: str) -> bool: ...


@dataclass(frozen=True)
class Model:
    """The model on its way through the passes: what `Pass.lower` receives and returns.

    Attributes:
        artifact: the file (`model.onnx`) or the folder (an OpenVINO IR: `model.xml` + `model.bin`) that holds it.
        spec: the `spec.json` that says how to feed it and how to read it (pre- and post-processing as data).
        format: "onnx" or "openvino" (a target may add its own).
        precision: "fp32", "fp16", "bf16" or "int8".
    """

    artifact: Output
    spec: Output
    format: str = "onnx"
    precision: str = "fp32"

    def with_(self, **changes: Any) -> Model:
        """Returns a copy with some attributes changed."""
        return Model(**{**vars(self), **changes})  # a third of the time of `replace`, which a large sweep would feel


@dataclass(frozen=True)
class Materials:
    """What a recipe names, found on disk: the sources of a plan. Made once, before the plan.

    Attributes:
        weights: the checkpoint or the ONNX file.
        calibration: pictures to calibrate with, in a fixed order; None where the recipe names none.
        validation: pictures to validate on, in a fixed order.
        labels: files of the labels of the validation pictures. In YOLO's layout one for each picture, in the same
            order; a picture without objects may lack a file: its path then still stands here.
        names: class names, in the order of their numbers.
        reading: how the labels are read.
        notes: remarks for a person (fewer pictures than were asked for).
        counts: pictures found, used and left out, and labels; None where a lock does not state them.
        imgsz: height and width that the weights take, pixels; None where the recipe names the size.
        task: what the model is for: as the recipe says, else as the weights do.
    """

    weights: Source
    calibration: Source | None
    validation: Source
    labels: Source
    names: tuple[str, ...]
    notes: tuple[str, ...] = ()
    counts: DataCounts | None = None
    imgsz: tuple[int, int] | None = None
    task: str = "detect"
    reading: LabelReading = field(default_factory=LabelReading)


@dataclass(frozen=True)
class Plan:
    """A graph of steps in an order in which they can run. Pure data.

    Attributes:
        steps: each step after all that it needs.
        result: the output that is the artifact which ships.
        notes: remarks for a person ("INT8 will not help on this instruction set").
        counts: pictures found, used and left out, and labels; None where they are not known.
        task: that the model is compiled for; "" where it does not matter.
        repair: steps that run only where a gate on accuracy is not met, before the search for a repair.
        repair_candidates: most mixes of INT8 and float that such a search builds.
    """

    steps: tuple[Step, ...]
    result: Model
    notes: tuple[str, ...] = ()
    counts: DataCounts | None = None
    task: str = ""
    repair: tuple[Step, ...] = ()
    repair_candidates: int = 0

    def __iter__(self) -> Iterator[Step]:
        return iter(self.steps)

    def needed_by(self, names: Collection[str]) -> Plan:
        """Returns the part of the plan that some steps need, with them."""
        wanted = set(names)
        for step in reversed(self.steps):
            if step.name in wanted:
                wanted.update(step.needs)
        return replace(self, steps=tuple(step for step in self.steps if step.name in wanted))

    def __getitem__(self, name: str) -> Step:
        return next(step for step in self.steps if step.name == name)


@dataclass
class Graph:
    """Collects steps while a recipe is lowered. Passes and targets see the recipe and its materials through it."""

    recipe: Request
    materials: Materials
    steps: dict[str, Step] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    @property
    def target(self) -> Any:
        return self.recipe.target

    @property
    def imgsz(self) -> list[int]:
        """Height and width of the usual input, pixels: as the recipe says, else as the weights do."""
        return sides(self.recipe.model.imgsz or self.materials.imgsz or find_task(self.task).usual_size)

    @property
    def task(self) -> str:
        """What the model is for: file of `edgecompile/evaluate/tasks/`."""
        return self.materials.task

    def add(self, step: Step) -> Step:
        """Adds a step and returns it. Adding an equal step again is fine; two different steps of one name are not."""
        existing = self.steps.get(step.name)
        if existing is not None and existing != step:
            raise PlanError(f"two different steps are named '{step.name}'")
        for value in step.inputs.values():
            if isinstance(value, Output) and value.step not in self.steps:
                reads = f"step '{step.name}' reads the output of '{value.step}'"
                raise PlanError(f"{reads}, which is not in the plan before it")
        self.steps[step.name] = step
        return step

    @property
    def categories(self) -> dict[str, list[int | None]]:
        """Parameters of a step that writes the spec: the ids of the classes in the data set, where these are others
        than their numbers."""
        categories = self.materials.reading.categories
        return {"categories": list(categories)} if categories else {}

    @property
    def calibration(self) -> Source:
        """The pictures to calibrate with.

        Raises:
            PlanError: the recipe names none.
        """
        if self.materials.calibration is None:
            raise PlanError("there are no pictures to calibrate with", fix="set data.calibration")
        return self.materials.calibration

    def profile(self) -> Profile | None:
        """Returns the shapes that the exported model takes at run time, see `profile_of`; notes what stays fixed."""
        profile, notes = profile_of(self.recipe.model, self.target, self.imgsz)
        for note in notes:
            self.note(note)
        return profile

    def note(self, text: str) -> None:
        """Adds a remark that `plan` and the report show."""
        if text not in self.notes:
            self.notes.append(text)


__all__ = ["Graph", "Materials", "Model", "Output", "Plan", "Source", "Stage", "Step"]
