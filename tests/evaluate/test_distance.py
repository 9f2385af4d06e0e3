"""Distances of raw outputs: what they see, and what they must not overlook."""

from __future__ import annotations

import json

import numpy as np
import pytest
from runtime.tiny import tiny_spec

from edgecompile.evaluate.distance import SQNR_LIMIT_DB, compare, measure

YOLO, END2END = tiny_spec(), tiny_spec(decode="end2end")


def yolo_output(seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    boxes, scores = rng.uniform(0, 320, (4, 50)), rng.random((3, 50)) ** 6
    return np.concatenate((boxes, scores)).astype(np.float32)[None]


def end2end_output(seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    corner = rng.uniform(0, 200, (20, 2))
    rows = np.concatenate((corner, corner + 50, np.sort(rng.random((20, 1)), 0)[::-1], rng.integers(0, 3, (20, 1))), 1)
    return rows.astype(np.float32)[None]


def compared(folder, reference, artifact, spec):
    for name, outputs in (("reference", reference), ("artifact", artifact)):
        (folder / name / "raw").mkdir(parents=True)
        for index, output in enumerate(outputs):
            np.save(folder / name / "raw" / f"{index}_0.npy", output)
    (folder / "spec.json").write_text(json.dumps(spec))
    out = folder / "out"
    out.mkdir()
    paths = {"reference": folder / "reference", "artifact": folder / "artifact", "spec": folder / "spec.json"}
    return compare(out, **paths)


def test_measures_by_their_formulas():
    found = measure(np.array([3.0, 4.0]), np.array([3.0, 5.0]))
    assert found["max"] == 1.0
    assert found["cosine"] == pytest.approx((9 + 20) / (5 * np.sqrt(34)), abs=1e-8)
    assert found["sqnr_db"] == pytest.approx(10 * np.log10(25 / 1), abs=1e-3)


@pytest.mark.parametrize(
    ("one", "two", "cosine"), [([0, 0], [0, 0], 1.0), ([1, 2], [0, 0], 0.0), ([0, 0], [1, 2], 0.0)]
)
def test_zero_vectors_give_numbers(one, two, cosine):
    found = measure(np.array(one, float), np.array(two, float))
    assert found["cosine"] == cosine
    assert np.isfinite(found["sqnr_db"])


@pytest.mark.parametrize(("make", "spec"), [(yolo_output, YOLO), (end2end_output, END2END)], ids=["yolo", "end2end"])
def test_equal_outputs_have_no_distance(make, spec, tmp_path):
    outputs = [make(seed) for seed in range(3)]
    facts = compared(tmp_path, outputs, outputs, spec)
    assert (facts["max"], facts["cosine"], facts["sqnr_db"]) == (0.0, 1.0, SQNR_LIMIT_DB)
    assert len(facts["per_picture"]) == 3


def test_dead_scores_do_not_hide_behind_good_boxes(tmp_path):
    """As one tensor, the outputs below have a cosine above 0.9999."""
    good = [yolo_output(seed) for seed in range(2)]
    dead = [np.concatenate((one[:, :4], np.zeros_like(one[:, 4:])), 1) for one in good]
    assert measure(good[0], dead[0])["cosine"] > 0.9999
    facts = compared(tmp_path, good, dead, YOLO)
    assert facts["cosine"] == 0.0
    assert facts["sqnr_db"] == 0.0
    assert facts["parts"]["boxes"]["cosine"] == 1.0


def test_sorted_rows_that_change_places_have_no_distance(tmp_path):
    """An end-to-end head sorts its rows by score: their order is not a difference between models."""
    reference = end2end_output(3)
    facts = compared(tmp_path, [reference], [reference[:, ::-1]], END2END)
    assert facts["cosine"] == 1.0


def test_a_row_that_is_lost_is_a_distance(tmp_path):
    reference = end2end_output(3)
    lost = reference.copy()
    lost[0, 0] = 0
    assert compared(tmp_path, [reference], [lost], END2END)["cosine"] < 0.99


def test_an_end2end_model_that_is_sure_of_nothing_is_compared(tmp_path):
    quiet = end2end_output(3)
    quiet[..., 4] = 0.01
    assert compared(tmp_path, [quiet], [quiet], END2END)["cosine"] == 1.0
