"""The embedded sample holds what its README says, for every task: pictures, labels, checkpoints and their figures."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml

from edgecompile.places import conf_folder, sample_folder
from edgecompile.weights.checkpoint import read_checkpoint

SAMPLE = sample_folder()
ROOT = Path(__file__).parents[1]
NAMES = ("bolt", "nut", "washer")
KINDS = ("bolt", "coin", "nut", "pin", "plate", "washer")
CHECKPOINTS = {
    "segment": ("parts-seg.pt", "SegmentationModel", "Segment", NAMES, 192),
    "pose": ("parts-pose.pt", "PoseModel", "Pose", NAMES, 192),
    "obb": ("parts-obb.pt", "OBBModel", "OBB", NAMES, 192),
    "classify": ("parts-cls.pt", "ClassificationModel", "Classify", KINDS, 64),
}
LABELLED = ("segment", "obb", "pose")
MOST_BYTES = 6_000_000
"""Of all that is here for tasks other than detection."""


def labels(task: str, split: str) -> list[tuple[int, np.ndarray]]:
    """Returns class and numbers of each object of a split."""
    lines = [line for file in sorted((SAMPLE / task / "labels" / split).iterdir()) for line in file.open()]
    return [(int(line.split()[0]), np.array(line.split()[1:], float)) for line in lines]


@pytest.mark.parametrize("task", CHECKPOINTS)
def test_its_checkpoint_says_what_it_is_and_nothing_of_a_machine(task: str) -> None:
    file, model_class, head, names, size = CHECKPOINTS[task]
    said = read_checkpoint(SAMPLE / file)
    assert said is not None
    assert (said.model_class.rpartition(".")[2], said.task, said.head) == (model_class, task, head)
    assert (said.names, said.channels) == (names, 3)
    assert said.train_args == {"task": task, "imgsz": size, "single_cls": False}
    assert not re.search(rb"/(tmp|home|root|work|usr)/|make_sample_|20\d\d-\d\d-\d\dT", (SAMPLE / file).read_bytes())


@pytest.mark.parametrize("task", CHECKPOINTS)
def test_model_and_data_of_a_task_are_config_groups(task: str) -> None:
    model = yaml.safe_load((conf_folder() / "model" / f"sample-{task}.yaml").read_text())
    data = yaml.safe_load((conf_folder() / "data" / f"sample-{task}.yaml").read_text())
    assert model["weights"] == f"sample://{CHECKPOINTS[task][0]}"
    assert (SAMPLE / data["path"].removeprefix("sample://")).exists()
    for use in ("calibration", "validation"):
        assert (SAMPLE / task).glob(f"**/{data[use]['split']}/**/*.jpg")


@pytest.mark.parametrize("task", LABELLED)
def test_each_picture_has_labels_of_its_task(task: str) -> None:
    said = yaml.safe_load((SAMPLE / task / "data.yaml").read_text())
    assert tuple(said["names"].values()) == NAMES
    for split in ("train", "val"):
        pictures, texts = ((SAMPLE / task / kind / split).iterdir() for kind in ("images", "labels"))
        stems = sorted(path.stem for path in pictures)
        assert len(stems) == 64
        assert stems == sorted(path.stem for path in texts)
        objects = labels(task, split)
        assert min(Counter(number for number, _ in objects).values()) >= 30
        assert all(((numbers >= 0) & (numbers <= (2 if task == "pose" else 1))).all() for _, numbers in objects)
        assert {number for number, _ in objects} == {0, 1, 2}


def test_outlines_are_polygons() -> None:
    for _, numbers in labels("segment", "val"):
        polygon = numbers.reshape(-1, 2).astype(np.float32)
        assert len(polygon) >= 3
        assert cv2.contourArea(polygon) > 0


def test_turned_rectangles_are_rectangles() -> None:
    for _, numbers in labels("obb", "val"):
        corners = numbers.reshape(4, 2) * (192, 144)
        sides = np.roll(corners, -1, axis=0) - corners
        assert np.allclose(sides[0], -sides[2], atol=0.01)
        assert abs(sides[0] @ sides[1]) < 0.01 * np.linalg.norm(sides[0]) * np.linalg.norm(sides[1])


def test_key_points_are_seen_hidden_and_absent() -> None:
    said = yaml.safe_load((SAMPLE / "pose" / "data.yaml").read_text())
    assert (said["kpt_shape"], said["flip_idx"]) == ([3, 3], [0, 1, 2])
    visibilities: Counter[float] = Counter()
    for _, numbers in labels("pose", "val"):
        points = numbers[4:].reshape(3, 3)
        assert not points[points[:, 2] == 0].any()
        visibilities.update(points[:, 2].tolist())
    assert set(visibilities) == {0, 1, 2}
    assert visibilities[1] >= 5


def test_crops_need_resizing_and_cutting() -> None:
    for split, each in (("train", 11), ("val", 70)):
        folders = sorted((SAMPLE / "classify" / split).iterdir())
        assert tuple(folder.name for folder in folders) == KINDS
        assert {len(list(folder.iterdir())) for folder in folders} == {each}
    sizes = [cv2.imread(str(path)).shape[:2] for path in (SAMPLE / "classify").glob("val/*/*.jpg")]
    assert sum(height != width for height, width in sizes) > len(sizes) / 2
    assert min(map(min, sizes)) < 64 < max(map(min, sizes))


def test_the_tasks_take_little_room() -> None:
    files = [path for task in CHECKPOINTS for path in (SAMPLE / task).rglob("*") if path.is_file()]
    checkpoints = [SAMPLE / file for file, *_ in CHECKPOINTS.values()]
    assert sum(path.stat().st_size for path in [*files, *checkpoints]) < MOST_BYTES


def test_pictures_are_those_of_the_script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Within what another build of OpenCV rounds differently."""
    monkeypatch.syspath_prepend(str(ROOT / "tools"))
    from sample.pictures import write_pictures

    for task in ("detect", *LABELLED):
        kept = SAMPLE if task == "detect" else SAMPLE / task
        write_pictures(tmp_path / task, 11, "val", 2, task)
        for number in range(2):
            drawn, there = (
                cv2.imread(str(folder / f"images/val/val_{number:04d}.jpg")).astype(int)
                for folder in (tmp_path / task, kept)
            )
            assert np.abs(drawn - there).mean() < 1
            texts = [(folder / f"labels/val/val_{number:04d}.txt").read_text() for folder in (tmp_path / task, kept)]
            assert len(texts[0].splitlines()) == len(texts[1].splitlines())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("task", "figures"),
    {
        "segment": ("metrics/mAP50-95(B)", "metrics/mAP50-95(M)", "metrics/mAP50(M)"),
        "pose": ("metrics/mAP50-95(B)", "metrics/mAP50-95(P)", "metrics/mAP50(P)"),
        "obb": ("metrics/mAP50-95(B)", "metrics/mAP50(B)"),
        "classify": ("metrics/accuracy_top1", "metrics/accuracy_top5"),
    }.items(),
)
def test_the_readme_states_the_figures_that_ultralytics_finds(task: str, figures: tuple[str, ...]) -> None:
    pytest.importorskip("ultralytics")
    if task == "classify":
        pytest.importorskip("PIL")
    command = [sys.executable, str(ROOT / "tools/make_sample.py"), "--out", str(SAMPLE), "--task", task, "--measure"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    found = ast.literal_eval(done.stdout.splitlines()[-1].partition(" ")[2])
    (row,) = re.findall(rf"^\| `{task}` .*$", (SAMPLE / "README.md").read_text(), re.M)
    stated = [float(number) for number in re.findall(r"\b[01]\.\d{3}\b", row)]
    assert stated == pytest.approx([found[name] for name in figures], abs=0.006)
