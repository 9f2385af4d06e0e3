"""What a step may take: defaults that a real build stays far below, and what a person sets."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from edgecompile import cli
from edgecompile.errors import EdgecompileError, RecipeError, StepError
from edgecompile.execute import limits
from edgecompile.execute.limits import Asked, asked_for, limits_of
from edgecompile.execute.runner import execute
from edgecompile.execute.store import Store
from edgecompile.runtime import machine
from execute.plans import plan, source, step


def test_defaults_grow_with_the_pictures_and_hold_on_a_small_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    pictures = {"pictures": source(*(Path(f"{number}.jpg") for number in range(300)))}
    one, many = limits_of(step("one"), Asked()), limits_of(step("many", inputs=pictures), Asked())
    assert (one.seconds, many.seconds) == (900, 900 + 6000)
    assert one.memory_mb == pytest.approx(max(0.75 * machine.memory_mb(), 4096))
    monkeypatch.setattr(machine, "memory_mb", lambda: 1000)
    assert limits_of(step("one"), Asked()).memory_mb == 4096


@pytest.mark.parametrize(
    ("text", "value"), [("600", 600), ("1.5", 1.5), ("none", float("inf")), ("0", None), ("-3", None), ("1h", None)]
)
def test_seconds(text: str, value: float | None) -> None:
    if value is None:
        with pytest.raises(RecipeError, match=r"EDGECOMPILE_STEP_TIMEOUT: found '.*'; expected seconds, such as 600"):
            asked_for({limits.TIMEOUT: text})
    else:
        assert asked_for({limits.TIMEOUT: text}) == Asked(seconds=value)


@pytest.mark.parametrize(
    ("text", "value"), [("8G", 8000), ("500mb", 500), ("1.5 GB", 1500), ("none", float("inf")), ("8", None), ("", None)]
)
def test_sizes(text: str, value: float | None) -> None:
    if value is None:
        with pytest.raises(RecipeError, match=r"EDGECOMPILE_STEP_MEMORY: found '.*'; expected a size, such as 8G"):
            asked_for({limits.MEMORY: text})
    else:
        assert asked_for({limits.MEMORY: text}) == Asked(memory_mb=value)


def test_limits_that_are_set_hold_for_the_steps_of_a_plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hoard = plan(step("one", "hoard", params={"mb": 600}))
    monkeypatch.setenv(limits.MEMORY, "500M")
    with pytest.raises(EdgecompileError, match=r"step 'one' ran out of memory: its limit is 0\.5 GB; allow it more"):
        execute(hoard, Store(tmp_path / "store"))
    monkeypatch.setenv(limits.MEMORY, "soon")
    with pytest.raises(RecipeError, match=r"EDGECOMPILE_STEP_MEMORY: found 'soon'"):
        execute(hoard, Store(tmp_path / "store"))
    monkeypatch.setenv(limits.MEMORY, "none")
    assert execute(hoard, Store(tmp_path / "store"))["one"].fresh


@pytest.mark.slow
@pytest.mark.parametrize(
    ("taken", "how", "named"),
    [
        (200, {"error": "SystemError"}, True),
        (330, {"error": "StepError"}, True),
        (200, {"error": "", "killed": True}, True),
        (20, {"error": "SystemError"}, False),
        (200, {"error": "StepError"}, False),
    ],
)
def test_the_limit_is_named_whatever_a_library_makes_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, taken: int, how: dict, named: bool
) -> None:
    monkeypatch.setenv(limits.MEMORY, "400M")
    with pytest.raises(StepError) as raised:
        execute(plan(step("one", "hoard_and_say_something_else", params={"mb": taken, **how})), Store(tmp_path / "s"))
    said = str(raised.value)
    note = r"0\.\d+ of the 0\.4 GB that the step may allocate were taken: allow it more with --step-memory 1G, or EDGE"
    assert bool(re.search(note, said)) == named, said
    assert ("damaged" in said) == (how["error"] == "StepError")
    assert "\n" not in said


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["--step-timeout", "0.001"], 5, r"was ended after 0\.001 s, its limit; allow it more: --step-timeout 1"),
        (["--step-memory=60M"], 5, r"0\.06 GB.*allow it more.* --step-memory 1G, or EDGECOMPILE_STEP_MEMORY"),
        (["--step-timeout", "soon"], 2, "command line:--step-timeout: found 'soon'; expected seconds"),
        (["--step-memory", ""], 2, "command line:--step-memory: found ''; expected a size"),
    ],
)
def test_flags_of_build(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    words: list[str],
    code: int,
    said: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EDGECOMPILE_CACHE", str(tmp_path / "cache"))
    for name in (limits.TIMEOUT, limits.MEMORY):
        monkeypatch.setenv(name, "none")  # so that what the command line sets is taken back
    assert cli.main(["build", "--quiet", *words]) == code
    err = capfd.readouterr().err
    assert re.search(said, err), err
    assert len(err.splitlines()) == 1
