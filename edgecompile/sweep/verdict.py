"""Which point of a sweep to ship on a device, and why. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from edgecompile.report import number_format
from edgecompile.runtime.speedup import speedup_words
from edgecompile.sweep.sweep_point import BUILT, DeviceVerdict, SweepPoint

FLOAT = "fp32"
POINTS_WORTH = 0.1
"""How much faster an artifact must be for each point (0.01) of accuracy it gives away, as a share; the page says so."""
NOISE = 1.05
"""Two measurements of one artifact may differ by this factor; a smaller gain in speed is noise."""
NOT_KNOWN = ", so what it brings in speed is not known"
NOT_TIMED = "its latency was not measured beside float's"
NOISY = "its latency or float's is noisy, so what it brings in speed is not known"


Cost = Callable[[SweepPoint], "float | None"]
"""What is weighed against accuracy; None for a point where that is not known."""


def latency(point: SweepPoint) -> float | None:
    """Returns the latency of a point, p50, ms; None where it is noisy: what does not stand weighs nothing."""
    return point.standing_p50_ms


def size(point: SweepPoint) -> float | None:
    """Returns the size of the artifact of a point, bytes."""
    return point.size_bytes


def judge_device(group: Sequence[SweepPoint]) -> DeviceVerdict:
    """Returns the fronts of the points of one device, judged on the same pictures, and the verdict on them."""
    shippable = [point for point in group if point.state == BUILT]
    best = choice(shippable)
    front, size_front = ({id(point) for point in pareto_front(shippable, cost)} for cost in (latency, size))
    return DeviceVerdict(
        device=str(group[0].device),
        judged_on=group[0].judged_on or {},
        points=tuple(point.point for point in group),
        front=tuple(point.point for point in group if id(point) in front),
        size_front=tuple(point.point for point in group if id(point) in size_front),
        ship=best.point if best else None,
        verdict=verdict(best, len(group)),
        because=tuple(rationale(group, best)),
        machines=tuple(sorted({point.machine for point in group if point.machine})),
        address=group[0].address,
    )


def pareto_front(points: Iterable[SweepPoint], cost: Cost = latency) -> list[SweepPoint]:
    """Returns the points that no other point beats in accuracy and cost at once, the cheapest first.

    Of points that are equal in both, only the first is returned.
    """
    known = [(paid, point) for point in points if (paid := cost(point)) is not None]
    front: list[SweepPoint] = []
    for _, point in sorted(known, key=lambda pair: (pair[0], -pair[1].accuracy)):
        if not front or point.accuracy > front[-1].accuracy:
            front.append(point)
    return front


def choice(shippable: Sequence[SweepPoint]) -> SweepPoint | None:
    """Returns the point to ship: the most accurate point, unless another gains more speed than it costs accuracy."""
    if not shippable:
        return None
    best = max(shippable, key=lambda point: (point.accuracy, -point.p50, -(point.size_bytes or 0)))
    worth = [point for point in pareto_front(shippable) if _worth(point, best)]
    return min(worth, key=lambda point: _price(point, best), default=best)


def _price(point: SweepPoint, base: SweepPoint) -> float:
    """Returns the latency of a point, raised for each point of accuracy that it is behind `base`."""
    lost = 100 * (base.accuracy - point.accuracy)
    return point.p50 * max(1 + POINTS_WORTH * lost, 0.0)


def _worth(point: SweepPoint, base: SweepPoint) -> bool:
    """Returns whether a point wins more speed over `base` than noise and its loss of accuracy."""
    return base.standing_p50_ms is not None and _price(point, base) * NOISE < base.p50


def verdict(best: SweepPoint | None, count: int) -> str:
    """Returns which of `count` points to ship, in a sentence."""
    if best is None:
        return f"ship none: of {count} point{'' if count == 1 else 's'}, none met its gates"
    title = best.figures.title(best.figures.main) if best.figures else "accuracy"
    parts = [f"{title} {number_format.score(best.accuracy)}"]
    if best.latency_p50_ms is not None:
        parts.append(f"p50 {number_format.milliseconds(best.latency_p50_ms)}{', noisy' if best.noise else ''}")
    parts.append(number_format.megabytes(best.size_bytes))
    return f"ship this: {best.point}, {best.precision} ({', '.join(parts)})"


def rationale(group: Sequence[SweepPoint], best: SweepPoint | None) -> list[str]:
    """Returns a sentence for each precision: what it brings and costs against float; then what to know of the figures.

    Args:
        group: points of one device, judged on the same pictures.
        best: the point to ship; None where there is none.
    """
    sentences = [
        _of_precision(name, group, best) for name in sorted({str(point.precision) for point in group} - {FLOAT})
    ]
    if len({point.machine for point in group if point.machine}) > 1:
        sentences.append("latencies were measured on several machines, which do not compare")
    if any(point.exclusive is False for point in group):
        sentences.append(number_format.NOT_EXCLUSIVE)
    noisy = [point.point for point in group if point.noise]
    if noisy:
        sentences.append(f"noisy, so that it weighs nothing: the latency of {', '.join(noisy)}; build again when quiet")
    if best and best.latency_p50_ms is None:
        sentences.append("latency was not measured here, so accuracy alone decides")
    return sentences


def _of_precision(precision: str, group: Sequence[SweepPoint], best: SweepPoint | None) -> str:
    """Returns what a precision brings and costs, by one point and the float point of its kind."""
    ours = [point for point in group if point.precision == precision]
    ours = [point for point in ours if point.state == BUILT] or ours
    pairs = [(point, twin) for point in ours if (twin := _twin(point, group))]
    if not pairs:
        point = best if best in ours and best else min(ours, key=_lost)
        missing = "of its model, runtime and size " if any(member.precision == FLOAT for member in group) else ""
        text = f"{precision.upper()} {_cost(_lost(point))} against the float model; no point {missing}here is float"
        gain = f": it is {speedup_words(point.speedup)}" if point.speedup else NOT_KNOWN
        return f"{text}{gain}"
    timed = [pair for pair in pairs if all(member.standing_p50_ms is not None for member in pair)]
    if not timed:
        point, twin = max(pairs, key=lambda pair: pair[0].accuracy)
        cost = _cost(twin.accuracy - point.accuracy)
        noisy = any(member.noise for member in (point, twin))
        gain = f"it is {speedup_words(point.speedup)}" if point.speedup else NOISY if noisy else NOT_TIMED
        return f"{precision.upper()} {cost}; {gain}"
    # The point that ships, where it is of this precision or its float twin; else the point that pays most in its kind.
    shipped = [pair for pair in timed if best is not None and best.point in (pair[0].point, pair[1].point)]
    pair = min(shipped or timed, key=lambda pair: _price(*pair) / pair[1].p50)
    names = f" ({pair[0].point} beside {pair[1].point})" if len(_kinds(group)) > 1 else ""
    return _against_float(*pair, best, names)


def _lost(point: SweepPoint) -> float:
    """Returns by how much a point is below its float model."""
    return point.figures.lost if point.figures else 0.0


def _kinds(group: Sequence[SweepPoint]) -> set[str]:
    """Returns the kinds of points, within which alone a precision is compared with float: model, runtime and size."""
    return {repr((point.weights, point.runtime, point.imgsz)) for point in group}


def _twin(point: SweepPoint, group: Sequence[SweepPoint]) -> SweepPoint | None:
    """Returns the best float point of the same kind; None where there is none."""
    floats = [twin for twin in group if twin.precision == FLOAT and _kinds([twin]) == _kinds([point])]
    return max(floats, key=lambda twin: (twin.state == BUILT, twin.accuracy, -twin.p50), default=None)


def _against_float(point: SweepPoint, twin: SweepPoint, best: SweepPoint | None, names: str) -> str:
    """Returns the sentence on a point beside its float twin, and which of the two it speaks for."""
    gain, cost = twin.p50 / point.p50, _cost(twin.accuracy - point.accuracy)
    brings = f"brings {gain:.1f}x here"
    if found := point.speedup:  # in turns in one run, not in two
        gain, brings = found["ratio"], f"brings {found['ratio']:.2f}x here [{found['low']:.2f}-{found['high']:.2f}]"
    text = f"{str(point.precision).upper()} {brings} and {cost}{names}"
    if point.state != BUILT:
        return f"{text}, but ended with '{point.state}'"
    if twin.state != BUILT:
        return f"{text}; float ended with '{twin.state}'"
    if best is twin:
        return f"{text}: stay with float"
    if best is not point or gain < 1:
        return text
    scatter = (point.latency_p95_ms or 0.0) > twin.p50
    return f"{text}: worth it{', if it holds: the latencies overlap, measure them on a quiet machine' * scatter}"


def _cost(drop: float) -> str:
    """Returns what a drop of accuracy costs, in points of 0.01."""
    points = 100 * drop
    if abs(points) < 0.05:
        return "costs no accuracy"
    return f"costs {points:.1f} points" if points > 0 else f"gains {-points:.1f} points"
