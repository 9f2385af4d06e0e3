"""What the store holds, whether it is whole, and making it smaller: as documents and as lines for a person."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, TypedDict

from edgecompile.errors import RecipeError
from edgecompile.execute import measurements
from edgecompile.execute.gc import DAY_S, age, collect, kept, verify
from edgecompile.execute.store import Store
from edgecompile.runtime.quality import evidence_line


class Result(TypedDict):
    """One result, as `cache ls --json` prints it. `used`: when it was last used, seconds since 1970."""

    step: str | None
    stage: str | None
    key: str
    output: str
    bytes: int
    wall_seconds: float | None
    peak_memory_mb: int | None
    used: float


class Measured(TypedDict):
    """One measurement, as `cache ls --json` prints it.

    taken, age_s: when, and how long ago, seconds.
    facts: what its step's function returned: `edgecompile.runtime.measurement.Measurement` as JSON.
    machine: the fingerprint that it is tied to.
    """

    step: str | None
    key: str
    taken: str | None
    age_s: float
    facts: Mapping[str, Any]
    machine: Mapping[str, Any]


class Listing(TypedDict):
    """All results, their bytes together, and the measurements."""

    results: list[Result]
    bytes: int
    measurements: list[Measured]


class Verification(TypedDict):
    """How many results are whole; keys (or digests) of those set aside, and what is wrong with them."""

    whole: int
    set_aside: dict[str, str]


UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}


def listing(store: Store) -> tuple[Listing, list[str]]:
    """Returns all results, the last used first."""
    results = kept(store)
    rows: list[Result] = [
        {
            "step": result.entry.record.get("step"),
            "stage": result.entry.record.get("stage"),
            "key": result.entry.key,
            "output": result.entry.digest,
            "bytes": result.entry.size,
            "wall_seconds": result.entry.record.get("wall_seconds"),
            "peak_memory_mb": result.entry.record.get("peak_memory_mb"),
            "used": result.used,
        }
        for result in results
    ]
    total = sum({result.entry.digest: result.entry.size for result in results}.values())
    width = max([4, *(len(str(row["step"])) for row in rows)])
    lines = [f"{'step':{width}}  {'key':12}  {'size':>9}  {'took':>8}  {'used':>7}"] if rows else []
    lines += [
        f"{row['step']!s:{width}}  {row['key'][:12]}  {size(row['bytes']):>9}  {row['wall_seconds'] or 0:>6.1f} s"
        f"  {age(row['used']):>7}"
        for row in rows
    ]
    measured = [_measured(kept) for kept in measurements.kept(store)]
    lines.append(f"{len(rows)} results, {size(total)}, in {store.root}")
    lines += [_measured_line(one) for one in measured]
    return {"results": rows, "bytes": total, "measurements": measured}, lines


def _measured(kept: measurements.Kept) -> Measured:
    record = kept.entry.record
    return {
        "step": record.get("step"),
        "key": kept.entry.key,
        "taken": record.get("finished"),
        "age_s": round(kept.age_s, 1),
        "facts": kept.entry.facts,
        "machine": record["ingredients"].get("machine", {}),
    }


def _measured_line(one: Measured) -> str:
    """Returns a measurement in one line: its age, its median, and by what it is known to stand."""
    facts = one["facts"]
    total, quality = (facts.get("latency_ms") or {}).get("total"), facts.get("quality")
    figure = f"p50 {total['p50']:.2f} ms" if total else "nothing was measured"
    evidence = f", {evidence_line(quality)}" if quality else ""
    return f"{one['step']!s}  {one['key'][:12]}  measured {age(time.time() - one['age_s'])} ago: {figure}{evidence}"


def verification(store: Store) -> tuple[Verification, list[str]]:
    """Reads every file of every result and sets aside what is damaged."""
    wrong = verify(store)
    whole = len(kept(store))
    lines = [f"{key[:12]}: {reason}; set aside, will be built again when needed" for key, reason in wrong.items()]
    return {"whole": whole, "set_aside": wrong}, [*lines, f"{whole} results are whole, {len(wrong)} were damaged"]


def collection(store: Store, *, older_than_days: float, max_size: str | None) -> tuple[dict[str, int], list[str]]:
    """Removes results that nobody used for some days, and more until the rest fits into a size.

    Raises:
        RecipeError: the days or the size are malformed.
    """
    if not older_than_days >= 0:
        raise RecipeError(f"--older-than {older_than_days:g}: expected days, 0 or more")
    limit = None if max_size is None else bytes_of(max_size)
    swept = collect(store, older_than_s=older_than_days * DAY_S, max_bytes=limit)
    line = (
        f"removed {swept.results} results ({size(swept.bytes)}); "
        f"{swept.left_results} are left ({size(swept.left_bytes)}) in {store.root}"
    )
    return asdict(swept), [line]


def bytes_of(text: str) -> int:
    """Returns the bytes that a size such as "500M" or "1.5 GB" names.

    Raises:
        RecipeError: when it is no size.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT]?)(?:i?B)?", text.strip(), re.IGNORECASE)
    if match is None:
        raise RecipeError(f"--max-size {text}: expected a size", fix="such as 500M or 5G")
    return int(float(match[1]) * UNITS[match[2].upper()])


def size(count: int) -> str:
    """Returns a number of bytes for a person."""
    for unit, factor in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if count >= factor:
            return f"{count / factor:.1f} {unit}"
    return f"{count} B"
