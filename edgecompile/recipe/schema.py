"""The typed recipe: what a person may write, with units, ranges and defaults. Frozen; knows no YAML and no Hydra."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PrivateAttr,
    SerializeAsAny,
    ValidationInfo,
    create_model,
    field_serializer,
    field_validator,
    model_validator,
)

from edgecompile.evaluate.gates import CONFIDENCE, CONFIDENCE_ABOUT, GATES, Gate
from edgecompile.evaluate.tasks import all_settings, task_names
from edgecompile.passes import Pass
from edgecompile.plan.shapes import POINTS, sides
from edgecompile.recipe.locate import Origins
from edgecompile.runtime.quality import TOLERANCE
from edgecompile.targets import Target

SCHEMA = 1

Side = Annotated[int, Field(ge=1, le=4096)]
THREE = Field(json_schema_extra={"minItems": 3, "maxItems": 3})
Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]
Confidence = Annotated[float, Field(ge=0.5, lt=1)]
Split = Annotated[str, Field(pattern=r"^\w+$")]


class Section(BaseModel):
    """Base of the parts of a recipe."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True, allow_inf_nan=False)


class Dynamic(Section):
    """Shapes that may change from run to run, each as [min, opt, max]. Three equal values fix an axis, as leaving it
    out does. Targets that profit from fixed shapes keep them, and `plan` says so."""

    batch: Annotated[tuple[Annotated[int, Field(ge=1, le=256)], ...], THREE] | None = Field(
        default=None, description="pictures of one run: [min, opt, max]; null for 1"
    )
    imgsz: Annotated[tuple[Side | tuple[Side, Side], ...], THREE] | None = Field(
        default=None,
        description="pixels of the square input, or [height, width]: [min, opt, max], multiples of 32, but for "
        "classification; opt is model.imgsz, where accuracy is validated; null for model.imgsz alone",
    )

    @field_validator("batch", "imgsz")
    @classmethod
    def _rising(cls, points: tuple[Any, ...] | None) -> tuple[Any, ...] | None:
        if points is None:
            return points
        if len(points) != len(POINTS):
            raise ValueError("[min, opt, max] is expected")
        sizes = [sides(point) for point in points]
        for (name, size), (next_name, next_size) in pairwise(zip(POINTS, sizes, strict=True)):
            if any(side > next_side for side, next_side in zip(size, next_size, strict=True)):
                raise ValueError(f"min <= opt <= max is expected, and {name} is more than {next_name}")
        return points


def _is_unset(value: Any) -> bool:
    """Returns whether a key need not stand in a lock: locks of before there was such a key open as they are."""
    return value is None


class ModelSettings(Section):
    """The model to compile."""

    weights: str = Field(
        min_length=1,
        description="checkpoint (.pt) or ONNX file; a relative path is relative to the file that names it",
    )
    task: str | None = Field(
        default=None,
        exclude_if=_is_unset,
        description="what the model is for, where its file does not say or another task can read it: "
        f"{', '.join(task_names())}; null for what the weights say, or else detect",
        json_schema_extra={"enum": [*task_names(), None]},
    )
    dynamic: Dynamic | None = Field(
        default=None, description="shapes that may change from run to run; null for one picture of imgsz"
    )
    imgsz: Side | tuple[Side, Side] | None = Field(
        default=None,
        description="pixels of the square input, or [height, width]; multiples of 32, but for classification; null "
        "for opt of dynamic.imgsz, or else the size that the weights were trained at",
    )

    @field_validator("task")
    @classmethod
    def _known(cls, task: str | None) -> str | None:
        if task is not None and task not in task_names():
            raise ValueError(f"one of {', '.join(task_names())} is expected")
        return task

    @field_validator("imgsz")
    @classmethod
    def _opt(cls, imgsz: Any, info: ValidationInfo) -> Any:
        """Returns the size: where none is given, the usual one of the profile."""
        dynamic = info.data.get("dynamic")
        return dynamic.imgsz[1] if imgsz is None and dynamic is not None and dynamic.imgsz else imgsz


class Calibration(Section):
    """The pictures by which INT8 ranges are found."""

    split: Split = Field(default="train", description="split of the data set")
    images: int = Field(default=300, ge=1, le=100_000, description="how many, evenly spaced over the sorted split")
    minimum: int = Field(
        default=32,
        ge=1,
        description="fewer pictures than this are an error: ranges found on a handful do not hold elsewhere",
    )


