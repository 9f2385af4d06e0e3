"""What is said of the cost of a repair: measured beside estimated, and loudly where the estimate does not hold."""

from __future__ import annotations

from edgecompile.report.repair_cost import cost_line, cost_remarks


def report(over_plain: float | None, speedup: float | None = 2.0, rounds: int = 12, estimate: float = 1.2):
    def ratio(value: float | None):
        return value and {"ratio": value, "low": value * 0.98, "high": value * 1.02, "rounds": rounds}

    mixes = [{"slowdown": 1.1, "met": False}, {"slowdown": estimate, "met": True}]
    measured = {"over_plain": ratio(over_plain), "speedup": ratio(speedup), "unmeasured": {"over_plain": "no process"}}
    return {"repair": {"candidates": mixes, "max_slowdown": 1.5}, "measured": measured}


def test_the_measured_cost_stands_beside_the_estimate():
    line = cost_line(report(0.8))
    assert line == (
        "1.25 times the time of plain INT8 [1.23-1.28], over 12 rounds in turns; estimated 1.20; "
        "2.00x as fast as float, plain INT8 2.50x"
    )
    assert not list(cost_remarks(report(0.8)))


def test_what_was_not_measured_is_said():
    assert cost_line(report(None)) == (
        "what the repair costs in time was not measured here: no process; estimated 1.20 times the time of plain INT8"
    )
    assert "estimated" in cost_line({"repair": report(None)["repair"], "measured": None})
    assert not list(cost_remarks(report(None)))


def test_a_repair_that_costs_more_than_was_estimated_is_remarked_upon():
    slow = list(cost_remarks(report(0.6, 0.9)))
    assert slow[0].startswith("the repaired artifact has 0.60 of plain INT8's speed here")
    assert "more than repair.max_slowdown 1.5: 1.20 was estimated" in slow[1]
    assert slow[2].startswith("it is slower than float")


def test_few_rounds_prove_nothing():
    assert not list(cost_remarks(report(0.6, 0.9, rounds=3)))


def test_nothing_is_said_where_nothing_was_repaired():
    plain = {"repair": None, "measured": {"over_plain": None, "speedup": None}}
    failed = {"repair": {"candidates": [{"slowdown": 1.4, "met": False}]}, "measured": plain["measured"]}
    assert cost_line(plain) == cost_line(failed) == ""
    assert not list(cost_remarks(plain))
