"""One candidate of a paired benchmark, in its own process: `candidate.py KIND PATH --threads N [--pictures DIR]`.

    KIND            PATH                                    what is timed
    onnxruntime     an ONNX file                            the bare session on a random input
    openvino        an IR (.xml) or ONNX file               the bare compiled model on a random input
    bundle          a bundle of edgecompile                 predict: a picture in memory to boxes
    ultralytics     a model folder or file of Ultralytics   predict: a picture in memory to boxes

Prints a JSON line once it is ready (import_ms, first_ms: loading the model up to the first result), then answers every
line on stdin that holds a number with the milliseconds of so many calls, and at the end of stdin with its peak memory.
Bound to N cores, so that a runtime that takes all cores it sees has the same number as the others.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from itertools import cycle
from pathlib import Path

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp")

PICTURES = 4
"""Few: they count towards the peak memory."""


def onnxruntime(options: argparse.Namespace) -> Callable[[], object]:
    import numpy as np
    import onnxruntime as ort

    settings = ort.SessionOptions()
    settings.intra_op_num_threads = options.threads
    session = ort.InferenceSession(str(options.path), settings, providers=["CPUExecutionProvider"])
    one = session.get_inputs()[0]
    kind = np.uint8 if "uint8" in one.type else np.float32
    tensor = _random([size if isinstance(size, int) else 1 for size in one.shape], kind)
    return lambda: session.run(None, {one.name: tensor})


def openvino(options: argparse.Namespace) -> Callable[[], object]:
    import openvino as ov

    settings = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": options.threads}
    if options.precision:
        settings["INFERENCE_PRECISION_HINT"] = options.precision
    model = ov.Core().compile_model(str(options.path), "CPU", settings)
    request, one = model.create_infer_request(), model.input(0)
    tensor = _random([max(1, size.get_length()) for size in one.partial_shape], one.element_type.to_dtype())
    return lambda: request.infer({0: tensor}, share_inputs=True)


def bundle(options: argparse.Namespace) -> Callable[[], object]:
    from edgecompile.runtime import load

    detector, pictures = load(options.path, threads=options.threads), _pictures(options)
    return lambda: detector.predict(next(pictures))


def ultralytics(options: argparse.Namespace) -> Callable[[], object]:
    import ultralytics_without_torchvision  # noqa: F401
    from ultralytics import YOLO

    model, pictures = YOLO(str(options.path), task="detect"), _pictures(options)
    return lambda: model.predict(next(pictures), imgsz=options.imgsz, verbose=False, save=False, device="cpu")


KINDS = {"onnxruntime": onnxruntime, "openvino": openvino, "bundle": bundle, "ultralytics": ultralytics}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", choices=KINDS)
    parser.add_argument("path", type=Path)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--imgsz", type=int, default=320)
    parser.add_argument("--pictures", type=Path)
    parser.add_argument("--precision", help="INFERENCE_PRECISION_HINT of OpenVINO")
    options = parser.parse_args()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: options.threads])

    began = time.perf_counter()
    call = KINDS[options.kind](options)
    opened = time.perf_counter()
    call()
    first = time.perf_counter()
    for _ in range(PICTURES):
        call()
    _say({"open_ms": 1e3 * (opened - began), "first_ms": 1e3 * (first - opened), "start_ms": 1e3 * (first - began)})
    for line in sys.stdin:
        samples = []
        for _ in range(int(line)):
            since = time.perf_counter()
            call()
            samples.append(1e3 * (time.perf_counter() - since))
        _say({"samples": samples})
    _say({"memory_mb": peak_memory_mb()})
    return 0


def peak_memory_mb() -> float:
    """Returns the most memory this process had resident, in 10^6 bytes (VmHWM: unlike getrusage, not the parent's)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) * 1024 / 1e6


def _pictures(options: argparse.Namespace) -> Iterator:
    """Yields pictures in memory, in turns; each is read when its first turn comes."""
    import cv2

    paths = [path for path in sorted(options.pictures.iterdir()) if path.suffix.lower() in SUFFIXES]
    kept = []
    for path in paths[:PICTURES]:
        kept.append(cv2.imread(str(path)))
        yield kept[-1]
    yield from cycle(kept)


def _random(shape: list[int], kind):
    import numpy as np

    values = np.random.default_rng(0).random(shape, dtype=np.float32)
    return (values * 255).astype(kind) if kind == np.uint8 else values.astype(kind)


def _say(answer: dict) -> None:
    print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    sys.exit(main())
