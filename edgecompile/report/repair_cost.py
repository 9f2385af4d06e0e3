"""What a repair of INT8 cost in time, as measured in turns with plain INT8, beside what was estimated: for people.

A measurement is no part of what is built: the estimate chose the mix, and these lines say whether it held.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, cast

from edgecompile.runtime.turns import LEAST_ROUNDS

if TYPE_CHECKING:
    from edgecompile.report.document import Report
    from edgecompile.runtime.speedup import SpeedUpDocument

KEPT = 0.7
"""Share of plain INT8's speed below which a repaired artifact is remarked upon."""
NOT_TIMED = "what the repair costs in time was not measured here"


def cost_line(report: Report) -> str:
    """Returns how many times the time of plain INT8 a repaired artifact takes: "" where nothing was repaired."""
    estimate = _estimate(report)
    if estimate is None:
        return ""
    found = _over_plain(report)
    if not found:
        why = ((report["measured"] or {}).get("unmeasured") or {}).get("over_plain", "")
        return f"{NOT_TIMED}{f': {why}' if why else ''}; estimated {estimate:.2f} times the time of plain INT8"
    taken, least, most = 1 / found["ratio"], 1 / found["high"], 1 / found["low"]
    gain = (report["measured"] or {}).get("speedup")
    against = ""
    if gain:
        against = f"; {gain['ratio']:.2f}x as fast as float, plain INT8 {gain['ratio'] / found['ratio']:.2f}x"
    return (
        f"{taken:.2f} times the time of plain INT8 [{least:.2f}-{most:.2f}], over {found['rounds']} rounds in turns; "
        f"estimated {estimate:.2f}{against}"
    )


def cost_remarks(report: Report) -> Iterator[str]:
    """Yields what a person has to know of the cost before shipping: that much of the gain is lost, that the estimate
    was too low, or that nothing is left of the gain. Fewer rounds than an interval needs say nothing."""
    estimate, found = _estimate(report), _over_plain(report)
    if estimate is None or not found or found["rounds"] < LEAST_ROUNDS:
        return
    if found["high"] < KEPT:
        yield f"the repaired artifact has {found['ratio']:.2f} of plain INT8's speed here, less than {KEPT:g}"
    most = cast("float | None", (report["repair"] or {}).get("max_slowdown"))
    if most and 1 / found["high"] > most:
        yield (
            f"it takes {1 / found['ratio']:.2f} times the time of plain INT8 here, more than repair.max_slowdown "
            f"{most:g}: {estimate:.2f} was estimated"
        )
    gain = (report["measured"] or {}).get("speedup")
    if gain and gain["high"] < 1:
        yield "it is slower than float here: ship float"


def _estimate(report: Report) -> float | None:
    """Returns the estimated cost of the mix that ships; None where nothing was repaired."""
    repair = cast("dict[str, Any]", report.get("repair") or {"candidates": ()})
    return next((one["slowdown"] for one in repair["candidates"] if one["met"]), None)


def _over_plain(report: Report) -> SpeedUpDocument | None:
    return (report["measured"] or {}).get("over_plain")
