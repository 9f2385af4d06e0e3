"""The points of a sweep, its front and its verdicts."""

from __future__ import annotations

import csv
import io
import json
from itertools import pairwise
from pathlib import Path

import pytest

from edgecompile import cli
from edgecompile.errors import RecipeError
from edgecompile.sweep.chart import scatter
from edgecompile.sweep.report_files import read, report
from edgecompile.sweep.sweep_point import DeviceVerdict, StepCounts
from edgecompile.sweep.sweep_results import point_of, row_of, sweep_of
from edgecompile.sweep.verdict import latency, pareto_front

from .sweeps import lay_out, mixed, report_of, status_of


def device_of(*reports: dict, code: int = 0) -> DeviceVerdict:
    """Returns what is said about the one device of a sweep of these reports."""
    points = [point_of(f"{number}_x", status_of(code), one) for number, one in enumerate(reports)]
    (device,) = sweep_of("s", points).devices
    return device


def test_every_point_is_there_with_its_state_in_the_order_of_jobs(tmp_path: Path):
    sweep = read(mixed(tmp_path / "sweep"))
    assert {point.point: point.state for point in sweep.points} == {
        "0_x": "built", "1_x": "built", "2_x": "gate unmet", "10_x": "invalid", "11_x": "unfinished",
    }  # fmt: skip
    assert [point.point for point in sweep.points] == ["0_x", "1_x", "2_x", "10_x", "11_x"]
    assert sweep.shared == ("recipe=x",)
    assert sweep.points[1].varies == ("passes.int8_static.method=minmax",)
    assert sweep.points[3].reason == "found 33, expected a multiple of 32"
    assert sweep.points[0].bundle == "0_x/x.bundle.zip"


def test_a_gain_that_costs_little_is_worth_it():
    device = device_of(report_of("fp32", 0.75, 10.0), report_of("int8", 0.746, 5.0))
    assert device.ship == "1_x"
    assert device.verdict == "ship this: 1_x, int8 (mAP50-95 0.7460, p50 5.00 ms, 1.00 MB)"
    assert device.because == ("INT8 brings 2.0x here and costs 0.4 points: worth it",)


def test_a_small_gain_that_costs_much_is_not():
    device = device_of(report_of("fp32", 0.75, 10.0), report_of("int8", 0.729, 9.0))
    assert device.ship == "0_x"
    assert device.because == ("INT8 brings 1.1x here and costs 2.1 points: stay with float",)


def test_latencies_that_overlap_are_named():
    device = device_of(report_of("fp32", 0.75, 10.0), report_of("int8", 0.75, 9.4))
    assert "costs no accuracy: worth it, if it holds: the latencies overlap" in device.because[0]


def test_without_a_float_point_its_speed_is_not_guessed():
    device = device_of(report_of("int8", 0.74, 5.0))
    assert device.because == (
        "INT8 costs 1.0 points against the float model; no point here is float, so what it brings in speed is not "
        "known",
    )


def kind_of(kind: str, size: int, *figures) -> dict:
    """Returns a report of one runtime and one size of pictures."""
    report_ = report_of(*figures)
    return {**report_, "target": {**report_["target"], "kind": kind}, "model": {"imgsz": [size, size]}}


def test_a_precision_is_compared_with_float_of_its_runtime_and_size():
    device = device_of(
        kind_of("onnxruntime", 320, "fp32", 0.75, 38.7),
        kind_of("openvino", 320, "fp32", 0.75, 19.1),
        kind_of("openvino", 320, "int8", 0.753, 7.06),
        kind_of("openvino", 192, "fp32", 0.68, 7.29),
        kind_of("openvino", 192, "int8", 0.6796, 3.25),
    )
    assert device.ship == "4_x"
    assert device.because == ("INT8 brings 2.2x here and costs no accuracy (4_x beside 3_x): worth it",)


def test_float_of_another_model_is_no_measure():
    reports = [report_of("fp32", 0.75, 10.0), report_of("int8", 0.60, 2.0)]
    for report_, weights in zip(reports, "ab", strict=True):
        report_["model"] = {**report_["model"], "weights": {"name": "x.pt", "sha256": weights}}
    assert "no point of its model, runtime and size here is float" in device_of(*reports).because[0]


