"""The evidence of a measurement: what speaks against it is named, and nothing where nothing does."""

from __future__ import annotations

import json
import random
from dataclasses import replace

import pytest

from edgecompile.runtime.machine_load import Load
from edgecompile.runtime.quality import (
    Quality,
    evidence_line,
    median_interval,
    noise_line,
    percent,
    quality_of,
)

QUIET = Load(1.0, 0.004, 0.0, 0.02, 3.0, (2400, 2400), ("schedutil", "schedutil"), False, (41.0, 44.0))
STEADY = [5.0 + 0.001 * number for number in range(100)]
LOADS = [1.0 + 0.001 * number for number in range(10)]


def test_a_quiet_measurement_stands():
    quality = quality_of(STEADY, LOADS, QUIET, 0.03)
    assert quality.noise == ()
    assert not quality.disturbed
    assert quality.interval_ms[0] <= 5.05 <= quality.interval_ms[1]
    assert noise_line(quality.to_json()) == ""
    assert "other processes took 0.4 % of the processor" in evidence_line(quality.to_json())


@pytest.mark.parametrize(
    ("load", "totals", "references", "told"),
    [
        (replace(QUIET, foreign=0.5), STEADY, LOADS, "other processes took 50 % of the processor"),
        (replace(QUIET, stolen=0.2), STEADY, LOADS, "the hypervisor gave 20 % of the processor to others"),
        (replace(QUIET, throttled=True), STEADY, LOADS, "slowed by heat or low voltage"),
        (replace(QUIET, governor=("performance", "powersave")), STEADY, LOADS, "changed from performance to powersave"),
        (QUIET, STEADY, [*LOADS, 2.0, 2.0, 2.0], "a fixed load took 1.00 to 2.00 ms"),
        (QUIET, [1.0, 2.0] * 50, LOADS, "the median is known to ±"),
    ],
)
def test_what_speaks_against_it_is_named(load, totals, references, told):
    quality = quality_of(totals, references, load, 0.03)
    (line,) = quality.noise
    assert told in line
    assert quality.disturbed == ("the median is known" not in line)
    assert Quality.from_json(json.loads(json.dumps(quality.to_json()))) == quality


def test_a_tolerance_is_a_persons_own():
    loads = [*LOADS, 1.5, 1.5]
    assert len(quality_of([1.0, 2.0] * 50, loads, replace(QUIET, foreign=0.5), 0.03).noise) == 3
    assert quality_of([1.0, 2.0] * 50, loads, replace(QUIET, foreign=0.5), 2.0).noise == ()


def test_what_a_machine_hides_is_told_and_does_not_count_as_noise():
    hidden = replace(QUIET, foreign=None, stolen=None, switches_per_s=None, throttled=None, governor=(None, None))
    quality = quality_of(STEADY, LOADS, hidden, 0.03)
    assert quality.noise == ()
    assert "the time of other processes and throttling not shown by this machine" in evidence_line(quality.to_json())


def test_ticks_of_the_kernel_are_no_neighbour():
    assert quality_of(STEADY, LOADS, replace(QUIET, foreign=0.045, resolution=0.02), 0.03).noise == ()
    assert quality_of(STEADY, LOADS, replace(QUIET, foreign=0.055, resolution=0.02), 0.03).noise


def test_one_hiccup_of_the_reference_load_is_no_drift():
    assert quality_of(STEADY, [*LOADS, 9.0], QUIET, 0.03).noise == ()


def test_the_interval_of_a_median_holds_it_as_often_as_it_says():
    """A skewed distribution, whose median is known: 0.95 of 400 intervals hold it, up to chance (3 standard errors)."""
    generator = random.Random(3)
    median = 0.6931
    held = 0
    for _ in range(400):
        low, high = median_interval([generator.expovariate(1.0) for _ in range(40)])
        held += low <= median <= high
    assert 0.95 - 3 * 0.011 < held / 400 <= 1


def test_of_a_few_samples_all_is_the_interval():
    assert median_interval([3.0, 1.0, 2.0]) == (1.0, 3.0)
    assert median_interval([7.0]) == (7.0, 7.0)


def test_shares_are_written_with_two_digits():
    assert [percent(share) for share in (0.004, 0.0312, 0.0996, 0.5)] == ["0.4 %", "3.1 %", "10 %", "50 %"]
