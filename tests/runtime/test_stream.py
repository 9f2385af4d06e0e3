"""Streams: the same detections in the same order, bounded, each error in its place, nothing left running."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import edgecompile.runtime as rt
from edgecompile.errors import RecipeError

from .tiny import photo, tiny_onnx, tiny_spec


@pytest.fixture(params=["onnxruntime", "openvino", "openvino throughput"])
def model(request: pytest.FixtureRequest, tmp_path: Path) -> rt.Detector:
    """The tiny model on a backend that runs one picture at a time, on one that runs two and on one that wants more."""
    kind, _, hint = request.param.partition(" ")
    pytest.importorskip(kind)
    (tmp_path / "model.onnx").write_bytes(tiny_onnx())
    options = {"PERFORMANCE_HINT": "THROUGHPUT", "NUM_STREAMS": 2} if hint else {}
    return rt.open_artifact(tmp_path / "model.onnx", tiny_spec(), kind, options, 2)


def depth(model: rt.Detector) -> int:
    return len(getattr(model.backend, "requests", lambda: [None])())


def same(one: rt.Detections, other: rt.Detections) -> bool:
    pairs = ((one.boxes, other.boxes), (one.scores, other.scores), (one.classes, other.classes))
    return all(np.array_equal(*pair) for pair in pairs)


def camera(count: int, given: list[int]) -> Iterator[np.ndarray]:
    """Gives pictures in one buffer, as cameras do."""
    buffer = np.empty((50, 60, 3), np.uint8)
    for number in range(count):
        given.append(number)
        buffer[:] = photo(50, 60, number)
        yield buffer


def test_a_stream_equals_predict_in_order(model: rt.Detector) -> None:
    found = list(model.stream(camera(20, []), conf=0.3))
    wanted = [model.predict(photo(50, 60, number), conf=0.3) for number in range(20)]
    assert all(map(same, found, wanted))
    assert len({one.scores.tobytes() for one in found}) == len(found) == 20  # the pictures differ: order shows
    assert set(model.timings) == {"read", "preprocess", "inference", "postprocess"}
    assert all(value >= 0 for value in model.timings.values())


def test_no_more_pictures_are_taken_than_are_in_flight(model: rt.Detector) -> None:
    given: list[int] = []
    stream = model.stream(camera(1000, given))
    assert not given
    for number in range(5):
        next(stream)
        assert len(given) <= number + depth(model)


def test_as_many_are_in_flight_as_the_device_wants(tmp_path: Path) -> None:
    pytest.importorskip("openvino")
    (tmp_path / "model.onnx").write_bytes(tiny_onnx())
    for options, wanted in (({}, 2), ({"PERFORMANCE_HINT": "THROUGHPUT", "NUM_STREAMS": 2}, 3)):
        model = rt.open_artifact(tmp_path / "model.onnx", tiny_spec(), "openvino", options, 2)
        assert depth(model) == wanted


def test_what_a_picture_raises_is_raised_in_its_place(model: rt.Detector, tmp_path: Path) -> None:
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no picture")
    images: list[Any] = [photo(40, 40, 0), broken, "missing.png", photo(40, 40, 1), broken]
    stream, places = model.stream(images), []
    for _ in images:
        try:
            places.append(next(stream))
        except RecipeError as error:
            places.append(Path(error.problems[0].where).name)
    assert places[1:3] == ["broken.png", "missing.png"]
    assert places[4] == "broken.png"
    assert same(places[0], model.predict(images[0]))
    assert same(places[3], model.predict(images[3]))
    assert next(stream, None) is None
    with pytest.raises(RecipeError, match="expected"):
        next(model.stream(images, conf=1.5))


def test_a_source_that_breaks_ends_the_stream_behind_what_it_gave(model: rt.Detector) -> None:
    def unplugged() -> Iterator[np.ndarray]:
        yield from camera(3, [])
        raise OSError("unplugged")

    found, stream = [], model.stream(unplugged())
    with pytest.raises(OSError, match="unplugged"):
        found.extend(one for one in stream)
    assert next(stream, None) is None
    found, stream = [], model.stream(unplugged())
    found = [next(stream) for _ in range(3)]
    assert len(found) == 3


def test_a_stream_closed_early_leaves_nothing_running(model: rt.Detector) -> None:
    given: list[int] = []
    with model.stream(camera(1000, given)) as stream:
        next(stream)
    taken = len(given)
    assert taken <= depth(model)
    assert next(stream, None) is None
    assert len(given) == taken
    assert not stream._begun
    for lane in stream._free:  # every request is idle: one in flight refuses its input
        if hasattr(lane, "_request"):
            lane._request._request.set_input_tensor(lane._request._request.get_input_tensor())
    assert same(model.predict(photo(50, 60, 0)), next(model.stream(camera(1, []))))


def test_two_streams_and_single_pictures_do_not_disturb_each_other(model: rt.Detector) -> None:
    wanted = [model.predict(photo(50, 60, number)) for number in range(6)]
    one, other = model.stream(camera(6, [])), model.stream(camera(6, []))
    for number in range(6):
        assert same(next(one), wanted[number])
        assert same(model.predict(photo(50, 60, 5 - number)), wanted[5 - number])
        assert same(next(other), wanted[number])


def test_a_size_is_chosen_as_for_predict(model: rt.Detector) -> None:
    image = photo(40, 40)
    assert same(next(model.stream([image], imgsz=(64, 96))), model.predict(image))
    with pytest.raises(RecipeError, match="was built for 64x96 alone"):
        next(model.stream([image], imgsz=480))
