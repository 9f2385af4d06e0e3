"""What the store holds, whether it is whole, and making it smaller: as documents and as lines for a person."""

from __future__ import annotations

import re
from dataclasses import asdict
from typing import Any

from edgecompile.errors import RecipeError
from edgecompile.execute.gc import DAY_S, age, collect, kept, verify
from edgecompile.execute.store import Store

UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}


def listing(store: Store) -> tuple[dict[str, Any], list[str]]:
    found = kept(store)
    rows = [
        {
            "step": one.entry.record.get("step"),
            "stage": one.entry.record.get("stage"),
            "key": one.entry.key,
            "output": one.entry.digest,
            "bytes": one.entry.size,
            "wall_seconds": one.entry.record.get("wall_seconds"),
            "peak_memory_mb": one.entry.record.get("peak_memory_mb"),
            "used": one.used,
        }
        for one in found
    ]
    total = sum({one.entry.digest: one.entry.size for one in found}.values())
    width = max([4, *(len(str(row["step"])) for row in rows)])
    lines = [f"{'step':{width}}  {'key':12}  {'size':>9}  {'took':>8}  {'used':>7}"] if rows else []
    lines += [
        f"{row['step']!s:{width}}  {one.entry.key[:12]}  {size(one.entry.size):>9}  {row['wall_seconds'] or 0:>6.1f} s"
        f"  {age(one.used):>7}"
        for one, row in zip(found, rows, strict=True)
    ]
    return {"results": rows, "bytes": total}, [*lines, f"{len(rows)} results, {size(total)}, in {store.root}"]


def verification(store: Store) -> tuple[dict[str, Any], list[str]]:
    wrong = verify(store)
    whole = len(kept(store))
    lines = [f"{key[:12]}: {reason}; set aside, will be built again when needed" for key, reason in wrong.items()]
    return {"whole": whole, "set_aside": wrong}, [*lines, f"{whole} results are whole, {len(wrong)} were damaged"]


def collection(store: Store, *, older_than_days: float, max_size: str | None) -> tuple[dict[str, Any], list[str]]:
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
