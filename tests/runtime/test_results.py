from __future__ import annotations

import io
import json
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from edgecompile.errors import BundleError, RecipeError
from edgecompile.runtime.feed import Shot
from edgecompile.runtime.results import WRITERS, image_ids, opened
from edgecompile.runtime.spec import read_spec
from edgecompile.runtime.tasks.detect import Detections

from .tiny import tiny_spec

FOUND = Detections(
    np.array([[10, 20, 30.5, 60.25], [0, 0, 5, 5]], np.float32),
    np.array([0.9, 0.3], np.float32),
    np.array([1, 0]),
    ("bolt", "Mutter ⌀5"),
)
NOTHING = Detections(np.empty((0, 4), np.float32), np.empty(0, np.float32), np.empty(0, np.int64), FOUND.names)


def written(kind: str, *found: Detections, stand_in: str = "", **parts: Any) -> str:
    """Returns what a writer makes of results; `parts` stand in the model's spec."""
    stream, paths = io.StringIO(), [Path(f"folder/{number:012}.jpg") for number in (7, 42, 3)][: len(found)]
    model: Any = SimpleNamespace(task=read_spec({**tiny_spec(), **parts}).task, stand_in=stand_in)
    writer = WRITERS[kind](stream, paths, model)
    for path, one in zip(paths, found, strict=True):
        writer.add(Shot(str(path), np.zeros((100, 200, 3), np.uint8), path=path), one)
    writer.finish()
    return stream.getvalue()


def test_the_table_is_for_people() -> None:
    lines = written("table", FOUND, NOTHING).splitlines()
    assert lines[0] == "folder/000000000007.jpg  200 x 100  2 objects"
    assert lines[1].split() == ["Mutter", "⌀5", "0.90", "10.0", "20.0", "30.5", "60.2"]
    assert lines[3] == "folder/000000000042.jpg  200 x 100  0 objects"


def test_json_tells_every_picture() -> None:
    first, second = json.loads(written("json", FOUND, NOTHING))
    assert first["detections"][0] == {"name": "Mutter ⌀5", "class": 1, "score": 0.9, "box": [10.0, 20.0, 30.5, 60.25]}
    assert second == {"file": "folder/000000000042.jpg", "width": 200, "height": 100, "detections": []}
    assert json.loads(written("json")) == []


def test_coco_is_a_results_list() -> None:
    results = json.loads(written("coco", FOUND, NOTHING, FOUND))
    assert [one["image_id"] for one in results] == [7, 7, 3, 3]
    assert results[0] == {
        "image_id": 7,
        "file_name": "000000000007.jpg",
        "category_id": 1,
        "bbox": [10.0, 20.0, 20.5, 40.25],
        "score": 0.9,
    }
    assert json.loads(written("coco", NOTHING)) == []


def test_categories_of_the_data_set_take_the_place_of_class_numbers() -> None:
    results = json.loads(written("coco", FOUND, categories=[44, 90, None]))
    assert [one["category_id"] for one in results] == [90, 44]
    unknown = json.loads(written("coco", FOUND, categories=[44, None, 3]))
    assert [one["category_id"] for one in unknown] == [None, 44]
    assert json.loads(written("json", FOUND, categories=[44, 90, None])) == json.loads(written("json", FOUND))


@pytest.mark.parametrize("categories", [[1, 2], [1, 2, "3"], [1, 2, True], {"a": 1}, "abc", [1.0, 2.0, 3.0]])
def test_categories_that_are_no_ids_are_refused(categories: Any) -> None:
    with pytest.raises(BundleError, match="categories are no ids of 3 classes"):
        read_spec({**tiny_spec(), "categories": categories})


def test_coco_tools_read_the_results() -> None:
    faster = pytest.importorskip("faster_coco_eval")
    results = json.loads(written("coco", FOUND))
    boxes = [
        {**one, "id": number, "iscrowd": 0, "area": one["bbox"][2] * one["bbox"][3]}
        for number, one in enumerate(results, 1)
    ]
    truth = faster.COCO(
        {
            "images": [{"id": 7, "width": 200, "height": 100}],
            "categories": [{"id": 0, "name": "bolt"}, {"id": 1, "name": "nut"}],
            "annotations": [{key: value for key, value in box.items() if key != "score"} for box in boxes],
        }
    )
    assert len(truth.loadRes(results).anns) == 2


@pytest.mark.parametrize(
    ("names", "ids"),
    [
        (["12.jpg", "3.jpg"], [12, 3]),
        (["b.jpg", "a.jpg"], [1, 0]),
        (["2.jpg", "a.jpg", "1.jpg"], [1, 2, 0]),  # one name is no number: places for all, so that none meet
        (["1.jpg", "01.jpg"], [1, 0]),
        (["x/1.jpg", "y/1.jpg"], [0, 1]),
        (["²٣.jpg"], [0]),
    ],
)
def test_numbers_of_pictures_never_meet(names: list[str], ids: list[int]) -> None:
    assert image_ids([Path(name) for name in names]) == ids


def half_written(out: Path | None) -> None:
    """Fails in the middle of the results."""
    with opened(out, whole=True) as stream:
        stream.write("half")
        raise KeyError


def test_a_file_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    out = tmp_path / "results.json"
    out.write_text("before")
    with pytest.raises(KeyError):
        half_written(out)
    assert out.read_text() == "before"
    with opened(out, whole=True) as stream:
        stream.write("whole")
    assert out.read_text() == "whole"
    assert os.listdir(tmp_path) == ["results.json"]


def test_a_pipe_is_written_and_a_link_followed(tmp_path: Path) -> None:
    pipe, link = tmp_path / "pipe", tmp_path / "link"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    with opened(pipe, whole=True) as stream:
        stream.write("through")
    assert os.read(reader, 100) == b"through"
    os.close(reader)
    link.symlink_to(tmp_path / "file")
    with opened(link, whole=True) as stream:
        stream.write("to the file")
    assert link.is_symlink()
    assert (tmp_path / "file").read_text() == "to the file"


def test_stdout_too_gets_all_or_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(KeyError):
        half_written(None)
    assert capsys.readouterr().out == ""
    with opened(None, whole=True) as stream:
        stream.write("whole ⌀")
    assert capsys.readouterr().out == "whole ⌀"


def test_what_cannot_be_written_says_so(tmp_path: Path) -> None:
    for out in (tmp_path, tmp_path / "nowhere" / "x.json", Path("/proc/x.json")):
        with pytest.raises(RecipeError, match="cannot be written"), opened(out, whole=True):
            pass
