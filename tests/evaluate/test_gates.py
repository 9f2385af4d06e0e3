"""Gates hold, fail and say why."""

from __future__ import annotations

from dataclasses import replace

import pytest

from edgecompile.errors import GateError
from edgecompile.evaluate.gates import (
    CONFIDENCE,
    GATES,
    judge,
    judge_measured,
    no_drop_limited,
    proof_words,
    raise_unmet,
    remarks,
)
from edgecompile.evaluate.metrics import figures_of
from edgecompile.evaluate.tasks import find_task
from edgecompile.recipe.schema import Gates
from edgecompile.repair import out_of_reach
from edgecompile.runtime.figures import figures_from
from edgecompile.runtime.machine import describe
from edgecompile.runtime.machine_load import Load
from edgecompile.runtime.measurement import Measurement, Percentiles, not_measured
from edgecompile.runtime.quality import quality_of

REFERENCE = {
    "metrics": {"map50_95": 0.4862, "map50": 0.8014},
    "per_class": {
        "RBC": {"map50_95": 0.55, "map50": 0.8, "objects": 800},
        "WBC": {"map50_95": 0.67, "map50": 0.95, "objects": 72},
        "Platelets": {"map50_95": 0.2386, "map50": 0.65, "objects": 73},
    },
    "pictures": 72,
    "objects": 945,
    "size_bytes": 10_400_000,
}
GOOD = {**REFERENCE, "metrics": {"map50_95": 0.4821, "map50": 0.8014}, "size_bytes": 3_000_000}
DEAD = {
    **REFERENCE,
    "metrics": {"map50_95": 0.0, "map50": 0.0},
    "per_class": {name: {**one, "map50_95": 0.0, "map50": 0.0} for name, one in REFERENCE["per_class"].items()},
}
MEASURED = Measurement(
    describe(),
    threads=1,
    latency_ms={"total": Percentiles(7.0, 9.5, 11.0)},
    fps=120.0,
    peak_memory_mb=180.0,
    unmeasured={"fps_per_watt": "this machine has no power meter"},
)


def figures(artifact=GOOD, reference=REFERENCE, paired=None):
    distance = {"max": 3.0, "cosine": 0.99, "sqnr_db": 20.0}
    return figures_of(find_task("detect"), reference, artifact, distance, None, paired)


def paired(error: float, shift: float | None = -0.03):
    """Facts of the comparison picture by picture."""
    side = {"found": 900, "precision": 0.8, "recall": 0.7}
    scores = {
        "threshold": 0.25, "reference": side, "artifact": side, "matched": 700, "median_shift": shift,
        "largest_shift": 0.2,
    }  # fmt: skip
    return {"drop_error": {"standard_error": error, "groups": 72, "same": False}, "scores": scores}


def test_a_dead_model_is_stopped_with_the_classes_that_fell():
    verdicts = judge({"map_drop": 0.01, "size_mb": None}, figures(DEAD))
    with pytest.raises(GateError) as caught:
        raise_unmet(verdicts)
    assert caught.value.exit_code == 6
    assert str(caught.value) == (
        "gate map_drop: 0.4862 → 0.0000 (drop 0.4862, limit 0.01); "
        "fell most: WBC 0.67 → 0.00, RBC 0.55 → 0.00, Platelets 0.24 → 0.00"
    )


@pytest.mark.parametrize("gates", [{}, {"map_drop": None, "size_mb": 20.0}])
def test_a_dead_model_is_stopped_where_no_gate_is_on_accuracy(gates):
    verdicts = judge(gates, figures(DEAD))
    with pytest.raises(GateError, match=r"gate map_drop: 0\.4862 → 0\.0000 .*no gate on accuracy.*gates\.map_drop=1"):
        raise_unmet(verdicts)
    raise_unmet(judge({**gates, "map_drop": 1.0}, figures(DEAD)))
    assert remarks({**gates, "map_drop": 1.0}, figures(DEAD)) == []


def test_without_a_gate_on_accuracy_what_works_ships_and_is_remarked_upon():
    raise_unmet(judge({}, figures()))
    assert "gates.map_drop=0.02" in remarks({}, figures())[0]
    nothing = figures(DEAD, {**REFERENCE, "metrics": {"map50_95": 0.004, "map50": 0.8014}})
    raise_unmet(judge({}, nothing))
    assert remarks({}, nothing)[0].startswith("nothing is proven: the float model reaches only 0.0040")


