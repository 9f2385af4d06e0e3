from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

import edgecompile.runtime as rt
from edgecompile.errors import BundleError, MissingToolError, RecipeError

from .tiny import HEIGHT, NAMES, WIDTH, bundled, photo, tiny_manifest, tiny_onnx, tiny_spec

pytest.importorskip("onnxruntime")


def same(one: rt.Detections, other: rt.Detections) -> bool:
    pairs = ((one.boxes, other.boxes), (one.scores, other.scores), (one.classes, other.classes))
    return all(np.array_equal(*pair) for pair in pairs)


def opened(folder: Path, **arguments: Any) -> rt.Predictor:
    """Returns a detector of the tiny model made with `arguments`."""
    (folder / "model.onnx").write_bytes(tiny_onnx(**arguments))
    return rt.open_artifact(folder / "model.onnx", tiny_spec(**arguments), "onnxruntime", {}, 1)


@pytest.fixture(scope="module")
def model(tiny_bundle: Path) -> rt.Predictor:
    return rt.load(tiny_bundle)


def test_six_lines_of_python(tiny_bundle: Path, pictures: Path) -> None:
    model = rt.load(tiny_bundle)
    lines = [f"{found.name} {found.score:.2f} {found.box}" for found in model.predict(pictures / "a.jpg")]
    assert lines
    assert lines[0].split()[0] in NAMES


def test_knows_what_it_was_loaded_from(model: rt.Predictor) -> None:
    assert model.names == NAMES
    assert model.manifest["name"] == "tiny"
    assert len(model.digest) == 64
    assert model.spec == tiny_spec()
    assert model.backend.version


def test_a_file_and_its_pixels_give_the_same(model: rt.Predictor, pictures: Path) -> None:
    for path in rt.find_pictures([pictures]):
        by_path = model.predict(path)
        assert set(model.timings) == {"read", "preprocess", "inference", "postprocess"}
        assert all(value >= 0 for value in model.timings.values())
        assert same(by_path, model.predict(rt.read_picture(path)))
        assert same(by_path, model.predict(str(path)))
        assert len(by_path) > 3


def test_results_depend_on_the_picture_and_not_on_the_one_before(model: rt.Predictor) -> None:
    images = [photo(50, 80, 1), photo(200, 100, 2), np.zeros((64, 96, 3), np.uint8)]
    first = [model.predict(image) for image in images]
    again = [model.predict(image) for image in reversed(images)][::-1]
    assert all(same(*pair) for pair in zip(first, again, strict=True))
    assert not np.array_equal(first[0].scores, first[2].scores)


def test_boxes_lie_inside_of_the_picture(model: rt.Predictor) -> None:
    found = model.predict(photo(31, 211), conf=0.0)
    assert (found.boxes >= 0).all()
    assert (found.boxes[:, 0::2] <= 211).all()
    assert (found.boxes[:, 1::2] <= 31).all()


def test_the_parts_make_the_whole(model: rt.Predictor) -> None:
    image = photo(70, 50)
    tensor, geometry = model.preprocess(image)
    outputs = model.infer(tensor)
    assert same(model.postprocess(outputs, geometry), model.predict(image))
    kept = outputs[0].copy()
    model.infer(np.zeros_like(tensor))
    model.predict(photo(20, 20, 9))
    assert np.array_equal(outputs[0], kept)  # what is handed out is never overwritten
    assert np.array_equal(model.preprocess(image)[0], tensor)


def test_settings_override_those_of_the_spec(model: rt.Predictor) -> None:
    image = photo(70, 50)
    everything = model.predict(image)
    assert len(model.predict(image, max_det=2)) == 2
    strict = model.predict(image, conf=0.5)
    assert 0 < len(strict) < len(everything)
    assert (strict.scores > 0.5).all()
    assert len(model.predict(image, iou=0.01)) < len(everything)
    tensor, geometry = model.preprocess(image)
    outputs = model.infer(tensor)
    assert len(model.postprocess(outputs, geometry, multi_label=True)) > len(everything)
    for settings in ({"conf": 1.5}, {"iou": -0.1}, {"max_det": 0}):
        with pytest.raises(RecipeError, match="expected"):
            model.predict(image, **settings)


@pytest.mark.parametrize("batch", [1, 3, None])
@pytest.mark.parametrize("embedded", [False, True])
def test_batches_and_streams_equal_single_pictures(batch: int | None, embedded: bool, tmp_path: Path) -> None:
    single = opened(tmp_path, embedded=embedded)
    model = opened(tmp_path, batch=batch, embedded=embedded)
    images = [photo(20 + 7 * number, 90 - 5 * number, number) for number in range(10)]
    wanted = [single.predict(image) for image in images]
    for found in (
        [model.predict(image) for image in images],
        model.predict_batch(images),
        model.predict_batch(iter(images)),
        list(model.stream(images)),
    ):
        assert len(found) == len(wanted)
        for one, other in zip(found, wanted, strict=True):
            assert np.array_equal(one.classes, other.classes)
            assert np.allclose(one.boxes, other.boxes, atol=1e-4)
            assert np.allclose(one.scores, other.scores, atol=1e-6)
    assert model.predict_batch([]) == []


def test_a_model_of_dynamic_batch_gets_several_pictures_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = opened(tmp_path, batch=None)
    run, shapes = model.backend.infer, []
    monkeypatch.setattr(model.backend, "infer", lambda tensor: shapes.append(tensor.shape) or run(tensor))
    model.predict_batch([photo(30, 30)] * 11)
    assert [shape[0] for shape in shapes] == [8, 3]


