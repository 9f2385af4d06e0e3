"""The manifest of a bundle, schema 1: what the bundle is, what it holds, and the figures it was published with.

Typed here for the side that writes it. The device reads the same document as plain JSON, with the standard library
(`edgecompile.runtime.archive`). Nothing in it depends on time, host, path or a measured latency: those stand in the run
directory, so that equal inputs give an equal bundle.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import (
    AfterValidator,
    AliasChoices,
    BaseModel,
    ConfigDict,
    Field,
    JsonValue,
    ValidationError,
    model_validator,
)

from edgecompile.bundle.documents import canonical_json
from edgecompile.errors import BundleError, Problem
from edgecompile.json_types import JsonObject
from edgecompile.runtime.archive import MEMBER_NAME
from edgecompile.runtime.figures import OLD_DROP, OLD_MAIN, OLD_TITLES
from edgecompile.runtime.options import MOST_THREADS


def _member(name: str) -> str:
    if not MEMBER_NAME.fullmatch(name):
        raise ValueError("must be a relative name of letters, digits and ._+-/ without '..'")
    return name


def _base_name(name: str) -> str:
    if not name or name in (".", "..") or "/" in name or "\0" in name:
        raise ValueError("must be the name of a file, without a folder")
    return name


Precision = Literal["fp32", "fp16", "bf16", "int8"]
MemberName = Annotated[str, AfterValidator(_member)]
Metric = float | int
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class Document(BaseModel):
    """Base of the models below: frozen, unknown keys refused, no value converted."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, validate_default=True)


class File(Document):
    """One file, by content."""

    sha256: Sha256
    size: int = Field(ge=0, description="bytes")


class NamedDigest(Document):
    """A file from outside, by its base name and its content. Never a path."""

    name: Annotated[str, AfterValidator(_base_name)]
    sha256: Sha256


class TargetFacts(Document):
    """The device the artifact is for, and how the runtime opens it there."""

    device: str
    kind: str = Field(description="file of edgecompile/targets that made the artifact")
    arch: str
    isa: list[str] = Field(description="instruction-set features the device is expected to have")
    backend: str = Field(description="file of edgecompile/runtime/backends that runs the artifact")
    runtime: tuple[str, str] = Field(description="distribution the device needs, and its version range")
    system_runtime: bool = Field(default=False, description="whether the device's system brings that distribution")
    options: dict[str, JsonValue] = Field(description="what the backend is opened with")
    threads: int = Field(ge=1, le=MOST_THREADS)
    memory_mb: int | None = Field(default=None, gt=0, description="memory of the device; null in older bundles")
    status: str = Field(
        description="how far the target was proven: built here, built on device, simulated, emulated, estimated or "
        "untested"
    )
    finalize: bool = Field(default=False, description="whether the model must first be built on the device")
    constraints: dict[str, str | list[str]] = Field(
        default={}, description="facts of the device to a version range or to allowed values, checked by finalize"
    )
    stand_in: str | None = Field(
        default=None, description="backend that gave figures and golden vectors where the device's own could not run"
    )


class Weights(Document):
    """The checkpoint or ONNX file that the build began with, and what it is for."""

    weights: NamedDigest
    task: str = Field(pattern=r"^[a-z][a-z0-9_]*$", description="file of edgecompile/runtime/tasks")
    imgsz: tuple[int, int] = Field(description="height and width of the network's input, pixels")
    names: list[str] = Field(description="class names, in the order of their numbers")


class Accuracy(BaseModel):
    """Each metric of the task under its name, 0 to 1, on the validation pictures; and by class."""

    model_config = ConfigDict(frozen=True, extra="allow", strict=True)
    __pydantic_extra__: dict[str, Metric]

    per_class: dict[str, dict[str, Metric | None]] = Field(
        description="name of each class that occurs to its metrics, and `objects`: how many of it there are"
    )


class Distance(Document):
    """Raw outputs of the artifact against those of the float reference, on the same pictures."""

    max: float = Field(description="largest absolute difference")
    cosine: float | None = Field(description="cosine similarity")
    sqnr_db: float | None = Field(description="signal to quantization noise, decibels; null where equal")


