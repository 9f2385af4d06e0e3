"""The geometry of the drawings."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from edgecompile.evaluate.tasks import find_task
from edgecompile.report import charts
from edgecompile.runtime.figures import Figures


def figures_of(changes: dict[str, float]) -> Figures:
    before = {name: {"map50_95": 0.5, "map50": 0.6} for name in changes}
    after = {name: {"map50_95": 0.5 + change, "map50": 0.7, "objects": 3} for name, change in changes.items()}
    metrics = {"map50_95": 0.5, "map50": 0.6}
    return Figures(
        main="map50_95", drop="map_drop", titles={}, metrics=metrics, reference=metrics, per_class=after,
        reference_per_class=before, pictures=1, objects=3, size_bytes=1,
    )  # fmt: skip


def test_few_classes_stand_in_the_order_of_their_numbers():
    rows = charts.per_class(figures_of({"a": -0.3, "b": 0.1, "c": -0.1}), ["c", "b", "a", "absent"])
    assert [row.name for row in rows] == ["c", "b", "a"]
    assert rows[0].change == pytest.approx(-0.1)
    assert (rows[0].objects, rows[0].pairs) == (3, ((0.5, pytest.approx(0.4)), (0.6, 0.7)))


def test_many_classes_stand_by_how_much_they_fell():
    names = [f"class {number}" for number in range(30)]
    rows = charts.per_class(figures_of({name: -0.01 * (number % 7) for number, name in enumerate(names)}), names)
    changes = [row.change for row in rows]
    assert changes == sorted(changes)


def test_a_class_that_the_reference_lacks_has_no_change():
    figures = replace(figures_of({"a": 0.0}), reference_per_class={})
    assert charts.per_class(figures, ["a"])[0].change is None


@pytest.mark.parametrize(
    ("figure", "limit", "bar"),
    [
        (4.0, 8.0, {"length": 40.0, "limit": 80.0}),
        (8.0, 4.0, {"length": 80.0, "limit": 40.0}),
        (-0.002, 0.01, {"length": 0.0, "limit": 80.0}),
        (0.0, 0.0, {"length": 0.0, "limit": 0.0}),
        (None, 1.0, None),
    ],
)
def test_bars_of_gates_stay_on_their_track(figure, limit, bar):
    assert charts.gate_bar({"figure": figure, "limit": limit}) == bar


def test_latency_ends_at_the_largest_tail():
    part = {"p50": 1.0, "p95": 2.0, "p99": 4.0}
    total = {"p50": 3.0, "p95": 5.0, "p99": 8.0}
    view = charts.latency_bars({"latency_ms": {"total": total, "inference": part}})
    assert [row.name for row in view] == ["inference", "total"]
    assert view[0].share == {"p50": 12.5, "p95": 25.0, "p99": 50.0}
    assert view[1].share["p99"] == 100
    assert charts.latency_bars({"latency_ms": None}) == []
    assert charts.latency_bars(None) == []


def step_of(name: str, stage: str, needs: list[str]) -> dict:
    return {"name": name, "stage": stage, "about": "", "needs": needs, "run": None}


def test_graph_has_an_arc_for_each_need_and_stays_in_its_box():
    steps = [step_of(f"s{n}", "fusion" if n < 9 else "validation", [f"s{m}" for m in range(n)]) for n in range(12)]
    view = charts.stage_graph(steps)
    assert len(view.arcs) == 12 * 11 / 2
    assert [heading.stage for heading in view.headings] == ["fusion", "validation"]
    assert all(node.y < view.height for node in view.nodes)
    for arc in view.arcs:
        if curve := re.fullmatch(r"M(\d+) \d+C([-\d.]+) \d+ [-\d.]+ \d+ \d+ \d+", arc):
            assert charts.SPINE - 0.75 * (charts.SPINE - float(curve[2])) >= 0  # where a cubic bulges most


def test_a_need_from_outside_the_report_draws_nothing():
    assert charts.stage_graph([step_of("a", "export", ["gone"])]).arcs == ()


def test_golden_boxes_are_counted_by_class():
    found = {"boxes": [[1, 2, 4, 8], [0, 0, 2, 2], [5, 5, 4, 4]], "scores": [0.9, 0.8, 0.7], "classes": [1, 1, 7]}
    view = charts.golden_view(find_task("detect").outlines(found), ["a", "b"])
    assert view.shapes[0] == charts.Shape("1,2 4,2 4,8 1,8", "b", 1, 0.9)
    assert [(one.name, one.colour, one.amount) for one in view.legend] == [("b", 1, "2"), ("7", 7, "1")]
    assert len(view.shapes) == 3


def test_size_of_a_png_is_read_from_its_header():
    header = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + (320).to_bytes(4, "big") + (240).to_bytes(4, "big")
    assert charts.png_size(header) == (320, 240)
    with pytest.raises(ValueError, match="not a PNG"):
        charts.png_size(header.replace(b"IHDR", b"IDAT"))
