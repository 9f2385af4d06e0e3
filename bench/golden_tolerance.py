"""How far the outputs of one artifact lie apart between ways of computing it: what the golden tolerances are made of.

    python bench/golden_tolerance.py BUNDLE... --pictures FOLDER
    python bench/golden_tolerance.py BUNDLE... --pictures FOLDER --also ort-1.19   # pip install --target ort-1.19 ...

Runs each bundle's artifact as it says, then with other threads, at each level of ONNX Runtime's optimization, with
OpenVINO held to older instruction sets (ONEDNN_MAX_CPU_ISA), with other versions, each in a process of its own. Below
stand the negative controls: faults of a device, which the tolerance must refuse. Prints the largest difference, as a
share of the largest number, and the largest 1 - cosine, over all pictures, by
part that the task tells apart, such as boxes and scores.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import harness
import numpy as np

from edgecompile.evaluate.golden_vectors import TOLERANCES
from edgecompile.runtime import open_artifact
from edgecompile.runtime.archive import Archive
from edgecompile.runtime.golden import compare_part
from edgecompile.runtime.spec import read_spec

LEVELS = ("ORT_DISABLE_ALL", "ORT_ENABLE_BASIC", "ORT_ENABLE_EXTENDED", "ORT_ENABLE_ALL")
SETS = ("SSE41", "AVX", "AVX2", "AVX2_VNNI", "AVX512_CORE", "AVX512_CORE_VNNI", "AVX512_CORE_AMX")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundles", nargs="+", type=Path)
    parser.add_argument("--pictures", type=Path, required=True, help="folder of pictures")
    parser.add_argument("--count", type=int, default=12, help="how many of them (default 12)")
    parser.add_argument("--also", type=Path, action="append", default=[], help="folder of another version's packages")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    options = parser.parse_args()
    pictures = sorted(path for path in options.pictures.rglob("*") if path.suffix in (".jpg", ".png"))[: options.count]
    if options.one:
        found = outputs(options.bundles[0], pictures, json.loads(options.one))
        np.savez(sys.stdout.buffer, *(output for picture in found for output in picture), per_picture=len(found[0]))
        return 0
    harness.announce()
    for bundle in options.bundles:
        tell(bundle, pictures, options)
    return 0


def tell(bundle: Path, pictures: list[Path], options: argparse.Namespace) -> None:
    """Prints the distances of every variant of one bundle from what it says of itself."""
    with Archive(bundle) as archive:
        task, manifest = read_spec(archive.read_json("spec.json")).task, archive.manifest
    limits = TOLERANCES[manifest["precision"]]
    print(f"{manifest['name']}, {len(pictures)} pictures; tolerance {limits}")
    as_it_says = computed(bundle, options, {})
    others = [(f"packages of {one.name}", {"environment": {"PYTHONPATH": str(one)}}) for one in options.also]
    for name, variant in (*variants(manifest), *others, *controls()):
        found = computed(bundle, options, variant)
        if found is None:
            print(f"  {name:34} does not run here")
            continue
        worst: dict[str, tuple[float, float]] = {}
        met = True
        for one, wanted in zip(found, as_it_says, strict=True):
            for part, (golden, other) in task.parts(wanted, one).items():
                check = compare_part(part, other, golden, limits["max_abs"], limits["min_cosine"])
                met &= check.met
                words = check.detail.replace(",", "").split()
                difference, cosine = float(words[1]), float(words[5])
                before = worst.get(part, (0.0, 1.0))
                worst[part] = max(before[0], difference), min(before[1], cosine)
        told = "   ".join(f"{part} {off:.4f} {1 - cosine:.1e}" for part, (off, cosine) in worst.items())
        print(f"  {name:34} {'within ' if met else 'refused'}  {told}", flush=True)


def variants(manifest: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yields ways to compute the same artifact."""
    yield "again", {}
    yield "2 threads", {"threads": 2}
    if manifest["target"]["backend"] == "onnxruntime":
        for level in LEVELS:
            yield level, {"options": {"graph_optimization_level": level}}
        yield "x64quantprecision off", {"options": {"session.x64quantprecision": "0"}}
    else:
        for name in SETS:
            yield f"oneDNN held to {name}", {"environment": {"ONEDNN_MAX_CPU_ISA": name}}
        yield "silent bfloat16", {"options": {"INFERENCE_PRECISION_HINT": "bf16"}}


def controls() -> Iterator[tuple[str, dict[str, Any]]]:
    """Yields faults of a device."""
    yield "control: red and blue swapped", {"fault": "swapped"}
    yield "control: one pixel to the right", {"fault": "shifted"}
    yield "control: half as bright", {"fault": "dark"}
    yield "control: stretched", {"fault": "stretched"}


def computed(bundle: Path, options: argparse.Namespace, variant: dict[str, Any]) -> list[list[np.ndarray]] | None:
    """Returns the raw outputs for each picture, from a process of its own; None where it does not run."""
    words = ["--pictures", options.pictures, "--count", options.count, "--one", json.dumps(variant)]
    environment = {**os.environ, **variant.get("environment", {})}
    with tempfile.TemporaryFile() as file:
        command = [sys.executable, __file__, str(bundle), *map(str, words)]
        if subprocess.run(command, stdout=file, stderr=subprocess.DEVNULL, env=environment).returncode:
            return None
        file.seek(0)
        with np.load(file) as arrays:
            count = int(arrays["per_picture"])
            flat = [arrays[f"arr_{number}"] for number in range(len(arrays.files) - 1)]
        return [flat[first : first + count] for first in range(0, len(flat), count)]


def outputs(bundle: Path, pictures: list[Path], variant: dict[str, Any]) -> list[list[np.ndarray]]:
    """Returns the raw outputs that the task reads, for each picture, computed here and now."""
    with Archive(bundle) as archive, tempfile.TemporaryDirectory() as folder:
        target = archive.manifest["target"]
        members = [name for name in archive.names if name.startswith("artifact/")]
        for name in members:
            (Path(folder) / Path(name).name).write_bytes(archive.read(name))
        settings = {**target["options"], **variant.get("options", {})}
        spec = archive.read_json("spec.json")
        predictor = open_artifact(Path(folder), spec, target["backend"], settings, variant.get("threads", 1))
        found = []
        for path in pictures:
            tensor, _ = predictor.preprocess(damaged(cv2.imread(str(path)), variant.get("fault")))
            read = predictor.read_outputs(predictor.infer(tensor))
            found.append([np.array(output, np.float32) for output in read])
        return found


def damaged(picture: np.ndarray, fault: str | None) -> np.ndarray:
    if fault == "swapped":
        return np.ascontiguousarray(picture[..., ::-1])
    if fault == "shifted":
        return np.roll(picture, 1, axis=1)
    if fault == "dark":
        return picture // 2
    if fault == "stretched":
        side = max(picture.shape[:2])
        return cv2.resize(picture[: picture.shape[0] * 3 // 4], (side, side))
    return picture


if __name__ == "__main__":
    sys.exit(main())
