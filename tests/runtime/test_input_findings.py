"""In what a program's own pre-processing differs, by its tensor: what people get wrong is named, alone and in pairs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import cv2
import numpy as np
import pytest

from edgecompile.runtime.input_findings import judge_input
from edgecompile.runtime.letterbox import Preprocessor
from edgecompile.runtime.spec import Spec, read_spec

from .tiny import photo, tiny_spec

PICTURE = photo(120, 90, 3)


def own(spec: Spec) -> np.ndarray:
    preprocessor = Preprocessor(spec)
    preprocessor.place(0, PICTURE)
    return preprocessor.tensor.copy()


def with_frame(**changes: object) -> Callable[[Spec], np.ndarray]:
    return lambda spec: own(replace(spec, frame=replace(spec.frame, **changes)))


def with_numbers(change: Callable[[np.ndarray], np.ndarray]) -> Callable[[Spec], np.ndarray]:
    return lambda spec: change(own(spec))


def by_hand(spec: Spec) -> np.ndarray:
    """Bicubic, and the rest as it should be."""
    return own(replace(spec, frame=replace(spec.frame, interpolation="area")))


FLOAT = {
    "order BGR instead of RGB": with_numbers(lambda one: one[:, ::-1]),
    "NHWC instead of NCHW": with_numbers(lambda one: one.transpose(0, 2, 3, 1)),
    "0 to 255 instead of": with_numbers(lambda one: one * 255),
    "stretched instead of letterboxed": with_frame(resize="stretch"),
    "at the top left instead of in the middle": with_frame(center=False),
    "the border is 0 instead of 114": with_frame(fill=0),
    "no axis of the batch": with_numbers(lambda one: one[0]),
    "from -1 to 1": with_numbers(lambda one: 2 * one - 1),
    "interpolated in another way": by_hand,
}


@pytest.mark.parametrize("words", FLOAT)
def test_a_difference_is_named(words: str):
    spec = read_spec(tiny_spec())
    (finding,) = judge_input(FLOAT[words](spec), PICTURE, spec)
    assert words in finding.evidence
    assert "more than the usual ways" not in finding.evidence


def test_two_at_once_are_both_named():
    spec = read_spec(tiny_spec())
    stretched = cv2.resize(PICTURE, spec.frame.size[::-1]).transpose(2, 0, 1)[None].astype(np.float32) / 255
    (finding,) = judge_input(stretched, PICTURE, spec)
    assert "order BGR" in finding.evidence
    assert "stretched" in finding.evidence


def test_a_model_that_scales_by_itself_is_given_scaled_pixels():
    spec = read_spec(tiny_spec(embedded=True))
    (finding,) = judge_input(own(spec).astype(np.float32) / 255, PICTURE, spec)
    assert "the model does that itself" in finding.evidence
    assert "float32 instead of uint8" in finding.evidence


@pytest.mark.parametrize("embedded", [False, True])
def test_the_same_pre_processing_differs_in_nothing(embedded: bool):
    spec = read_spec(tiny_spec(embedded=embedded))
    assert judge_input(own(spec), PICTURE, spec) == []


def test_what_is_no_picture_at_all_is_said_to_be():
    spec = read_spec(tiny_spec())
    odd = np.random.default_rng(0).random((1, 3, 64, 96))
    assert "more than the usual ways" in judge_input(odd, PICTURE, spec)[0].evidence
    assert judge_input(np.full((1, 3, 64, 96), np.nan), PICTURE, spec)[0].cause == "preprocessing_not_finite"
    assert judge_input(np.array(["a"]), PICTURE, spec)[0].cause == "preprocessing_odd"
