"""How figures are written."""

from __future__ import annotations

import pytest

from edgecompile.report import number_format


@pytest.mark.parametrize(
    ("shown", "text"),
    [
        (number_format.score(0.48214), "0.4821"),
        (number_format.score(None), "–"),  # noqa: RUF001 what a person sees
        (number_format.signed(-0.00412), "−0.0041"),  # noqa: RUF001
        (number_format.signed(0.0041), "+0.0041"),
        (number_format.signed(-0.00001), "0.0000"),
        (number_format.milliseconds(3.771), "3.77 ms"),
        (number_format.milliseconds(37.71), "37.7 ms"),
        (number_format.milliseconds(377.1), "377 ms"),
        (number_format.seconds(2.74), "2.7 s"),
        (number_format.seconds(125.4), "2 min 05 s"),
        (number_format.megabytes(2_951_000), "2.95 MB"),
        (number_format.megabytes(950), "0.9 kB"),
        (number_format.number(1234.56, 1, " FPS"), "1,234.6 FPS"),
        (number_format.gate_limit("map_drop", 0.01), "at most 0.01"),
        (number_format.gate_limit("fps", 30.0), "at least 30 FPS"),
        (number_format.gate_limit("somebody's", 3.0), "3"),
        (number_format.gate_figure("latency_p95_ms", 4.314), "4.31 ms"),
        (number_format.gate_figure("map_drop", -0.0004), "−0.0004"),  # noqa: RUF001
        (number_format.gate_title("new_gate"), "new gate"),
    ],
)
def test_units_and_digits(shown: str, text: str):
    assert shown == text


def test_machine_is_named_as_far_as_it_is_known():
    machine = {"cpu": "Cortex-A76", "cores": 4, "memory_mb": 8400, "governor": "performance", "system": "Linux 6.6"}
    line = number_format.machine_line({"machine": machine, "threads": 1})
    assert line == "Cortex-A76, 4 cores, 1 thread used, 8 GB, governor performance, Linux 6.6"
    assert number_format.machine_line({"machine": {}, "threads": None}) == "an unnamed processor"


def test_scores_are_told_in_lines():
    none = number_format.NONE
    reference = {"found": 12, "precision": 0.75, "recall": None}
    artifact = {"found": 0, "precision": None, "recall": None}
    scores = {
        "threshold": 0.25, "reference": reference, "artifact": artifact, "matched": 9, "median_shift": -0.03,
        "largest_shift": 0.1,
    }  # fmt: skip
    assert number_format.score_lines(scores) == [
        ("conf 0.25", "0 found", f"float 12; precision 0.7500 → {none}, recall {none} → {none}"),
        ("score shift", f"{number_format.MINUS}0.0300", "median of 9 matched, at most 0.1000"),
    ]
    nothing = {"threshold": None, "reference": None, "artifact": None, "matched": 0, "median_shift": None}
    assert number_format.score_lines({**nothing, "largest_shift": None}) == [
        ("score shift", none, "median of 0 matched")
    ]
    assert number_format.score_lines(None) == []
