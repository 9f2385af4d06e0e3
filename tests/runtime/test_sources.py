"""What people hand over as pictures: read as Ultralytics reads it, or refused in one line."""

from __future__ import annotations

import io
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

import edgecompile.runtime as rt
from edgecompile.errors import RecipeError
from edgecompile.runtime.sources import as_array, as_picture, pictures_of

from .tiny import photo, tiny_onnx, tiny_spec


@pytest.fixture(params=["onnxruntime", "openvino"])
def model(request: pytest.FixtureRequest, tmp_path: Path) -> rt.Predictor:
    pytest.importorskip(request.param)
    (tmp_path / "model.onnx").write_bytes(tiny_onnx())
    return rt.open_artifact(tmp_path / "model.onnx", tiny_spec(), request.param, {}, 1)


def same(one: rt.Detections, other: rt.Detections) -> bool:
    pairs = ((one.boxes, other.boxes), (one.scores, other.scores), (one.classes, other.classes))
    return all(np.array_equal(*pair) for pair in pairs)


def arrays() -> Iterator[Any]:
    image = photo(20, 30)
    gray = image[..., 0]
    yield "bgr", image
    yield "gray", gray
    yield "gray, one channel", gray[..., None]
    yield "gray and alpha", np.dstack((gray, image[..., 1]))
    yield "alpha", np.dstack((image, gray))
    yield "16 bits", image.astype(np.uint16) * 257 - 3
    yield "a view", image[::-1, ::2, ::-1]


@pytest.mark.parametrize("image", [pytest.param(image, id=name) for name, image in arrays()])
def test_arrays_are_read_as_ultralytics_reads_them(image: np.ndarray, ultralytics: Any) -> None:
    from ultralytics.data.loaders import LoadPilAndNumpy

    found = as_array(image)
    assert np.array_equal(found, LoadPilAndNumpy._single_check(image))
    assert found.dtype == np.uint8
    assert found.flags.c_contiguous


@pytest.mark.parametrize("image", [pytest.param(image, id=name) for name, image in arrays()])
def test_arrays_become_grey_as_ultralytics_makes_them(image: np.ndarray, ultralytics: Any) -> None:
    from ultralytics.data.loaders import LoadPilAndNumpy

    found = as_array(image, 1)
    assert np.array_equal(found, LoadPilAndNumpy._single_check(image, 1))
    assert found.shape[2:] == (1,)


def test_a_picture_without_a_fourth_channel_is_refused() -> None:
    image = photo(20, 30)
    assert as_array(np.dstack((image, image[..., 0])), 4).shape == (20, 30, 4)
    for other in (image, image[..., 0]):
        with pytest.raises(RecipeError, match="the model takes 4"):
            as_array(other, 4)


def test_bytes_of_an_array_may_stand_in_either_order() -> None:
    wide = photo(20, 30)[..., 0].astype(np.uint16) * 255
    assert np.array_equal(as_array(wide.astype(">u2")), as_array(wide))


def test_an_array_that_is_right_already_is_not_copied() -> None:
    image = photo(20, 30)
    assert as_array(image) is image


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA", "P", "CMYK", "1", "I;16"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_pil_images_are_read_as_ultralytics_reads_them(mode: str, orientation: int, ultralytics: Any) -> None:
    image = pytest.importorskip("PIL.Image")
    from ultralytics.data.loaders import LoadPilAndNumpy

    if mode == "I;16":
        picture = image.fromarray(photo(20, 30)[..., 0].astype(np.uint16) * 200)
    else:
        picture = image.fromarray(photo(20, 30)).convert(mode)
    picture.getexif()[0x0112] = orientation
    assert np.array_equal(as_picture(picture), LoadPilAndNumpy._single_check(picture))


def test_a_picture_is_the_same_as_a_path_an_array_and_a_pil_image(model: rt.Predictor, pictures: Path) -> None:
    image = pytest.importorskip("PIL.Image")
    path = pictures / "b.png"
    wanted = model.predict(path)
    for given in (str(path), cv2.imread(str(path)), image.open(path)):
        assert same(model.predict(given), wanted)
        assert [same(one, wanted) for one in model.predict_batch(given)] == [True]
        assert [same(one, wanted) for one in model.stream(given)] == [True]
        assert [same(one, wanted) for one in model.stream([given, given])] == [True, True]


def test_one_array_is_one_picture_and_one_of_four_axes_is_a_batch(model: rt.Predictor) -> None:
    image = photo(20, 30)
    assert len(model.predict_batch(image)) == len(list(model.stream(image))) == 1
    assert len(model.predict_batch(image[..., 0])) == 1
    stack = np.stack([image, image[::-1], image[:, ::-1]])
    wanted = [model.predict(one) for one in stack]
    for found in (model.predict_batch(stack), list(model.stream(stack)), list(model.stream(iter(stack)))):
        assert [same(*pair) for pair in zip(found, wanted, strict=True)] == [True] * 3
    with pytest.raises(RecipeError, match=r"not \(3, 20, 30, 3\); give a batch to predict_batch"):
        model.predict(stack)


