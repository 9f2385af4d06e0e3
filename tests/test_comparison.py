"""What differs between two bundles or locks, told to a person and as JSON."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from built import build

from edgecompile.bundle.diff import first_apart
from edgecompile.bundle.lock import Locked, lock_from
from edgecompile.cli import main
from edgecompile.comparison import compare, document, format_diff
from edgecompile.runtime.figures import figures_from

pytestmark = pytest.mark.slow

OTHER = "f" * 64


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return build(tmp_path_factory.mktemp("built"))


@pytest.fixture
def lock(made) -> dict[str, Any]:
    return copy.deepcopy(made.lock)


def differing(made: Any, lock: dict[str, Any], **changes: Any) -> list[str]:
    """Returns what differs between the lock of the invented build and a changed copy of it."""
    return [str(one) for one in compare(locked(made.lock), locked({**lock, **changes}))]


def locked(lock: dict[str, Any], manifest: Any = None) -> Locked:
    figures = figures_from(manifest["figures"]) if manifest else None
    return Locked(Path("some.lock.yaml"), lock_from(lock), figures=figures)


def test_nothing_differs(made, lock):
    assert differing(made, lock) == []
    assert first_apart(locked(made.lock).lock, locked(lock).lock) is None
    assert document(locked(made.lock), locked(lock), [])["same"]


def test_a_key_of_the_recipe(made, lock):
    lock["recipe"]["name"] = "another"
    lock["recipe"]["new"] = {"key": [1, 2]}
    name = made.lock["recipe"]["name"]
    assert differing(made, lock) == [f"name: {name} → another", "new.key: absent → [1, 2]"]


def test_tools_and_instruction_set(made, lock):
    tools = {**lock["tools"], "numpy": "0.1", "added": "2"}
    assert differing(made, lock, tools=tools, isa_class="m68k") == [
        "added: absent → 2",
        f"numpy: {lock['tools'].get('numpy', 'absent')} → 0.1",
        f"instruction set: {lock['isa_class']} → m68k",
    ]


def test_pictures_changed_gone_added_and_moved(made, lock):
    first, second, *_ = pictures = lock["data"]["validation"]
    was, name, gone = first["sha256"], first["name"], second["name"]
    first["sha256"] = OTHER
    pictures.remove(second)
    lock["data"]["calibration"].append({"name": "new.jpg", "sha256": OTHER})
    found = differing(made, lock)
    assert f"calibration picture new.jpg: absent → {OTHER[:12]}" in found
    assert f"validation picture {name}: {was[:12]} → {OTHER[:12]}" in found
    assert f"validation picture {gone}: {second['sha256'][:12]} → absent" in found


def test_the_order_of_pictures(made, lock):
    lock["data"]["calibration"].reverse()
    assert [line.partition(":")[0] for line in differing(made, lock)] == ["order of the calibration pictures"]


def test_the_first_step_with_another_output(made, lock):
    plain = [step for step in lock["steps"] if not step["measured"]]
    plain[2]["output"] = plain[1]["output"] = OTHER
    plain[1]["params"]["more"] = True
    name = plain[1]["name"]
    found = differing(made, lock)
    assert f"step {name}, params.more: absent → True" in found
    assert any(line.startswith(f"step {name}: ") for line in found)
    assert first_apart(locked(made.lock).lock, locked(lock).lock) == name


def test_a_file_that_its_output_belies_is_a_difference(made, lock):
    step = next(step for step in lock["steps"] if step["files"])
    next(iter(step["files"].values()))["sha256"] = OTHER
    assert first_apart(locked(made.lock).lock, locked(lock).lock) == step["name"]


def test_figures_by_class(made, lock):
    manifest = copy.deepcopy(made.manifest)
    name = next(iter(manifest["figures"]["per_class"]))
    manifest["figures"]["per_class"][name]["map50_95"] -= 0.25
    a, b = locked(made.lock, made.manifest), locked(lock, manifest)
    lines = list(format_diff(a, b, compare(a, b)))
    assert any(f"per_class.{name}.map50_95: " in line and line.endswith("(-0.25)") for line in lines)


def test_drops_stand_beside_their_standard_errors(made, lock):
    manifest = copy.deepcopy(made.manifest)
    manifest["figures"] |= {"map50_95": 0.45, "map_drop": 0.0362}
    manifest["figures"]["drop_error"]["standard_error"] = 0.004
    a, b = locked(made.lock, made.manifest), locked(lock, manifest)
    lines = list(format_diff(a, b, compare(a, b)))
    said = "  against the float model, mAP50-95 drops by 0.0041 ± 0.0031 in A, 0.0362 ± 0.0040 in B"
    assert said in lines
    assert not [line for line in format_diff(a, a, compare(a, a)) if "±" in line]


def test_long_lists_are_cut_but_for_json(made, lock):
    lock["data"]["calibration"] += [{"name": f"new{number}.jpg", "sha256": OTHER} for number in range(50)]
    a, b = locked(made.lock), locked(lock)
    found = compare(a, b)
    assert "  and 38 more; --json has all" in list(format_diff(a, b, found))
    assert len(document(a, b, found)["differences"]) == 50


def test_outputs_that_a_lock_leaves_open_do_not_differ(made, lock):
    for step in lock["steps"]:
        step["key"] = step["output"] = None
    assert differing(made, lock) == []
    assert first_apart(locked(made.lock).lock, locked(lock).lock) is None


def test_the_verb(made, lock, tmp_path, capsys):
    (tmp_path / "a.lock.yaml").write_bytes(lock_from(made.lock).to_bytes())
    lock["isa_class"] = "m68k"
    (tmp_path / "run").mkdir()
    (tmp_path / "run/recipe.lock.yaml").write_bytes(lock_from(lock).to_bytes())
    words = ["diff", str(tmp_path / "a.lock.yaml"), str(tmp_path / "run")]
    assert main(words) == 0
    shown = capsys.readouterr().out
    assert f"  instruction set: {made.lock['isa_class']} → m68k\n" in shown
    assert f"graph not compared: {tmp_path / 'a.lock.yaml'} holds none\n" in shown
    assert f"figures not compared: {tmp_path / 'a.lock.yaml'} holds none\n" in shown
    assert main([*words, "--json"]) == 0
    assert [one["section"] for one in json.loads(capsys.readouterr().out)["differences"]] == ["isa"]
    assert main(["diff", str(tmp_path / "a.lock.yaml"), str(tmp_path / "none")]) == 2
    assert capsys.readouterr().err.count("\n") == 1