def test_the_reason_speaks_for_what_ships():
    """Float at 256 ships, so it is INT8 at 256 that is weighed, whatever INT8 brings at 320."""
    device = device_of(
        kind_of("onnxruntime", 320, "fp32", 0.70, 10.0),
        kind_of("onnxruntime", 256, "fp32", 0.69, 6.0),
        kind_of("onnxruntime", 320, "int8", 0.695, 9.8),
        kind_of("onnxruntime", 256, "int8", 0.685, 5.9),
    )
    assert device.ship == "1_x"
    assert device.because == ("INT8 brings 1.0x here and costs 0.5 points (3_x beside 1_x): stay with float",)


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_float_points_of_equal_accuracy_are_told_apart_by_their_latency(order):
    floats = [kind_of("onnxruntime", 256, "fp32", 0.70, p50) for p50 in (10.0, 5.0)]
    device = device_of(*(floats[number] for number in order), kind_of("onnxruntime", 256, "int8", 0.69, 6.0))
    assert device.ship == f"{order.index(1)}_x"
    assert device.because[0].endswith("INT8 brings 0.8x here and costs 1.0 points: stay with float")


def test_what_ships_for_its_accuracy_is_not_advised_against():
    device = device_of(report_of("fp32", 0.70, 10.0), report_of("int8", 0.7005, 10.0))
    assert device.ship == "1_x"
    assert device.because == (
        "INT8 brings 1.0x here and gains 0.1 points: worth it, if it holds: the latencies "
        "overlap, measure them on a quiet machine",
    )


def test_without_float_of_its_runtime_the_point_that_ships_is_told():
    device = device_of(report_of("int8", 0.74, 5.0), kind_of("openvino", 192, "fp32", 0.60, 9.0))
    assert device.because[0] == (
        "INT8 costs 1.0 points against the float model; no point of its model, runtime and size here is float, so what "
        "it brings in speed is not known"
    )


def test_without_latency_accuracy_decides_and_there_is_no_front():
    device = device_of(report_of("int8", 0.74, None), report_of("fp32", 0.75, None))
    assert (device.ship, device.front) == ("1_x", ())
    assert device.because[-1] == "latency was not measured here, so accuracy alone decides"


def test_latencies_of_two_machines_are_not_passed_off_as_one():
    reports = [report_of("fp32", 0.75, 10.0), report_of("int8", 0.75, 5.0)]
    reports[1]["measured"]["machine"] = {"cpu": "Another CPU"}
    assert device_of(*reports).because[-1] == "latencies were measured on several machines, which do not compare"


def test_where_no_point_met_its_gates_none_ships():
    device = device_of(report_of("fp32", 0.75, 9.0), report_of("int8", 0.75, 5.0), code=6)
    assert (device.ship, device.verdict) == (None, "ship none: of 2 points, none met its gates")
    assert "but ended with 'gate unmet'" in device.because[0]


def test_each_device_has_its_own_verdict():
    reports = [report_of("int8", 0.74, 5.0, device=name) for name in ("here", "there")]
    points = [point_of(f"{number}_x", status_of(), one) for number, one in enumerate(reports)]
    assert [one.device for one in sweep_of("s", points).devices] == ["here", "there"]


def test_verdicts_on_one_device_say_what_they_were_judged_on(tmp_path: Path):
    reports = [report_of("int8", 0.74, 5.0), report_of("int8", 0.70, 5.0)]
    reports[1]["recipe"] = {"data": {"path": "data.yaml", "validation": {"split": "val", "images": None}}}
    said = io.StringIO()
    report(lay_out(tmp_path / "s", {f"{n}_x": (status_of(), one) for n, one in enumerate(reports)}), stream=said)
    assert "a small board, judged on 'test' of data.yaml: ship this: 0_x" in said.getvalue()
    assert "a small board, judged on 'val' of data.yaml: ship this: 1_x" in said.getvalue()


def test_front_against_size_is_one_of_its_own():
    reports = [report_of("fp32", 0.75, 10.0), report_of("fp16", 0.75, 12.0), report_of("int8", 0.74, 5.0)]
    for report_, size in zip(reports, (10_000_000, 5_000_000, 3_000_000), strict=True):
        report_["figures"]["size_bytes"] = size
    device = device_of(*reports)
    assert (device.front, device.size_front) == (("0_x", "2_x"), ("1_x", "2_x"))


def test_a_measurement_that_was_not_alone_is_told():
    reports = [report_of("fp32", 0.75, 10.0), report_of("int8", 0.75, 5.0)]
    for exclusive in (True, None):
        reports[1]["measured"]["exclusive"] = exclusive
        assert not any("another user" in line for line in device_of(*reports).because)
    reports[1]["measured"]["exclusive"] = False
    assert "steps of another user's builds may have run" in device_of(*reports).because[-1]


def test_front_holds_what_nothing_beats_in_both():
    pairs = [(5.0, 0.70), (6.0, 0.70), (7.0, 0.74), (8.0, 0.73), (None, 0.9), (7.0, 0.74)]
    points = [point_of("0_x", status_of(), report_of("int8", score, p50)) for p50, score in pairs]
    assert [(one.latency_p50_ms, one.accuracy) for one in pareto_front(points)] == [(5.0, 0.70), (7.0, 0.74)]


