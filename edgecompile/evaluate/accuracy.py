"""Step: the accuracy of an artifact on labelled pictures, measured through the runtime that ships.

Pictures are read, prepared, run and decoded exactly as on the device. What counts as right, and which figures come of
it, is the task's business: `edgecompile.evaluate.tasks`.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from edgecompile.data.label_reading import reading_from
from edgecompile.data.layouts import find_layout
from edgecompile.errors import BundleError, StepError
from edgecompile.evaluate.evidence import gathered, save_evidence
from edgecompile.evaluate.tasks import AccuracyFacts, find_task
from edgecompile.json_types import JsonObject
from edgecompile.runtime import open_artifact
from edgecompile.runtime.options import Options
from edgecompile.runtime.pictures import read_picture

RAW_PICTURES = 8
"""Of how many pictures the raw outputs are kept, for the distance to the reference."""
RESULTS, COUNTS = "results.json", "counts.json"
"""Files of an evaluation: the results of each picture, and of how much in it a prediction would show."""


def evaluate(
    out: Path,
    *,
    artifact: Path,
    spec: Path,
    pictures: list[Path],
    labels: list[Path],
    backend: str,
    options: Options,
    threads: int,
    settings: dict[str, float | int],
    shipped: Path | None = None,
    reading: JsonObject | None = None,
) -> AccuracyFacts:
    """Measures the metrics of the task of `artifact`, in all and by class.

    Writes `results.json` (the best results of each picture, with `image_id` and `file_name`), `counts.json` (how much a
    prediction of each picture would show), `evidence.npz` (what two evaluations are compared by, picture by picture)
    and, of the first pictures, `raw/<picture>_<output>.npy`.

    Args:
        pictures: in a fixed order, which is also that of their labels.
        labels: files of the labels; in YOLO's layout one a picture, of which a missing one stands for a picture
            without objects.
        backend: file of `edgecompile/runtime/backends/` that runs the artifact, opened with `options`.
        threads: of the backend. One, for figures that are the same everywhere.
        settings: of the recipe's `evaluate`, those that the task reads.
        reading: how the labels are read, where that is not the default; see `edgecompile.data.label_reading`.
        shipped: the artifact whose size counts, where `artifact` stands for it.

    Returns:
        `edgecompile.evaluate.tasks.Accuracy` as JSON, pictures, and size_bytes of the artifact.

    Raises:
        RecipeError: for an unreadable picture or a malformed label file.
        StepError: the artifact cannot run, or puts out numbers that mean nothing.
    """
    predictor = open_artifact(artifact, spec, backend, options, threads)
    task = find_task(predictor.layout.document["task"])
    how = reading_from(reading or {})
    lines = find_layout(how.layout).read_lines(labels, how, task.label_form)
    if len(lines) != len(pictures):
        raise StepError(f"labels of {len(lines)} pictures, expected {len(pictures)}")
    truth = [task.read_labels(one, how.facts) for one in lines]
    decoding = task.options(settings, truth)
    (out / "raw").mkdir()

    judged, counts, kept = [], [], []
    results: list[JsonObject] = []
    for index, (picture, labelled) in enumerate(zip(pictures, truth, strict=True)):
        image = read_picture(picture, predictor.layout.input.channels)
        tensor, geometry = predictor.preprocess(image)
        try:
            outputs = predictor.infer(tensor)
            if index < RAW_PICTURES:
                save_raw(out / "raw", index, predictor.read_outputs(outputs))
            result = predictor.postprocess(outputs, geometry, slot=0, **decoding)
        except BundleError as error:
            problem = error.problems[0]
            raise StepError(f"{artifact.name}: {problem.message}, on {picture.name}", where=problem.where) from error
        height, width = image.shape[:2]
        judged.append(task.judge(result, labelled, (height, width)))
        counts.append(task.count_sure(result, predictor.layout))
        kept.append(task.evidence(result, judged[-1]))
        results += [{"image_id": index, "file_name": picture.name, **row} for row in task.results(result)]

    (out / RESULTS).write_text(json.dumps(results, separators=(",", ":")), encoding="utf-8")
    (out / COUNTS).write_text(json.dumps(counts, separators=(",", ":")), encoding="utf-8")
    save_evidence(out, gathered(kept))
    ships = shipped or artifact
    size = sum(path.stat().st_size for path in [ships, *ships.rglob("*")] if path.is_file())
    accuracy = task.accuracy(judged, truth, predictor.names)
    return {
        "metrics": accuracy.metrics,
        "per_class": accuracy.per_class,
        "objects": accuracy.objects,
        "found": accuracy.found,
        "pictures": len(pictures) if accuracy.pictures is None else accuracy.pictures,
        "size_bytes": size,
    }


def save_raw(folder: Path, picture: int, outputs: list[np.ndarray]) -> None:
    """Writes the raw outputs of one picture that the task reads, as float32."""
    for number, output in enumerate(outputs):
        np.save(folder / f"{picture}_{number}.npy", np.ascontiguousarray(output, np.float32))