class LayerShare(Document):
    """Layers with weights, and their operations."""

    layers: int = Field(ge=0)
    macs: int = Field(ge=0, description="products added for one picture of the usual size")


class Coverage(LayerShare):
    """The layers of the artifact that have weights, counted in its files: all of them, and by precision."""

    by_precision: dict[str, LayerShare]


class DropError(Document):
    """How far the drop may be from that on all pictures of the kind."""

    standard_error: float = Field(ge=0, description="of the drop of the main metric, by leaving groups of pictures out")
    groups: int = Field(ge=2, description="of pictures; of one picture each where there are as many as pictures")
    same: bool = Field(description="whether both models did the same on every picture, scores within rounding")


class AtThreshold(Document):
    """What is shown from a score on."""

    found: int = Field(ge=0, description="objects")
    precision: float | None = Field(description="share of them that is right; null where nothing was found")
    recall: float | None = Field(description="share of the labelled objects among them; null where none is labelled")


class ScoreChange(Document):
    """What became of the scores of the float model."""

    threshold: float | None = Field(description="score from which a prediction shows objects; null where it has none")
    reference: AtThreshold | None = Field(description="the float model from that score on")
    artifact: AtThreshold | None
    matched: int = Field(ge=0, description="found by both models, of one class, with an overlap of at least 0.5")
    median_shift: float | None = Field(description="of the scores of what is matched; null where nothing is")
    largest_shift: float | None = Field(description="the largest shift of one of these scores, up or down")


class Figures(Accuracy):
    """What was found about the artifact that equal inputs find again."""

    pictures: int = Field(ge=1, description="validation pictures")
    objects: int = Field(ge=0, description="labelled objects on them")
    reference: Accuracy = Field(description="the float model, same pictures, same runtime code")
    main: str = Field(default=OLD_MAIN, description="name of the metric that verdicts weigh")
    drop: str = Field(default=OLD_DROP, description="name of its loss against the reference")
    titles: dict[str, str] = Field(default=OLD_TITLES, description="each metric, and the drop, to what it is called")
    distance: Distance
    size_bytes: int = Field(ge=0, description="size of the artifact's files")
    coverage: Coverage | None = Field(default=None, description="null where the artifact's format is not counted")
    drop_error: DropError | None = Field(default=None, description="null where the task does not tell")
    scores: ScoreChange | None = Field(default=None, description="null where the task has none")

    @model_validator(mode="after")
    def _named(self) -> Figures:
        metrics = self.titles.keys() - {self.drop}
        classes = [
            (f"{place}per_class.{name}", numbers.keys() - {"objects"}, metrics)
            for place, accuracy in (("", self), ("reference.", self.reference))
            for name, numbers in accuracy.per_class.items()
        ]
        stated = [
            ("titles", {self.main, self.drop} & self.titles.keys(), {self.main, self.drop}),
            ("", self.__pydantic_extra__.keys(), metrics | {self.drop}),
            ("reference", self.reference.__pydantic_extra__.keys(), metrics),
            *classes,
        ]
        for place, names, expected in stated:
            if odd := sorted(names ^ expected):
                key = ".".join(filter(None, ("figures", place, odd[0])))
                raise ValueError(f"{key} is {'missing' if odd[0] in expected else 'no metric that titles name'}")
        return self


class SplitFacts(Document):
    """The pictures of one split of the data set."""

    split: str
    found: int = Field(ge=0, description="files that are pictures, or may be; each once")
    used: int = Field(ge=0, description="pictures that were chosen of those not left out")
    repeated: int = Field(ge=0, description="how often a picture was named again")
    left_out: dict[str, Annotated[int, Field(ge=1)]] = Field(description="why pictures were left out, and how many")


class LabelFacts(Document):
    """The labels of the validation pictures."""

    missing: int = Field(ge=0, description="pictures without a label file; they count as pictures without objects")
    empty: int = Field(ge=0, description="pictures whose label file holds no object")
    objects: int = Field(ge=0)
    renamed: int = Field(ge=0, description="label files found in another Unicode normalisation of the name")