@pytest.mark.parametrize("pairs", [[(5.0, 0.0), (5.0, 0.0)], [(3.53, 0.7673), (7.75, 0.7675), (900, 0)]])
def test_every_dot_lies_inside_the_plot(pairs):
    points = [point_of("0_x", status_of(), report_of("int8", score, p50)) for p50, score in pairs]
    chart = scatter(points, latency, lambda point: True)
    assert len(chart.dots) == len(pairs)
    for dot in chart.dots:
        assert chart.left <= dot.x <= chart.right
        assert chart.top <= dot.y <= chart.bottom
    for line in chart.floats:
        assert chart.top <= line.at <= chart.bottom


def test_one_point_has_no_chart():
    assert scatter([point_of("0_x", status_of(), report_of("int8", 0.7, 5.0))], latency, lambda point: True) is None


def test_names_of_points_do_not_cover_each_other():
    points = [point_of(f"{n}_x", status_of(), report_of("int8", 0.7, 5.0 + n / 100)) for n in range(5)]
    points += [point_of("9_x", status_of(), report_of("int8", 0.6, 50.0))]
    chart = scatter(points, latency, lambda point: True)
    left = sorted(dot.label_y for dot in chart.dots if dot.anchor == "start")
    assert len(left) == 5
    assert all(after - before >= 10 for before, after in pairwise(left))
    assert {dot.label for dot in chart.dots} == {f"{n} int8" for n in (0, 1, 2, 3, 4, 9)}
    assert [line.text for line in chart.floats] == ["float 0.7500"]


def test_many_points_have_their_names_under_the_pointer_alone():
    points = [point_of(f"{n}_x", status_of(), report_of("int8", 0.7, 5.0 + n)) for n in range(40)]
    assert not scatter(points, latency, lambda point: True).named


def test_three_files_and_a_table(tmp_path: Path):
    folder, said = mixed(tmp_path / "sweep"), io.StringIO()
    assert report(folder, stream=said) == folder / "report.html"
    rows = list(csv.DictReader((folder / "results.csv").read_text().splitlines()))
    assert [row["state"] for row in rows] == ["built", "built", "gate unmet", "invalid", "unfinished"]
    assert rows[1]["map50_95"] == "0.746"
    assert json.loads((folder / "results.json").read_text())["devices"][0]["ship"] == "1_x"
    for words in ("passes.int8_static.method=minmax", "10_x: found 33", "a small board: ship this: 1_x", "report: "):
        assert words in said.getvalue()


def test_drops_stand_beside_their_standard_errors(tmp_path: Path):
    """In the table, in the page and as a column; points of older versions know none."""
    known, older = report_of("int8", 0.746, 3.0), report_of("fp32", 0.75, 6.0)
    known["figures"] |= {"drop_error": {"standard_error": 0.0021, "groups": 72, "same": False}}
    jobs = {"0_x": (status_of(), known), "1_x": (status_of(), older)}
    folder, said = lay_out(tmp_path / "sweep", jobs), io.StringIO()
    page = report(folder, stream=said)
    assert "0.0040 ± 0.0021" in said.getvalue()
    assert "0.0040 ± 0.0021" in page.read_text()
    assert said.getvalue().count("±") == 1
    rows = list(csv.DictReader((folder / "results.csv").read_text().splitlines()))
    assert [row["drop_error"] for row in rows] == ["0.0021", ""]
    assert float(rows[0]["relative_drop"]) == pytest.approx(0.005333)


def test_a_damaged_point_hides_no_other(tmp_path: Path):
    folder = mixed(tmp_path / "sweep")
    (folder / "1_x/report.json").write_text('{"figures": ')
    (folder / "2_x/status.json").write_text("[]")
    states = [point.state for point in read(folder).points]
    assert states == ["built", "error", "error", "invalid", "unfinished"]


