"""Which point of a sweep to ship on a device, and why. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from edgecompile.report import number_format

BUILT = "built"
FLOAT = "fp32"
POINTS_WORTH = 0.1
"""How much faster an artifact must be for each point (0.01) of mAP50-95 it gives away, as a share; the page says so."""
NOISE = 1.05
"""A gain in speed below this factor is within what two measurements of one artifact differ by."""


def pareto_front(points: Iterable[Mapping[str, Any]], cost: str = "latency_p50_ms") -> list[Mapping[str, Any]]:
    """Returns the points that no other one beats in accuracy and `cost` (latency, size) at once, the cheapest first.

    Of points that are equal in both, the first one stands for all.
    """
    known = [point for point in points if point[cost] is not None]
    found: list[Mapping[str, Any]] = []
    for point in sorted(known, key=lambda one: (one[cost], -one["map50_95"])):
        if not found or point["map50_95"] > found[-1]["map50_95"]:
            found.append(point)
    return found


def choice(shippable: Sequence[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    """Returns the point to ship: the most accurate one, unless another wins more speed than it costs accuracy."""
    if not shippable:
        return None
    best = max(shippable, key=lambda one: (one["map50_95"], -(one["latency_p50_ms"] or 0), -one["size_bytes"]))
    worth = [point for point in pareto_front(shippable) if _worth(point, best)]
    return min(worth, key=lambda one: _price(one, best), default=best)


def _price(point: Mapping[str, Any], base: Mapping[str, Any]) -> float:
    """Returns the latency of a point, dearer for each point of accuracy that it is behind `base`."""
    lost = 100 * (base["map50_95"] - point["map50_95"])
    return point["latency_p50_ms"] * max(1 + POINTS_WORTH * lost, 0.0)


def _worth(point: Mapping[str, Any], base: Mapping[str, Any]) -> bool:
    """Returns whether a point wins more speed over `base` than noise and its loss of accuracy."""
    return base["latency_p50_ms"] is not None and _price(point, base) * NOISE < base["latency_p50_ms"]


def verdict(best: Mapping[str, Any] | None, count: int) -> str:
    """Returns which of `count` points to ship, in a sentence."""
    if best is None:
        return f"ship none: of {count} point{'' if count == 1 else 's'}, none met its gates"
    parts = [f"mAP50-95 {number_format.score(best['map50_95'])}"]
    if best["latency_p50_ms"] is not None:
        parts.append(f"p50 {number_format.milliseconds(best['latency_p50_ms'])}")
    parts.append(number_format.megabytes(best["size_bytes"]))
    return f"ship this: {best['point']}, {best['precision']} ({', '.join(parts)})"


def rationale(group: Sequence[Mapping[str, Any]], best: Mapping[str, Any] | None) -> list[str]:
    """Returns a sentence for each precision: what it brings and costs against float; then what to know of the figures.

    Args:
        group: points of one device, judged on the same pictures.
        best: the one to ship; None where there is none.
    """
    sentences = [_of_precision(name, group, best) for name in sorted({point["precision"] for point in group} - {FLOAT})]
    if len({point["machine"] for point in group if point["machine"]}) > 1:
        sentences.append("latencies were measured on several machines, which do not compare")
    if any(point["exclusive"] is False for point in group):
        sentences.append(number_format.NOT_EXCLUSIVE)
    if best and best["latency_p50_ms"] is None:
        sentences.append("latency was not measured here, so accuracy alone decides")
    return sentences


def _of_precision(precision: str, group: Sequence[Mapping[str, Any]], best: Mapping[str, Any] | None) -> str:
    """Returns what a precision brings and costs, told by one point and the float one of its kind."""
    ours = [point for point in group if point["precision"] == precision]
    ours = [point for point in ours if point["state"] == BUILT] or ours
    pairs = [(point, twin) for point in ours if (twin := _twin(point, group))]
    if not pairs:
        point = best if best in ours else min(ours, key=lambda one: one["map_drop"])
        missing = "of its model, runtime and size " if any(one["precision"] == FLOAT for one in group) else ""
        text = (
            f"{precision.upper()} {_cost(point['map_drop'])} against the float model; no point {missing}here is float"
        )
        return f"{text}, so what it brings in speed is not known"
    timed = [pair for pair in pairs if all(one["latency_p50_ms"] is not None for one in pair)]
    if not timed:
        point, twin = max(pairs, key=lambda pair: pair[0]["map50_95"])
        cost = _cost(twin["map50_95"] - point["map50_95"])
        return f"{precision.upper()} {cost}; its latency was not measured beside float's"
    # Of what ships, where it is of this precision or its float twin; else of what pays most within its kind.
    shipped = [pair for pair in timed if best is not None and best["point"] in (pair[0]["point"], pair[1]["point"])]
    pair = min(shipped or timed, key=lambda pair: _price(*pair) / pair[1]["latency_p50_ms"])
    names = f" ({pair[0]['point']} beside {pair[1]['point']})" if len(_kinds(group)) > 1 else ""
    return _against_float(*pair, best, names)


def _kinds(group: Sequence[Mapping[str, Any]]) -> set[str]:
    """Returns the kinds of points, within which alone a precision is compared with float: model, runtime and size."""
    return {repr((point["weights"], point["runtime"], point["imgsz"])) for point in group}


def _twin(point: Mapping[str, Any], group: Sequence[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    """Returns the best float point of the same kind; None where there is none."""
    floats = [one for one in group if one["precision"] == FLOAT and _kinds([one]) == _kinds([point])]
    return max(
        floats, key=lambda one: (one["state"] == BUILT, one["map50_95"], -(one["latency_p50_ms"] or 0)), default=None
    )


def _against_float(
    point: Mapping[str, Any], twin: Mapping[str, Any], best: Mapping[str, Any] | None, names: str
) -> str:
    """Returns the sentence on a point beside its float twin, and whether that speaks for the one or the other."""
    gain = twin["latency_p50_ms"] / point["latency_p50_ms"]
    cost = _cost(twin["map50_95"] - point["map50_95"])
    text = f"{point['precision'].upper()} brings {gain:.1f}x here and {cost}{names}"
    if point["state"] != BUILT:
        return f"{text}, but ended with '{point['state']}'"
    if twin["state"] != BUILT:
        return f"{text}; float ended with '{twin['state']}'"
    if best is twin:
        return f"{text}: stay with float"
    if best is not point or gain < 1:
        return text
    scatter = point["latency_p95_ms"] > twin["latency_p50_ms"]
    return f"{text}: worth it{', if it holds: the latencies overlap, measure them on a quiet machine' * scatter}"


def _cost(drop: float) -> str:
    """Returns what a drop of mAP50-95 costs, in points of 0.01."""
    points = 100 * drop
    if abs(points) < 0.05:
        return "costs no accuracy"
    return f"costs {points:.1f} points" if points > 0 else f"gains {-points:.1f} points"
