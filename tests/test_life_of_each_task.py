"""What one does with a bundle of masks, key points and rotated boxes: verify it, build it again, compare it with
another, weigh two in a sweep, and hand its results to COCO's tools. tests/test_classifier_builds.py does it with a
classifier."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from rough_measurement import ROUGH
from test_every_recipe import edgecompile

from edgecompile.evaluate.tasks import find_task
from edgecompile.places import sample_folder

pytestmark = pytest.mark.slow

TASKS = ("segment", "pose", "obb")
RECIPES = ("x86-cpu_onnxruntime_fp32", "x86-cpu_openvino_fp32")


@pytest.fixture(scope="module", params=TASKS)
def made(request: pytest.FixtureRequest, shared: Path) -> SimpleNamespace:
    """The embedded model of a task as a sweep of two runtimes: `task`, `words`, `bundles` and `folder` of the sweep."""
    pytest.importorskip("openvino")
    task, folder = request.param, f"swept-{request.param}"
    words = (f"model=sample-{task}", f"data=sample-{task}", "gates.size_mb=null", *ROUGH)
    objectives = f"objectives=[{find_task(task).main.name},size_mb]"
    swept = edgecompile(
        shared, "build", "-m", f"recipe={','.join(RECIPES)}", *words, objectives, f"hydra.sweep.dir={folder}", "--quiet"
    )
    assert swept.returncode == 0, swept.stderr
    bundles = [next((shared / folder).rglob(f"{recipe}.bundle.zip")) for recipe in RECIPES]
    return SimpleNamespace(task=task, words=words, bundles=bundles, folder=shared / folder)


def test_a_sweep_weighs_the_main_figure(made: SimpleNamespace) -> None:
    rows = list(csv.DictReader((made.folder / "results.csv").read_text().splitlines()))
    main = find_task(made.task).main
    assert [0.4 < float(row[main.name]) < 0.8 for row in rows] == [True, True]
    assert abs(float(rows[0][main.name]) - float(rows[1][main.name])) <= 0.003
    assert sorted(row["size_front"] for row in rows)[-1] == "True"
    assert f"{main.title} against" in (made.folder / "report.html").read_text()


def test_it_verifies_is_built_again_and_compared(made: SimpleNamespace, shared: Path) -> None:
    first, second = map(str, made.bundles)
    verified = edgecompile(shared, "verify", first)
    assert verified.returncode == 0, verified.stdout + verified.stderr
    again = edgecompile(shared, "reproduce", first, "--quiet")
    assert again.returncode == 0, again.stdout + again.stderr
    compared = edgecompile(shared, "diff", first, second)
    assert "first step with another output: compile" in compared.stdout, compared.stdout + compared.stderr


def test_its_results_are_read_by_coco_tools_and_drawn(made: SimpleNamespace, shared: Path) -> None:
    faster = pytest.importorskip("faster_coco_eval")
    masks = pytest.importorskip("faster_coco_eval.core.mask")
    pictures = sorted((sample_folder() / made.task / "images/val").glob("*.jpg"))[:4]
    words = ("predict", str(made.bundles[0]), *map(str, pictures))
    told = edgecompile(shared, *words, "--format", "coco", "--save", f"drawn-{made.task}")
    assert told.returncode == 0, told.stderr
    rows = json.loads(told.stdout)
    assert len(rows) > 4
    images = [{"id": number, "width": 192, "height": 144} for number in {row["image_id"] for row in rows}]
    names = [{"id": number, "name": name} for number, name in enumerate(("bolt", "nut", "washer"))]
    truth = faster.COCO({"images": images, "categories": names, "annotations": []})
    read = truth.loadRes(rows)
    assert len(read.anns) == len(rows)
    for row in rows:
        x, y, width, height = row["bbox"]
        if made.task == "pose":
            assert len(row["keypoints"]) == 9
            continue
        runs = row["segmentation"] if made.task == "segment" else masks.frPyObjects(row["segmentation"], 144, 192)[0]
        down, right = np.nonzero(masks.decode(runs))
        assert len(right) >= 1
        inside = x - 1 <= right.min() and right.max() <= x + width + 1
        assert inside
        assert y - 1 <= down.min()
        assert down.max() <= y + height + 1
    drawn = [cv2.imread(str(shared / f"drawn-{made.task}" / path.name)) for path in pictures]
    assert all(
        picture.shape == (144, 192, 3) and (picture != cv2.imread(str(path))).any()
        for picture, path in zip(drawn, pictures, strict=True)
    )
