"""Step: golden vectors, one picture and what the artifact makes of it, by which a device proves that it does the same.

`edgecompile.runtime.golden` compares with them on the device.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TypedDict

import cv2
import numpy as np

from edgecompile.evaluate.accuracy import COUNTS
from edgecompile.runtime import Predictor, open_artifact
from edgecompile.runtime.golden import DIFFERENT, RESULT, batch_at, filled, limits
from edgecompile.runtime.letterbox import Letterbox, fit
from edgecompile.runtime.options import Options
from edgecompile.runtime.pictures import read_picture
from edgecompile.runtime.spec import Frame, read_spec

TOLERANCES = {
    "fp32": {"max_abs": 1e-3, "min_cosine": 0.99999},
    "fp16": {"max_abs": 0.05, "min_cosine": 0.999},
    "bf16": {"max_abs": 0.05, "min_cosine": 0.999},
    "int8": {"max_abs": 0.15, "min_cosine": 0.997},
}
"""How far outputs of another machine may lie from the golden outputs, boxes and scores apart: `max_abs`, the largest
difference as a share of the largest golden number, and `min_cosine`. The same machine repeats them bit by bit.

Float was chosen from measurements of YOLO11n (12 pictures, 320 pixels; OpenVINO 2026.4 held to AVX2, AVX512 and VNNI by
ONEDNN_MAX_CPU_ISA, ONNX Runtime 1.32 at each level of optimization, 1 and 2 threads), difference and 1 - cosine:
    float, worst of all pairs            0.000003  1e-12    OpenVINO against ONNX Runtime included
    float in silent bfloat16             0.029     9e-5     must not pass as float
INT8 from those of YOLO11n on blood cells (8 pictures, 320 pixels) and of the embedded sample (12 pictures), on a Zen 3
(AVX2) by `bench/golden_tolerance.py`; the worse of the two models, boxes or scores:
    1 and 2 threads; ONNX Runtime 1.19 to 1.32, OpenVINO 2024.6 to 2026.4        0        0
    OpenVINO held to SSE4.1 or AVX, against AVX2                                 0.046    7e-4
    ONNX Runtime that fuses no Q/DQ pairs, and so computes in float              0.130    2.4e-3
    the picture moved by a pixel, the least of the faults tried                  0.246    8.4e-3    must not pass
    half as bright; red and blue swapped; stretched                              0.479    2.9e-2    must never pass
    8-bit weights whose sums overflow (no VNNI, `session.x64quantprecision` off) 1.0      0.69      must never pass
With the 7 bits of a target without VNNI nothing overflows, and that option changes no number.
"""

KEPT_SHARE = 0.75
"""Share of a picture's height that is kept where it would fill the frame, so that there is a border to prove."""


class GoldenFacts(TypedDict):
    """What the step returns: the tolerance, the name of the picture, and how many things were found on it."""

    max_abs: float
    min_cosine: float
    picture: str
    found: int


def golden(
    out: Path,
    *,
    artifact: Path,
    spec: Path,
    pictures: list[Path],
    evaluation: Path,
    precision: str,
    backend: str,
    options: Options,
    threads: int,
) -> GoldenFacts:
    """Writes the golden vectors: `input.png`, `output_<i>.npy` (raw, float32) and `result.json`; where the shape of
    the input may change, those are of its usual shape, and `min/` and `max/` hold the same of the smallest and largest.

    The evaluation found most on this picture. It is scaled to the model's size and stored without its
    border: a device puts the border back without scaling, in whole numbers that no version of OpenCV changes, and a
    device that stretches, centres or fills otherwise fails.

    Args:
        evaluation: folder of `accuracy.evaluate` for the same artifact and pictures.
        precision: of the artifact, a key of `TOLERANCES`.

    Returns:
        max_abs and min_cosine (the tolerance), picture (its file name), found (how many things on it).
    """
    layout = read_spec(spec)
    predictor = open_artifact(artifact, spec, backend, options, threads)
    counts = json.loads((evaluation / COUNTS).read_text(encoding="utf-8"))
    chosen = pictures[counts.index(max(counts))]
    image = read_picture(chosen, layout.input.channels)
    count = write_vectors(out, predictor, image, layout.frame, "opt")
    for point in limits(predictor.spec):
        (out / point).mkdir()
        size = layout.input.size_at(point) or layout.frame.size
        write_vectors(out / point, predictor, image, replace(layout.frame, size=size), point)
    tolerance = TOLERANCES[precision]
    return {
        "max_abs": tolerance["max_abs"],
        "min_cosine": tolerance["min_cosine"],
        "picture": chosen.name,
        "found": count,
    }


def write_vectors(out: Path, predictor: Predictor, image: np.ndarray, frame: Frame, point: str) -> int:
    """Writes the golden vectors of one point of the profile ("opt" where there is none); returns how many things were
    found.

    Every second picture of a batch is mirrored, so that slots that are mistaken for others show; what repeats is stored
    once, see `runtime.golden.DIFFERENT`.
    """
    picture = scaled(image, frame)
    cv2.imwrite(str(out / "input.png"), picture, [cv2.IMWRITE_PNG_COMPRESSION, 9])
    batch = batch_at(predictor.spec, point)
    tensor, geometries = predictor.stack(filled(picture, batch), imgsz=frame.size)
    outputs = predictor.infer(tensor)
    for number, output in enumerate(outputs):
        kept = output[:DIFFERENT] if output.ndim and len(output) == batch else output
        np.save(out / f"output_{number}.npy", np.ascontiguousarray(kept, np.float32))
    result = predictor.postprocess(outputs, geometries[0])
    text = json.dumps(predictor.task.golden(result), separators=(",", ":"))
    (out / RESULT).write_text(text, encoding="utf-8")
    return len(result)


def scaled(image: np.ndarray, frame: Frame) -> np.ndarray:
    """Returns a picture, uint8 (height, width, channels), at the size to which `frame` scales it: without the border,
    and with what a cut cuts off."""
    if frame.resize == "crop":
        size = fit(image.shape[:2], frame).scaled
        frame = replace(frame, size=size, resize="stretch", shortest=None)
    letterbox = Letterbox(frame, channels=image.shape[2])
    geometry = letterbox.place(image)
    height, width = geometry.scaled
    if frame.resize == "stretch":
        return letterbox.canvas
    if geometry.scaled == frame.size:
        height = round(height * KEPT_SHARE)
    return letterbox.canvas[geometry.top : geometry.top + height, geometry.left : geometry.left + width].copy()
