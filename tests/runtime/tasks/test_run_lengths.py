"""Masks as COCO writes them: equal to those of the libraries that read them."""

from __future__ import annotations

import numpy as np
import pytest

from edgecompile.runtime.tasks import _run_lengths

RNG = np.random.default_rng(3)


def masks() -> list[np.ndarray]:
    """Returns masks of many kinds: empty, full, one pixel, noise, blobs at each border."""
    found = [np.zeros((7, 5), bool), np.ones((7, 5), bool), np.zeros((1, 1), bool), np.ones((1, 9), bool)]
    for shape in ((1, 40), (40, 1), (33, 47), (120, 90)):
        found += [RNG.random(shape) < share for share in (0.02, 0.5, 0.98)]
    for corner in (np.s_[:4, :6], np.s_[-4:, -6:], np.s_[:, 3:5], np.s_[3:5, :]):
        mask = np.zeros((60, 80), bool)
        mask[corner] = True
        found.append(mask)
    return found


@pytest.mark.parametrize("mask", masks(), ids=lambda mask: f"{mask.shape}-{int(mask.sum())}")
def test_is_read_back(mask: np.ndarray) -> None:
    text = _run_lengths.encode(mask, 0, 0, mask.shape)
    assert np.array_equal(_run_lengths.decode(text, mask.shape), mask)
    lengths = _run_lengths.run_lengths(mask, 0, 0, mask.shape)
    assert sum(lengths) == mask.size
    assert sum(lengths[1::2]) == mask.sum()
    assert all(length > 0 for length in lengths[1:])


@pytest.mark.parametrize("mask", masks(), ids=lambda mask: f"{mask.shape}-{int(mask.sum())}")
def test_equals_the_library(mask: np.ndarray) -> None:
    library = pytest.importorskip("faster_coco_eval.core.mask")
    counts = library.encode(np.asfortranarray(mask.astype(np.uint8)))["counts"]
    text = counts.decode() if isinstance(counts, bytes) else counts
    assert _run_lengths.encode(mask, 0, 0, mask.shape) == text


def test_a_window_is_the_whole_picture_with_zeros_around() -> None:
    for top, left, shape in ((0, 0, (40, 50)), (3, 7, (20, 30)), (10, 0, (30, 50)), (39, 49, (1, 1)), (5, 5, (0, 4))):
        window = RNG.random(shape) < 0.6
        whole = np.zeros((40, 50), bool)
        whole[top : top + shape[0], left : left + shape[1]] = window
        assert _run_lengths.encode(window, top, left, (40, 50)) == _run_lengths.encode(whole, 0, 0, (40, 50))


@pytest.mark.parametrize("text", ["", "1", "Q2", "Q2o", "é", "\x00", "P" * 40, "h", "0J"])
def test_a_text_that_is_no_mask_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"mask|ascii"):
        _run_lengths.decode(text, (5, 4))


def test_a_known_mask_reads_as_documented() -> None:
    """Zeros, then four ones down the middle of the second of three columns of six."""
    mask = np.zeros((6, 3), bool)
    mask[1:5, 1] = True
    assert _run_lengths.run_lengths(mask, 0, 0, (6, 3)) == [7, 4, 7]
    assert _run_lengths.encode(mask, 0, 0, (6, 3)) == "747"
