"""Results and predictors as Python shows them: text, pictures, files; and what people ask them for by other names."""

from __future__ import annotations

import io
import pickle
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from edgecompile.errors import InputError, RecipeError
from edgecompile.runtime import Predictor, load

from .tiny import photo

pytest.importorskip("onnxruntime")


@pytest.fixture
def model(tiny_bundle: Path) -> Predictor:
    return load(tiny_bundle, threads=1)


def test_a_predictor_and_its_results_read_as_what_they_are(model: Predictor, tiny_bundle: Path) -> None:
    assert repr(model).startswith("Predictor(detect, 3 classes, ") or "detect" in repr(model)
    assert str(tiny_bundle) in repr(model)
    found = model(photo(60, 90))
    assert repr(found).startswith("Detections(")
    assert repr(found[0]).startswith("Detection(name=")
    assert "\n" not in repr(model) + repr(found)


def test_results_are_drawn_saved_and_shown_in_a_notebook(model: Predictor, pictures: Path, tmp_path: Path) -> None:
    image = cv2.imread(str(pictures / "a.jpg"))
    for given in (pictures / "a.jpg", str(pictures / "a.jpg"), (pictures / "a.jpg").read_bytes(), image):
        found = model.predict(given)
        drawn = found.plot()
        assert np.array_equal(drawn, model.task.draw(image, found))
        png = cv2.imdecode(np.frombuffer(found._repr_png_(), np.uint8), cv2.IMREAD_COLOR)
        assert np.array_equal(png, drawn)
    assert found.save(tmp_path / "x.png") == tmp_path / "x.png"
    assert np.array_equal(cv2.imread(str(tmp_path / "x.png")), drawn)
    for results in (model.predict_batch([image, image]), list(model.stream([image, image]))):
        assert all(np.array_equal(one.plot(), drawn) for one in results)
    other = photo(*image.shape[:2], seed=9)
    assert np.array_equal(found.plot(other), model.task.draw(other, found))


def test_what_is_read_is_not_overwritten_and_a_wrong_name_is_one_line(
    model: Predictor, pictures: Path, tmp_path: Path
) -> None:
    picture = pictures / "a.jpg"
    before = picture.read_bytes()
    found = model.predict(picture)
    for place, said in (
        (picture, "is the picture that was predicted"),
        (tmp_path / "x.xyz", "cannot be encoded"),
        (tmp_path / "x", "cannot be encoded"),
        (picture / "x.png", "cannot be written"),
    ):
        with pytest.raises(InputError, match=said):
            found.save(place)
    assert picture.read_bytes() == before
    picture.unlink()
    assert found._repr_png_() is None
    with pytest.raises(InputError, match="no such picture"):
        found.plot()


def test_a_copy_by_pickle_is_small_and_draws_on_what_it_is_given(model: Predictor) -> None:
    image = photo(600, 900)
    found = model.predict(image)
    content = pickle.dumps(found)
    assert len(content) < 10_000
    copied = pickle.loads(content)
    assert np.array_equal(copied.boxes, found.boxes)
    assert copied._repr_png_() is None
    with pytest.raises(InputError, match="no longer knows its model"):
        copied.plot(image)


@pytest.mark.parametrize(
    ("name", "said"),
    [("conf", "result.scores"), ("cls", "result.classes"), ("xyxy", "result.boxes"), ("show", "result.plot()")],
)
def test_names_of_other_libraries_are_answered(model: Predictor, name: str, said: str) -> None:
    found = model.predict(photo(60, 90))
    with pytest.raises(AttributeError) as caught:
        getattr(found, name)
    assert said in str(caught.value)
    assert not hasattr(found, "nothing_like_it")


def test_bytes_and_pil_images_are_pictures(model: Predictor, pictures: Path) -> None:
    content = (pictures / "b.png").read_bytes()
    wanted = model.predict(pictures / "b.png").boxes
    for given in (content, bytearray(content), memoryview(content)):
        assert np.array_equal(model.predict(given).boxes, wanted)
        assert np.array_equal(model.predict_batch(given)[0].boxes, wanted)
    image = pytest.importorskip("PIL.Image")
    assert np.array_equal(model.predict(image.open(io.BytesIO(content))).boxes, wanted)
    for wrong in (b"", b"x" * 100, content[:40], memoryview(b"")):
        with pytest.raises(InputError, match="picture"):
            model.predict(wrong)


def test_the_runtime_never_imports_pil(tiny_bundle: Path, pictures: Path) -> None:
    code = (
        "import sys; from edgecompile import runtime; "
        f"found = runtime.load({str(tiny_bundle)!r}).predict({str(pictures / 'a.jpg')!r}); found._repr_png_(); "
        "sys.exit('PIL' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


@pytest.mark.parametrize(
    "address", ["http://user:pa55@host/a.jpg", "https://host/a", "rtsp://u:pa55@host/x", "s3://b/a"]
)
def test_addresses_are_no_pictures(model: Predictor, address: str) -> None:
    for work in (lambda: model.predict(address), lambda: model.predict_batch(address)):
        with pytest.raises(InputError) as caught:
            work()
        assert "pa55" not in str(caught.value)


def test_errors_of_the_runtime_speak_of_no_recipe(model: Predictor, pictures: Path, tmp_path: Path) -> None:
    def wrong():
        yield lambda: model.predict(tmp_path / "gone.jpg")
        yield lambda: model.predict(photo(9, 9), conf=7)
        yield lambda: model.predict(photo(9, 9), imgsz=999)
        yield lambda: model.predict(photo(9, 9).astype(np.float32))
        yield lambda: load(tmp_path / "gone.bundle.zip")
        yield lambda: load(tmp_path / "gone.bundle.zip", threads=0)
        yield lambda: model.stream(None)
        yield lambda: model.stream(pictures, hint="fast")

    for work in wrong():
        with pytest.raises(InputError) as caught:
            work()
        assert isinstance(caught.value, RecipeError)  # as before
        assert "recipe" not in f"{type(caught.value).__name__} {caught.value}".lower()
        assert caught.value.exit_code == 2


def test_the_objects_of_some_classes(model: Predictor) -> None:
    found = model.predict(photo(60, 90))
    some = found.of_classes({1})
    assert set(some.classes.tolist()) == {1}
    assert len(some.boxes) == len(some.scores) == int((found.classes == 1).sum())
    assert some.plot().shape == (60, 90, 3)
    assert len(found.of_classes(())) == 0
