"""recipe.lock.yaml, schema 1: everything a build resolved, so that the same build can be made again and compared.

The lock of a bundle also states the digest of each step's output. A lock that `edgecompile lock` writes, before a step
has run, leaves those digests null, and so is the same whatever the store holds: what it does not state is not compared.

Weights, pictures and labels stand in it by base name and digest, never by path: whoever builds again finds them by
digest. It holds no time, no host, no measured figure and not the Python version, because none of these changes the
bytes of a bundle, and all of them differ between two machines that must agree on it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, JsonValue, ValidationError

from edgecompile.bundle.documents import canonical_json
from edgecompile.bundle.manifest import DataFacts, Document, File, NamedDigest, Sha256, problems_of
from edgecompile.errors import RecipeError, StepError
from edgecompile.json_types import JsonObject
from edgecompile.quantization.mixed_precision import Repair
from edgecompile.run_dir import LOCK, REPORT
from edgecompile.runtime.archive import Archive
from edgecompile.runtime.figures import Figures, figures_from

SCHEMA = 1
LARGEST = 64 << 20
"""Bytes of a lock that is still read: about half a million pictures."""
DEEPEST = 64
ZIP = b"PK\x03\x04"
STRING = "tag:yaml.org,2002:str"
OF_REPORTS = frozenset({"figures", "gates", "created_by"})
"""Keys that a report has, and no lock."""
UNLOCKED = ("board", "proof", "source")
"""Keys of a target that only people read. Older locks hold them, and they are left out when such a lock is read."""
HEADER = """\
# Written by edgecompile; not meant to be edited. It says what one bundle was made from: the recipe with every default
# filled in, the digests (sha256) of the weights, pictures and labels, the versions of the tools, and what each step
# put out, where it has run. `recipe` is what a person chose; all that stands below it follows from it.
"""


class LockedPicture(NamedDigest):
    """A picture, and for a validation picture its label file; null where the picture has none (nothing to find)."""

    label: NamedDigest | None = None


class LockedReading(Document):
    """How labels are read, where that is not said by their files alone."""

    kpt_shape: list[int] | None = Field(default=None, description="key points of an object, values of each")
    kpt_oks_sigmas: list[float] | None = Field(default=None, description="of the data set; null where it states none")
    layout: str | None = Field(default=None, pattern=r"^[a-z_]+$", description="of the data set; null for YOLO's")
    keys: list[str] | None = Field(default=None, description="by which each validation picture's labels are found")
    names: list[str] | None = Field(default=None, description="class names by which labels are numbered")
    categories: list[int | None] | None = Field(
        default=None, description="ids of the classes in COCO's JSON, by number; null where the numbers are the ids"
    )
    files: list[NamedDigest] = Field(default=[], description="that hold the labels of all pictures")

    def as_json(self) -> JsonObject:
        """Returns it as `edgecompile.data.label_reading.LabelReading.as_json` does."""
        return self.model_dump(mode="json", exclude_none=True, exclude={"files"})


class LockedData(Document):
    """The pictures that the build read, in the order in which it read them."""

    names: list[str] = Field(description="class names, in the order of their numbers")
    calibration: list[NamedDigest] | None = Field(description="null where nothing was calibrated")
    validation: Annotated[list[LockedPicture], Field(min_length=1)]
    reading: LockedReading | None = Field(default=None, description="null for YOLO label files without key points")
    counts: DataFacts | None = Field(default=None, description="pictures found and left out; null where not stated")
    notes: list[str] | None = Field(default=None, description="remarks on the data set; null where not stated")


class LockedStep(Document):
    """One step: what it ran, on what, and the digests of what it put out (null where it has not run yet)."""

    name: str
    stage: str
    function: str = Field(pattern=r"^[\w.]+:\w+$")
    version: int = Field(ge=1)
    params: dict[str, JsonValue]
    inputs: dict[str, str] = Field(description="argument to a source ('weights') or an output ('step:path')")
    tools: list[str]
    isa: bool = Field(description="whether the output depends on the instruction-set class")
    measured: bool = Field(description="true of steps of older locks alone, which named those that measure too")
    key: Sha256 | None
    output: Sha256 | None
    files: dict[str, File]


class LockedResult(Document):
    """Which output of which step ships."""

    artifact: str = Field(description="'step:path'")
    spec: str = Field(description="'step:path'")
    format: str
    precision: str


class Lock(Document):
    """The whole lock. `recipe` is kept as plain data: reading a lock does not depend on today's recipe schema."""

    schema_version: Literal[1] = Field(alias="schema")
    recipe: dict[str, JsonValue]
    weights: NamedDigest
    external_data: list[NamedDigest] = Field(default=[], description="files beside an ONNX model that hold its weights")
    data: LockedData
    tools: dict[str, str] = Field(description="distribution to version, edgecompile itself included")
    isa_class: str
    result: LockedResult
    steps: list[LockedStep]
    repair: Repair | None = Field(
        default=None,
        description="how INT8 that missed a gate on accuracy was repaired: what stays in float, the mixes that were "
        "judged and the blocks with their losses; null where nothing was repaired",
    )

    def to_json(self) -> dict[str, JsonValue]:
        """Returns the document as plain JSON, in the order of its sections."""
        return self.model_dump(mode="json", by_alias=True)

    def to_bytes(self) -> bytes:
        """Returns the bytes that stand in the bundle: equal locks have equal bytes."""
        return write_yaml(self.to_json())


