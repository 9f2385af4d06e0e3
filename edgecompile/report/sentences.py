"""From the facts of a step to sentences for people. Pure; knows conventions of facts, not the passes that follow them.

A step function reports what it did by its facts: sentences under the keys of `SAID`, counts of operators under a key
of `COUNTED`, names of what stayed in float under `in_float`, and plain numbers and words under any other key.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

SAID = ("changes", "notes", "warnings", "why")
"""Keys under which facts hold a sentence, or a list of them."""
COUNTED = ("operators", "operations")
IN_FLOAT = "in_float"
MOST_OPERATORS = 5
MOST_NAMES = 8
MOST_SENTENCES = 40


def sentences(facts: Mapping[str, Any]) -> list[str]:
    """Returns what a step did, a sentence a line; never empty, for a step that did nothing must report that."""
    counts = (line for key in COUNTED for line in _counts(key, facts.get(key)))
    lines = [*_stated(facts), *_in_float(facts.get(IN_FLOAT)), *counts, *_values(facts)]
    if len(lines) > MOST_SENTENCES:
        lines = [*lines[:MOST_SENTENCES], f"… and {len(lines) - MOST_SENTENCES} more in the facts of the step"]
    return lines or ["says nothing about what it did"]


def _stated(facts: Mapping[str, Any]) -> Iterator[str]:
    for key in SAID:
        value = facts.get(key)
        for sentence in [value] if isinstance(value, str) else value if isinstance(value, (list, tuple)) else []:
            if isinstance(sentence, str) and sentence:
                yield sentence


def _in_float(names: Any) -> Iterator[str]:
    """Yields which layers were left in float: all of a few, the first and the number of many."""
    if isinstance(names, (list, tuple)) and names:
        more = f" and {len(names) - MOST_NAMES} more" if len(names) > MOST_NAMES else ""
        yield f"left in float: {', '.join(str(name) for name in names[:MOST_NAMES])}{more}"


def _counts(noun: str, counts: Any) -> Iterator[str]:
    """Yields "255 operators: 88 Conv, …", or "320 → 255 operators" where there is a before and an after."""
    if not isinstance(counts, Mapping) or not counts:
        return
    if counts.keys() == {"before", "after"}:
        before, after = (sum(counts[when].values()) for when in ("before", "after"))
        yield f"{before} → {after} {noun}" if before != after else f"{after} {noun}, as before"
    elif all(isinstance(count, int) for count in counts.values()):
        ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
        rest = ", …" if len(ranked) > MOST_OPERATORS else ""
        shown = ", ".join(f"{count} {name}" for name, count in ranked[:MOST_OPERATORS])
        yield f"{sum(counts.values())} {noun}: {shown}{rest}"


def _values(facts: Mapping[str, Any]) -> Iterator[str]:
    """Yields one line of all plain values: "end2end: no · head: Detect · parameters: 2,590,425"."""
    pairs = [
        f"{key.replace('_', ' ')}: {_plain(value)}"
        for key, value in sorted(facts.items())
        if key not in SAID and isinstance(value, (bool, int, float, str))
    ]
    if pairs:
        yield " · ".join(pairs)


def _plain(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:.3g}" if isinstance(value, float) else value
