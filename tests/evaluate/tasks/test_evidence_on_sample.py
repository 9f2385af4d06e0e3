"""Each task, on its embedded model: what it keeps of pictures gives the figures it reports, and tells a worse model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgecompile.compose.composition import compose
from edgecompile.evaluate.accuracy import evaluate
from edgecompile.evaluate.evidence import load_evidence
from edgecompile.evaluate.jackknife import group_count, groups_of
from edgecompile.evaluate.paired_comparison import compare
from edgecompile.evaluate.tasks import find_task
from edgecompile.local_plan import prepare

from ..conftest import export

pytestmark = pytest.mark.slow

CHOICES = {
    "detect": "sample",
    "segment": "sample-segment",
    "pose": "sample-pose",
    "obb": "sample-obb",
    "classify": "sample-classify",
}
IMAGES = {**dict.fromkeys(CHOICES, 16), "classify": 96}
"""How many pictures: of crops, few are missed."""
STEPS = 40
"""Steps from the smallest to the largest weight of the coarse model: fewer than 8 bits have."""


def coarse(model: Path, out: Path) -> Path:
    """Writes a copy of a model whose weights are rounded to few steps."""
    import onnx
    from onnx import numpy_helper

    graph = onnx.load(model)
    for tensor in graph.graph.initializer:
        values = numpy_helper.to_array(tensor)
        if values.dtype == np.float32 and values.ndim == 4:
            step = np.ptp(values) / STEPS
            tensor.CopyFrom(numpy_helper.from_array((np.round(values / step) * step).astype(np.float32), tensor.name))
    onnx.save(graph, out)
    return out


@pytest.fixture(scope="module", params=CHOICES)
def evaluated(request: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path, Any, Any, dict[str, Any]]:
    """Name of the task, folder with `float` and `coarse`, facts of both, and how they were evaluated."""
    task, folder = request.param, tmp_path_factory.mktemp(request.param)
    sample = CHOICES[task]
    images = IMAGES[task]
    recipe = compose(
        "recipe=x86-cpu_onnxruntime_fp32", f"model={sample}", f"data={sample}", f"data.validation.images={images}"
    )
    materials, plan = prepare(recipe)
    height, width = materials.imgsz or (256, 256)
    assert height == width
    model = export(Path(materials.weights.paths[0]), height, folder, task)
    settings = plan["evaluate"].params["settings"]
    facts = []
    for name, artifact in (("float", model.model), ("coarse", coarse(model.model, folder / "coarse.onnx"))):
        (folder / name).mkdir()
        facts.append(
            evaluate(
                folder / name,
                artifact=artifact,
                spec=model.spec,
                pictures=[Path(path) for path in materials.validation.paths],
                labels=[Path(path) for path in materials.labels.paths],
                backend="onnxruntime",
                options={},
                threads=1,
                settings=settings,
                reading=materials.reading.as_json(),
            )
        )
    return task, folder, facts[0], facts[1], {"spec": model.spec, "settings": settings}


def test_evidence_gives_the_figure_that_is_reported(evaluated):
    name, folder, *facts, _ = evaluated
    task = find_task(name)
    for kept, reported in zip(("float", "coarse"), facts, strict=True):
        evidence = load_evidence(folder / kept)
        count = group_count(evidence.pictures)
        figures = task.main_without(evidence, groups_of(evidence.pictures), count + 1)
        assert figures[count] == pytest.approx(reported["metrics"][task.main.name], abs=1e-6)
        assert len(set(figures.tolist())) > 1


def test_a_worse_model_has_an_error_and_shifts_and_an_equal_one_has_none(evaluated):
    name, folder, _, _, how = evaluated
    worse, equal = (
        compare(folder, reference=folder / "float", artifact=folder / other, **how) for other in ("coarse", "float")
    )
    assert equal["drop_error"] == {"standard_error": 0.0, "groups": IMAGES[name], "same": True}
    assert equal["scores"]["largest_shift"] == 0.0
    assert equal["scores"]["matched"] > 8
    assert equal["scores"]["reference"] == equal["scores"]["artifact"]
    if equal["scores"]["reference"]:
        assert equal["scores"]["matched"] == equal["scores"]["reference"]["found"]
    assert worse["drop_error"]["standard_error"] > 0 or not worse["drop_error"]["same"]
    assert worse["scores"]["largest_shift"] > 0.01
    assert 0 < worse["scores"]["matched"] <= equal["scores"]["matched"]
