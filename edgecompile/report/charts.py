"""The geometry of the page's drawings: plain numbers that the templates draw. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

WIDTH, ROW, HEADING = 350, 30, 26
SPINE, NEAREST, FARTHEST = 68, 14, 60
"""Stage graph, in SVG units: its width, the height of a step and of a stage's heading; x of the line of steps, and how
far the arcs at its left bulge."""
PARTS = ("preprocess", "inference", "postprocess")
COLOURS = 8
MANY_CLASSES = 12


def per_class(figures: Mapping[str, Any], names: Sequence[str]) -> list[dict[str, Any]]:
    """Returns a row for each class that occurs: name, objects, mAP50-95 and mAP50 of both models, the change.

    Few classes stand in the order of their numbers, that of `names`; many by how much they fell.
    """
    reference = figures["reference"]["per_class"]
    numbers = {name: number for number, name in enumerate(names)}
    rows = []
    for name in sorted(figures["per_class"], key=lambda name: (numbers.get(name, len(numbers)), name)):
        found = figures["per_class"][name]
        before, after = reference.get(name, {}).get("map50_95"), found["map50_95"]
        change = None if before is None or after is None else after - before
        rows.append(
            {
                "name": name,
                "objects": found["objects"],
                "before": before,
                "after": after,
                "before50": reference.get(name, {}).get("map50"),
                "after50": found["map50"],
                "change": change,
            }
        )
    if len(rows) > MANY_CLASSES:
        rows.sort(key=lambda row: (row["change"] is None, row["change"] or 0.0, row["name"]))
    return rows


def gate_bar(verdict: Mapping[str, Any]) -> dict[str, float] | None:
    """Returns the length of a gate's bar and the place of its limit, in percent of the track; None without a figure."""
    figure, limit = verdict["figure"], verdict["limit"]
    if figure is None:
        return None
    span = 1.25 * max(abs(figure), abs(limit)) or 1.0
    return {"length": round(100 * max(figure, 0) / span, 2), "limit": round(100 * max(limit, 0) / span, 2)}


def latency_bars(measured: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Returns the bars of the latency chart: parts and total, each from 0 to p50, p95 and p99, in percent of the track.

    The track ends at the largest p99. None where nothing was measured.
    """
    latency = (measured or {}).get("latency_ms")
    if not latency:
        return None
    span = max(part["p99"] for part in latency.values()) or 1.0
    rows = [
        {
            "name": name,
            "values": latency[name],
            "share": {rank: round(100 * latency[name][rank] / span, 2) for rank in RANKS},
        }
        for name in (*PARTS, "total")
        if name in latency
    ]
    return {"rows": rows, "span": span}


RANKS = ("p50", "p95", "p99")


def stage_graph(steps: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Lays the steps out on one line from top to bottom, under headings of their stages, joined by arcs at its left.

    One line is readable on a phone, and no arc ever crosses a name. A step that needs the one right above it is joined
    by a straight line; an arc bulges the more, the farther it reaches.

    Returns:
        width, height; `nodes` (a step with its `y`), `headings` (stage and `y`), `arcs` (SVG path data).
    """
    y, nodes, headings, stage = 0, [], [], None
    for step in steps:
        if step["stage"] != stage:
            stage = step["stage"]
            headings.append({"stage": stage, "y": y + HEADING - 8})
            y += HEADING
        nodes.append({**step, "y": y + ROW // 2})
        y += ROW
    place = {node["name"]: index for index, node in enumerate(nodes)}
    arcs = [
        _arc(nodes[place[need]]["y"], node["y"], index - place[need], len(nodes))
        for index, node in enumerate(nodes)
        for need in node["needs"]
        if need in place
    ]
    return {"width": WIDTH, "height": y + 8, "spine": SPINE, "nodes": nodes, "headings": headings, "arcs": arcs}


def _arc(top: int, bottom: int, distance: int, steps: int) -> str:
    """Returns the path from the dot at `top` to the one at `bottom`, `distance` steps below it."""
    if distance == 1:
        return f"M{SPINE} {top}V{bottom}"
    bulge = NEAREST + (FARTHEST - NEAREST) * (distance - 2) / max(steps - 3, 1)
    # A cubic reaches 3/4 of the way to its control points.
    x = round(SPINE - bulge * 4 / 3, 1)
    return f"M{SPINE} {top}C{x} {top} {x} {bottom} {SPINE} {bottom}"


def golden_boxes(detections: Any, names: Sequence[str]) -> dict[str, Any]:
    """Returns the golden picture's boxes for drawing, and how many there are of each class.

    Args:
        detections: the document golden/detections.json: `boxes` (x1, y1, x2, y2 in pixels of the golden picture),
            `scores`, `classes` (numbers).
    """
    boxes = [
        {
            "x": round(x1, 2),
            "y": round(y1, 2),
            "width": round(max(x2 - x1, 0), 2),
            "height": round(max(y2 - y1, 0), 2),
            "name": names[number] if 0 <= number < len(names) else str(number),
            "colour": number % COLOURS,
            "score": score,
        }
        for (x1, y1, x2, y2), score, number in zip(
            detections["boxes"], detections["scores"], detections["classes"], strict=True
        )
    ]
    counts: dict[str, dict[str, Any]] = {}
    for box in boxes:
        counts.setdefault(box["name"], {"name": box["name"], "colour": box["colour"], "count": 0})["count"] += 1
    return {"boxes": boxes, "legend": sorted(counts.values(), key=lambda one: (-one["count"], one["name"]))}


def png_size(picture: bytes) -> tuple[int, int]:
    """Returns width and height from the header of a PNG (ISO/IEC 15948, 11.2.2).

    Raises:
        ValueError: when it is no PNG.
    """
    if picture[:8] != b"\x89PNG\r\n\x1a\n" or picture[12:16] != b"IHDR" or len(picture) < 24:
        raise ValueError("not a PNG")
    return int.from_bytes(picture[16:20], "big"), int.from_bytes(picture[20:24], "big")