def test_bytes_built_in_agree_with_floats_outside(tmp_path: Path) -> None:
    image = photo(70, 50)
    one, other = opened(tmp_path).predict(image), opened(tmp_path, embedded=True).predict(image)
    assert np.array_equal(one.classes, other.classes)
    assert np.allclose(one.scores, other.scores, atol=1e-6)


def test_end_to_end_models_need_no_suppression(tmp_path: Path) -> None:
    found = opened(tmp_path, decode="end2end").predict(photo(64, 96))
    assert len(found) > 5
    assert (np.diff(found.scores) <= 0).all()
    assert found.classes[:3].tolist() == [0, 1, 2]


def test_a_stream_holds_no_more_pictures_than_are_in_flight(model: rt.Predictor, pictures: Path) -> None:
    given = 0

    def camera() -> Iterator[np.ndarray]:
        nonlocal given
        while True:
            given += 1
            yield photo(40, 40, given)

    stream = model.stream(camera(), conf=0.3)
    next(stream)
    next(stream)
    assert given <= 1 + stream.pipeline.requests
    assert len(list(model.stream(pictures))) == 4
    assert len(list(model.stream(str(pictures / "*.png")))) == 1


def test_threads_take_turns(model: rt.Predictor) -> None:
    images = [photo(60, 60, number) for number in range(4)]
    wanted = [model.predict(image) for image in images]
    wrong = []

    def work(number: int) -> None:
        for _ in range(50):
            if not same(model.predict(images[number]), wanted[number]):
                wrong.append(number)

    workers = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert not wrong


def test_a_bundle_that_says_nonsense_is_refused(tiny_members: dict[str, bytes], tmp_path: Path) -> None:
    def complaint(manifest: dict[str, Any], **members: bytes) -> str:
        path = tmp_path / "bad.bundle.zip"
        changed = {key.replace("__", "/").replace("_dot_", "."): value for key, value in members.items()}
        path.write_bytes(bundled({**tiny_members, **changed}, manifest))
        with pytest.raises(BundleError, match=r"bad\.bundle\.zip") as caught:
            rt.load(path)
        assert "\n" not in str(caught.value)
        return str(caught.value)

    assert "how to open" in complaint({**tiny_manifest(), "target": {}})
    assert "target.threads: found 'all', expected a whole number from 1 to 1024" in complaint(
        tiny_manifest(threads="all")
    )
    assert "cannot build a model" in complaint(tiny_manifest(finalize=True))
    assert "'warp_drive'" in complaint(tiny_manifest("warp_drive"))
    assert "backend" in complaint(tiny_manifest("../../errors"))
    assert "did you mean 'onnxruntime'" in complaint(tiny_manifest("onnxruntim"))
    assert "cannot open the model" in complaint(tiny_manifest(), artifact__model_dot_onnx=b"no model")
    other = json.dumps({**tiny_spec(), "names": ["one"]}).encode()
    assert "1 classes" in complaint(tiny_manifest(), spec_dot_json=other)


def test_a_missing_backend_names_what_to_install(tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(MissingToolError, match=r"pip install 'edgecompile\[onnxruntime\]'"):
        rt.load(tiny_bundle)


def test_missing_artifacts_and_pictures_say_so(model: rt.Predictor, tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="no such artifact"):
        rt.open_artifact(tmp_path / "model.onnx", tiny_spec(), "onnxruntime", {}, 1)
    with pytest.raises(RecipeError, match="no such bundle"):
        rt.load(tmp_path / "x.bundle.zip")
    with pytest.raises(RecipeError, match="no such picture"):
        model.predict(tmp_path / "x.jpg")
    with pytest.raises(RecipeError, match="float32 array"):
        model.predict(np.zeros((HEIGHT, WIDTH, 3), np.float32))


def test_a_bundle_may_vanish_once_it_is_loaded(tiny_members: dict[str, bytes], tmp_path: Path) -> None:
    path = tmp_path / "gone.bundle.zip"
    path.write_bytes(bundled(tiny_members, tiny_manifest()))
    model = rt.load(path, threads=1)
    path.unlink()
    assert len(model.predict(photo(64, 96)))
    assert not list(tmp_path.iterdir())


def test_unicode_paths_and_names(tiny_bundle: Path, tmp_path: Path) -> None:
    path = tmp_path / "Rück seite 写真.png"
    path.write_bytes(cv2.imencode(".png", photo(30, 30))[1].tobytes())
    assert len(rt.load(tiny_bundle).predict(path))


def test_a_batch_may_be_a_folder_or_one_picture(model: rt.Predictor, pictures: Path) -> None:
    paths = sorted(pictures.iterdir())
    for given in (pictures, str(pictures)):
        found = model.predict_batch(given)
        assert all(same(one, model.predict(path)) for one, path in zip(found, paths, strict=True))
    assert same(model.predict_batch(str(paths[0]))[0], model.predict(paths[0]))


@pytest.mark.parametrize("threads", [0, -1, 1.5, "2"])
def test_threads_are_counted_in_whole_numbers(threads: Any, tiny_bundle: Path) -> None:
    with pytest.raises(RecipeError, match=r"threads is .*, expected a whole number from 1 to 1024"):
        rt.load(tiny_bundle, threads=threads)


@pytest.mark.parametrize("settings", [{"conf": "0.5"}, {"iou": None, "conf": 2}, {"max_det": 2.5}, {"max_det": "3"}])
def test_settings_that_are_no_numbers_are_refused(settings: dict[str, Any], model: rt.Predictor) -> None:
    with pytest.raises(RecipeError, match=r"(conf|max_det) is .*, expected a (whole )?number"):
        model.predict(photo(64, 96), **settings)
