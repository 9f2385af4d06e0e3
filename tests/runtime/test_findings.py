"""Causes, judged on constructed timelines: each alone is the one that is named, and a quiet run names none."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from edgecompile.runtime.diagnosis import Diagnosis, Subject, diagnosis_of, lines
from edgecompile.runtime.machine import describe
from edgecompile.runtime.memory_findings import growth_of
from edgecompile.runtime.timeline import GoldenLook, Timeline

from .timelines import PER_MOMENT, quiet, with_moments, with_predictions

SUBJECT = Subject("a.bundle.zip", "0" * 64, "onnxruntime 1", describe())


def diagnosed(timeline: Timeline, **limits: float) -> Diagnosis:
    return diagnosis_of(replace(SUBJECT, limits=tuple(limits.items())), timeline)


def named(timeline: Timeline) -> list[tuple[str, str]]:
    return [(finding.symptom, finding.cause) for finding in diagnosed(timeline).findings]


def slower(every: int, more_ms: float, **why: float) -> Callable[[Timeline], Timeline]:
    """Returns a change by which each so-many-th prediction takes longer, for a reason that was counted."""
    return lambda timeline: with_predictions(
        timeline,
        lambda number, one: replace(one, total_ms=one.total_ms + more_ms, **why) if number % every == 0 else one,
    )


def busy_neighbour(timeline: Timeline) -> Timeline:
    return with_moments(slower(3, 8.0, waited_ms=8.0)(timeline), lambda _, one: replace(one, foreign=0.5))


def busy_host(timeline: Timeline) -> Timeline:
    return with_moments(slower(3, 8.0, waited_ms=8.0)(timeline), lambda _, one: replace(one, stolen=0.4))


def many_threads(timeline: Timeline) -> Timeline:
    return replace(slower(2, 9.0, waited_ms=9.0)(timeline), threads=8)


def many_shapes(timeline: Timeline) -> Timeline:
    shapes = tuple((side, side) for side in range(64, 64 + 32 * 8, 32))
    first = with_predictions(
        timeline,
        lambda number, one: replace(
            one, shape=number % 8, fresh=int(number < 8), total_ms=one.total_ms + (60.0 if number < 8 else 0.0)
        ),
    )
    return replace(first, shapes=shapes)


def pauses(timeline: Timeline) -> Timeline:
    return with_predictions(
        timeline,
        lambda _, one: replace(one, idle_ms=100.0, total_ms=3 * one.total_ms) if one.moment % 2 == 0 else one,
    )


def heat(timeline: Timeline) -> Timeline:
    half = 3 * len(timeline.moments) // 5
    slow = with_predictions(
        timeline, lambda _, one: replace(one, total_ms=1.8 * one.total_ms) if one.moment >= half else one
    )
    return with_moments(
        slow,
        lambda number, one: replace(
            one, throttled=number >= half, mhz=1200 if number >= half else 2400, temperature_c=86
        ),
    )


LATENCY = {
    "other_processes": busy_neighbour,
    "hypervisor": busy_host,
    "oversubscription": many_threads,
    "quota": slower(4, 50.0, quota_ms=50.0, waited_ms=50.0),
    "garbage_collection": slower(40, 30.0, gc_ms=30.0),
    "page_faults": slower(10, 20.0, minor=40_000),
    "new_shapes": many_shapes,
    "idle": pauses,
    "throttling": heat,
}


@pytest.mark.parametrize("cause", LATENCY)
def test_each_cause_of_jumps_is_the_one_that_is_named(cause: str):
    diagnosis = diagnosed(LATENCY[cause](quiet()))
    causes = [finding.cause for finding in diagnosis.findings if finding.symptom == "latency"]
    assert causes == [cause]
    (finding,) = (one for one in diagnosis.findings if one.symptom == "latency")
    assert finding.fix
    assert any(f"fix: {finding.fix}" in line for line in lines(diagnosis))


@pytest.mark.parametrize("seed", range(20))
def test_a_quiet_run_names_none(seed: int):
    assert named(quiet(seed=seed)) == []


def test_two_causes_are_both_named_the_dearer_first():
    both = slower(3, 8.0, gc_ms=8.0)(quiet())
    both = with_predictions(both, lambda number, one: replace(one, fresh=int(number % 100 == 1)))
    both = with_predictions(both, lambda _, one: replace(one, total_ms=one.total_ms + 90) if one.fresh else one)
    assert [cause for _, cause in named(both)] == ["garbage_collection", "new_shapes"]


def test_jumps_without_a_cause_are_counted_and_named_nothing():
    diagnosis = diagnosed(slower(10, 40.0)(quiet()))
    assert diagnosis.findings == ()
    assert diagnosis.unexplained >= 400
    assert any("without a cause that was seen" in line for line in lines(diagnosis))


HOLDERS = ("pictures", "results")


def leaking(timeline: Timeline, part: str) -> Timeline:
    """A tenth of a megabyte more in each pair of moments."""
    whole = part != "backend"
    return with_moments(
        timeline,
        lambda number, one: replace(
            one,
            grown_mb=one.grown_mb + (0.1 if one.whole is whole else 0.0),
            **({f"{part}_mb": 0.05 * number, f"{part}_held": PER_MOMENT // 2 * number} if part in HOLDERS else {}),
        ),
    )


@pytest.mark.parametrize(
    ("part", "cause"),
    [("backend", "backend"), ("pictures", "pictures_kept"), ("results", "results_kept"), ("source", "source")],
)
def test_growth_of_memory_is_told_by_where_it_comes_from(part: str, cause: str):
    timeline = leaking(quiet(), part)
    assert named(timeline) == [("memory", cause)]
    growth = growth_of(timeline)
    assert growth is not None
    assert growth.low < 720 < growth.high or growth.mb_per_hour == pytest.approx(720, rel=0.02)
    assert max(growth.parts_mb_per_hour, key=lambda name: growth.parts_mb_per_hour[name]) == part


def test_one_step_of_memory_is_no_growth():
    step = with_moments(
        quiet(), lambda number, one: replace(one, grown_mb=one.grown_mb + (8.0 if number == 120 else 0))
    )
    assert named(step) == []


def test_heat_is_told_by_throttling_and_before_it_by_rising():
    assert ("heat", "throttling") in named(heat(quiet()))
    rising = with_moments(quiet(), lambda number, one: replace(one, temperature_c=60 + number / 8))
    assert named(rising) == [("heat", "rising")]
    warm = with_moments(quiet(), lambda number, one: replace(one, temperature_c=50 + number / 8))
    assert named(warm) == [], "far from where processors slow themselves"


def test_abnormal_results_are_told_apart():
    look = GoldenLook(5.0, False, "boxes: difference 0.2 (limit 0.01), cosine 0.9 (limit 0.999)")
    odd = replace(look, detail="output 0: holds values that are not finite")
    assert named(replace(quiet(), looks=(look,))) == [("results", "drift")]
    assert named(replace(quiet(), looks=(odd,))) == [("results", "not_finite")]
    assert named(replace(quiet(), not_finite=2)) == [("results", "not_finite")]
    assert named(replace(quiet(), built=(look,))) == [("results", "differs_from_build")]
    assert named(replace(quiet(), refused=3, refusal="a score is 7")) == [("results", "refused")]


def test_gates_are_judged_by_a_soak():
    limits = {
        "jitter_ms": 2.0,
        "memory_growth_mb_per_hour": 100.0,
        "throttled": 0.0,
        "temperature_c": 80.0,
        "fps": 30.0,
    }
    assert {gate.gate: gate.met for gate in diagnosed(quiet(), **limits).gates} == dict.fromkeys(
        limits.keys() - {"fps"}, True
    )
    worst = diagnosed(leaking(heat(quiet()), "backend"), **limits)
    assert {gate.gate: gate.met for gate in worst.gates} == dict.fromkeys(limits.keys() - {"fps"}, False)
    short = diagnosed(quiet(moments=10), memory_growth_mb_per_hour=100.0)
    assert [gate.met for gate in short.gates] == [None], "too short to tell"


def test_what_could_not_be_seen_is_not_denied():
    def said(timeline: Timeline) -> list[str]:
        return [line for line in lines(diagnosed(timeline)) if line.startswith(("memory grows: ", "heat: "))]

    assert said(quiet()) == ["memory grows: no", "heat: no"]
    blind = with_moments(quiet(), lambda _, one: replace(one, temperature_c=None, throttled=None))
    assert said(blind) == ["memory grows: no", "heat: not known: this machine shows neither temperature nor throttling"]
    assert said(quiet(moments=10))[0].startswith("memory grows: not known: the run was too short")
    told = with_moments(quiet(), lambda _, one: replace(one, temperature_c=None))
    assert said(told)[1] == "heat: no", "throttling is shown"


def test_a_busy_neighbour_fails_no_gate_on_jitter():
    (gate,) = diagnosed(busy_neighbour(quiet()), jitter_ms=2.0).gates
    assert gate.met is None
    assert gate.noisy
    assert "other processes disturbed" in str(gate)


def test_a_diagnosis_survives_json():
    whole = diagnosed(leaking(heat(quiet(moments=40)), "results"), jitter_ms=2.0)
    assert Diagnosis.from_json(whole.to_json()) == whole