def write_yaml(document: JsonObject) -> bytes:
    """Returns `document` as YAML in the style of a lock: sections in the order given, keys below them sorted,
    small collections on one line, no anchors, UTF-8."""
    import yaml

    class Dumper(yaml.SafeDumper):
        """The pure Python emitter, which writes the same bytes wherever it is installed; without anchors."""

        def ignore_aliases(self, data: Any) -> bool:
            return True

        def represent_str(self, data: str) -> yaml.ScalarNode:
            # Other quotes would break a line at U+0085 and its like, which is then read back as a space.
            return self.represent_scalar(STRING, data, style=None if data.isprintable() else '"')

    Dumper.add_representer(str, Dumper.represent_str)

    def section(key: str, value: Any) -> str:
        # None: collections of scalars on one line. At the top level that would put `schema: 1` into braces.
        flow = None if isinstance(value, (dict, list)) else False
        return yaml.dump(
            {key: value}, Dumper=Dumper, sort_keys=True, default_flow_style=flow, width=1 << 30, allow_unicode=True
        )

    sections = [section(key, value) for key, value in document.items()]
    return (HEADER + "".join(sections)).encode("utf-8")


@dataclass(frozen=True)
class Locked:
    """A lock and, where it came out of a bundle or of a run directory, what else that states.

    Attributes:
        path: the bundle, or the lock where there is no bundle.
        digest: of the bundle; None where there is no bundle.
        figures: accuracy in all and by class, size, distance to the float model; None for a lock alone.
        did: step to what it did to the graph, in the words of the report.
        measured: of a run directory: latency, memory and power on the machine that built; None elsewhere.
    """

    path: Path
    lock: Lock
    digest: str | None = None
    figures: Figures | None = None
    did: Mapping[str, str] = field(default_factory=dict)
    measured: Mapping[str, Any] | None = None


def open_locked(path: Path) -> Locked:
    """Returns the lock of a bundle, of a lock file, or of a run directory that holds one bundle or one lock.

    The run directory of a build whose gates were not met holds no bundle, but the lock and the report.

    Raises:
        RecipeError: there is no such file, or it holds no lock that this version reads.
        BundleError: a bundle is truncated or altered.
    """
    if path.is_dir():
        candidates = sorted(path.glob("*.bundle.zip")) or sorted(path.glob("*.lock.yaml"))
        if len(candidates) != 1:
            raise RecipeError(f"holds {len(candidates) or 'no'} bundles or locks, expected one", where=str(path))
        opened, report = open_locked(candidates[0]), path / REPORT
        return _with_report(opened, report.read_bytes(), str(report)) if report.is_file() else opened
    if not _is_zip(path):
        return Locked(path, read_lock(path))
    with Archive(path) as archive:
        opened = Locked(path, read_lock(archive.read(LOCK)), archive.digest)
        return _with_report(opened, archive.read(REPORT), f"{path}:{REPORT}")


def _is_zip(path: Path) -> bool:
    """Returns whether a file is a bundle, by how it begins: people rename files."""
    try:
        with path.open("rb") as stream:
            return path.suffix == ".zip" or stream.read(len(ZIP)) == ZIP
    except OSError:
        return path.suffix == ".zip"  # the caller reads the file and reports what is wrong


def _with_report(opened: Locked, report: bytes, where: str) -> Locked:
    """Returns `opened` with what the report of the same build states."""
    try:
        document = json.loads(report)
        bundle = (document.get("run") or {}).get("bundle")
        if bundle and opened.digest and bundle["sha256"] != opened.digest:
            return opened  # the report of another build
        did = {step["name"]: "; ".join(step["did"]) for step in document["steps"] if step["did"]}
        return replace(opened, figures=figures_from(document["figures"]), did=did, measured=document["measured"])
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise RecipeError(f"not the report of a build: {error!r}", where=where) from error