def test_met_gates_raise_nothing():
    limits = {"map_drop": 0.01, "map50_95": 0.48, "map50": 0.8, "latency_p95_ms": 10, "fps": 30}
    verdicts = judge({**limits, "peak_memory_mb": 512, "size_mb": 8}, figures(), MEASURED)
    assert all(verdict.met for verdict in verdicts)
    limited = {*limits, "peak_memory_mb", "size_mb"}
    assert [verdict.gate for verdict in verdicts] == [name for name in GATES if name in limited]
    raise_unmet(verdicts)
    assert str(verdicts[0]) == "gate map_drop: 0.4862 → 0.4821 (drop 0.0041, limit 0.01)"


@pytest.mark.parametrize(
    ("gate", "limit", "line"),
    [
        ("map_drop", 0.004, "gate map_drop: 0.4862 → 0.4821 (drop 0.0041, limit 0.004)"),
        ("map50_95", 0.5, "gate map50_95: 0.4821, below the limit 0.5; lowest: Platelets 0.24, RBC 0.55, WBC 0.67"),
        ("map50", 0.9, "gate map50: 0.8014, below the limit 0.9; lowest: Platelets 0.24, RBC 0.55, WBC 0.67"),
        ("latency_p95_ms", 9, "gate latency_p95_ms: 9.50 ms, above the limit 9 ms"),
        ("fps", 125, "gate fps: 120.0 FPS, below the limit 125 FPS"),
        ("peak_memory_mb", 100, "gate peak_memory_mb: 180.0 MB, above the limit 100 MB"),
        ("size_mb", 2.5, "gate size_mb: 3.000 MB, above the limit 2.5 MB"),
        (
            "fps_per_watt",
            3,
            "gate fps_per_watt: cannot be measured here (this machine has no power meter); limit 3 FPS/W",
        ),
    ],
)
def test_each_gate_fails_with_its_figure(gate, limit, line):
    (verdict,) = judge({gate: limit}, figures(), MEASURED)
    assert not verdict.met
    assert str(verdict) == line


def test_one_gate_is_on_the_main_metric_of_whatever_task():
    (met,) = judge({"accuracy_drop": 0.01}, figures())
    assert str(met) == "gate accuracy_drop: 0.4862 → 0.4821 (drop 0.0041, limit 0.01)"
    counts = {"pictures": 50, "objects": 50, "size_bytes": 9}
    classified = {"metrics": {"top1": 0.9, "top5": 1.0}, "per_class": {}, **counts}
    worse = {**classified, "metrics": {"top1": 0.892, "top5": 1.0}}
    of_classes = figures_of(find_task("classify"), classified, worse)
    for name in ("accuracy_drop", "top1_drop"):
        assert [verdict.met for limit in (0.01, 0.005) for verdict in judge({name: limit}, of_classes)] == [True, False]
        assert remarks({name: 0.5}, of_classes) == []
    assert [verdict.gate for verdict in judge({"accuracy_drop": 1}, figures(DEAD))] == ["accuracy_drop"]
    (blind,) = judge({"accuracy_drop": 0.01}, figures(DEAD, DEAD))
    assert "the float model reaches only 0.0000" in str(blind)


def test_of_two_gates_on_the_drop_that_under_the_name_of_the_task_counts():
    assert [str(verdict) for verdict in judge({"accuracy_drop": 0.001, "map_drop": 0.01}, figures())] == [
        "gate map_drop: 0.4862 → 0.4821 (drop 0.0041, limit 0.01)"
    ]
    assert judge({"accuracy_drop": 0.001, "map_drop": None}, figures())[0].met is False


@pytest.mark.parametrize("gate", ["map_drop", "accuracy_drop", "latency_p95_ms", "size_mb"])
def test_a_figure_on_the_limit_is_met(gate):
    limit = {"map_drop": 0.0041, "accuracy_drop": 0.0041, "latency_p95_ms": 9.5, "size_mb": 3.0}[gate]
    assert judge({gate: limit}, figures(), MEASURED)[0].met