# What judges the pictures at hand is no part of what is built: it is excluded below, and so stands in no lock.
class Validation(Section):
    """The pictures on which the artifact is compared with the float model."""

    split: Split = Field(default="val", description="split of the data set")
    images: int | None = Field(default=None, ge=1, description="how many, evenly spaced; null for all")
    minimum: int = Field(
        default=8,
        ge=1,
        exclude=True,
        description="fewer pictures than this are an error: figures of a handful prove nothing",
    )
    warn_below: int = Field(
        default=50, ge=0, exclude=True, description="fewer pictures than this are remarked on; 0 for no remark"
    )


class Data(Section):
    """The data set."""

    path: str = Field(
        min_length=1,
        description="YOLO data.yaml, COCO's JSON, or a folder with train/ and val/ and folders of classes in them; a "
        "relative path is relative to the file that names it",
    )
    calibration: Calibration | None = Field(default=Calibration(), description="null where no pass calibrates")
    validation: Validation = Validation()
    remark_share: Share = Field(
        default=0.05,
        exclude=True,
        description="share of the pictures of a split, 0..1, above which those left out, or without a label file, are "
        "remarked on",
    )
    error_share: Share = Field(default=0.5, exclude=True, description="the same, above which they are an error")


def _limit_kind(gate: Gate) -> Any:
    """Returns the type of a gate's limit."""
    return Literal[False] if gate.forbids else Share if gate.share else Positive


def _gate_fields() -> dict[str, Any]:
    """Returns a field for each gate there is: those of tasks, and those on measurements; and how sure drops must be."""
    limits = {
        name: (_limit_kind(gate) | None, Field(default=None, description=gate.about)) for name, gate in GATES.items()
    }
    return {**limits, CONFIDENCE: (Confidence | None, Field(default=None, description=CONFIDENCE_ABOUT))}


def _evaluation_fields() -> dict[str, Any]:
    """Returns a field for each number by which a task evaluates accuracy."""
    fields: dict[str, Any] = {}
    for name, setting in all_settings().items():
        whole = Annotated[int, Field(ge=1, le=setting.most)]
        kind = whole if isinstance(setting.default, int) else Share
        fields[name] = (kind, Field(setting.default, description=setting.about))
    return fields


GATES_ABOUT = "Conditions on measured figures; null for none. An unmet gate ends the build without a bundle."
EVALUATE_ABOUT = (
    "How the artifact is validated. The defaults are those of Ultralytics' `val` with `rect=False`, so that figures "
    "compare."
)

if TYPE_CHECKING:

    class Gates(Section):
        """The fields are declared by tasks and measurements: see `edgecompile.evaluate.gates`."""

    class Evaluate(Section):
        """Most fields are declared by tasks: see `edgecompile.evaluate.tasks`."""

        latency_images: int = 100

    Objective = str
else:
    Gates = create_model("Gates", __base__=Section, __doc__=GATES_ABOUT, **_gate_fields())
    Evaluate = create_model(
        "Evaluate",
        __base__=Section,
        __doc__=EVALUATE_ABOUT,
        **_evaluation_fields(),
        latency_images=(int, Field(default=100, ge=10, le=10_000, description="timed predictions")),
    )
    Objective = Literal[tuple(name for name, gate in GATES.items() if gate.weighable)]
    """A figure that a search weighs: a figure that gates judge."""


ADDRESS = r"^ssh://([A-Za-z0-9_][\w.-]*@)?(\[[0-9A-Fa-f:.%\w]+\]|\w[\w.-]*)(:\d{1,5})?(/\S*)?$"
"""Of a device; see `edgecompile.device.address`."""


class Device(Section):
    """The device on which latency, memory and power are measured and their gates judged. No part of what is built."""

    host: str | None = Field(
        default=None,
        pattern=ADDRESS,
        description="ssh://[user@]host[:port][/path], or ssh://alias of ~/.ssh/config; null to measure on this machine",
    )
    hosts: tuple[Annotated[str, Field(pattern=ADDRESS)], ...] = Field(
        default=(),
        max_length=1000,
        description="devices of a sweep: each point is measured and judged on each of them; `build -m` takes them",
    )
    path: str | None = Field(
        default=None, min_length=1, description="folder there that takes everything; null for ~/edgecompile"
    )
    wheels: str | None = Field(
        default=None,
        min_length=1,
        description="folder here with wheels to install there from, without network; a relative path is relative to "
        "the file that names it; null for the index that pip knows there",
    )
    python: str | None = Field(
        default=None,
        min_length=1,
        description="a Python there that has the backend; null to make an environment",
    )

    @model_validator(mode="after")
    def _one_of_them(self) -> Device:
        if self.hosts and self.host is None:
            raise ValueError("'hosts' are the devices of a sweep; add -m, and give them on the command line")
        return self