def read_lock(source: Path | str | bytes) -> Lock:
    """Reads a lock from a file, or from bytes (a bundle's member), strictly.

    Raises:
        RecipeError: it cannot be read, is not YAML, holds a key twice or a key that schema 1 does not know, uses an
            anchor, or a value is not of its kind. One problem for each thing that is wrong.
    """
    where = "recipe.lock.yaml" if isinstance(source, bytes) else str(source)
    content = source if isinstance(source, bytes) else _read(Path(source))
    if len(content) > LARGEST:
        raise RecipeError(f"larger than {LARGEST >> 20} MiB, which no lock is", where=where)
    document = _parse(content, where)
    schema = document.get("schema")
    if document.keys() >= OF_REPORTS:
        raise RecipeError("is the report of a build, not its lock", where=where, fix="name the folder that holds it")
    if schema != SCHEMA:
        fix = "read it with the edgecompile that wrote it" if isinstance(schema, int) else "is it a recipe.lock.yaml?"
        raise RecipeError(f"schema {schema!r} where this version reads schema {SCHEMA}", where=where, fix=fix)
    return lock_from(document, where)


def lock_from(document: JsonObject, where: str = "recipe.lock.yaml") -> Lock:
    """Returns the typed lock of a plain document, as a step receives it among its parameters.

    Raises:
        RecipeError: with one problem for each thing that is wrong.
    """
    try:
        return _without_prose(Lock.model_validate_json(canonical_json(document)))
    except ValidationError as error:
        raise RecipeError(problems_of(error, where)) from error
    except StepError as error:
        raise RecipeError(str(error), where=where) from error


def _without_prose(lock: Lock) -> Lock:
    """Returns a lock without the keys that an older version wrote into it for people to read."""
    target = lock.recipe.get("target")
    if not isinstance(target, dict) or not target.keys() & {*UNLOCKED}:
        return lock
    kept = {key: value for key, value in target.items() if key not in UNLOCKED}
    return lock.model_copy(update={"recipe": {**lock.recipe, "target": kept}})


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as stream:
            return stream.read(LARGEST + 1)
    except OSError as error:
        raise RecipeError(f"cannot be read: {error.strerror or error}", where=str(path)) from error


def _parse(content: bytes, where: str) -> JsonObject:
    """Returns the mapping that `content` holds; refuses what could be a trick before anything is built from it."""
    import yaml

    base: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

    class Loader(base):
        """Safe, and as strict as a file that a program wrote deserves: each key is a string and stands once."""

        def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
            seen: set[str] = set()
            for key, _ in node.value:
                fault = "a key is not a plain name" if key.tag != STRING else ""
                if not fault and key.value in seen:
                    fault = f"'{key.value}' stands twice"
                if fault:
                    raise yaml.constructor.ConstructorError(None, None, fault, key.start_mark)
                seen.add(key.value)
            return super().construct_mapping(node, deep)

    try:
        _refuse_tricks(yaml.parse(content, Loader=base), where)
        document = yaml.load(content, Loader=Loader)
    except (yaml.YAMLError, ValueError) as error:  # ValueError: bytes that are not UTF-8, dates that are none
        mark = getattr(error, "problem_mark", None)
        message = getattr(error, "problem", None) or "not UTF-8 text"
        raise RecipeError(
            f"not the YAML of a lock: {message}", where=f"{where}:{mark.line + 1}" if mark else where
        ) from error
    if not isinstance(document, dict):
        raise RecipeError("not a lock: it holds no mapping", where=where)
    return document


def _refuse_tricks(events: Iterator[Any], where: str) -> None:
    """Refuses anchors (which can unfold without bound) and nesting deeper than any lock's, from the event stream."""
    from edgecompile.yaml_text import is_long_number

    depth = 0
    for event in events:
        name = type(event).__name__
        depth += name.endswith("StartEvent") - name.endswith("EndEvent")
        line = f"{where}:{event.start_mark.line + 1}"
        if getattr(event, "anchor", None):
            raise RecipeError("anchors and aliases have no place in a lock", where=line)
        if name == "ScalarEvent" and is_long_number(event):
            raise RecipeError(f"a number of {len(event.value)} digits", where=line)
        if depth > DEEPEST:
            raise RecipeError(f"nested deeper than {DEEPEST} levels", where=line)