def test_an_artifact_better_than_its_reference_meets_a_drop_of_zero():
    assert judge({"map_drop": 0.0}, figures({**GOOD, "metrics": {"map50_95": 0.49, "map50": 0.8014}}))[0].met


def test_a_float_model_that_finds_nothing_proves_nothing():
    """Dead against dead is a drop of 0; it must not count as accuracy kept."""
    (verdict,) = judge({"map_drop": 0.01}, figures(DEAD, DEAD), MEASURED)
    assert not verdict.met
    assert "the float model reaches only 0.0000" in str(verdict)
    unlabelled = {**DEAD, "per_class": {}, "objects": 0}
    (verdict,) = judge({"map_drop": 0.01}, figures(unlabelled, unlabelled), MEASURED)
    assert "no labelled object" in str(verdict)


def test_nothing_measured_meets_no_measured_gate():
    """Without a measurement (another machine than the target's) a latency gate is not silently met."""
    reason = "the target is aarch64, this machine x86_64"
    nothing = not_measured(reason, 1, describe())
    verdicts = judge({"latency_p95_ms": 100, "fps": 1, "size_mb": 8}, figures(), nothing)
    assert [verdict.met for verdict in verdicts] == [False, False, True]
    assert str(verdicts[0]) == f"gate latency_p95_ms: cannot be measured here ({reason}); limit 100 ms"
    assert not judge({"fps": 1}, figures())[0].met


def test_measured_figures_stay_out_of_the_manifest():
    latency, size = judge({"latency_p95_ms": 10, "size_mb": 8}, figures(), MEASURED)
    assert latency.for_manifest() == {
        "gate": "latency_p95_ms",
        "limit": 10,
        "figure": None,
        "met": None,
        "measured": True,
        "proven": None,
    }
    assert latency.for_report()["figure"] == 9.5
    assert size.for_manifest()["figure"] == 3.0


def test_lasting_figures_hold_no_measurement():
    distance = {"max": 3.0, "cosine": 0.99, "sqnr_db": 20.0, "per_picture": []}
    lasted = figures_of(find_task("detect"), REFERENCE, GOOD, distance).to_json()
    assert lasted["map_drop"] == 0.0041
    assert lasted["distance"] == {"max": 3.0, "cosine": 0.99, "sqnr_db": 20.0}
    assert set(lasted) == {
        "map50_95", "map50", "per_class", "reference", "map_drop", "pictures", "objects", "size_bytes", "distance",
        "coverage", "main", "drop", "titles", "drop_error", "scores",
    }  # fmt: skip
    assert lasted["reference"] == {**REFERENCE["metrics"], "per_class": REFERENCE["per_class"]}
    assert figures_from(lasted) == figures()


def test_a_class_that_the_artifact_lost_stands_among_the_falls():
    assert figures(DEAD).falls()[0] == ("WBC", 0.67, 0.0)


def test_what_only_the_device_can_measure_is_left_to_it_and_accuracy_is_not():
    limits = {"map_drop": 0.01, "latency_p95_ms": 10, "fps": 30, "size_mb": 8}
    verdicts = {verdict.gate: verdict for verdict in judge(limits, figures(), on_device=True)}
    assert [verdicts[name].met for name in limits] == [True, None, None, True]
    raise_unmet(verdicts.values())
    with pytest.raises(GateError, match="map_drop"):
        raise_unmet(judge(limits, figures(DEAD), on_device=True))
    with pytest.raises(GateError, match="latency_p95_ms"):
        raise_unmet(judge(limits, figures()))


def test_a_recipe_accepts_every_gate_and_no_other():
    assert set(Gates.model_fields) == {*GATES, CONFIDENCE}


