"""Golden vectors: what they hold, and which faults of a device they bring to light."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from edgecompile.evaluate.golden_vectors import TOLERANCES, golden, scaled
from edgecompile.evaluate.tasks import find_task
from edgecompile.runtime import letterbox, open_artifact
from edgecompile.runtime.geometry import Geometry
from edgecompile.runtime.golden import compare_outputs
from edgecompile.runtime.spec import Frame, read_spec
from edgecompile.runtime.tasks.detect import Detections

FRAME = Frame(size=(256, 256), fill=114, center=True, scale_up=True, interpolation="linear")


@pytest.fixture(scope="module")
def vectors(float_model, held_out, tmp_path_factory) -> tuple[Path, dict]:
    """Folder and facts of the golden vectors of the embedded model."""
    out = tmp_path_factory.mktemp("golden")
    evaluation = tmp_path_factory.mktemp("evaluation")
    return out, made(out, float_model, held_out.pictures[:2], evaluation, [1, 2])


def made(out: Path, model, pictures: list[Path], evaluation: Path, counts: list[int]) -> dict:
    """Writes golden vectors of one of the pictures, on which an evaluation found as many things as `counts` says;
    returns their facts."""
    (evaluation / "counts.json").write_text(json.dumps(counts))
    return golden(
        out, artifact=model.model, spec=model.spec, pictures=pictures, evaluation=evaluation,
        precision="fp32", backend="onnxruntime", options={}, threads=1,
    )  # fmt: skip


def agree(folder: Path, model, *, precision: str = "fp32", change=None, damage=None, threads: int = 1) -> bool:
    """Runs a device's check on golden vectors.

    Args:
        change: changes the spec that the device follows.
        damage: changes the outputs that the device computes.
    """
    spec = json.loads(model.spec.read_text())
    if change:
        change(spec)
    device = open_artifact(model.model, spec, "onnxruntime", {}, threads)
    tensor, _ = device.preprocess(cv2.imread(str(folder / "input.png")))
    (output,) = device.infer(tensor)
    if damage:
        damage(output)
    wanted = np.load(folder / "output_0.npy")
    return all(check.met for check in compare_outputs([output], [wanted], device, TOLERANCES[precision]))


def test_the_fullest_picture_is_stored_without_its_border(vectors, held_out, float_model):
    out, facts = vectors
    assert sorted(path.name for path in out.iterdir()) == ["input.png", "output_0.npy", "result.json"]
    assert facts["picture"] == held_out.pictures[1].name
    assert {name: facts[name] for name in ("max_abs", "min_cosine")} == TOLERANCES["fp32"]
    picture = cv2.imread(str(out / "input.png"))
    assert picture.shape == (192, 256, 3)
    device = open_artifact(float_model.model, float_model.spec, "onnxruntime", {}, 1)
    direct = device.preprocess(held_out.pictures[1])[0]
    np.testing.assert_array_equal(device.preprocess(picture)[0], direct)


def test_detections_are_those_of_the_outputs(vectors, float_model):
    out, facts = vectors
    stored = json.loads((out / "result.json").read_text())
    assert facts["found"] == len(stored["scores"]) == len(stored["boxes"]) == len(stored["classes"]) > 0
    found = open_artifact(float_model.model, float_model.spec, "onnxruntime", {}, 1).predict(out / "input.png")
    np.testing.assert_allclose(found.boxes, stored["boxes"], atol=0.001)
    np.testing.assert_allclose(found.scores, stored["scores"], atol=1e-6)


@pytest.mark.parametrize("threads", [1, 2])
def test_the_same_model_agrees(vectors, float_model, threads):
    assert agree(vectors[0], float_model, threads=threads)


FAULTS = {
    "colours swapped": lambda spec: spec["input"].update(color="BGR"),
    "pixels not scaled": lambda spec: spec["input"].update(scale=1.0),
    "picture not centred": lambda spec: spec["letterbox"].update(center=False),
}


@pytest.mark.parametrize("precision", ["fp32", "int8"])
@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_a_wrong_preprocessing_is_found(vectors, float_model, fault, precision):
    assert not agree(vectors[0], float_model, change=fault, precision=precision)


def test_a_wrong_border_is_found(vectors, float_model):
    assert not agree(vectors[0], float_model, change=lambda spec: spec["letterbox"].update(fill=0))


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_a_stretched_picture_is_found(vectors, float_model, monkeypatch, precision):
    """A device without a letterbox: the picture fills the whole input."""
    monkeypatch.setattr(letterbox, "fit", lambda source, frame: Geometry(source, frame.size, 0, 0))
    assert not agree(vectors[0], float_model, precision=precision)


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_a_picture_moved_by_a_pixel_is_found(vectors, float_model, monkeypatch, precision):
    """The least of the faults that were measured: a device that rounds half a border the other way."""
    place = letterbox.Letterbox.place
    monkeypatch.setattr(
        letterbox.Letterbox, "place", lambda self, image: place(self, np.ascontiguousarray(np.roll(image, 1, axis=1)))
    )
    assert not agree(vectors[0], float_model, precision=precision)


def test_dead_scores_are_found(vectors, float_model):
    def kill(output: np.ndarray) -> None:
        output[:, 4:] = 0

    assert not agree(vectors[0], float_model, damage=kill, precision="int8")


def test_the_rounding_of_another_machine_is_tolerated(vectors, float_model):
    """Errors of the size that were measured between instruction sets pass, those of half precision do not as float."""

    def shake(size: float):
        def damage(output: np.ndarray) -> None:
            noise = np.random.default_rng(0).uniform(-size, size, output.shape)
            output[:, :4] += noise[:, :4] * output[:, :4].max()
            output[:, 4:] *= 1 + noise[:, 4:]

        return damage

    assert agree(vectors[0], float_model, damage=shake(1e-5))
    assert not agree(vectors[0], float_model, damage=shake(0.01))
    assert agree(vectors[0], float_model, damage=shake(0.01), precision="fp16")


def test_a_picture_that_fills_the_frame_is_cut_so_that_there_is_a_border():
    image = np.random.default_rng(0).integers(0, 255, (512, 512, 3), np.uint8)
    assert scaled(image, FRAME).shape == (192, 256, 3)
    assert scaled(image[:, :128], FRAME).shape == (256, 64, 3)


@pytest.mark.parametrize("counts", [[0, 0, 0], [2, 1, 2]])
def test_the_first_picture_is_taken_of_several_and_where_nothing_is_found(counts, float_model, held_out, tmp_path):
    assert made(tmp_path, float_model, held_out.pictures[:3], tmp_path, counts)["picture"] == held_out.pictures[0].name


def test_what_a_prediction_would_not_show_is_not_counted(float_model):
    """The picture with most is the one that shows most, whatever the evaluation counts besides."""
    found = Detections(np.zeros((3, 4), np.float32), np.array([0.9, 0.25, 0.24], np.float32), np.zeros(3, np.int64), ())
    assert find_task("detect").count_sure(found, read_spec(float_model.spec)) == 2
