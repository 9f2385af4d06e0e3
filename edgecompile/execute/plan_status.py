"""Says what running a plan would do, and why: which steps the store has, and for the others what changed."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Set
from dataclasses import dataclass
from statistics import median

from edgecompile.execute import measurements, step_key
from edgecompile.execute.canonical_json import Damaged
from edgecompile.execute.entry import Entry, Ingredients, InputDigest, StepRecord
from edgecompile.execute.source_digests import Sources
from edgecompile.execute.store import Store
from edgecompile.execute.tools import missing_tools, version_of
from edgecompile.plan.step import Source, Step

MOST_REASONS = 3
RECENT = 8
"""Runs of a step function by which the duration of the next is estimated."""


@dataclass(frozen=True)
class StepState:
    """What would happen to a step now.

    Attributes:
        step: the step.
        key: None while it depends on the output of a step that has yet to run, or a tool is missing.
        hit: whether the store has the result.
        why: for a hit, when it was made; for a miss, what is new about it.
        seconds: how long it took to make, for a hit.
    """

    step: Step
    key: str | None
    hit: bool
    why: str
    seconds: float | None = None


def plan_status(
    steps: Iterable[Step], store: Store, *, sources: Sources | None = None, explain: bool = True
) -> list[StepState]:
    """Returns what would happen to each step of a plan. Runs nothing and changes no result.

    Args:
        steps: a plan, or its steps, each after all that it needs.
        store: where results are looked for.
        sources: digests of sources, where some are known already.
        explain: whether to find out what is new about a miss, for which results made earlier are compared.

    Files of results are not read, only their sizes compared: a damaged result may count as a hit here, and will be
    built again when the plan runs.

    Raises:
        RecipeError: when a source cannot be read.
    """
    sources = sources or Sources(store.root / "stat")
    entries: dict[str, Entry] = {}
    steps = list(steps)
    absent = {tool for tool in {tool for step in steps for tool in step.tools} if version_of(tool) is None}
    return [_state(step, store, sources, entries, absent, explain) for step in steps]


def usual_seconds(function: str, store: Store) -> float | None:
    """Returns the median of how long a step function last took; None where the store remembers no run of it."""
    records = [_record_of(store, key) for _, key in store.history(function)[:RECENT]]
    seconds = [record["wall_seconds"] for record in records if record and record.get("wall_seconds") is not None]
    return median(seconds) if seconds else None


def _state(
    step: Step, store: Store, sources: Sources, entries: dict[str, Entry], absent: Set[str], explain: bool
) -> StepState:
    """Returns the state of a step; adds its result, if any, to `entries`. A step whose tools are `absent` is a miss."""
    if not absent.isdisjoint(step.tools):
        return StepState(step, None, False, "; ".join(str(problem) for problem in missing_tools([step])))
    if unknown := [need for need in step.needs if need not in entries]:
        return StepState(step, None, False, f"reads what '{unknown[0]}' puts out, which runs first")
    ingredients = step_key.ingredients(step, sources, entries)
    key = step_key.key_of(ingredients)
    if step.measured:
        return _measured_state(step, key, ingredients, store, sources, explain)
    try:
        entry = store.load(key, thorough=False)
    except FileNotFoundError:
        return StepState(
            step, key, False, _why(step, key, ingredients, store, sources) if explain else "not in the store"
        )
    except Damaged as damage:
        return StepState(step, key, False, f"its result in the store is damaged ({damage})")
    except OSError as error:
        raise store.trouble(error) from error
    entries[step.name] = entry
    return StepState(step, key, True, f"made {entry.record.get('finished', '')}", entry.record.get("wall_seconds"))


def _measured_state(
    step: Step, key: str, ingredients: Ingredients, store: Store, sources: Sources, explain: bool
) -> StepState:
    """Returns the state of a step that measures."""
    if entry := measurements.find(store, key, step.max_age_s):
        taken, seconds = entry.record.get("finished", ""), entry.record.get("wall_seconds")
        return StepState(step, key, True, f"measured {taken}", seconds)
    if old := measurements.find(store, key):
        return StepState(step, key, False, f"measured {old.record.get('finished', '')}, too long ago to stand")
    why = _why(step, key, ingredients, store, sources) if explain else "no measurement that stands"
    return StepState(step, key, False, why)


def _why(step: Step, key: str, ingredients: Ingredients, store: Store, sources: Sources) -> str:
    """Returns what is new about a step, against the most similar of its results that were made last."""
    history = store.history(step.function)
    if any(earlier == key for _, earlier in history):
        return "its result is no longer in the store"
    records = [_record_of(store, earlier) for name, earlier in history if name == step.name]
    candidates = [
        list(_differences(step, record["ingredients"], ingredients, store, sources)) for record in records if record
    ]
    if not candidates:
        return "never made before"
    reasons = min(candidates, key=len)  # of equals the newest
    more = f" and {len(reasons) - MOST_REASONS} more" if len(reasons) > MOST_REASONS else ""
    return "; ".join(reasons[:MOST_REASONS]) + more


def _record_of(store: Store, key: str) -> StepRecord | None:
    """Returns how a result was made or measured; None where there is none."""
    return store.record_of(key) or measurements.record_of(store, key)


def _differences(step: Step, old: Ingredients, new: Ingredients, store: Store, sources: Sources) -> Iterator[str]:
    """Yields one line for each ingredient of a key that differs."""
    if old["schema"] != new["schema"]:
        yield "made by another version of edgecompile"
    if old["version"] != new["version"]:
        yield f"step version {old['version']} → {new['version']}"
    yield from _changed("parameter", old["params"], new["params"])
    for name in sorted(old["inputs"].keys() | new["inputs"].keys()):
        before, after = old["inputs"].get(name), new["inputs"].get(name)
        if before != after:
            yield _input_change(step, name, before, after, store, sources)
    yield from _changed("tool", old["tools"], new["tools"])
    if old.get("isa") != new.get("isa"):
        yield f"instruction set {old.get('isa')} → {new.get('isa')}"
    yield from _changed("machine", old.get("machine", {}), new.get("machine", {}))


def _changed(kind: str, old: Mapping[str, object], new: Mapping[str, object]) -> Iterator[str]:
    before, after = dict(_flat(old)), dict(_flat(new))
    for name in sorted(before.keys() | after.keys()):
        if before.get(name) != after.get(name):
            yield f"{kind} {name} {before.get(name, 'none')} → {after.get(name, 'none')}"


def _flat(mapping: Mapping[str, object], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Yields dotted name and short text of each value of nested mappings."""
    for name, value in mapping.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            text = value if isinstance(value, str) else json.dumps(value, default=list)
            yield f"{prefix}{name}", text if len(text) <= 60 else f"{text[:57]}..."


def _input_change(
    step: Step, name: str, old: InputDigest | None, new: InputDigest | None, store: Store, sources: Sources
) -> str:
    if new is None or old is None:
        return f"input {name} {'added' if old is None else 'dropped'}"
    value = step.inputs[name]
    if not isinstance(value, Source):
        output = f"'{value.path}' of '{value.step}'" if value.path else f"the output of '{value.step}'"
        return f"{output} changed"
    listing = store.listing(old.get("source", ""))
    if not value.many or listing is None:
        return f"{value.name} changed"
    return _listing_change(value.name, listing, dict(sources.of(value).files))


def _listing_change(source: str, old: Mapping[str, str | None], new: Mapping[str, str | None]) -> str:
    """Returns how many files of a source changed, came or went, and the name of the first."""
    changed = [name for name in new if name in old and old[name] != new[name]]
    added = [name for name in new if name not in old]
    removed = [name for name in old if name not in new]
    parts = [
        f"{len(names)} {verb} ({names[0]}{', ...' if len(names) > 1 else ''})"
        for names, verb in ((changed, "changed"), (added, "added"), (removed, "removed"))
        if names
    ]
    return f"of {len(new)} {source} {', '.join(parts)}" if parts else f"order of {source} changed"
