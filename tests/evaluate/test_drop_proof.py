"""What pictures prove of a drop."""

from __future__ import annotations

import pytest

from edgecompile.evaluate.drop_proof import prove
from edgecompile.runtime.student import quantile


def error(standard_error: float, groups: int = 72, *, same: bool = False):
    return {"standard_error": standard_error, "groups": groups, "same": same}


@pytest.mark.parametrize(
    ("freedom", "confidence", "expected"),
    [(7, 0.95, 1.8946), (7, 0.99, 2.998), (35, 0.95, 1.6896), (99, 0.95, 1.6604), (99, 0.5, 0.0)],
)
def test_quantiles_are_those_of_tables(freedom, confidence, expected):
    assert quantile(confidence, freedom) == pytest.approx(expected, abs=0.01)


def test_a_drop_far_below_its_limit_is_proven_and_one_within_its_noise_is_not():
    near, far = (prove(drop, 0.005, error(0.002), 72) for drop in (0.004, 0.001))
    assert (near.proven, far.proven) == (False, True)
    assert far.words == "met and proven on 72 pictures"
    assert near.words.startswith("met, not proven on 72 pictures (about ")


@pytest.mark.parametrize(("drop", "deviation"), [(0.004, 0.002), (0.001, 0.03), (0.0, 0.004)])
def test_so_many_pictures_would_do_and_a_tenth_fewer_would_not(drop, deviation):
    enough = prove(drop, 0.005, error(deviation), 72).enough
    shrunk = [deviation * (72 / count) ** 0.5 for count in (enough, 0.85 * enough)]
    assert [prove(drop, 0.005, error(one), enough).proven for one in shrunk] == [True, False]


def test_pictures_without_a_change_bound_the_share_of_those_with_one():
    few, many = (prove(0.0, 0.005, error(0.0, min(count, 100)), count) for count in (36, 600))
    assert (few.proven, many.proven) == (False, True)
    assert few.bound == pytest.approx(0.0799, abs=0.0001)
    assert few.enough == 600
    assert prove(0.0, 0.005, error(0.0, 36, same=True), 36).proven  # the same model, to the last digit


def test_no_number_of_pictures_proves_a_drop_that_is_the_limit():
    assert prove(0.005, 0.005, error(0.002), 72).remedy == "no number would do: the drop is the limit itself"
    assert prove(0.0, 0.0, error(0.0), 72).enough is None
    assert not prove(0.006, 0.005, error(0.002), 72).proven


def test_the_surer_the_higher_the_bound():
    bounds = [prove(0.001, 0.005, error(0.002), 72, confidence).bound for confidence in (0.5, 0.9, 0.95, 0.99)]
    assert bounds[0] == pytest.approx(0.001)
    assert bounds == sorted(bounds)
