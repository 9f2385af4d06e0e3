"""The page of a diagnosis: every symptom, timelines, and nothing that is not escaped."""

from __future__ import annotations

import re
from dataclasses import replace

from runtime.test_findings import SUBJECT, diagnosed, heat, leaking
from runtime.timelines import quiet, with_moments

from edgecompile.report.diagnosis_page import render_diagnosis
from edgecompile.report.timelines import plots
from edgecompile.runtime.diagnosis import diagnosis_of


def test_the_page_shows_causes_fixes_and_five_timelines():
    page = render_diagnosis(diagnosed(leaking(heat(quiet(40)), "results"), jitter_ms=1.0, temperature_c=70.0))
    assert page.count("<svg ") == 5
    assert "slowed by heat or low voltage" in page
    assert "results that the caller keeps" in page
    assert page.count("Fix: ") >= 3
    assert "gate temperature_c" in page
    assert not re.search(r"<script|(src|href)=", page)


def test_a_quiet_run_says_so_and_what_is_hidden_is_told():
    hidden = with_moments(
        quiet(40), lambda _, one: replace(one, mhz=None, temperature_c=None, foreign=None, stolen=None)
    )
    page = render_diagnosis(diagnosed(hidden))
    assert "No cause for concern was seen." in page
    assert page.count("<svg ") == 2
    assert "the machine has no sensor" in page


def test_names_and_messages_are_escaped():
    timeline = replace(quiet(8), refused=1, refusal="<script>alert(1)</script>", unseen=("<b>bold</b>",))
    page = render_diagnosis(diagnosis_of(replace(SUBJECT, bundle="<img src=x>.zip", backend="a\u202eb"), timeline))
    assert "<script>alert" not in page
    assert "<img src" not in page
    assert "<b>bold" not in page
    assert "\u202e" not in page


def test_curves_stay_inside_of_their_plots():
    for plot in plots(heat(quiet(40))):
        for curve in plot.curves:
            for x, y in re.findall(r"[ML]([\d.]+) ([\d.]+)", curve.path):
                assert plot.left <= float(x) <= plot.right
                assert plot.top <= float(y) <= plot.bottom