@pytest.mark.parametrize(
    ("file", "keys", "value"),
    [
        ("report.json", ("figures", "map50_95"), None),
        ("report.json", ("figures", "size_bytes"), "1 MB"),
        ("report.json", ("precision",), None),
        ("report.json", ("figures", "per_class"), None),
        ("report.json", ("figures", "per_class"), {"bolt": {}}),
        ("report.json", ("figures", "per_class", "bolt", "map50_95"), "much"),
        ("report.json", ("figures", "reference"), {}),
        ("report.json", ("figures", "main"), "miou"),
        ("report.json", ("figures", "drop_error"), {"standard_error": "little"}),
        ("report.json", ("measured", "latency_ms", "total", "p50"), "5 ms"),
        ("status.json", ("steps",), "many"),
        ("status.json", ("steps",), {"run": "many"}),
        ("status.json", ("overrides",), [3]),
        ("status.json", ("problems",), [None]),
    ],
)
def test_a_point_that_holds_something_else_hides_no_other(tmp_path: Path, file, keys, value):
    folder = mixed(tmp_path / "sweep")
    document = inner = json.loads((folder / "1_x" / file).read_text())
    for key in keys[:-1]:
        inner = inner[key]
    inner[keys[-1]] = value
    (folder / "1_x" / file).write_text(json.dumps(document))
    report(folder, stream=io.StringIO())
    points = json.loads((folder / "results.json").read_text())["points"]
    assert [point["state"] for point in points] == ["built", "error", "gate unmet", "invalid", "unfinished"]
    assert "its status.json or report.json cannot be read" in points[1]["reason"]


def test_what_is_no_sweep_is_said(tmp_path: Path, capsys):
    for folder, words in ((tmp_path, "no point of a sweep"), (tmp_path / "none", "no folder")):
        with pytest.raises(RecipeError, match=words):
            cli.run(["report", str(folder)])


def test_what_sharing_saved_is_told(tmp_path: Path):
    folder = mixed(tmp_path / "sweep")
    assert read(folder).sharing is None  # of an older version: nobody noted it
    assert read(folder).shared == ("recipe=x",)
    for name, steps in (
        ("0_x", {"run": 9, "reused": 1, "saved_s": 2.5}),
        ("2_x", {"run": 3, "reused": 7, "saved_s": 60}),
    ):
        status = json.loads((folder / name / "status.json").read_text())
        (folder / name / "status.json").write_text(json.dumps({**status, "steps": {"total": 10, **steps}}))
    note = {"overrides": ["recipe=y", "a=b"], "total": 10, "run": 2, "reused": 1, "saved_s": 0.5, "now": "compile"}
    (folder / "11_x/progress.json").write_text(json.dumps(note))
    sweep = read(folder)
    assert sweep.sharing == StepCounts(run=14, reused=9, saved_s=63.0)
    assert sweep.points[-1].reason == "it was interrupted, or is still running, 3 of 10 steps done"
    assert sweep.points[-1].overrides == ("recipe=y", "a=b")
    assert sweep.shared == ()  # one that has not ended says what it is
    out = io.StringIO()
    page = report(folder, stream=out).read_text()
    text = "14 steps run, 9 reused: 63.0 s saved by sharing"
    assert text in page
    assert text in out.getvalue()


NOISE = {"noise": ["other processes took 50 % of the processor"]}
SPEEDUP = {
    "ratio": 2.31,
    "low": 2.2,
    "high": 2.4,
    "rounds": 20,
    "against": "fp32 on a runtime",
    "reference_p50_ms": 9.0,
}


def test_a_noisy_latency_weighs_nothing_and_is_told():
    reports = [report_of("fp32", 0.75, 10.0), report_of("int8", 0.746, 2.0)]
    assert device_of(*reports).ship == "1_x", "negative control: what stands is weighed"
    reports[1]["measured"]["quality"] = NOISE
    device = device_of(*reports)
    assert (device.ship, device.front) == ("0_x", ("0_x",))
    assert "its latency or float's is noisy" in device.because[0]
    assert "noisy, so that it weighs nothing: the latency of 1_x" in device.because[1]
    point = point_of("1_x", status_of(), {**reports[1], "gates": [{"gate": "fps", "met": None, "noisy": True}]})
    row = row_of(point, ("noise", "gates", "latency_p50_ms"))
    assert row == {"noise": NOISE["noise"][0], "gates": "fps:noisy", "latency_p50_ms": 2.0}


def test_a_speed_up_that_was_measured_in_turns_is_what_a_verdict_says():
    reports = [report_of("fp32", 0.75, 10.0), report_of("int8", 0.75, 5.0)]
    reports[1]["measured"]["speedup"] = SPEEDUP
    assert (
        device_of(*reports).because[0].startswith("INT8 brings 2.31x here [2.20-2.40] and costs no accuracy: worth it")
    )
    assert device_of(reports[1]).because[0].endswith("is float: it is 2.31x as fast as float here [2.20-2.40]")
    for report_ in reports:
        report_["measured"]["quality"] = NOISE
    assert "it is 2.31x as fast as float here" in device_of(*reports).because[0], "noise touches both alike"
    row = row_of(point_of("1_x", status_of(), reports[1]), ("speedup", "speedup_low", "speedup_high"))
    assert tuple(row.values()) == (2.31, 2.2, 2.4)
