"""docs/bundle-format.md names every key of manifest.json and of spec.json, and no other."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic import BaseModel

from edgecompile.bundle.manifest import Manifest
from edgecompile.runtime.archive import MOST_MEMBERS, SEAL, SEAL_LENGTH, Archive
from edgecompile.runtime.figures import OLD_TITLES
from edgecompile.runtime.spec import CHOICES
from edgecompile.runtime.tasks._boxes import CLASS_OFFSET, FARTHEST, MOST_CANDIDATES, SCORE_SLACK
from edgecompile.runtime.tasks._object_rows import BESIDE, BORDER, CLASSES, COUNTS, SCORES
from edgecompile.runtime.tasks.pose import KeyPointsDocument

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "bundle-format.md").read_text(encoding="utf-8")


METRICS = {f"figures.{name}" for name in OLD_TITLES}
"""Keys of the figures that are those of a task: the page names detection's."""


def documented(section: str) -> set[str]:
    """Returns the keys in the first column of a section's table; `.key` continues the one before it."""
    text = PAGE.split(f"\n## {section}\n")[1].split("\n## ")[0]
    keys = set()
    for row in re.findall(r"^\| (`[^|]+) \|", text, re.MULTILINE):
        parent = ""
        for key in re.findall(r"`([^`]+)`", row):
            whole = parent + key if key.startswith(".") else key
            parent = whole.rpartition(".")[0]
            keys.add(whole)
    return keys


def keys_of_model(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    """Yields the dotted keys of a typed document; `[]` stands for each element of a list."""
    for name, field in model.model_fields.items():
        key = prefix + (field.alias or name)
        yield key
        optional = type(None) in get_args(field.annotation)
        inner = [one for one in (field.annotation, *get_args(field.annotation)) if isinstance(one, type)]
        for one in inner:
            if issubclass(one, BaseModel):
                yield from keys_of_model(one, f"{key}{'' if optional or field.annotation is one else '[]'}.")


def keys_of_document(document: dict[str, Any], prefix: str = "") -> Iterator[str]:
    for name, value in document.items():
        yield prefix + name
        if isinstance(value, dict):
            yield from keys_of_document(value, f"{prefix}{name}.")


def is_covered(key: str, keys: set[str]) -> bool:
    """Says whether a key, one of its parents, or all of it that there is to say stands among `keys`."""
    parts = key.replace("[]", "").split(".")
    plain = {one.replace("[]", "") for one in keys}
    parents = {".".join(parts[:count]) for count in range(1, len(parts) + 1)}
    return bool(parents & plain) or any(one.startswith(f"{'.'.join(parts)}.") for one in plain)


@pytest.mark.parametrize(
    ("section", "written"),
    [
        ("manifest.json", {*keys_of_model(Manifest), *METRICS}),
        (
            "spec.json",
            {
                "input.profile",
                "categories",
                "parameters",
                "top",
                "letterbox.resize",
                "letterbox.shortest",
                *(f"key_points.{name}" for name in KeyPointsDocument.__annotations__),
                *(f"output.{name}" for name in (SCORES, CLASSES, COUNTS, BESIDE)),
                *keys_of_document(Archive(ROOT / "tests/golden/schema-1.bundle.zip").read_json("spec.json")),
            },
        ),
    ],
    ids=["manifest", "spec"],
)
def test_each_key_is_explained_and_none_besides(section: str, written: set[str]):
    keys = documented(section)
    assert [key for key in sorted(written) if not is_covered(key, keys)] == []
    assert sorted(keys - written) == []


def test_the_control_a_key_that_is_not_explained():
    assert not is_covered("figures.invented", documented("manifest.json"))
    assert not is_covered("invented", documented("spec.json"))


@pytest.mark.parametrize(("key", "choices"), CHOICES.items(), ids=str)
def test_each_choice_is_named(key: str, choices: tuple[str, ...]):
    (row,) = re.findall(rf"^\| `{re.escape(key)}` .*$", PAGE, re.MULTILINE)
    assert set(re.findall(r'`"(\w+)"`', row)) == set(choices)


@pytest.mark.parametrize(
    "text",
    [
        SEAL.decode(),
        f"last {SEAL_LENGTH} bytes",
        f"length of the comment: {SEAL_LENGTH}",
        f"at most {MOST_MEMBERS} members",
        f"`{CLASS_OFFSET} ",
        f"best {MOST_CANDIDATES:_}".replace("_", " "),
        f"less than {BORDER} above",
        f"beyond {FARTHEST:_.0f} pixels".replace("_", " "),
        f"to {1 + SCORE_SLACK} (",
    ],
)
def test_numbers_are_those_of_the_runtime(text: str):
    assert text in PAGE


def test_the_golden_bundle_has_the_members_that_are_named():
    with Archive(ROOT / "tests/golden/schema-1.bundle.zip") as archive:
        names = archive.names
        assert json.loads(archive.read("golden/detections.json")).keys() == {"boxes", "scores", "classes"}
    for name in names:
        assert name in PAGE or name.replace("_0.npy", "_<i>.npy") in PAGE or name == "artifact/model.onnx", name
