"""Resize and border in the graph of a runtime against OpenCV: how far the pixels differ, and how long each takes.

    python bench/preprocess_in_graph.py --imgsz 320 --threads 2

The graph takes one picture of any size, uint8 (1, height, width, 3) in the order blue green red, and gives what the
runtime's `Preprocessor` gives a float model: float32 (1, 3, imgsz, imgsz), red green blue, 0..1. Its sizes and borders
follow `letterbox.fit`. Two graphs are measured: "bytes" resizes uint8, "float" resizes float32 and rounds. Pictures are
smooth noise, because their size alone decides the time. Exit code 1 where a pixel differs by more than a grey level.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import harness
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from edgecompile.runtime.letterbox import Letterbox
from edgecompile.runtime.spec import Frame

TIMED = {"640x480": (480, 640), "1920x1080": (1080, 1920), "4000x3000": (3000, 4000)}
COMPARED = ((320, 320), (640, 640), (100, 77), (17, 900), (1, 5))
"""Sizes that are special: unchanged, halved, enlarged, narrow, next to nothing. Others are drawn at random."""
FILL = 114
Run = Callable[[np.ndarray], np.ndarray]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--imgsz", type=int, default=320, help="side of the square input in pixels (default 320)")
    parser.add_argument("--threads", type=int, default=2, help="of each runtime and of OpenCV (default 2)")
    parser.add_argument("--sizes", type=int, default=30, help="pictures of random size to compare (default 30)")
    parser.add_argument("--runs", type=int, default=40, help="rounds of timing, in turns (default 40)")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    options = parser.parse_args()
    figures: dict[str, object] = {"machine": harness.announce()}
    cv2.setNumThreads(options.threads)
    frame = Frame((options.imgsz, options.imgsz), FILL, True, True, "linear")
    graphs = {kind: graph(frame, as_bytes=kind == "bytes") for kind in ("bytes", "float")}
    sides = {
        f"{name}, {kind}": opened(content, options.threads)
        for kind, content in graphs.items()
        for name, opened in (("ONNX Runtime", in_onnxruntime), ("OpenVINO", in_openvino))
    }
    random = np.random.default_rng(0)
    sizes = [*COMPARED, *(tuple(pair) for pair in random.integers(1, 1500, (options.sizes, 2)).tolist())]
    pictures = [picture(random, height, width) for height, width in sizes]
    differences = figures["differences"] = {name: difference(run, frame, pictures) for name, run in sides.items()}
    for name, (most, share) in differences.items():
        print(f"{name}: at most {most} grey levels from OpenCV, {share:.1%} of the pixels differ, {len(sizes)} sizes")
    print()
    times = figures["milliseconds"] = {
        size: timed({"OpenCV": in_opencv(frame), **sides}, picture(random, *shape), options.runs)
        for size, shape in TIMED.items()
    }
    for size, found in times.items():
        print(f"{size}: " + ", ".join(f"{name} {value:.2f} ms" for name, value in found.items()))
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2) + "\n")
    return int(max(most for most, _ in differences.values()) > 1)


def picture(random: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Returns smooth noise, uint8 (height, width, 3)."""
    coarse = random.integers(0, 256, (max(height // 8, 1), max(width // 8, 1), 3), dtype=np.uint8)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)


def graph(frame: Frame, *, as_bytes: bool) -> bytes:
    """Returns an ONNX model of the pre-processing. Sizes are computed in double precision, as `letterbox.fit` does;
    `Round` takes halves to the even number, as Python's `round`."""
    pixels = np.uint8 if as_bytes else np.float32
    values = {
        "size": np.array(frame.size, np.float64),
        "whole": np.array(frame.size, np.int64),
        "half": np.array(0.5),
        "tenth": np.array(0.1),
        "least": np.array([1.0, 1.0]),
        "one_picture": np.array([1, 3], np.int64),
        "none": np.array([0, 0], np.int64),
        "fill": np.array(frame.fill, pixels),
        "order": np.array([2, 1, 0], np.int64),
        "scale": np.array(1 / 255, np.float32),
        "shape": np.array([1, 3, *frame.size], np.int64),
    }
    resize = {"mode": "linear", "coordinate_transformation_mode": "half_pixel"}
    double, float32, int64 = TensorProto.DOUBLE, TensorProto.FLOAT, TensorProto.INT64
    node = helper.make_node
    nodes = [
        node("Shape", ["picture"], ["sides"], start=1, end=3),
        node("Cast", ["sides"], ["source"], to=double),
        node("Div", ["size", "source"], ["ratios"]),
        node("ReduceMin", ["ratios"], ["ratio"], keepdims=0),
        node("Mul", ["source", "ratio"], ["exact"]),
        node("Round", ["exact"], ["rounded"]),
        node("Max", ["rounded", "least"], ["scaled"]),
        node("Cast", ["scaled"], ["scaled_sides"], to=int64),
        node("Sub", ["size", "scaled"], ["gap"]),
        node("Mul", ["gap", "half"], ["half_gap"]),
        node("Sub", ["half_gap", "tenth"], ["less"]),
        node("Round", ["less"], ["border"]),
        node("Cast", ["border"], ["before"], to=int64),
        node("Sub", ["whole", "scaled_sides"], ["borders"]),
        node("Sub", ["borders", "before"], ["after"]),
        node("Concat", ["one_picture", "scaled_sides"], ["target"], axis=0),
        node("Concat", ["none", "before", "none", "after"], ["pads"], axis=0),
        node("Transpose", ["picture"], ["planes"], perm=[0, 3, 1, 2]),
        *(
            [node("Resize", ["planes", "", "", "target"], ["inside"], **resize)]
            if as_bytes
            else [
                node("Cast", ["planes"], ["numbers"], to=float32),
                node("Resize", ["numbers", "", "", "target"], ["between"], **resize),
                node("Round", ["between"], ["inside"]),
            ]
        ),
        node("Pad", ["inside", "pads", "fill"], ["framed"], mode="constant"),
        node("Cast", ["framed"], ["levels"], to=float32),
        node("Gather", ["levels", "order"], ["swapped"], axis=1),
        node("Mul", ["swapped", "scale"], ["scaled_levels"]),
        node("Reshape", ["scaled_levels", "shape"], ["images"]),  # states the shape, which no shape inference finds
    ]
    model = helper.make_model(
        helper.make_graph(
            nodes,
            "preprocess",
            [helper.make_tensor_value_info("picture", TensorProto.UINT8, [1, "height", "width", 3])],
            [helper.make_tensor_value_info("images", float32, [1, 3, *frame.size])],
            [numpy_helper.from_array(value, name) for name, value in values.items()],
        ),
        opset_imports=[helper.make_opsetid("", 18)],
        ir_version=9,
    )
    onnx.checker.check_model(model, full_check=True)
    return model.SerializeToString()


def in_onnxruntime(content: bytes, threads: int) -> Run:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    return lambda image: session.run(None, {"picture": image[None]})[0]


def in_openvino(content: bytes, threads: int) -> Run:
    import openvino

    core = openvino.Core()
    settings = {"INFERENCE_NUM_THREADS": threads, "INFERENCE_PRECISION_HINT": "f32"}
    request = core.compile_model(core.read_model(content), "CPU", settings).create_infer_request()

    def run(image: np.ndarray) -> np.ndarray:
        request.infer({0: image[None]})
        return request.get_output_tensor(0).data

    return run


def in_opencv(frame: Frame) -> Run:
    """Returns the runtime's own way: a letterbox, planes, and a table for the numbers."""
    box, table = Letterbox(frame), (np.arange(256) / 255).astype(np.float32)
    tensor = np.empty((1, 3, *frame.size), np.float32)

    def run(image: np.ndarray) -> np.ndarray:
        box.place(image)
        for place, plane in enumerate(reversed(cv2.split(box.canvas))):
            cv2.LUT(plane, table, tensor[0, place])
        return tensor

    return run


def difference(run: Run, frame: Frame, pictures: list[np.ndarray]) -> tuple[int, float]:
    """Returns by how many grey levels a pixel differs from OpenCV at most, and which share of them differs."""
    opencv, most, shares = in_opencv(frame), 0, []
    for image in pictures:
        apart = np.abs(np.rint(run(image) * 255) - np.rint(opencv(image) * 255))
        most = max(most, int(apart.max()))
        shares.append(float((apart > 0).mean()))
    return most, float(np.mean(shares))


def timed(sides: dict[str, Run], image: np.ndarray, runs: int) -> dict[str, float]:
    """Returns the median milliseconds of each side; they take turns, the first rounds do not count."""
    times: dict[str, list[float]] = {name: [] for name in sides}
    for number in range(runs + 3):
        for name, run in sides.items():
            began = time.perf_counter()
            run(image)
            if number >= 3:
                times[name].append((time.perf_counter() - began) * 1e3)
    return {name: float(np.median(found)) for name, found in times.items()}


if __name__ == "__main__":
    sys.exit(main())
