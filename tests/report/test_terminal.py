"""What a terminal shows."""

from __future__ import annotations

import io
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from built import Built, build

from edgecompile.data.counts import describe
from edgecompile.evaluate.gates import judge
from edgecompile.execute.plan_status import StepState
from edgecompile.report import number_format
from edgecompile.report.html import render_html
from edgecompile.report.terminal import print_plan, print_summary
from edgecompile.runtime.machine_load import Load
from edgecompile.runtime.measurement import Measurement
from edgecompile.runtime.quality import quality_of

BUSY = Load(1.0, 0.61, 0.0, 0.02, 90.0, (None, None), (None, None), None, (None, None))
"""Beside processes that take more than half of the processor."""


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    return build(tmp_path_factory.mktemp("built"))


def summary(built: Built, stream: io.TextIOBase | None = None) -> str:
    stream = stream or io.StringIO()
    print_summary(built.report(whole=True), Path("outputs/x/report.html"), stream=stream)
    return stream.getvalue() if isinstance(stream, io.StringIO) else ""


def test_summary_tells_figures_gates_and_where_the_report_is(built: Built):
    text = summary(built)
    for said in (
        "blood-cells, int8 for Intel Xeon with VNNI", "0.4821", "float 0.4862", "p95 4.31 ms", "261.4 FPS", "2.95 MB",
        "measured on Intel(R) Xeon(R) Processor", "gate map_drop", "at most 0.01", "8 ran", "1 reused in 71.3 s",
        f"sha256 {'ab' * 32}", "Platelets", "99.3 %",
        "86 of 88 layers with weights; 2 in fp32", "report: outputs/x/report.html",
    ):  # fmt: skip
        assert said in text, said
    assert "\x1b" not in text  # no colours where the stream is no terminal


def test_summary_tells_how_sure_the_drop_is_and_what_became_of_scores(built: Built, tmp_path: Path):
    minus = number_format.MINUS
    text = summary(built)
    for said in (
        f"float 0.4862, {minus}0.0041 ± 0.0031", "met and proven on 72 pictures", "988 found",
        "float 1012; precision 0.8123 → 0.8201, recall 0.8710 → 0.8587",
        f"{minus}0.0123", "median of 1001 matched, at most 0.2104",
    ):  # fmt: skip
        assert said in text, said
    narrow = {"map_drop": 0.005}
    assert re.search(
        r"met, not proven on 72 pictures \(about \d+00 would do\)", summary(build(tmp_path / "a", gates=narrow))
    )
    unmet = summary(build(tmp_path / "b", gates={**narrow, "confidence": 0.95}))
    assert "✕  gate map_drop" in unmet
    assert re.search(r"at most 0.005 +not proven: up to 0.0093 on 72 pictures \(about \d+00 would do\)", unmet)


def test_summary_counts_the_pictures(built: Built):
    report, stream = built.report(whole=True), io.StringIO()
    print_summary(report, stream=stream)
    for what, numbers in describe(built.plan.counts):
        assert re.search(rf"{what}\s+{re.escape(numbers)}", stream.getvalue())
    print_summary({**report, "data": None}, stream=(without := io.StringIO()))  # a lock that says nothing
    assert "validation pictures" not in without.getvalue()


def test_unmet_gates_are_marked(tmp_path: Path):
    text = summary(build(tmp_path, gates={"map_drop": 0.001, "size_mb": 8.0}))
    marks = {line.split()[2]: line.split()[0] for line in text.splitlines() if " gate " in line}
    assert marks == {"map_drop": "✕", "size_mb": "✓"}


def test_names_are_text_not_markup(tmp_path: Path):
    text = summary(build(tmp_path, names=("[red]RBC", "[/]", "[link=http://x]y"), name="[bold]x"))
    assert "[bold]x" in text
    assert "[link=http://x]y" in text


def test_a_terminal_of_few_characters_gets_question_marks_not_an_error(built: Built):
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="ascii")
    summary(built, stream)
    assert b"? gate map_drop" in b" ".join(raw.getvalue().split())  # the mark before it cannot be said


def test_plan_says_for_each_step_whether_it_runs_and_why(built: Built):
    states = [
        StepState(step, None, index < 2, "made before" if index < 2 else "[of 300] pictures 1 changed", 40.0)
        for index, step in enumerate(built.plan)
    ]
    stream = io.StringIO()
    print_plan(built.plan, states, stream=stream)
    text = stream.getvalue()
    lines = {line.split()[1]: line for line in text.splitlines() if line.startswith(" quantization")}
    assert " run " in lines["int8_static.quantize"]
    for said in ("[of 300] pictures 1 changed", "9 steps: 2 reused, 7 to run; 80.0 s saved", "note: the target was"):
        assert said in text
    for step in built.plan:
        assert step.name in text


def test_rich_is_imported_only_when_something_is_printed():
    code = (
        "import sys, edgecompile.report.terminal; print([m for m in ('rich', 'jinja2', 'numpy') if m in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"


def test_summary_marks_noise_and_tells_the_speed_up(tmp_path: Path):
    built = build(tmp_path, gates={"latency_p95_ms": 4.0, "map_drop": 0.01})
    facts = built.entries["measure"].facts
    assert "noisy" not in summary(built)
    quality = quality_of([3.0, 5.0] * 50, [1.0, 1.5] * 10, BUSY, 0.03)
    speedup = {"ratio": 2.31, "low": 2.2, "high": 2.4, "rounds": 9, "against": "fp32 on onnxruntime 1.32.0"}
    facts |= {"quality": quality.to_json(), "speedup": {**speedup, "reference_p50_ms": 8.7}}
    facts["extremes_ms"] = [3.0, 9.0]
    verdicts = judge(built.recipe.gates, built.figures, Measurement.from_json(facts))
    text = summary(replace(built, verdicts=verdicts))
    for said in (
        "noisy: p95 4.31 ms", "gate latency_p95_ms", "not judged: noisy", "other processes took 61 % of the processor",
        "noisy: not judged, for noise may have turned them: gates.latency_p95_ms",
        "build again when the machine is quiet",
        "INT8 is 2.31x as fast as float here [2.20-2.40]; in turns with fp32 on onnxruntime 1.32.0, p50 8.70 ms",
    ):  # fmt: skip
        assert said in text, said
    page = render_html(replace(built, verdicts=verdicts).report(whole=True))
    for said in ("1 of 2 gates was not judged", "Noisy, and so not kept: other processes took 61 %", "in turns"):
        assert said in page, said