@pytest.mark.parametrize(
    ("error", "limit", "confidence", "met", "proven", "words"),
    [
        (0.0020, 0.01, None, True, True, "(drop 0.0041 ± 0.0020, limit 0.01): met and proven on 72 pictures"),
        (0.0020, 0.01, 0.95, True, True, "met and proven on 72 pictures"),
        (0.0040, 0.01, None, True, False, "met, not proven on 72 pictures (about 92 would do)"),
        (0.0040, 0.01, 0.95, False, False, "not met at gates.confidence=0.95: up to 0.0108 on 72 pictures (about 92"),
        (0.0040, 0.01, 0.9, True, True, "met and proven on 72 pictures"),
        (0.0040, 0.0041, None, True, False, "no number would do: the drop is the limit itself"),
        (0.0020, 0.004, None, False, False, "(drop 0.0041 ± 0.0020, limit 0.004)"),
    ],
)
def test_a_gate_on_the_drop_says_what_the_pictures_prove(error, limit, confidence, met, proven, words):
    """The point estimate decides, or the bound where a confidence is asked for: the same drop fails then."""
    known = figures(paired=paired(error))
    (verdict,) = judge({"map_drop": limit, "confidence": confidence}, known)
    assert (verdict.met, verdict.proven) == (met, proven)
    assert words in str(verdict)
    assert verdict.for_manifest()["proven"] is proven
    said = proof_words(verdict.for_manifest(), known, confidence)
    assert said.removeprefix("not proven: ") in str(verdict)
    assert bool(said) == (limit > 0.004)


def test_a_confidence_is_not_met_by_a_drop_of_which_nothing_is_known():
    assert judge({"map_drop": 0.01}, figures())[0].met
    (verdict,) = judge({"map_drop": 0.01, "confidence": 0.95}, figures())
    assert not verdict.met
    assert str(verdict).endswith("not met at gates.confidence=0.95: how sure the drop is, is not known")
    (other,) = judge({"map50": 0.8, "confidence": 0.95}, figures())
    assert other.met
    assert no_drop_limited({"map50": 0.8, "confidence": 0.95}, "map_drop")
    assert not no_drop_limited({"map_drop": 0.8, "confidence": 0.95}, "map_drop")
    assert not no_drop_limited({"map50": 0.8, "confidence": None}, "map_drop")


def test_a_drop_of_few_points_is_much_of_a_poor_model():
    poor, worse = ({**REFERENCE, "metrics": {"map50_95": main, "map50": 0.1}} for main in (0.03, 0.025))
    (met,) = judge({"accuracy_drop": 0.005}, figures(worse, poor))
    assert met.met
    (remark,) = remarks({"accuracy_drop": 0.005}, figures(worse, poor))
    assert remark.startswith("the drop of 0.0050 is 17% of the float model's mAP50-95")
    assert remarks({"accuracy_drop": 0.005}, figures()) == []
    (verdict,) = judge({"relative_drop": 0.1}, figures(worse, poor, paired(0.001)))
    assert not verdict.met
    assert str(verdict).startswith(
        "gate relative_drop: 0.0300 → 0.0250 (drop 0.0050 ± 0.0010, limit 0.1 of the float model's)"
    )
    assert verdict.figure == pytest.approx(0.166667)
    assert judge({"relative_drop": 0.1}, figures())[0].met
    assert remarks({"relative_drop": 0.2}, figures(worse, poor)) == []


def test_a_limit_in_points_lets_no_half_of_a_poor_model_pass():
    poor, worse = ({**REFERENCE, "metrics": {"map50_95": main, "map50": 0.1}} for main in (0.03, 0.012))
    collapsed, met = judge({"accuracy_drop": 0.02}, figures(worse, poor))
    assert met.met
    assert not collapsed.met
    assert "half of it is gone: gates.relative_drop=1 lets it pass" in str(collapsed)
    for more in ({"relative_drop": 1.0}, {"map50_95": 0.01}, {"map_drop": 1.0}):
        raise_unmet(judge({"accuracy_drop": 0.02, **more}, figures(worse, poor)))


@pytest.mark.parametrize("shift", [-0.03, 0.03])
def test_scores_may_shift_by_so_much(shift):
    known = figures(paired=paired(0.001, shift))
    (met,), (unmet,) = (judge({"score_shift": limit, "map_drop": None}, known) for limit in (0.03, 0.02))
    assert met.met
    assert not unmet.met
    assert str(unmet) == f"gate score_shift: median {shift:+.4f} of 700 matched, limit 0.02 up or down"


def test_a_shift_of_scores_that_is_not_known_meets_no_gate():
    for unknown, why in (
        (None, "not known for this task"),
        (paired(0.001, None), "both models found nothing in common"),
    ):
        (verdict,) = judge({"score_shift": 0.02}, figures(paired=unknown))
        assert not verdict.met
        assert why in str(verdict)


