"""The standard error by leaving pictures out is what it is known to be, and the same each time."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from edgecompile.evaluate import average_precision
from edgecompile.evaluate.evidence import EVIDENCE, gathered, load_evidence, save_evidence
from edgecompile.evaluate.jackknife import MOST_GROUPS, group_count, groups_of, standard_error
from edgecompile.evaluate.paired_comparison import drop_error

from .drawn_evidence import DETECT, drawn


def of_mean(values: np.ndarray) -> float:
    """Returns the jackknife's standard error of a mean."""
    groups, count = groups_of(len(values)), group_count(len(values))
    sizes = np.bincount(groups, minlength=count)
    without = (values.sum() - np.bincount(groups, values, count)) / (len(values) - sizes)
    return standard_error(values.mean(), without, sizes)


def test_of_a_mean_it_is_the_deviation_by_the_root_of_the_number():
    values = np.random.default_rng(1).normal(3, 2, 72)
    assert of_mean(values) == pytest.approx(values.std(ddof=1) / 72**0.5)


@pytest.mark.parametrize("pictures", [MOST_GROUPS + 1, 1999, 5000])
def test_groups_of_unequal_size_tell_the_same(pictures):
    errors = [of_mean(np.random.default_rng(seed).normal(3, 2, pictures)) for seed in range(20)]
    assert np.mean(errors) == pytest.approx(2 / pictures**0.5, rel=0.05)


@pytest.mark.parametrize(("pictures", "classes"), [(2, 3), (30, 1), (103, 2)])
def test_precision_without_each_group_is_that_of_the_others(pictures, classes):
    evidence, judged = drawn(pictures, 0.02, classes=classes)
    groups, count = groups_of(pictures), group_count(pictures)
    expected = []
    for out in range(count + 1):
        others = [one for one, own in zip(judged, groups, strict=True) if own != out]
        expected.append(average_precision.mean(list(average_precision.per_class(others).values()))[0])
    assert DETECT.main_without(evidence, groups, count + 1) == pytest.approx(expected, abs=1e-12)


def test_nothing_found_and_nothing_labelled_count_as_everywhere():
    for changes in ({"objects": 0}, {"objects": 1, "stray": 0}):
        evidence, judged = drawn(5, 0.02, **changes)
        whole = average_precision.mean(list(average_precision.per_class(judged).values()))[0]
        assert DETECT.main_without(evidence, groups_of(5), 6)[5] == pytest.approx(whole, abs=1e-12)
    blind = replace(
        evidence,
        arrays={name: array[:0] if name != "truth" else array for name, array in evidence.arrays.items()},
        rows={name: rows * (name == "truth") for name, rows in evidence.rows.items()},
    )
    assert DETECT.main_without(blind, groups_of(5), 6).tolist() == [0.0] * 6


def test_the_error_of_a_drop_is_that_of_pairs():
    """Both models see the same pictures, so what these have in common does not count: the error of the drop is far
    smaller than that of either figure. Models on pictures of their own are the negative control."""
    before, after, elsewhere = (drawn(60, noise, seed=seed)[0] for noise, seed in ((0.0, 7), (0.01, 7), (0.01, 8)))
    paired, unpaired = (drop_error(DETECT, before, other) for other in (after, elsewhere))
    assert paired == drop_error(DETECT, before, drawn(60, 0.01)[0])
    assert 0 < paired["standard_error"] < 0.5 * unpaired["standard_error"]


@pytest.mark.slow
def test_the_error_is_that_of_drawing_other_pictures():
    """Over 40 sets of pictures, drops scatter by about what one set says of itself."""
    drops, errors = [], []
    for seed in range(40):
        before, after = (drawn(16, noise, seed=10 * seed)[0] for noise in (0.0, 0.02))
        whole = [float(DETECT.main_without(side, groups_of(16), 17)[16]) for side in (before, after)]
        drops.append(whole[0] - whole[1])
        errors.append(drop_error(DETECT, before, after)["standard_error"])
    assert np.mean(errors) == pytest.approx(np.std(drops, ddof=1), rel=0.35)


def test_one_picture_proves_nothing():
    assert drop_error(DETECT, drawn(1, 0.0)[0], drawn(1, 0.01)[0]) is None
    assert drop_error(DETECT, gathered([{}, {}]), gathered([{}, {}])) is None


def test_evidence_comes_back_as_it_was_and_is_the_same_bytes_each_time(tmp_path):
    evidence, _ = drawn(4, 0.01)
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        save_evidence(tmp_path / name, evidence)
    assert (tmp_path / "a" / EVIDENCE).read_bytes() == (tmp_path / "b" / EVIDENCE).read_bytes()
    again = load_evidence(tmp_path / "a")
    assert again.pictures == 4
    assert again.arrays.keys() == evidence.arrays.keys() == again.rows.keys()
    for name, array in evidence.arrays.items():
        assert np.array_equal(again[name], array)
        assert [len(part) for part in again.by_picture(name)] == evidence.rows[name].tolist()
