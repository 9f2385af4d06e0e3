"""The last step for OpenVINO: bytes in, the same boxes out, the same files every time."""

from __future__ import annotations

import json

import numpy as np
import pytest
from exported import SIZE, pictures, run_step, simplified

pytest.importorskip("openvino")

from edgecompile.graphs.openvino import import_openvino
from edgecompile.graphs.openvino.ir_artifact import compile_ir

PLAIN = {"half": False, "separate_silu": False}


def compiled(out, **changes):
    facts = compile_ir(out, model=simplified().model, spec=simplified().spec, **{**PLAIN, **changes})
    return facts, json.loads((out / "spec.json").read_text())


def infer(path, tensor):
    settings = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1}
    return import_openvino().Core().compile_model(str(path), "CPU", settings)(tensor)[0].copy()


@pytest.fixture(scope="module")
def picture():
    import cv2

    return cv2.imread(str(pictures("test", 1)[0]))[None]


@pytest.fixture(scope="module")
def expected(picture):
    return infer(simplified().model, np.ascontiguousarray(picture[..., ::-1].transpose(0, 3, 1, 2)) / np.float32(255))


@pytest.mark.slow
def test_it_takes_bytes_and_finds_the_same(tmp_path, picture, expected):
    _, spec = compiled(tmp_path)
    wanted = {"shape": [1, *SIZE, 3], "dtype": "uint8", "layout": "NHWC", "color": "BGR", "scale": 1}
    assert spec["input"] == {**spec["input"], **wanted}
    assert spec["output"]["shape"] == [1, 7, 1008]
    found = infer(tmp_path / "model.xml", picture)
    assert expected[:, 4:].max() > 0.5
    assert np.allclose(found, expected, atol=1e-2)
    swapped = infer(tmp_path / "model.xml", np.ascontiguousarray(picture[..., ::-1]))
    assert not np.allclose(swapped, expected, atol=1e-2), "colour order matters"


@pytest.mark.slow
def test_silus_kept_apart_compute_the_same(tmp_path, picture, expected):
    facts, _ = compiled(tmp_path, separate_silu=True)
    assert facts["changes"][0] == "77 SiLU activations kept apart from INT8 convolutions"
    assert facts["operations"]["Tanh"] == 77
    assert "Swish" not in facts["operations"]
    assert np.allclose(infer(tmp_path / "model.xml", picture), expected, atol=1e-2)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "wrong"), [("embed_pictures", "RGB"), ("separate_silus", 0.49)])
def test_a_wrong_rewrite_is_refused(tmp_path, monkeypatch, name, wrong):
    """The proof sees a colour order that was not turned, and an activation that is not quite SiLU."""
    from openvino import opset13

    from edgecompile.errors import StepError

    if name == "embed_pictures":
        from openvino.preprocess import ColorFormat

        monkeypatch.setattr(ColorFormat, "BGR", ColorFormat.RGB)
    else:
        honest = opset13.constant
        monkeypatch.setattr(opset13, "constant", lambda value: honest(np.float32(wrong) if value == 0.5 else value))
    with pytest.raises(StepError, match="compiling the graph changed what the model computes"):
        compiled(tmp_path, separate_silu=name == "separate_silus")
    assert not (tmp_path / "model.xml").exists()


@pytest.mark.slow
def test_fp16_halves_the_weights(tmp_path, picture, expected):
    sizes = []
    for half in (False, True):
        compiled(tmp_path, half=half)
        sizes.append((tmp_path / "model.bin").stat().st_size)
    assert sizes[1] < 0.6 * sizes[0]
    assert np.abs(infer(tmp_path / "model.xml", picture) - expected)[:, 4:].max() < 0.02


@pytest.mark.slow
def test_bytes_depend_on_the_model_alone(tmp_path):
    """A second model in the same process gets other counters; another process other hash seeds."""
    from edgecompile.runtime.openvino_ir import MADE_UP_NAME

    made = []
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        compiled(tmp_path / name)
        made.append(tmp_path / name)
    made.append(tmp_path / "third")
    paths = {"model": simplified().model, "spec": simplified().spec}
    run_step(
        made[-1], "edgecompile.graphs.openvino.ir_artifact:compile_ir", paths, PLAIN, PYTHONHASHSEED="3", cores="0"
    )
    for name in ("model.xml", "model.bin", "spec.json"):
        assert len({(folder / name).read_bytes() for folder in made}) == 1, name
    text = (tmp_path / "first" / "model.xml").read_text()
    assert str(simplified().folder) not in text
    assert "Runtime_version" not in text
    assert MADE_UP_NAME.match("Multiply_17324/fq_weights_1")
    assert not MADE_UP_NAME.match("/model.0/conv/Conv")