def test_the_smallest_map50():
    (verdict,) = judge({"map50": 0.81}, figures())
    assert verdict.met is False
    assert str(verdict).startswith("gate map50: 0.8014, below the limit 0.81")
    assert all(one.met for one in judge({"map50": 0.8}, figures()))


QUIET = Load(1.0, 0.0, 0.0, 0.0, 0.0, (None, None), (None, None), None, (None, None))


@pytest.mark.parametrize("busy", [False, True])
@pytest.mark.parametrize(
    ("gate", "limit", "quiet", "noisy"),
    [
        ("latency_p95_ms", 12.0, True, True),  # each single prediction was within it
        ("latency_p95_ms", 9.8, True, None),
        ("latency_p95_ms", 9.0, False, None),
        ("latency_p95_ms", 0.3, False, False),  # the quickest took twenty times that
        ("fps", 50.0, True, True),
        ("fps", 110.0, True, None),
        ("fps", 130.0, False, None),
        ("fps", 4000.0, False, False),
        ("fps_per_watt", 1.0, True, None),
        ("peak_memory_mb", 100.0, False, False),  # a neighbour takes none of it
    ],
)
def test_noise_turns_no_gate(gate, limit, quiet, noisy, busy):
    load = replace(QUIET, foreign=0.5 if busy else 0.0)
    quality = quality_of([8.0] * 100, [1.0] * 10, load, 0.03)
    measured = replace(MEASURED, fps=120.0, fps_per_watt=2.0, extremes_ms=(7.0, 11.0), quality=quality)
    (verdict,) = judge_measured({gate: limit}, measured)
    assert verdict.met is (noisy if busy else quiet)
    assert verdict.noisy is (busy and gate != "peak_memory_mb")
    assert ("not judged" in str(verdict)) is (verdict.met is None)
    assert verdict.for_manifest()["met"] is None, "no bundle depends on it"


@pytest.mark.parametrize(
    ("gate", "limit", "met", "words"),
    [
        ("jitter_ms", 0.5, True, "at most the limit 0.5 ms"),
        ("jitter_ms", 0.2, False, "above the limit 0.2 ms"),
        ("energy_per_picture_j", 0.06, True, "0.0500 J, at most the limit 0.06 J"),
        ("energy_per_picture_j", 0.04, False, "above the limit 0.04 J"),
        ("temperature_c", 80.0, True, "71.5 °C, at most"),
        ("temperature_c", 70.0, False, "71.5 °C, above"),
        ("throttled", False, False, "yes, and it must be no"),
        ("memory_growth_mb_per_hour", 1.0, None, "judged by `edgecompile diagnose`; limit 1 MB/h"),
    ],
)
def test_heat_energy_and_jitter_are_judged(gate, limit, met, words):
    quality = quality_of([8.0] * 100, [1.0] * 10, replace(QUIET, throttled=True), 10.0)
    measured = replace(
        MEASURED,
        fps=120.0,
        power_watt=6.0,
        jitter_ms=0.4,
        temperature_c=(60.0, 71.5),
        quality=replace(quality, noise=()),
    )
    (verdict,) = judge_measured({gate: limit}, measured)
    assert verdict.met is met
    assert words in str(verdict)
    cool = replace(measured, quality=replace(quality, throttled=False, noise=()))
    assert gate != "throttled" or judge_measured({gate: limit}, cool)[0].met is True


def test_noise_turns_no_gate_on_jitter_unless_no_two_predictions_were_so_far_apart():
    quality = quality_of([8.0] * 100, [1.0] * 10, replace(QUIET, foreign=0.5), 0.03)
    measured = replace(MEASURED, jitter_ms=3.0, extremes_ms=(7.0, 11.0), quality=quality)
    assert [judge_measured({"jitter_ms": limit}, measured)[0].met for limit in (5.0, 3.5, 2.0)] == [True, None, None]


def test_what_no_repair_can_reach_is_told_by_its_reason():
    found = figures()
    assert "validate on more pictures" in out_of_reach("accuracy_drop", -0.001, found)
    assert "the float model itself" in out_of_reach(found.main, -0.001, found)
    assert out_of_reach("accuracy_drop", 0.0, found) == "", "a mix without a loss meets it"
