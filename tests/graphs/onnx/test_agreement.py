"""The comparison that proves rewrites must see what matters and forgive what does not."""

from __future__ import annotations

import numpy as np
import pytest

from edgecompile.errors import StepError
from edgecompile.graphs.onnx.agreement import differences, fixed_input, require_agreement

SIZE = [320, 320]
YOLO, END2END = (
    {"task": "detect", "names": ["a", "b", "c"], "output": {"decode": decode}} for decode in ("yolo", "end2end")
)


def raw(seed=0):
    noise = np.random.default_rng(seed)
    boxes = noise.uniform(0, 320, (1, 4, 50))
    return np.concatenate([boxes, noise.uniform(0, 1, (1, 3, 50))], axis=1).astype(np.float32)


def detections():
    noise = np.random.default_rng(0)
    rows = np.zeros((1, 20, 6), np.float32)
    rows[0, :, :4] = noise.uniform(0, 320, (20, 4))
    rows[0, :, 4] = np.linspace(0.9, 0.1, 20)
    rows[0, :, 5] = noise.integers(0, 3, 20)
    return rows


def test_rounding_passes_and_is_reported_to_two_digits():
    after = raw()
    after[0, 0, 0] += 0.0123
    assert require_agreement([raw()], [after], YOLO, SIZE, "the rewrite")["boxes"] in (0.012, 0.013)


@pytest.mark.parametrize(("row", "gap", "part"), [(2, 0.1, "boxes"), (5, 0.002, "scores")])
def test_a_difference_is_refused(row, gap, part):
    after = raw()
    after[0, row, 7] += gap
    with pytest.raises(StepError, match=f"the rewrite changed what the model computes: {part} differ"):
        require_agreement([raw()], [after], YOLO, SIZE, "the rewrite")


def test_other_shapes_and_numbers_that_are_none_are_refused():
    with pytest.raises(StepError, match="shape"):
        differences([raw()], [raw()[:, :5]], YOLO)
    with pytest.raises(StepError, match="shape"):
        differences([raw(), raw()], [raw()], YOLO)
    broken = raw()
    broken[0, 0, 0] = np.nan
    with pytest.raises(StepError, match="not finite"):
        differences([raw()], [broken], YOLO)


def test_rows_that_swap_places_agree():
    before, after = detections(), detections()
    before[0, 4, 4] = after[0, 4, 4] = before[0, 5, 4]
    after[0, [4, 5]] = after[0, [5, 4]]
    assert differences([before], [after], END2END) == {"boxes": 0.0, "scores": 0.0}


@pytest.mark.parametrize(("column", "gap"), [(0, 5.0), (4, 0.01), (5, 1.0)], ids=["box", "score", "class"])
def test_rows_that_changed_do_not(column, gap):
    after = detections()
    after[0, 3, column] += gap
    with pytest.raises(StepError):
        require_agreement([detections()], [after], END2END, SIZE, "the rewrite")


def test_the_fixed_input_is_fixed_and_fills_dynamic_sides():
    one = fixed_input([-1, 3, -1, -1], [64, 96])
    assert one.shape == (1, 3, 64, 96)
    assert np.array_equal(one, fixed_input([1, 3, 64, 96], [64, 96]))
    assert 0 <= one.min() < 0.2 < 0.8 < one.max() <= 1