class DataFacts(Document):
    """What the data set holds, what of it was used, and what was left out."""

    validation: SplitFacts
    labels: LabelFacts
    calibration: SplitFacts | None = Field(description="null where nothing was calibrated")


class Gate(Document):
    """One condition of the recipe and what it was judged on."""

    gate: str
    limit: float
    figure: float | None = Field(description="null where measured: the figure stands in the run directory's report")
    met: bool | None = Field(description="null where it is yet to be judged on the device")
    measured: bool = Field(description="whether the figure is a measurement of one machine")
    proven: bool | None = Field(
        default=None,
        description="whether a drop is within its limit at the confidence asked for (0.95 where none is), too; null "
        "for other gates",
    )


class Tolerance(Document):
    """How far another machine's outputs may be from the golden outputs."""

    max_abs: float = Field(ge=0, description="largest difference, as a share of the largest golden number")
    min_cosine: float = Field(description="smallest cosine similarity")


class Vectors(Document):
    """A picture scaled to fit the network, the artifact's outputs on it, and the result they decode to."""

    input: MemberName
    outputs: list[MemberName]
    result: MemberName = Field(validation_alias=AliasChoices("result", "detections"))


class Golden(Vectors):
    """The golden vectors of the usual shape, and of the smallest and the largest where the shape may change."""

    tolerance: Tolerance
    limits: dict[Literal["min", "max"], Vectors] = Field(default={}, description="empty where the shape is fixed")


class StepDigest(Document):
    """A step that the artifact or its figures came from. Measured steps are not listed: they differ every time."""

    name: str
    stage: str
    key: Sha256
    output: Sha256


class ManifestDraft(Document):
    """manifest.json, schema 1, before its files are known: all of it but `files`."""

    schema_version: Literal[1] = Field(alias="schema")
    format: Literal["edgecompile-bundle"]
    name: str = Field(min_length=1)
    description: str
    created_by: str
    target: TargetFacts
    precision: Precision
    model: Weights
    data: DataFacts | None = Field(default=None, description="null where it was built from a lock that does not say")
    tools: dict[str, str] = Field(description="distributions that made the artifact, and their versions")
    isa_class: str = Field(description="instruction-set class of the machine that made it: equal class, equal bytes")
    figures: Figures
    gates: list[Gate]
    golden: Golden
    steps: list[StepDigest]

    def to_json(self) -> dict[str, JsonValue]:
        """Returns the document as plain JSON."""
        return self.model_dump(mode="json", by_alias=True)


class Manifest(ManifestDraft):
    """manifest.json, schema 1. In the bundle it is RFC 8785 JSON and a newline."""

    files: dict[MemberName, File] = Field(description="every member of the zip but this one")

    def to_bytes(self) -> bytes:
        """Returns the canonical bytes that stand in the bundle."""
        return canonical_json(self.to_json())


def read_manifest(content: bytes) -> Manifest:
    """Parses and checks the bytes of a manifest.json.

    Raises:
        BundleError: with one problem for each thing that is wrong.
    """
    try:
        return Manifest.model_validate_json(content)
    except ValidationError as error:
        raise BundleError(problems_of(error, "manifest.json")) from error


def read_draft(document: JsonObject) -> ManifestDraft:
    """Returns the typed draft of a plain document, as a step receives it among its parameters.

    Raises:
        BundleError: with one problem for each thing that is wrong.
    """
    try:
        return ManifestDraft.model_validate_json(canonical_json(document))
    except ValidationError as error:
        raise BundleError(problems_of(error, "manifest.json")) from error


def complete_manifest(draft: JsonObject, files: Mapping[str, File]) -> Manifest:
    """Returns the manifest that the plain JSON of a draft and the digests of the members make.

    Raises:
        BundleError: the draft does not have the form above.
    """
    return read_manifest(canonical_json({**draft, "files": {name: file.model_dump() for name, file in files.items()}}))


def problems_of(error: ValidationError, where: str) -> list[Problem]:
    """Returns pydantic's complaints as problems of this program: `where:key.key`, and what was expected."""
    return [
        Problem(detail["msg"], ":".join(filter(None, (where, ".".join(str(part) for part in detail["loc"])))))
        for detail in error.errors(include_url=False)
    ]
