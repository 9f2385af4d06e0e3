"""The program of examples/cpp, which shares no code with this package, finds the same boxes in the same bundles.

It is compiled with the compiler that is at hand and runs ONNX Runtime's own library, the one inside the wheel. Where
ONNX Runtime's official C++ header is installed (ONNXRUNTIME_ROOT names its folder, or a system package brings it), that
is compiled with; elsewhere `cpp/onnxruntime_cxx_api.h`, a declaration of the few functions that the example calls.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from edgecompile import runtime
from edgecompile.errors import BundleError
from edgecompile.passes.embed_postprocess import embed_in_onnx
from edgecompile.runtime.letterbox import INTERPOLATIONS

from .tiny import bundled, photo, tiny_manifest, tiny_onnx, tiny_spec

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")
ROOT = Path(__file__).parents[2]
EXAMPLE, DECLARED = ROOT / "examples" / "cpp", Path(__file__).parent / "cpp"
GOLDEN = ROOT / "tests" / "golden" / "schema-1.bundle.zip"
COMPILER = next(filter(None, map(shutil.which, ("c++", "g++", "clang++"))), None)
HEADER = "onnxruntime_cxx_api.h"
OFFICIAL = next(
    (
        folder
        for root in (os.environ.get("ONNXRUNTIME_ROOT", ""), "/usr", "/usr/local")
        for folder in (Path(root, "include"), Path(root, "include", "onnxruntime"))
        if root and Path(folder, HEADER).is_file()
    ),
    None,
)
MOST_PIXELS, MOST_SCORE = 0.001, 1e-5
SIZES = ((64, 96), (50, 80), (120, 90), (33, 61), (128, 192), (64, 192), (9, 300), (641, 479), (1, 1))
"""Heights and widths: what needs no scaling, is enlarged, reduced, halved; borders on either side, odd ones too."""
PLACES = """
#include <cstddef>
#include <cstdio>
#include <onnxruntime_c_api.h>
int main() { %s return 0; }
"""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(COMPILER is None, reason="no C++ compiler (c++, g++, clang++) is installed"),
]


def compiled(folder: Path, headers: Path) -> Path:
    """Returns the example, compiled with the headers in a folder and linked with the library of the wheel."""
    wheel = Path(onnxruntime.__file__).parent / "capi"
    found = sorted(wheel.glob("libonnxruntime.so*"))
    if not found:
        pytest.skip(f"ONNX Runtime {onnxruntime.__version__} brings no libonnxruntime.so in its wheel")
    for name in ("libonnxruntime.so", "libonnxruntime.so.1"):
        (folder / name).symlink_to(found[0])
    program = folder / "detect"
    command = [
        COMPILER, "-std=c++17", "-O1", "-Wall", "-Wextra", "-Werror", "-isystem", headers, EXAMPLE / "main.cpp",
        f"-L{folder}", "-lonnxruntime", f"-Wl,-rpath,{folder}", "-o", program,
    ]  # fmt: skip
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return program


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compiled(tmp_path_factory.mktemp("cpp"), OFFICIAL or DECLARED)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("ppm")
    paths = [folder / f"{number}.ppm" for number in range(len(SIZES))]
    for number, (path, size) in enumerate(zip(paths, SIZES, strict=True)):
        assert cv2.imwrite(str(path), photo(*size, seed=number))
    return paths


def agreed(program: Path, bundle: Path, pictures: list[Path]) -> int:
    """Demands that program and runtime find the same on each picture; returns how many objects there are."""
    done = subprocess.run([program, bundle, *pictures], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    model = runtime.load(bundle)
    found = [json.loads(line) for line in done.stdout.splitlines()]
    for path, theirs in zip(pictures, found, strict=True):
        ours = model.predict(cv2.imread(str(path)))
        assert theirs["classes"] == ours.classes.tolist(), path
        np.testing.assert_allclose(np.reshape(theirs["boxes"], (-1, 4)), ours.boxes, rtol=0, atol=MOST_PIXELS)
        np.testing.assert_allclose(theirs["scores"], ours.scores, rtol=0, atol=MOST_SCORE)
    return sum(len(one["scores"]) for one in found)


def tiny(path: Path, changes: dict[str, dict[str, Any]] | None = None, **kind: Any) -> Path:
    """Writes a bundle of the tiny model, with `changes` in the sections of its spec."""
    spec = tiny_spec(**kind)
    for section, values in (changes or {}).items():
        spec[section] = {**spec[section], **values}
    members = {"artifact/model.onnx": tiny_onnx(**kind), "spec.json": json.dumps(spec).encode()}
    path.write_bytes(bundled(members, tiny_manifest()))
    return path


def test_the_golden_bundle(program: Path, tmp_path: Path):
    pictures = []
    for path in sorted((ROOT / "edgecompile" / "sample" / "images" / "test").glob("*.jpg"))[:6]:
        pictures.append(tmp_path / f"{path.stem}.ppm")
        cv2.imwrite(str(pictures[-1]), cv2.imread(str(path)))
    assert agreed(program, GOLDEN, pictures) > 20


@pytest.mark.parametrize(
    ("kind", "changes"),
    [
        ({}, {}),
        ({"embedded": True}, {}),
        ({"decode": "end2end"}, {}),
        ({"batch": None}, {}),
        ({"batch": 3}, {}),
        (
            {"batch": None},
            {"input": {"profile": {"min": [2, 3, 64, 96], "opt": [2, 3, 64, 96], "max": [4, 3, 64, 96]}}},
        ),
        ({}, {"input": {"color": "BGR", "mean": [0.4, 0.45, 0.5], "std": [0.2, 0.25, 0.3]}}),
        ({}, {"letterbox": {"center": False, "fill": 0}}),
        ({}, {"letterbox": {"scale_up": False}}),
        ({}, {"nms": {"iou": 0.1, "conf": 0.1}}),
        ({}, {"nms": {"iou": 0.1, "class_agnostic": True}}),
        ({}, {"nms": {"max_det": 2}}),
        ({"decode": "end2end"}, {"nms": {"max_det": 2}}),
    ],
    ids=str,
)
def test_what_a_spec_may_say(program: Path, pictures: list[Path], tmp_path: Path, kind: Any, changes: Any):
    assert agreed(program, tiny(tmp_path / "tiny.bundle.zip", changes, **kind), pictures) >= len(SIZES)


@pytest.mark.parametrize("decode", ["yolo", "end2end"])
@pytest.mark.parametrize(("batch", "thresholds"), [(1, "constants"), (3, "constants"), (1, "inputs")])
def test_a_model_that_holds_its_post_processing(
    program: Path, pictures: list[Path], tmp_path: Path, decode: str, batch: int, thresholds: str
):
    """And it finds what the same model without it gives."""
    kind: dict[str, Any] = {"batch": batch, "decode": decode}
    plain = tiny(tmp_path / "plain.bundle.zip", **kind)
    (tmp_path / "model.onnx").write_bytes(tiny_onnx(**kind))
    (tmp_path / "spec.json").write_text(json.dumps(tiny_spec(**kind)))
    (tmp_path / "out").mkdir()
    limits: dict[str, Any] = {"conf": 0.25, "iou": 0.7, "max_det": 300, "thresholds": thresholds, "decodes": [decode]}
    embed_in_onnx(tmp_path / "out", artifact=tmp_path / "model.onnx", spec=tmp_path / "spec.json", **limits)
    members = {
        "artifact/model.onnx": (tmp_path / "out" / "model.onnx").read_bytes(),
        "spec.json": (tmp_path / "out" / "spec.json").read_bytes(),
    }
    whole = tmp_path / "whole.bundle.zip"
    whole.write_bytes(bundled(members, tiny_manifest()))
    assert agreed(program, whole, pictures) == agreed(program, plain, pictures) >= len(SIZES)


@pytest.mark.parametrize("name", sorted(set(INTERPOLATIONS) - {"linear"}))
def test_it_refuses_an_interpolation_that_it_does_not_compute(
    program: Path, pictures: list[Path], tmp_path: Path, name: str
):
    bundle = tiny(tmp_path / "tiny.bundle.zip", {"letterbox": {"interpolation": name}})
    done = subprocess.run([program, bundle, pictures[0]], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout) == (7, "")
    assert "linearly" in done.stderr


@pytest.mark.parametrize("place", [0.1, 0.5, 0.9, 0.9999])
def test_it_refuses_a_bundle_of_which_one_bit_is_another(
    program: Path, pictures: list[Path], tmp_path: Path, place: float
):
    content = bytearray(GOLDEN.read_bytes())
    content[int(len(content) * place)] ^= 1
    (tmp_path / "altered.zip").write_bytes(content)
    done = subprocess.run([program, tmp_path / "altered.zip", pictures[0]], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout) == (7, "")
    assert "damaged" in done.stderr or "no seal" in done.stderr


@pytest.mark.parametrize(
    ("decode", "value"),
    [(decode, value) for decode in ("yolo", "end2end") for value in (np.nan, np.inf, 7.0)] + [("end2end", -0.5)],
    ids=str,
)
def test_both_refuse_numbers_that_no_model_gives(
    program: Path, pictures: list[Path], tmp_path: Path, decode: str, value: float
):
    model = onnx.load_model_from_string(tiny_onnx(decode=decode))
    bias = next(one for one in model.graph.initializer if one.name == "bias")
    numbers = onnx.numpy_helper.to_array(bias).copy()
    numbers[0, -1 if decode == "yolo" else 4] = value  # a score
    bias.CopyFrom(onnx.numpy_helper.from_array(numbers, "bias"))
    members = {
        "artifact/model.onnx": model.SerializeToString(),
        "spec.json": json.dumps(tiny_spec(decode=decode)).encode(),
    }
    bundle = tmp_path / "tiny.bundle.zip"
    bundle.write_bytes(bundled(members, tiny_manifest()))
    done = subprocess.run([program, bundle, pictures[0]], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout) == (7, "")
    assert "score outside of 0..1" in done.stderr
    with pytest.raises(BundleError, match=r"score .*expected 0\.\.1"):
        runtime.load(bundle).predict(cv2.imread(str(pictures[0])))


@pytest.mark.skipif(OFFICIAL is None, reason="ONNX Runtime's header is not installed: set ONNXRUNTIME_ROOT")
def test_the_places_of_the_functions_are_those_of_the_official_header(tmp_path: Path):
    """And the example compiles with the declarations of this folder too."""
    assert OFFICIAL is not None
    text = (DECLARED / HEADER).read_text().partition("enum Place")[2].partition("{")[2].partition("}")[0]
    places = dict(part.replace(" ", "").split("=") for part in text.split(","))
    places = {name.strip(): int(number) for name, number in places.items()}
    lines = "".join(f'printf("%zu\\n", offsetof(OrtApi, {name}) / sizeof(void*));' for name in places)
    (tmp_path / "places.cpp").write_text(PLACES % lines)
    subprocess.run([COMPILER, f"-I{OFFICIAL}", tmp_path / "places.cpp", "-o", tmp_path / "places"], check=True)
    told = subprocess.run([tmp_path / "places"], capture_output=True, text=True, check=True).stdout
    assert [int(line) for line in told.split()] == list(places.values())
    assert compiled(tmp_path, DECLARED).is_file()
