from __future__ import annotations

import copy
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edgecompile.errors import BundleError
from edgecompile.runtime.spec import read_spec

from .tiny import tiny_spec


def changed(key: str, value: Any, **arguments: Any) -> dict[str, Any]:
    spec = copy.deepcopy(tiny_spec(**arguments))
    *parts, last = key.split(".")
    place = spec
    for part in parts:
        place = place[part]
    if value is None:
        del place[last]
    else:
        place[last] = value
    return spec


@pytest.mark.parametrize("arguments", [{}, {"embedded": True}, {"batch": None}, {"batch": 4}, {"decode": "end2end"}])
def test_reads_what_passes_write(arguments: dict[str, Any], tmp_path: Path) -> None:
    document = tiny_spec(**arguments)
    (tmp_path / "spec.json").write_text(json.dumps(document))
    spec = read_spec(tmp_path / "spec.json")
    again = read_spec(document)
    assert replace(spec, task=again.task) == again
    assert vars(spec.task) == vars(again.task)
    assert spec.frame.size == (64, 96)
    assert spec.input.batch == (arguments.get("batch", 1) or -1)
    assert spec.document["names"] == list(spec.names)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("schema", 2, "schema"),
        ("task", "cluster", "cluster"),
        ("names", None, "names"),
        ("names", [], "0 classes"),
        ("input", None, "input"),
        ("input.dtype", "float16", "float16"),
        ("input.layout", "CHWN", "CHWN"),
        ("input.shape", [1, 3, 64, 64], "64x96"),
        ("input.shape", [1, 3, 64], "64x96"),
        ("input.shape", [0, 3, 64, 96], "no pictures"),
        ("input.scale", "a lot", "a lot"),
        ("input.std", [1, 0, 1], "std"),
        ("input.mean", [0], "mean"),
        ("letterbox.interpolation", "lanczos", "lanczos"),
        ("letterbox.fill", 300, "300"),
        ("letterbox.resize", "pad", "letterbox.resize is 'pad', this runtime does letterbox, stretch, crop"),
        ("letterbox.shortest", 128, "letterbox.shortest is 128, expected 96 or more, to crop from"),
        ("input.color", "GRAY", r"\[1, 3, 64, 96\] does not take 64x96 pictures in GRAY"),
        ("input.color", "YUV", "YUV"),
        ("letterbox.size", [64], "spec.json"),
        ("output.decode", "yolov3", "yolov3"),
        ("output.shape", [1, 84, 21], "3 classes"),
        ("output.shape", [], "3 classes"),
        ("output.shape", [1, 7], "3 classes"),
        ("nms.conf", None, "conf"),
        ("nms.conf", 7, "conf"),
        ("nms.iou", -0.1, "iou"),
        ("nms.max_det", 0, "max_det"),
        ("nms.max_det", 10**9, "max_det"),
        ("input.scale", 10**400, "too large"),
    ],
)
def test_refuses_what_it_cannot_follow(key: str, value: Any, message: str) -> None:
    with pytest.raises(BundleError, match=message):
        read_spec(changed(key, value))


def sized(batch: int, height: int, width: int, *, embedded: bool, profile: bool = False) -> dict[str, Any]:
    spec = tiny_spec(embedded=embedded)
    sides = (lambda n, h, w: [n, h, w, 3]) if embedded else (lambda n, h, w: [n, 3, h, w])
    spec["input"]["shape"] = sides(-1, -1, -1) if profile else sides(batch, height, width)
    if profile:
        points = {"min": sides(1, 32, 32), "opt": sides(1, 32, 32), "max": sides(batch, height, width)}
        spec["input"]["profile"] = points
    spec["letterbox"]["size"] = [32, 32] if profile else [height, width]
    return spec


@pytest.mark.parametrize(
    ("batch", "height", "width", "embedded", "profile", "taken"),
    [
        (1, 16384, 16384, True, False, True),
        (1, 16384, 16384, False, False, False),
        (16384, 32, 32, False, False, True),
        (10**9, 32, 32, True, False, False),
        (64, 640, 640, False, False, True),
        (64, 640, 640, False, True, True),
        (64, 2048, 2048, False, True, False),
        (16384, 16384, 16384, True, True, False),
    ],
)
def test_what_a_model_is_fed_at_once_is_bounded(
    batch: int, height: int, width: int, embedded: bool, profile: bool, taken: bool
) -> None:
    document = sized(batch, height, width, embedded=embedded, profile=profile)
    if taken:
        read_spec(document)
    else:
        with pytest.raises(BundleError, match=r"more than the 2\.1 GB that this runtime feeds a model at once"):
            read_spec(document)


def test_bytes_cannot_be_scaled_outside_of_the_model() -> None:
    read_spec(changed("input.scale", 1, embedded=True))
    with pytest.raises(BundleError, match="scaled"):
        read_spec(changed("input.scale", 0.5, embedded=True))


def test_an_unreadable_file_is_an_error_with_its_path(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"nothing\.json"):
        read_spec(tmp_path / "nothing.json")
    (tmp_path / "list.json").write_text("[]")
    with pytest.raises(BundleError, match="schema"):
        read_spec(tmp_path / "list.json")
