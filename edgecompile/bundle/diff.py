"""What differs between two locks. Pure: reads nothing, runs nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from edgecompile.bundle.lock import Lock, LockedStep, NamedDigest
from edgecompile.json_types import JsonObject
from edgecompile.recipe.validate import SECTIONS

ABSENT = "absent"


@dataclass(frozen=True)
class Difference:
    """One thing that is not the same.

    Attributes:
        section: "recipe", "weights", "data", "tools", "isa", "steps" or "outputs"; the verb `diff` has more.
        what: a key, a file, a tool, a step or a figure.
        a, b: its value on either side; None where that side lacks it.
    """

    section: str
    what: str
    a: Any
    b: Any

    def __str__(self) -> str:
        return f"{self.what}: {shown_value(self.a)} → {shown_value(self.b)}"


def differences(a: Lock, b: Lock) -> list[Difference]:
    """Returns all that differs between two locks, in the order in which a build meets it.

    The output of a step is compared where both locks state it.
    """
    return [
        *_recipe(flat(a.recipe), flat(b.recipe)),
        *files("weights", "weights", [a.weights], [b.weights]),
        *files("weights", "external data", a.external_data, b.external_data),
        *_data(a, b),
        *mappings("tools", a.tools, b.tools),
        *mappings("isa", {"instruction set": a.isa_class}, {"instruction set": b.isa_class}),
        *_steps(a, b),
        *mappings("steps", flat(a.result.model_dump(), "result"), flat(b.result.model_dump(), "result")),
    ]


def mappings(section: str, a: Mapping[str, object], b: Mapping[str, object]) -> list[Difference]:
    """Returns the keys whose values differ, sorted."""
    keys = sorted({*a, *b})
    return [Difference(section, key, a.get(key), b.get(key)) for key in keys if a.get(key) != b.get(key)]


def files(section: str, role: str, a: Iterable[NamedDigest], b: Iterable[NamedDigest]) -> list[Difference]:
    """Returns the files that only one side has, and the files of one name whose content differs."""
    left, right = [(file.name, file.sha256) for file in a], [(file.name, file.sha256) for file in b]
    only_left, only_right = Counter(left) - Counter(right), Counter(right) - Counter(left)
    if not only_left and not only_right:
        return [] if left == right else [Difference(section, f"order of the {role}s", "one", "another")]
    differing = []
    for name, sha256 in only_left.elements():
        twin = next((entry for entry in only_right if entry[0] == name and only_right[entry]), None)
        if twin is not None:
            only_right[twin] -= 1
        differing.append(Difference(section, f"{role} {name}", sha256, twin[1] if twin else None))
    return differing + [Difference(section, f"{role} {name}", None, sha256) for name, sha256 in only_right.elements()]


def first_apart(a: Lock, b: Lock) -> str | None:
    """Returns the name of the first step, in the order of `a`, whose output `b` does not repeat; None where all agree.

    Ignores measured steps, which differ every time, and steps whose output either lock leaves open.
    """
    steps = {step.name: step for step in b.steps}
    return next((step.name for step in a.steps if _apart(step, steps.get(step.name))), None)


def states_outputs(lock: Lock) -> bool:
    """Returns whether a lock states the outputs of steps: it came out of a bundle, or of a run."""
    return any(step.output for step in lock.steps)


def _apart(left: LockedStep, right: LockedStep | None) -> bool:
    """Returns whether two steps of one name are known to have different outputs."""
    if right is None:
        return not left.measured
    return bool(left.output and right.output and (left.output, left.files) != (right.output, right.files))


def flat(value: object, prefix: str = "") -> dict[str, object]:
    """Returns the leaves of nested mappings by dotted key; a list is a leaf."""
    return dict(_leaves(value, prefix))


def _leaves(value: object, prefix: str) -> Iterator[tuple[str, object]]:
    if isinstance(value, Mapping) and value:
        for key, inner in value.items():
            yield from _leaves(inner, f"{prefix}.{key}" if prefix else str(key))
    else:
        yield prefix, value


def _recipe(a: Mapping[str, object], b: Mapping[str, object]) -> list[Difference]:
    """Returns the keys of the recipe that differ. A lock of an older version lacks keys that were added since; such a
    key is no difference where the other side has its default."""
    defaults = _defaults()

    def counts(difference: Difference) -> bool:
        key = difference.what
        return (key in a and key in b) or key not in defaults or defaults[key] not in (difference.a, difference.b)

    return list(filter(counts, mappings("recipe", a, b)))


@cache
def _defaults() -> Mapping[str, object]:
    """Returns the default of each key of a recipe that has a default, by dotted key."""
    sections = ("data", "gates", "evaluate")
    return flat({name: SECTIONS[name].model_construct().model_dump(mode="json") for name in sections})


def _data(a: Lock, b: Lock) -> list[Difference]:
    """Returns the classes, pictures and labels that differ."""
    return [
        *mappings("data", {"class names": a.data.names}, {"class names": b.data.names}),
        *files("data", "calibration picture", a.data.calibration or (), b.data.calibration or ()),
        *files("data", "validation picture", a.data.validation, b.data.validation),
        *files("data", "label file", _labels(a), _labels(b)),
        *_counts(a, b),
    ]


def _counts(a: Lock, b: Lock) -> list[Difference]:
    """Returns which counts of the data set differ, where both locks state them."""
    if a.data.counts is None or b.data.counts is None:
        return []
    left, right = a.data.counts, b.data.counts
    return mappings("data", flat(left.model_dump(mode="json")), flat(right.model_dump(mode="json")))


def _labels(lock: Lock) -> list[NamedDigest]:
    return [picture.label for picture in lock.data.validation if picture.label]


def _steps(a: Lock, b: Lock) -> Iterator[Difference]:
    """Yields how the steps differ (function, version, parameters, inputs), then which outputs differ. Steps that
    measure, which older locks name, make nothing."""
    left, right = ({step.name: step for step in lock.steps if not step.measured} for lock in (a, b))
    for name in dict.fromkeys((*left, *right)):
        before, after = left.get(name), right.get(name)
        if before is None or after is None:
            yield Difference("steps", f"step {name}", before and before.function, after and after.function)
            continue
        for difference in mappings("steps", flat(_definition(before)), flat(_definition(after))):
            yield Difference("steps", f"step {name}, {difference.what}", difference.a, difference.b)
        if _apart(before, after):
            yield Difference("outputs", f"step {name}", before.output, after.output)


def _definition(step: LockedStep) -> JsonObject:
    """Returns what defines a step, without its output."""
    return step.model_dump(mode="json", include={"function", "version", "params", "inputs", "tools", "isa"})


def shown_value(value: Any) -> str:
    """Returns a value in few words: digests by their first digits, long lists cut."""
    if value is None:
        return ABSENT
    text = f"{value:g}" if isinstance(value, float) else str(value)
    if len(text) == 64 and all(sign in "0123456789abcdef" for sign in text):
        return text[:12]
    return text if len(text) <= 100 else f"{text[:99]}…"
