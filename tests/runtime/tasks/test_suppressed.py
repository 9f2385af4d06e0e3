"""Reading a model that holds its post-processing."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from edgecompile.errors import BundleError
from edgecompile.runtime.spec import read_spec
from edgecompile.runtime.tasks import OutputError
from edgecompile.runtime.tasks._object_rows import ObjectRows

from ..tiny import tiny_spec

PLACES = 5


def task(**changes: Any) -> ObjectRows[Any]:
    spec = tiny_spec()
    names = {"scores": "scores", "classes": "classes", "counts": "counts"}
    spec["output"] = {"name": "boxes", "shape": [1, PLACES, 4], "decode": "suppressed", **names, **changes}
    spec["nms"]["max_det"] = PLACES
    found = read_spec(spec).task
    assert isinstance(found, ObjectRows)
    return found


def outputs(count: int = 2) -> list[np.ndarray]:
    boxes = np.arange(2 * PLACES * 4, dtype=np.float32).reshape(2, PLACES, 4)
    scores = np.tile(np.linspace(0.9, 0.3, PLACES, dtype=np.float32), (2, 1))
    return [boxes, scores, np.array([[2, 1, 0, 0, 0]] * 2), np.array([0, count])]


def test_the_rows_up_to_the_count_are_the_result():
    found = task().choose(outputs(), 1, {})
    assert found.boxes.tolist() == outputs()[0][1, :2].tolist()
    assert (found.classes.tolist(), found.classes.dtype) == ([2, 1], np.int64)
    np.testing.assert_allclose(found.scores, [0.9, 0.75])
    assert len(task().choose(outputs(), 0, {}).scores) == 0


def test_outputs_are_read_by_name():
    assert task(scores="s").outputs == ("boxes", "s", "classes", "counts")
    assert task().row_outputs == 4


@pytest.mark.parametrize("count", [-1, 6, 0.5, np.nan])
def test_a_count_that_is_none_is_an_error(count):
    values = outputs()
    values[3] = np.array([0, count])
    with pytest.raises(OutputError, match=r"'counts'.*expected 0\.\.5"):
        task().choose(values, 1, {})


@pytest.mark.parametrize("place", [0, 1, 2, 3])
def test_another_shape_is_an_error(place):
    values = outputs()
    values[place] = values[place][..., None]
    with pytest.raises(OutputError, match="expected numbers"):
        task().choose(values, 1, {})


def test_numbers_that_no_model_gives_are_an_error():
    for place, value, words in ((0, np.nan, "the box"), (1, 7.0, "the score"), (2, 3, "the class 3")):
        values = outputs()
        values[place][1, 0] = value
        with pytest.raises(OutputError, match=words):
            task().choose(values, 1, {})


def test_a_spec_that_lacks_an_output_is_refused():
    spec = tiny_spec()
    spec["output"] = {"name": "boxes", "shape": [1, PLACES, 4], "decode": "suppressed", "scores": "scores"}
    with pytest.raises(BundleError, match="classes"):
        read_spec(spec)


def test_outputs_of_two_machines_are_compared_row_by_row():
    """A row that scores just above the threshold may be missing on another machine, others may not."""
    reading, one, other = task(), outputs(5), outputs(5)
    one, other = ([output[1:] for output in values] for values in (one, other))
    one[1][0, 4] = 0.26
    other[3] = np.array([4])
    pairs = reading.parts(one, other)
    assert len(pairs["scores"][0]) == 4
    np.testing.assert_array_equal(*pairs["boxes"])
    other[3] = np.array([1])
    pairs = reading.parts(one, other)
    assert pairs["scores"][1].tolist()[:2] == [pytest.approx(0.9), 0.0]
