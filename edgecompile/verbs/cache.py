"""The verb `cache`: what the store holds, whether it is whole, and making it smaller."""

from __future__ import annotations

import argparse
import json
import re
import sys
from dataclasses import asdict
from typing import Any

from edgecompile.errors import RecipeError
from edgecompile.execute.gc import DAY_S, age, collect, kept, verify
from edgecompile.execute.store import Store

UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}


def main(argv: list[str]) -> int:
    """Runs `cache ls|verify|gc` and returns the exit code.

    Raises:
        RecipeError: when an argument has no meaning.
        StepError: when the store cannot be read or written.
    """
    arguments = _parser().parse_args(argv)
    store = Store(arguments.cache) if arguments.cache else Store.default()
    document, lines = {"ls": _ls, "verify": _verify, "gc": _gc}[arguments.action](store, arguments)
    document["store"] = str(store.root)
    print(json.dumps(document, indent=2) if arguments.json else "\n".join(lines))
    return 0


def _parser() -> argparse.ArgumentParser:
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--json", action="store_true", help="print JSON")
    common.add_argument("--cache", metavar="DIR", help="the store (default: $EDGECOMPILE_CACHE, else the user's cache)")
    parser = argparse.ArgumentParser(prog="edgecompile cache", description=__doc__)
    actions = parser.add_subparsers(dest="action", required=True, metavar="ls|verify|gc")
    actions.add_parser("ls", parents=[common], help="list the results, the last used first")
    actions.add_parser("verify", parents=[common], help="read everything; set aside what is damaged")
    gc = actions.add_parser("gc", parents=[common], help="remove what was not used for long; safe while builds run")
    gc.add_argument("--older-than", type=float, default=30, metavar="DAYS", help="not used for so long (default: 30)")
    gc.add_argument("--max-size", metavar="SIZE", help="then the least recently used, until this is left: 500M, 5G")
    return parser


def _ls(store: Store, _: argparse.Namespace) -> tuple[dict[str, Any], list[str]]:
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
        f"{row['step']!s:{width}}  {row['key'][:12]}  {size(row['bytes']):>9}  {row['wall_seconds'] or 0:>6.1f} s"
        f"  {age(row['used']):>7}"
        for row in rows
    ]
    return {"results": rows, "bytes": total}, [*lines, f"{len(rows)} results, {size(total)}, in {store.root}"]


def _verify(store: Store, _: argparse.Namespace) -> tuple[dict[str, Any], list[str]]:
    wrong = verify(store)
    whole = len(kept(store))
    lines = [f"{key[:12]}: {reason}; set aside, will be built again when needed" for key, reason in wrong.items()]
    return {"whole": whole, "set_aside": wrong}, [*lines, f"{whole} results are whole, {len(wrong)} were damaged"]


def _gc(store: Store, arguments: argparse.Namespace) -> tuple[dict[str, Any], list[str]]:
    if not arguments.older_than >= 0:
        raise RecipeError(f"--older-than {arguments.older_than:g}: expected days, 0 or more")
    limit = None if arguments.max_size is None else bytes_of(arguments.max_size)
    swept = collect(store, older_than_s=arguments.older_than * DAY_S, max_bytes=limit)
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


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
