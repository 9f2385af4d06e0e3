"""Step: the accuracy of an artifact on labelled pictures, measured through the runtime that ships.

Pictures are read, prepared, run and decoded exactly as on the device, and judged with the settings of Ultralytics' own
validation with `rect=False`: every class above a low threshold, overlaps judged on boxes that are not cut at the border
of the picture. Its default, `rect=True`, pads pictures to rectangles, which no device does, and so gives other figures.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from edgecompile.data.yolo_labels import Labels, read_labels
from edgecompile.errors import BundleError, StepError
from edgecompile.evaluate import average_precision
from edgecompile.evaluate.class_names import unique_names
from edgecompile.runtime import Detections, open_artifact
from edgecompile.runtime.pictures import read_picture

RAW_PICTURES = 8
"""Of how many pictures the raw outputs are kept, for the distance to the reference."""

KEPT_DETECTIONS = 100
"""How many detections a picture keeps in detections.json: the best ones. All count towards the figures."""

DEFAULT_MAX_DET = 300

MOST_CLASSES = 100_000
"""Number that a class of a label stays below; the plan has held it against the names of the data set."""


def evaluate(
    out: Path,
    *,
    artifact: Path,
    spec: Path,
    pictures: list[Path],
    labels: list[Path],
    backend: str,
    options: dict[str, Any],
    threads: int,
    conf: float,
    iou: float,
    max_det: int,
    shipped: Path | None = None,
) -> dict[str, Any]:
    """Measures mAP50-95 and mAP50, in all and by class, of `artifact`.

    Writes `detections.json` (a COCO results list that also carries `file_name`) and, of the first pictures,
    `raw/<picture>_<output>.npy`.

    Args:
        pictures: in a fixed order, which is also that of `labels`.
        labels: label files; a file that is missing stands for a picture without objects.
        backend: file of `edgecompile/runtime/backends/` that runs the artifact, opened with `options`.
        threads: of the backend. One, for figures that are the same everywhere.
        conf: lowest score that counts.
        iou: overlap from which non-maximum suppression drops the lesser box.
        max_det: most detections of a picture. The default, 300, gives way where a picture shows more objects.
        shipped: the artifact whose size counts, where `artifact` stands for it.

    Returns:
        map50_95, map50, per_class (name to map50_95, map50 and objects, for classes that occur), pictures, objects,
        detections (all that counted), size_bytes of the artifact.

    Raises:
        RecipeError: for an unreadable picture or a malformed label file.
        StepError: the artifact cannot run, or puts out numbers that are none.
    """
    detector = open_artifact(artifact, spec, backend, options, threads)
    truth = [read_labels(path, MOST_CLASSES) for path in labels]
    names = unique_names(named(detector.names, truth))
    limit = most_detections(max_det, truth)
    settings: dict[str, Any] = {"conf": conf, "iou": iou, "max_det": limit, "multi_label": True, "clip": False}
    (out / "raw").mkdir()

    judged: list[average_precision.MatchedDetections] = []
    results: list[dict[str, Any]] = []
    for index, (picture, objects) in enumerate(zip(pictures, truth, strict=True)):
        image = read_picture(picture)
        tensor, geometry = detector.preprocess(image)
        try:
            outputs = detector.infer(tensor)
            if index < RAW_PICTURES:
                save_raw(out / "raw", index, outputs)
            found = detector.postprocess(outputs, geometry, **settings)
        except BundleError as error:
            problem = error.problems[0]
            raise StepError(f"{artifact.name}: {problem.message}, on {picture.name}", where=problem.where) from error
        height, width = image.shape[:2]
        boxes = objects.in_pixels(width, height)
        judged.append(average_precision.compare(found.boxes, found.scores, found.classes, boxes, objects.classes))
        results += coco_results(index, picture.name, found)

    (out / "detections.json").write_text(json.dumps(results, separators=(",", ":")), encoding="utf-8")
    ships = shipped or artifact
    size = sum(path.stat().st_size for path in [ships, *ships.rglob("*")] if path.is_file())
    return {**figures(judged, names), "size_bytes": size}


def named(names: tuple[str, ...], truth: list[Labels]) -> tuple[str, ...]:
    """Returns the names of a model's classes and, by their numbers, those of classes of the data set that it does not
    know: it misses their objects, as in Ultralytics' validation."""
    count = max((int(one.classes.max()) + 1 for one in truth if len(one.classes)), default=0)
    return (*names, *(f"class {number}" for number in range(len(names), count)))


def figures(judged: list[average_precision.MatchedDetections], names: list[str]) -> dict[str, Any]:
    """Returns the accuracy figures as facts, rounded to 6 digits: far finer than they mean anything."""
    classes = average_precision.per_class(judged)
    map50_95, map50 = average_precision.mean(list(classes.values()))
    return {
        "map50_95": round(map50_95, 6),
        "map50": round(map50, 6),
        "per_class": {
            names[number]: {"map50_95": round(one.map50_95, 6), "map50": round(one.map50, 6), "objects": one.objects}
            for number, one in classes.items()
        },
        "pictures": len(judged),
        "objects": sum(one.objects for one in classes.values()),
        "detections": sum(len(one.scores) for one in judged),
    }


def most_detections(max_det: int, truth: list[Labels]) -> int:
    """Returns the limit on detections of a picture: a default that cannot hold all objects is raised, as Ultralytics
    does in `DetectionValidator._check_max_det`; one that a person chose is not."""
    return max([max_det, *(len(one.classes) for one in truth)]) if max_det == DEFAULT_MAX_DET else max_det


def save_raw(folder: Path, picture: int, outputs: list[np.ndarray]) -> None:
    """Writes the raw outputs of one picture, as float32."""
    for number, output in enumerate(outputs):
        np.save(folder / f"{picture}_{number}.npy", np.ascontiguousarray(output, np.float32))


def coco_results(picture: int, file_name: str, found: Detections) -> list[dict[str, Any]]:
    """Returns the best detections of one picture in COCO's results format: bbox is x, y, width, height in pixels."""
    results = []
    for index in np.argsort(-found.scores, kind="stable")[:KEPT_DETECTIONS]:
        x1, y1, x2, y2 = (float(value) for value in found.boxes[index])
        results.append(
            {
                "image_id": picture,
                "file_name": file_name,
                "category_id": int(found.classes[index]),
                "bbox": [round(value, 2) for value in (x1, y1, x2 - x1, y2 - y1)],
                "score": round(float(found.scores[index]), 5),
            }
        )
    return results
