"""A detector of 200 numbers, real bundles around it, and pictures.

The zips are written here with nothing but `zipfile`, so that the reader is tested against the format and not against
the writer of this repository.
"""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from typing import Any

import cv2
import numpy as np
import pytest

from edgecompile.runtime.archive import SEAL

HEIGHT, WIDTH, ANCHORS = 64, 96, 21
NAMES = ("bolt", "nut", "washer")


def tiny_onnx(
    *,
    batch: int | None = 1,
    embedded: bool = False,
    decode: str = "yolo",
    row: int | None = None,
    value: float = 0.0,
) -> bytes:
    """Returns an ONNX model whose boxes stand still and whose scores follow the mean colour of the picture.

    Args:
        batch: pictures of one run; None where dynamic.
        embedded: whether it takes uint8 NHWC BGR pictures.
        decode: as in the spec.
        row: of the output, which holds `value` for one box that has a high score, whatever the picture shows.
    """
    onnx = pytest.importorskip("onnx")
    helper, numpy_helper, proto = onnx.helper, onnx.numpy_helper, onnx.TensorProto
    channels, rows = (7, ANCHORS) if decode == "yolo" else (ANCHORS, 6)
    rng = np.random.default_rng(7)
    bias = np.zeros((channels, rows), np.float32)
    centre = rng.uniform((20, 15), (WIDTH - 20, HEIGHT - 15), (ANCHORS, 2))
    side = rng.uniform(10, 30, (ANCHORS, 2))
    if decode == "yolo":
        bias[:4] = np.concatenate((centre, side), 1).T
        bias[4:] = rng.uniform(0, 0.8, (3, ANCHORS))
    else:
        bias[:, :4] = np.concatenate((centre - side / 2, centre + side / 2), 1)
        bias[:, 4] = np.linspace(0.8, 0.05, ANCHORS)
        bias[:, 5] = np.arange(ANCHORS) % 3
    weight = np.zeros((3, channels, rows), np.float32)
    if decode == "yolo":
        weight[:, 4:] = rng.uniform(0, 0.06, (3, 3, ANCHORS))
    else:
        weight[:, :, 4] = 0.05  # the same for all, so that they stay sorted
    if row is not None:
        box = np.s_[:, 3] if decode == "yolo" else np.s_[3]
        bias[box][4] = 0.9
        bias[box][row] = value
    constants = {
        "weight": weight.reshape(3, -1),
        "bias": bias.reshape(1, -1),
        "flat": np.array([-1, 3], np.int64),
        "shape": np.array([-1, channels, rows], np.int64),
        "scale": np.array(1 / 255, np.float32),
        "swap": np.array([2, 1, 0], np.int64),
    }
    nodes = [
        helper.make_node("GlobalAveragePool", ["picture"], ["mean"]),
        helper.make_node("Reshape", ["mean", "flat"], ["colour"]),
        helper.make_node("MatMul", ["colour", "weight"], ["slope"]),
        helper.make_node("Add", ["slope", "bias"], ["raw"]),
        helper.make_node("Reshape", ["raw", "shape"], ["output0"]),
    ]
    if embedded:
        sides: list[Any] = [batch or "n", HEIGHT, WIDTH, 3]
        prepare = [
            helper.make_node("Cast", ["images"], ["floats"], to=proto.FLOAT),
            helper.make_node("Mul", ["floats", "scale"], ["scaled"]),
            helper.make_node("Gather", ["scaled", "swap"], ["rgb"], axis=3),
            helper.make_node("Transpose", ["rgb"], ["picture"], perm=[0, 3, 1, 2]),
        ]
    else:
        sides = [batch or "n", 3, HEIGHT, WIDTH]
        prepare = [helper.make_node("Identity", ["images"], ["picture"])]
    graph = helper.make_graph(
        [*prepare, *nodes],
        "tiny",
        [helper.make_tensor_value_info("images", proto.UINT8 if embedded else proto.FLOAT, sides)],
        [helper.make_tensor_value_info("output0", proto.FLOAT, [batch or "n", channels, rows])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    return model.SerializeToString()


def tiny_spec(*, batch: int | None = 1, embedded: bool = False, decode: str = "yolo") -> dict[str, Any]:
    """Returns the spec of `tiny_onnx` with the same arguments."""
    shape = [batch or -1, HEIGHT, WIDTH, 3] if embedded else [batch or -1, 3, HEIGHT, WIDTH]
    return {
        "schema": 1,
        "task": "detect",
        "names": list(NAMES),
        "stride": 32,
        "input": {
            "name": "images",
            "shape": shape,
            "dtype": "uint8" if embedded else "float32",
            "layout": "NHWC" if embedded else "NCHW",
            "color": "BGR" if embedded else "RGB",
            "scale": 1 if embedded else 1 / 255,
            "mean": [0, 0, 0],
            "std": [1, 1, 1],
        },
        "letterbox": {
            "size": [HEIGHT, WIDTH],
            "fill": 114,
            "center": True,
            "scale_up": True,
            "interpolation": "linear",
        },
        "output": {
            "name": "output0",
            "shape": [batch or -1, 7, ANCHORS] if decode == "yolo" else [batch or -1, ANCHORS, 6],
            "decode": decode,
        },
        "nms": {"conf": 0.25, "iou": 0.7, "max_det": 300, "class_agnostic": False},
    }


def seal(content: bytes) -> bytes:
    """Returns a zip, whose end says that a comment of the seal's length follows, with the seal that fits it."""
    return content + SEAL + hashlib.sha256(content).hexdigest().encode()


def zipped(members: list[tuple[str, bytes]], *, compressed: bool = False, sort: bool = True) -> bytes:
    """Returns a sealed zip of the members, in the form of a bundle but for what the arguments say."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.comment = bytes(len(SEAL) + 64)
        for name, content in sorted(members) if sort else members:
            entry = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
            entry.create_system, entry.external_attr = 3, 0o100644 << 16
            entry.compress_type = zipfile.ZIP_DEFLATED if compressed else zipfile.ZIP_STORED
            archive.writestr(entry, content)
    return seal(stream.getvalue()[: -len(SEAL) - 64])


def file_facts(members: dict[str, bytes]) -> dict[str, dict[str, Any]]:
    """Returns the manifest's list of files."""
    return {
        name: {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content)} for name, content in members.items()
    }


def bundled(members: dict[str, bytes], manifest: dict[str, Any]) -> bytes:
    """Returns a bundle of the members and a manifest that lists them."""
    whole = json.dumps({**manifest, "files": file_facts(members)}).encode()
    return zipped([*members.items(), ("manifest.json", whole)])


def tiny_manifest(backend: str = "onnxruntime", **target: Any) -> dict[str, Any]:
    """Returns the manifest of the tiny model, without its files; `target` changes facts of the target."""
    accuracy = {
        "map50_95": 0.61,
        "map50": 0.82,
        "per_class": {name: {"map50_95": 0.6, "map50": 0.8, "objects": 9} for name in NAMES},
    }
    return {
        "schema": 1,
        "format": "edgecompile-bundle",
        "name": "tiny",
        "description": "boxes that stand still",
        "created_by": "edgecompile 0.1.0",
        "target": {
            "device": "a desk",
            "kind": backend,
            "arch": "x86_64",
            "isa": [],
            "backend": backend,
            "runtime": [backend, ">=1.19,<3000"],
            "options": {},
            "threads": 2,
            "status": "built here",
            "finalize": False,
            **target,
        },
        "precision": "fp32",
        "model": {
            "weights": {"name": "tiny.onnx", "sha256": "0" * 64},
            "task": "detect",
            "imgsz": [HEIGHT, WIDTH],
            "names": list(NAMES),
        },
        "tools": {"onnx": "1.23.2"},
        "isa_class": "x86_64+avx2",
        "figures": {
            **accuracy,
            "pictures": 3,
            "objects": 27,
            "reference": accuracy,
            "map_drop": 0.0,
            "distance": {"max": 0.1, "cosine": 0.9999, "sqnr_db": None},
            "size_bytes": 1000,
        },
        "gates": [
            {"gate": "map_drop", "limit": 0.01, "figure": 0.0, "met": True, "measured": False},
            {"gate": "fps", "limit": 30, "figure": None, "met": True, "measured": True},
        ],
        "golden": {
            "input": "golden/input.png",
            "outputs": ["golden/output_0.npy"],
            "result": "golden/result.json",
            "tolerance": {"max_abs": 1e-4, "min_cosine": 0.9999},
        },
        "steps": [{"name": "onnx_export", "stage": "export", "key": "1" * 64, "output": "2" * 64}],
    }


def photo(height: int, width: int, seed: int = 0) -> np.ndarray:
    """Returns a BGR picture with structure: smooth colour, discs and noise."""
    rng = np.random.default_rng(seed)
    base = rng.integers(0, 256, (max(height // 16, 1), max(width // 16, 1), 3), np.uint8)
    image = cv2.resize(base, (width, height), interpolation=cv2.INTER_CUBIC)
    for _ in range(6):
        centre = (int(rng.integers(0, width)), int(rng.integers(0, height)))
        radius = int(rng.integers(2, max(min(height, width) // 4, 3)))
        cv2.circle(image, centre, radius, rng.integers(0, 256, 3).tolist(), -1)
    noise = rng.integers(-12, 13, image.shape)
    return np.clip(image.astype(np.int16) + noise, 0, 255).astype(np.uint8)


def golden_members(detector: Any) -> dict[str, bytes]:
    """Returns golden vectors of a detector."""
    picture = photo(HEIGHT, WIDTH, 5)
    tensor, geometry = detector.preprocess(picture)
    outputs = detector.infer(tensor)
    members = {"golden/input.png": cv2.imencode(".png", picture)[1].tobytes()}
    for number, output in enumerate(outputs):
        stream = io.BytesIO()
        np.save(stream, output)
        members[f"golden/output_{number}.npy"] = stream.getvalue()
    result = detector.task.golden(detector.postprocess(outputs, geometry))
    members["golden/result.json"] = json.dumps(result).encode()
    return members