NO_PICTURES = [
    (np.zeros((0, 5, 3), np.uint8), "not (0, 5, 3)"),
    (np.zeros((0, 5), np.uint8), "not (0, 5)"),
    (np.zeros((5, 5, 5), np.uint8), "not (5, 5, 5)"),
    (np.zeros((3, 64, 64), np.uint8), "not (3, 64, 64)"),
    (np.zeros((2, 1, 5, 5, 3), np.uint8), "not (2, 1, 5, 5, 3)"),
    (np.zeros(5, np.uint8), "not (5,)"),
    (np.zeros((), np.uint8), "not ()"),
    (np.zeros((5, 5, 3), np.float32), "not a float32 array; (255 * image).round()"),
    (np.zeros((5, 5, 3), np.int64), "not a int64 array"),
    (np.zeros((5, 5, 3), bool), "not a bool array"),
    (np.zeros((5, 5, 3), object), "not a object array"),
    (None, "not a NoneType"),
    (2.5, "not a float"),
    (b"\xff\xd8", "the picture in memory: picture is truncated or damaged"),
    ({"a.jpg": 1}, "not a dict"),
]


@pytest.mark.parametrize(("given", "message"), NO_PICTURES)
@pytest.mark.parametrize("way", ["batch", "stream", "one of several"])
def test_what_is_no_picture_is_refused_in_one_line(given: Any, message: str, way: str, model: rt.Predictor) -> None:
    if way == "one of several" and isinstance(given, str):
        message = "no such picture"
    ways = {
        "batch": lambda: model.predict_batch(given),
        "stream": lambda: list(model.stream(given)),
        "one of several": lambda: list(model.stream([given, photo(20, 30)])),
    }
    with pytest.raises(RecipeError) as caught:
        ways[way]()
    assert message.split("; open")[0] in str(caught.value)
    assert "\n" not in str(caught.value)
    if not isinstance(given, (str, dict)) and not (isinstance(given, np.ndarray) and given.ndim == 4):
        with pytest.raises(RecipeError, match="picture"):
            model.predict(given)
    assert len(model.predict(photo(20, 30)))  # and the next one is predicted


def test_a_damaged_pil_image_is_refused_in_one_line(model: rt.Predictor) -> None:
    image = pytest.importorskip("PIL.Image")
    content = cv2.imencode(".png", photo(60, 60))[1].tobytes()
    with pytest.raises(RecipeError, match="the PIL image cannot be read"):
        model.predict(image.open(io.BytesIO(content[:2000])))


def test_pil_is_never_imported() -> None:
    code = "import sys, numpy; from edgecompile.runtime import sources as s; s.as_picture(numpy.zeros((4, 4), 'u1'))"

    done = subprocess.run(
        [sys.executable, "-c", f"{code}; print('PIL' in sys.modules)"], capture_output=True, text=True
    )
    assert done.stdout.strip() == "False", done.stderr


def video(folder: Path, count: int) -> Path:
    path = folder / "video.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 10, (64, 48))
    for number in range(count):
        writer.write(photo(48, 64, number))
    writer.release()
    return path


def test_a_capture_gives_its_frames_in_order_and_stays_open(model: rt.Predictor, tmp_path: Path) -> None:
    path = video(tmp_path, 7)
    capture, frames = cv2.VideoCapture(str(path)), []
    while (given := capture.read())[0]:
        frames.append(given[1])
    wanted = [model.predict(frame) for frame in frames]
    camera = cv2.VideoCapture(str(path))
    with model.stream(camera) as found:
        assert [same(*pair) for pair in zip(found, wanted, strict=True)] == [True] * 7
    assert camera.isOpened()
    with pytest.raises(RecipeError, match="gives no frame"):  # it is at its end: no silence
        list(model.stream(camera))
    camera.release()


def test_a_capture_that_is_closed_says_so(model: rt.Predictor, tmp_path: Path) -> None:
    for capture in (cv2.VideoCapture(str(tmp_path / "missing.avi")), cv2.VideoCapture()):
        with pytest.raises(RecipeError, match="the capture is not open"):
            model.stream(capture)
    with pytest.raises(RecipeError, match="give it to stream"):
        model.predict_batch(cv2.VideoCapture(str(video(tmp_path, 2))))
    with pytest.raises(RecipeError, match="not a VideoCapture"):
        model.predict(cv2.VideoCapture(str(video(tmp_path, 2))))


def test_lists_of_paths_and_folders_are_read_in_order(model: rt.Predictor, pictures: Path) -> None:
    paths = sorted(pictures.iterdir())
    wanted = [model.predict(path) for path in paths]
    given = (pictures, str(pictures), paths, tuple(map(str, paths)), (path for path in paths), str(pictures / "*"))
    for one in given:
        assert [same(*pair) for pair in zip(model.stream(one), wanted, strict=True)] == [True] * 4
    assert isinstance(pictures_of(pictures), list)
