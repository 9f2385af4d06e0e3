"""A bundle of each released format, kept as a file: newer versions verify it, run it, and read its lock.

`tools/make_golden_bundle.py` makes that of the format which is written today. It was made on another machine than the
one that runs this test, so `verify` here also compares two instruction sets, within the tolerance in the bundle.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edgecompile import cli
from edgecompile.bundle.diff import differences
from edgecompile.bundle.lock import open_locked
from edgecompile.data.search import Finder
from edgecompile.errors import RecipeError
from edgecompile.execute.source_digests import Sources
from edgecompile.plan.resolve import resolve
from edgecompile.plan.step import Stage
from edgecompile.recipe_lock import resolve_lock
from edgecompile.reproduction import Inputs, recipe_of
from edgecompile.runtime.archive import SCHEMA

HERE = Path(__file__).parent
BUNDLES = sorted((HERE / "golden").glob("*.bundle.zip"))
PICTURE = HERE.parent / "edgecompile/sample/images/test/test_0000.jpg"


@pytest.fixture(params=BUNDLES, ids=[bundle.name for bundle in BUNDLES])
def bundle(request) -> Path:
    return request.param


def test_the_format_of_today_has_one():
    assert HERE / f"golden/schema-{SCHEMA}.bundle.zip" in BUNDLES


def test_it_verifies(bundle, capsys):
    assert cli.main(["verify", str(bundle)]) == 0, capsys.readouterr().out


def test_it_predicts(bundle, capsys):
    assert cli.main(["predict", str(bundle), str(PICTURE), "--format", "json"]) == 0
    assert json.loads(capsys.readouterr().out)


def test_it_can_be_looked_into(bundle, capsys):
    assert cli.main(["inspect", str(bundle)]) == 0
    assert "mAP50-95" in capsys.readouterr().out
    assert cli.main(["diff", str(bundle), str(bundle)]) == 0
    assert capsys.readouterr().out.endswith("nothing differs\n")


def test_its_lock_resolves(bundle, tmp_path, monkeypatch):
    """Weights and data are found by digest and a plan follows. Or, where a later version has a key that the lock does
    not state, the message says which version builds it: nothing is filled in."""
    monkeypatch.chdir(tmp_path)
    was, refused = open_locked(bundle), ()
    try:
        recipe = recipe_of(was)
    except RecipeError as error:
        refused = error.problems
    if refused:
        assert all("reproduce it with edgecompile" in problem.fix for problem in refused)
        return
    inputs = Inputs(was.lock, Finder(), tmp_path)
    plan = resolve(recipe, inputs.materials(recipe))
    assert not inputs.changed
    known = [step.name for step in was.lock.steps]
    assert [step.name for step in plan if step.name in known] == known
    assert all(step.stage is Stage.VALIDATION for step in plan if step.name not in known), "later versions judge more"


def test_a_lock_with_prose_of_the_target_resolves_as_ever(tmp_path, monkeypatch):
    """Written when source and board of a target still stood in a lock: nothing is refused, nothing differs for them."""
    monkeypatch.chdir(tmp_path)
    file = HERE / "golden/schema-1-with-prose.lock.yaml"
    assert "\n    board:\n" in file.read_text()
    was = open_locked(file)
    recipe = recipe_of(was)
    inputs = Inputs(was.lock, Finder(), tmp_path)
    plan = resolve(recipe, inputs.materials(recipe))
    assert not inputs.changed
    assert {step.name for step in was.lock.steps} <= {step.name for step in plan}
    now = resolve_lock(recipe, plan, inputs.materials(recipe), Sources(tmp_path / "stat"))
    assert [str(one) for one in differences(was.lock, now) if one.section == "recipe"] == []
    assert "board" not in now.recipe["target"]


def test_the_control_one_that_was_altered(bundle, tmp_path, capsys):
    content = bytearray(bundle.read_bytes())
    content[len(content) // 2] ^= 1
    (tmp_path / "altered.zip").write_bytes(content)
    assert cli.main(["verify", str(tmp_path / "altered.zip")]) == 7
    capsys.readouterr()
