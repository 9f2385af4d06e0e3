from __future__ import annotations

import numpy as np

from edgecompile.runtime.alignment import aligned

from .tiny import tiny_spec

ROWS = np.array(
    [
        [10, 10, 30, 30, 0.9, 0],
        [12, 10, 32, 30, 0.8, 1],
        [60, 20, 90, 50, 0.7, 0],
        [0, 0, 5, 5, 0.1, 2],  # below the threshold of the spec
    ],
    np.float32,
)


def test_boxes_and_scores_of_yolo_are_told_apart() -> None:
    one = np.arange(7 * 5, dtype=np.float32).reshape(1, 7, 5)
    pairs = aligned(one, one + 1, tiny_spec())
    assert {part: pair[0].shape for part, pair in pairs.items()} == {"boxes": (1, 4, 5), "scores": (1, 3, 5)}
    assert all((other - reference == 1).all() for reference, other in pairs.values())


def test_rows_that_changed_places_are_paired_again() -> None:
    spec = tiny_spec(decode="end2end")
    moved = ROWS[[2, 1, 3, 0]]
    for reference, other in aligned(ROWS[None], moved[None], spec).values():
        assert len(reference) == 3
        assert np.array_equal(reference, other)


def test_a_row_that_is_gone_counts_as_zeros_and_none_is_used_twice() -> None:
    spec = tiny_spec(decode="end2end")
    twice = np.concatenate((ROWS[:1], ROWS[:1] + np.float32([1, 0, 1, 0, -0.05, 0])))
    pairs = aligned(twice[None], np.concatenate((ROWS[:1], ROWS[3:]))[None], spec)
    assert pairs["scores"][1].tolist() == [np.float32(0.9), 0]
    assert (pairs["boxes"][1][1] == 0).all()
    other_class = ROWS.copy()
    other_class[:, 5] = 2
    assert not aligned(ROWS[None], other_class[None], spec)["scores"][1].any()


def test_an_output_of_another_kind_is_one_part() -> None:
    one = np.zeros((1, 32, 20, 20), np.float32)
    assert list(aligned(one, one, tiny_spec())) == [""]
