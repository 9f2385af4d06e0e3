"""A lock says how labels are found, and whoever builds again from it finds the same ones."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from coco_text import as_coco, write_coco

from edgecompile.bundle.lock import Lock, lock_from
from edgecompile.compose.composition import compose
from edgecompile.data.search import Finder
from edgecompile.errors import RecipeError
from edgecompile.execute.source_digests import Sources
from edgecompile.places import sample_folder
from edgecompile.plan.graph import Materials
from edgecompile.plan.resolve import resolve
from edgecompile.recipe.materials import find_materials
from edgecompile.recipe_lock import resolve_lock
from edgecompile.reproduction import Inputs

SAMPLE = sample_folder()


def locked(*words: str) -> tuple[Lock, Materials, Materials]:
    """Returns the lock of a recipe, what the recipe names, and what is found again by the lock, read anew."""
    recipe = compose("quickstart", *words)
    materials = find_materials(recipe)
    lock = resolve_lock(recipe, resolve(recipe, materials), materials, Sources(Path("stat")))
    lock = lock_from(json.loads(json.dumps(lock.to_json())))
    Path("place").mkdir()
    return lock, materials, Inputs(lock, Finder([SAMPLE, Path.cwd()]), Path("place")).materials(recipe)


def test_cocos_json(here):
    pictures = sorted((SAMPLE / "images/test").glob("*.jpg"))
    labels = [SAMPLE / f"labels/test/{picture.stem}.txt" for picture in pictures]
    file = write_coco(here / "set/test.json", as_coco(pictures, labels, ("bolt", "nut", "washer")))
    (here / "set/data.yaml").write_text(
        f"names: [bolt, nut, washer]\ntest: test.json\nimages: {SAMPLE / 'images/test'}\n"
        f"train: {SAMPLE / 'images/train'}\n"
    )
    lock, materials, again = locked(f"data.path={here / 'set/data.yaml'}")
    assert lock.data.reading is not None
    assert [found.name for found in lock.data.reading.files] == ["test.json"]
    assert again.reading == materials.reading
    assert again.labels.paths == (str(file),)
    assert [Path(path).name for path in again.validation.paths] == [picture.name for picture in pictures]
    file.unlink()
    with pytest.raises(RecipeError, match=r"label file 'test\.json' .* not found"):
        Inputs(lock, Finder([SAMPLE, here]), here / "place").materials(compose("quickstart"))


def test_folders_of_classes(here):
    words = (
        f"model.weights={SAMPLE / 'parts-cls.pt'}",
        f"data.path={SAMPLE / 'classify'}",
        "data.validation.split=val",
    )
    lock, materials, again = locked(*words)
    assert lock.data.reading is not None
    assert lock.data.reading.files == []
    assert len(lock.data.reading.keys or ()) == len(materials.validation.paths)
    assert again.reading == materials.reading
    assert again.labels.paths == ()


def test_label_files(here):
    lock, materials, again = locked()
    assert lock.data.reading is None
    assert again.reading == materials.reading
    assert len(again.labels.paths) == 32
