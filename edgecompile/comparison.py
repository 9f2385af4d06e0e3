"""What differs between two bundles, locks or run directories."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypedDict

from edgecompile.bundle.diff import Difference, differences, first_apart, flat, mappings
from edgecompile.bundle.lock import Locked
from edgecompile.evaluate.drop_proof import spread
from edgecompile.quantization.mixed_precision import BlockPrecision
from edgecompile.runtime.archive import Archive
from edgecompile.runtime.quality import noise_line

SECTIONS = {
    "recipe": "recipe",
    "weights": "weights",
    "data": "data: pictures, labels, class names",
    "tools": "tools",
    "isa": "instruction set of the machine that built",
    "steps": "steps",
    "outputs": "what the steps put out",
    "did": "what the steps did to the graph",
    "blocks": "precision of blocks, after a repair of INT8",
    "graph": "graph: operators, learned layers and weights by precision",
    "figures": "figures, on the validation pictures",
    "measured": "measured, each on the machine that built",
}
WHOLE = ("graph", "figures", "measured")
MOST_LINES = 12
"""Differences of one section that are printed, except in those of `WHOLE`; --json has all."""
NOT_MEASURED = ("machine", "unmeasured", "power_meter", "predictions", "taken", "quality")
"""What a measurement notes beside its figures."""


def compare(a: Locked, b: Locked) -> list[Difference]:
    """Returns all that differs, as far as both sides know it: a lock holds no graph, and no figure."""
    changes = differences(a.lock, b.lock)
    if a.figures and b.figures:
        changes += mappings("did", a.did, b.did)
    changes += mappings("blocks", *_blocks(a, b))
    if a.digest and b.digest:
        changes += mappings("graph", graph_of(a), graph_of(b))
    if a.figures and b.figures:
        changes += mappings("figures", flat(a.figures.to_json()), flat(b.figures.to_json()))
    if a.measured and b.measured:
        changes += mappings("measured", _numbers(a.measured), _numbers(b.measured))
    return changes


def _blocks(a: Locked, b: Locked) -> tuple[dict[str, str], dict[str, str]]:
    """Returns the precision of each block on either side. A side that was not repaired is in INT8 as a whole, where the
    other one tells its blocks."""
    first, second = (
        {block.name: block for block in side.lock.repair.blocks} if side.lock.repair else {} for side in (a, b)
    )

    def shown(blocks: Mapping[str, BlockPrecision], name: str) -> str:
        block = blocks.get(name)
        if block is None:
            return "int8"
        return f"{block.precision} ({block.cost:.1%} of operations, alone in INT8 loses {block.loss:.4f})"

    def precision(blocks: Mapping[str, BlockPrecision], name: str) -> str:
        return blocks[name].precision if name in blocks else "int8"

    apart = [name for name in {**first, **second} if precision(first, name) != precision(second, name)]
    return {name: shown(first, name) for name in apart}, {name: shown(second, name) for name in apart}


def graph_of(bundle: Locked) -> Mapping[str, int]:
    """Returns what the graph of a bundle's artifact consists of, in counts: operators, and precisions of its learned
    layers and weights. Empty for an artifact of another form than ONNX and OpenVINO."""
    with Archive(bundle.path) as archive:
        for name in archive.names:
            if name.startswith("artifact/") and name.endswith(".onnx"):
                from edgecompile.graphs.onnx.onnx_summary import summary as of_onnx

                return of_onnx(archive.read(name))
            if name.startswith("artifact/") and name.endswith(".xml"):
                from edgecompile.graphs.openvino.ir_summary import summary as of_openvino

                return of_openvino(archive.read(name))
    return {}


def _numbers(measured: Mapping[str, Any]) -> dict[str, object]:
    """Returns the figures of a measurement, and what speaks against them."""
    figures = flat({key: value for key, value in measured.items() if key not in NOT_MEASURED})
    return {**figures, "noise": noise_line(measured.get("quality")) or "none"}


class Side(TypedDict):
    """One side of a comparison: file, name of the recipe, digest of the bundle (None for a lock alone)."""

    path: str
    name: str
    sha256: str | None


class Comparison(TypedDict):
    """What `diff --json` prints.

    same: whether nothing differs, the bundles byte for byte.
    first_step: the first step with another output.
    differences: fields of `Difference`.
    """

    a: Side
    b: Side
    same: bool
    first_step: str | None
    differences: list[dict[str, Any]]


def document(a: Locked, b: Locked, changes: Sequence[Difference]) -> Comparison:
    """Returns the comparison as plain JSON."""
    return {
        "a": _side(a),
        "b": _side(b),
        "same": not changes and _same_digest(a, b),
        "first_step": first_apart(a.lock, b.lock),
        "differences": [dataclasses.asdict(difference) for difference in changes],
    }


def _side(locked: Locked) -> Side:
    return {"path": str(locked.path), "name": str(locked.lock.recipe.get("name")), "sha256": locked.digest}


def format_diff(a: Locked, b: Locked, changes: Sequence[Difference]) -> Iterator[str]:
    """Yields the comparison as lines for a person."""
    for sign, side in (("A", a), ("B", b)):
        yield f"{sign}: {side.path}" + (f" (sha256 {side.digest[:12]})" if side.digest else "")
    for section, title in SECTIONS.items():
        most = len(changes) if section in WHOLE else MOST_LINES
        yield from _section(title, [change for change in changes if change.section == section], most)
        if section == "figures":
            yield from _drops(a, b)
    without_graph = [side for side in (a, b) if not side.digest]
    for content, lacking in (("graph", without_graph), ("figures", _without_figures(a, b))):
        if lacking:
            yield f"{content} not compared: {lacking[0].path} holds none"
    if first := first_apart(a.lock, b.lock):
        yield f"first step with another output: {first}"
    if not changes:
        yield "nothing differs" if _same_digest(a, b) else "nothing differs in lock and figures, only in other members"


def _drops(*sides: Locked) -> Iterator[str]:
    """Yields the drop of each side with its standard error, where the sides differ in it and one of them knows it."""
    known = [side.figures for side in sides if side.figures]
    shown = [
        f"{figures.lost:.4f}" + (f" {spread(figures.drop_error)}" if figures.drop_error else "") for figures in known
    ]
    if len(shown) == len(sides) and len(set(shown)) > 1 and any(figures.drop_error for figures in known):
        yield f"  against the float model, {known[0].title(known[0].main)} drops by {shown[0]} in A, {shown[1]} in B"


def _without_figures(*sides: Locked) -> list[Locked]:
    return [side for side in sides if not side.figures]


def _same_digest(a: Locked, b: Locked) -> bool:
    """Returns whether the bundles are the same byte for byte, as far as both sides are bundles."""
    return a.digest == b.digest or not (a.digest and b.digest)


def _section(title: str, changes: Sequence[Difference], most: int) -> Iterator[str]:
    if not changes:
        return
    yield f"{title}:"
    yield from (f"  {change}{_change(change)}" for change in changes[:most])
    if len(changes) > most:
        yield f"  and {len(changes) - most} more; --json has all"


def _change(difference: Difference) -> str:
    """Returns by how much a figure changed, where it is a number."""
    numbers = all(isinstance(value, int | float) for value in (difference.a, difference.b))
    return f" ({difference.b - difference.a:+.4g})" if difference.section in WHOLE and numbers else ""
