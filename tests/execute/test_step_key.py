from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from edgecompile.errors import PlanError
from edgecompile.execute import hardware, step_key, tools
from edgecompile.execute.entry import Entry
from edgecompile.execute.source_digests import Sources
from edgecompile.plan.step import Output, Step
from execute.plans import finish, python, source, step


def key(one: Step, tmp_path: Path, **entries: Entry) -> str:
    return step_key.key_of(step_key.ingredients(one, Sources(tmp_path / "stat"), entries))


def entry(digest: str = "d" * 64, sha: str = "a" * 64) -> Entry:
    files = {"result.txt": (sha, 3), "below/a.bin": ("b" * 64, 1), "below/b.bin": ("c" * 64, 1)}
    return Entry("k" * 64, digest, files, {}, {"step": "before"}, Path("/nowhere"))


BASE = step(
    "one", params={"a": 1, "b": {"c": [1.5, None]}}, tools=("numpy",), inputs={"x": Output("before", "result.txt")}
)

CHANGES: dict[str, dict[str, Any]] = {
    "function": {"function": "execute.steps_for_tests:constant"},
    "version": {"version": 2},
    "parameter": {"params": {"a": 1, "b": {"c": [1.5, 0]}}},
    "argument": {"inputs": {"y": Output("before", "result.txt")}},
    "other file": {"inputs": {"x": Output("before", "below/a.bin")}},
    "folder": {"inputs": {"x": Output("before", "below")}},
    "all of it": {"inputs": {"x": Output("before")}},
    "tools": {"tools": ()},
    "isa": {"isa": True},
    "measured": {"measured": True},
}

SAME: dict[str, dict[str, Any]] = {
    "name": {"name": "another"},
    "words for people": {"about": "something else", "memory_mb": 9000},
    "order of parameters": {"params": {"b": {"c": (1.5, None)}, "a": 1.0}},
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_whatever_changes_a_result_changes_its_key(change: dict[str, Any], tmp_path: Path) -> None:
    assert key(dataclasses.replace(BASE, **change), tmp_path, before=entry()) != key(BASE, tmp_path, before=entry())


@pytest.mark.parametrize("change", SAME.values(), ids=SAME)
def test_whatever_does_not_does_not(change: dict[str, Any], tmp_path: Path) -> None:
    assert key(dataclasses.replace(BASE, **change), tmp_path, before=entry()) == key(BASE, tmp_path, before=entry())


def test_a_file_of_an_output_counts_by_its_own_digest(tmp_path: Path) -> None:
    assert key(BASE, tmp_path, before=entry(digest="e" * 64)) == key(BASE, tmp_path, before=entry())
    assert key(BASE, tmp_path, before=entry(sha="f" * 64)) != key(BASE, tmp_path, before=entry())


def test_tool_versions_isa_and_machine_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = step("one", tools=("numpy",))
    isa, measured = step("one", isa=True), step("one", measured=True)
    before = [key(one, tmp_path) for one in (plain, isa, measured)]
    monkeypatch.setenv(hardware.OVERRIDE, "aarch64+asimd")
    assert [key(one, tmp_path) == old for one, old in zip((plain, isa, measured), before, strict=True)] == [
        True,
        False,
        False,
    ]
    monkeypatch.setattr(tools, "version_of", lambda tool: "0.0.1")
    assert key(plain, tmp_path) != before[0]
    before = [key(one, tmp_path) for one in (isa, measured)]
    monkeypatch.setattr(hardware, "cpu_model", lambda: "Another CPU")
    assert [key(one, tmp_path) == old for one, old in zip((isa, measured), before, strict=True)] == [True, False]


def test_the_key_holds_no_path(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"a")
    one = step("one", inputs={"pictures": source(tmp_path / "a.jpg")})
    found = step_key.ingredients(one, Sources(tmp_path / "stat"), {})
    assert str(tmp_path) not in str(found)


def test_a_parameter_that_is_no_json_is_named(tmp_path: Path) -> None:
    with pytest.raises(PlanError, match="parameter of step 'one' is no plain JSON value"):
        key(step("one", params={"a": float("nan")}), tmp_path)


CODE = """
import sys
from pathlib import Path
from edgecompile.execute import step_key
from edgecompile.execute.source_digests import Sources
from execute.plans import source, step
params = {name: sorted({"x", "y", name}) for name in {"a", "b", "c"}}
inputs = {name: source(Path(sys.argv[1]) / name) for name in {"1.jpg", "2.jpg"}}
one = step("one", params=params, inputs=inputs, tools=("numpy", "rfc8785"), isa=True)
print(step_key.key_of(step_key.ingredients(one, Sources(Path("stat").absolute()), {})))
"""


def test_the_key_depends_on_neither_hash_seed_nor_folder_nor_locale(tmp_path: Path) -> None:
    for name in ("1.jpg", "2.jpg"):
        (tmp_path / name).write_text(name)
    found = set()
    for n, environment in enumerate(
        [{"PYTHONHASHSEED": "1"}, {"PYTHONHASHSEED": "2", "TZ": "Asia/Tokyo"}, {"PYTHONHASHSEED": "3", "LC_ALL": "C"}]
    ):
        folder = tmp_path / f"folder ü {n}"
        folder.mkdir()
        found.add(finish(python(CODE, tmp_path, cwd=folder, env=environment))[0])
    assert len(found) == 1
