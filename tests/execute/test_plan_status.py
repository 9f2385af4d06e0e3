from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from edgecompile.execute import hardware, tools
from edgecompile.execute.plan_status import plan_status
from edgecompile.execute.runner import execute
from edgecompile.execute.store import Store
from edgecompile.plan.graph import Plan
from edgecompile.plan.step import Output, Step
from execute.plans import plan, source, step


@pytest.fixture
def pictures(tmp_path: Path) -> list[Path]:
    (tmp_path / "data").mkdir()
    paths = [tmp_path / "data" / f"{n}.txt" for n in range(30)]
    for path in paths:
        path.write_text(path.name)
    return paths


def recipe(pictures: list[Path], **changes: object) -> Plan:
    """Returns an export, a calibration on pictures and a quantization; `changes` are made to the calibration."""
    data = {"pictures": source(*pictures, name="calibration pictures"), "model": Output("export", "result.txt")}
    params = {"text": "c", "size": 0}
    calibrate = Step(
        "calibrate", "execute.steps_for_tests:write", step("x").stage, params=params, inputs=data, tools=("numpy",)
    )
    return plan(step("export"), dataclasses.replace(calibrate, **changes), step("quantize", needs=("calibrate",)))


def whys(one: Plan, store: Store) -> list[tuple[str, bool, str]]:
    return [(state.step.name, state.hit, state.why) for state in plan_status(one, store)]


def why(one: Plan, store: Store) -> str:
    """Returns why the calibration would run."""
    states = whys(one, store)
    assert [hit for _, hit, _ in states] == [True, False, False]
    assert states[2][2] == "reads what 'calibrate' puts out, which runs first"
    return states[1][2]


def test_before_and_after(store: Store, pictures: list[Path]) -> None:
    assert whys(recipe(pictures), store) == [
        ("export", False, "never made before"),
        ("calibrate", False, "reads what 'export' puts out, which runs first"),
        ("quantize", False, "reads what 'calibrate' puts out, which runs first"),
    ]
    entries = execute(recipe(pictures), store)
    states = plan_status(recipe(pictures), store)
    assert all(state.hit and state.why.startswith("made 20") for state in states)
    assert [state.key for state in states] == [entry.key for entry in entries.values()]
    assert states[0].seconds == entries["export"].record["wall_seconds"]


def test_it_runs_and_changes_nothing(store: Store, pictures: list[Path]) -> None:
    plan_status(recipe(pictures), Store(store.root))
    assert not (store.root / "entries").exists()
    execute(recipe(pictures), store)
    before = {path: path.stat().st_mtime_ns for path in (store.root / "entries").rglob("*")}
    plan_status(recipe(pictures), store)
    assert {path: path.stat().st_mtime_ns for path in (store.root / "entries").rglob("*")} == before


def test_pictures(store: Store, pictures: list[Path]) -> None:
    execute(recipe(pictures), store)
    assert why(recipe(pictures[:20]), store) == "of 20 calibration pictures 10 removed (20.txt, ...)"
    assert why(recipe(pictures[::-1]), store) == "order of calibration pictures changed"
    pictures[7].write_text("another")
    assert why(recipe(pictures), store) == "of 30 calibration pictures 1 changed (7.txt)"
    pictures[7].rename(pictures[7].with_name("seven.txt"))
    pictures[7] = pictures[7].with_name("seven.txt")
    assert why(recipe(pictures), store) == "of 30 calibration pictures 1 added (seven.txt), 1 removed (7.txt)"


def test_parameters_and_version(store: Store, pictures: list[Path]) -> None:
    execute(recipe(pictures), store)
    assert why(recipe(pictures, params={"text": "d", "size": 0}), store) == "parameter text c → d"
    assert why(recipe(pictures, params={"text": "c"}), store) == "parameter size 0 → none"
    assert (
        why(recipe(pictures, params={"text": "c", "size": 0, "a": {"b": [1, 2]}}), store)
        == "parameter a.b none → [1, 2]"
    )
    assert why(recipe(pictures, version=3), store) == "step version 1 → 3"


def test_many_changes_are_cut_short(store: Store, pictures: list[Path]) -> None:
    execute(recipe(pictures), store)
    changed = recipe(pictures, version=2, params={"text": "d", "size": 1, "seconds": 0.5, "tally": "x"})
    assert why(changed, store) == "step version 1 → 2; parameter seconds none → 0.5; parameter size 0 → 1 and 2 more"


def test_tools_instruction_set_and_machine(store: Store, pictures: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(hardware.OVERRIDE, "x86_64+avx2")
    execute(recipe(pictures, isa=True), store)
    real = tools.version_of("numpy")
    monkeypatch.setattr(tools, "version_of", lambda tool: "0.0.1")
    assert why(recipe(pictures, isa=True), store) == f"tool numpy {real} → 0.0.1"
    monkeypatch.undo()
    monkeypatch.setenv(hardware.OVERRIDE, "aarch64")
    assert why(recipe(pictures, isa=True), store).startswith("instruction set x86_64+avx2 → aarch64")


def test_the_most_similar_result_is_compared(store: Store, pictures: list[Path]) -> None:
    execute(recipe(pictures, params={"text": "c", "size": 1}), store)
    execute(recipe(pictures, params={"text": "d", "size": 2}), store)
    assert why(recipe(pictures, params={"text": "c", "size": 3}), store) == "parameter size 1 → 3"


def test_upstream_and_lost_results(store: Store, pictures: list[Path]) -> None:
    entries = execute(recipe(pictures), store)
    store.entry_path(entries["calibrate"].key).unlink()
    assert why(recipe(pictures), store) == "its result is no longer in the store"
    damaged = entries["export"].path("result.txt")
    damaged.chmod(0o644)
    damaged.write_text("")
    assert whys(recipe(pictures), store)[0][2].startswith("its result in the store is damaged")
    assert damaged.exists(), "a survey moved something"


def test_a_changed_output_upstream(store: Store, pictures: list[Path]) -> None:
    execute(recipe(pictures), store)
    other = plan(step("export", params={"text": "other"}), recipe(pictures).steps[1])
    execute(plan(other.steps[0]), store)
    assert whys(other, store)[1] == ("calibrate", False, "'result.txt' of 'export' changed")


def test_results_of_steps_of_another_name_say_nothing(store: Store, pictures: list[Path]) -> None:
    execute(recipe(pictures), store)
    assert whys(plan(step("new", params={"text": "x"})), store) == [("new", False, "never made before")]


def test_missing_tools_are_reasons_and_no_errors(store: Store) -> None:
    (state,) = plan_status(plan(step("a", tools=("unheard-of",))), store)
    assert (state.hit, state.key) == (False, None)
    assert state.why == "step 'a' needs unheard-of, which is not installed; pip install unheard-of"