class MeasurementSettings(Section):
    """How well the artifact is measured, and for how long that stands. No part of what is built: it stands in no
    lock."""

    tolerance: float = Field(
        default=TOLERANCE,
        ge=0.005,
        le=10,
        description="share by which a latency may be off: 0.03 for 3 %. It is measured until the median is known so "
        "well; beside other processes that take a larger share of the processor it is noisy, is not kept, and judges "
        "only gates that noise cannot turn",
    )
    seconds: float = Field(
        default=10.0, ge=0.1, le=3600, description="for how long is measured at most, beside opening the model"
    )
    max_age_days: Annotated[float, Field(ge=0)] | None = Field(
        default=7.0,
        description="for how long a measurement on the same machine stands; 0 to measure in each build, null for ever",
    )
    refuse_noisy: bool = Field(
        default=False,
        description="whether a gate that noise leaves open ends the build as an unmet gate does; else the bundle is "
        "published and the report says that it was not judged",
    )


class Recipe(Section):
    """One compilation: a model, its data, a target, an ordered set of named passes, and the gates."""

    schema_version: Literal[1] = Field(default=1, alias="schema", description="version of the recipe's format")
    name: str = Field(
        min_length=1,
        max_length=100,
        pattern=r"^[^/\\.\x00-\x1f][^/\\\x00-\x1f]*$",
        description="name of the bundle; the recipe's file name where it is not given",
    )
    description: str = Field(default="", max_length=1000)
    model: ModelSettings
    data: Data
    target: SerializeAsAny[Target]
    passes: dict[str, SerializeAsAny[Pass]] = Field(min_length=1, description="passes by name; null leaves a pass out")
    order: tuple[str, ...] | None = Field(
        default=None, description="names of all passes in the order in which they run; null for the order of stages"
    )
    gates: Gates = Gates()
    evaluate: Evaluate = Evaluate()
    measurement: MeasurementSettings = Field(default=MeasurementSettings(), exclude=True)
    device: Device = Device()
    # How points are chosen is no input of a build, so it stands in no lock and changes no bundle.
    objectives: tuple[Objective, ...] = Field(
        default=(),
        exclude=True,
        description="figures that a search weighs against each other (hydra/sweeper=optuna); which way each is better "
        "is known; no part of what is built",
    )

    _origins: Origins = PrivateAttr(default_factory=Origins)

    @property
    def origins(self) -> Origins:
        """Where each key was set; relative paths and messages need it. No part of the recipe's content."""
        return self._origins

    def asks_for(self, figure: str) -> bool:
        """Returns whether a gate or an objective reads a figure, so that it has to be measured."""
        return getattr(self.gates, figure, None) is not None or figure in self.objectives

    def with_origins(self, origins: Origins) -> Recipe:
        """Notes where the keys of this recipe were set, and returns it."""
        self._origins = origins
        return self

    def ordered_names(self) -> tuple[str, ...]:
        """Returns the names of the passes in the order in which they run."""
        if self.order is not None:
            return self.order
        return stage_order(self.passes)

    def ordered_passes(self) -> list[Pass]:
        """Returns the passes in the order in which they run."""
        return [self.passes[name] for name in self.ordered_names()]

    @field_serializer("passes")
    def _with_kinds(self, passes: dict[str, Pass]) -> dict[str, Any]:
        """Writes each pass with its kind, so that what is written can be read again."""
        from edgecompile.recipe.kinds import kind_of

        return {name: {"kind": kind_of(pass_), **pass_.model_dump(mode="json")} for name, pass_ in passes.items()}


def stage_order(passes: dict[str, Pass]) -> tuple[str, ...]:
    """Returns the names of passes by stage, the source first; within a stage, in the order of writing."""
    return tuple(sorted(passes, key=lambda name: (not passes[name].is_source, passes[name].stage.place)))
