"""Measurements: reused while they stand and no longer, and kept apart from content."""

from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from edgecompile import cli
from edgecompile.execute import hardware, measurements
from edgecompile.execute.canonical_json import seal, unseal
from edgecompile.execute.entry import Entry
from edgecompile.execute.gc import collect, verify
from edgecompile.execute.plan_status import plan_status
from edgecompile.execute.runner import execute
from edgecompile.execute.store import Store
from edgecompile.plan.graph import Plan
from edgecompile.runtime import machine
from execute.plans import plan, step

DAY_S = 86_400


class Bench:
    """A plan of one measurement, and how often it was taken."""

    def __init__(self, folder: Path) -> None:
        self.tally, self.noise = folder / "tally", folder / "noise"
        self.noise.touch()

    def plan(self, **settings: Any) -> Plan:
        params = {"tally": str(self.tally), "noise": str(self.noise)}
        return plan(step("measure", "measurement", params=params, measured=True, **settings))

    def entry(self, store: Store, *, measure_again: bool = False, **settings: Any) -> Entry:
        return execute(self.plan(**settings), store, measure_again=measure_again)["measure"]

    def why(self, store: Store, **settings: Any) -> tuple[bool, str]:
        (state,) = plan_status(self.plan(**settings), store)
        return state.hit, state.why


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def files(store: Store) -> list[Path]:
    return sorted((store.root / measurements.FOLDER).glob("*/*.json"))


def age(store: Store, days: float) -> None:
    """Makes the only measurement of a store older."""
    (path,) = files(store)
    document = unseal(path.read_bytes())
    taken = datetime.now(timezone.utc) - timedelta(days=days)
    document["record"]["finished"] = taken.strftime("%Y-%m-%dT%H:%M:%SZ")
    path.write_bytes(seal(document))


def test_a_measurement_that_stands_is_reused_and_is_no_content(bench: Bench, store: Store) -> None:
    first, second = bench.entry(store), bench.entry(store)
    assert (first.fresh, second.fresh) == (True, False)
    assert first.facts["lines"] == second.facts["lines"] == 1
    assert len(files(store)) == 1
    assert not list((store.root / "entries").glob("*/*"))
    assert not list((store.root / "outputs").glob("*/*"))
    hit, why = bench.why(store)
    assert hit
    assert why.startswith("measured 20")


def test_a_noisy_measurement_is_returned_and_never_kept(bench: Bench, store: Store) -> None:
    bench.noise.write_text("a neighbour was busy\n")
    assert bench.entry(store).facts["quality"]["noise"] == ["a neighbour was busy"]
    assert not files(store)
    assert bench.why(store) == (False, "never made before")
    bench.noise.write_text("")
    assert bench.entry(store).facts["lines"] == 2
    assert bench.entry(store).facts["lines"] == 2


def test_measuring_again_replaces_what_stood_but_not_by_noise(bench: Bench, store: Store) -> None:
    bench.entry(store)
    assert bench.entry(store, measure_again=True).facts["lines"] == 2
    bench.noise.write_text("a neighbour was busy\n")
    noisy = bench.entry(store, measure_again=True)
    assert (noisy.fresh, noisy.facts["lines"]) == (True, 3)
    assert bench.entry(store).facts["lines"] == 2


def test_an_old_measurement_is_taken_anew(bench: Bench, store: Store) -> None:
    bench.entry(store)
    age(store, 3)
    assert not bench.entry(store, max_age_s=4 * DAY_S).fresh
    hit, why = bench.why(store, max_age_s=2 * DAY_S)
    assert not hit
    assert "too long ago to stand" in why
    assert bench.entry(store, max_age_s=2 * DAY_S).fresh
    assert not bench.entry(store, max_age_s=2 * DAY_S).fresh
    assert bench.entry(store, max_age_s=-1).fresh, "negative control: nothing is young enough"


@pytest.mark.parametrize("change", ["processor", "governor", "kernel", "version"])
def test_another_machine_or_library_is_measured_anew(
    change: str, bench: Bench, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hardware, "_power_settings", lambda: {"governor": "performance"})
    bench.entry(store, tools=("numpy",))
    assert not bench.entry(store, tools=("numpy",)).fresh
    if change == "processor":
        monkeypatch.setattr(hardware, "cpu_model", lambda: "Another CPU")
    elif change == "governor":
        monkeypatch.setattr(hardware, "_power_settings", lambda: {"governor": "powersave"})
    elif change == "kernel":
        monkeypatch.setattr(hardware.platform, "release", lambda: "99.0")
    else:
        monkeypatch.setattr("edgecompile.execute.tools.version_of", lambda tool: "0.0.1")
    hit, why = bench.why(store, tools=("numpy",))
    told = {"processor": "machine cpu", "governor": "power.governor performance → powersave", "kernel": "machine os"}
    assert not hit
    assert told.get(change, "tool numpy") in why
    if change != "version":  # the process of the step looks for the version itself
        assert bench.entry(store, tools=("numpy",)).fresh


def test_settings_of_clock_and_power_are_read(tmp_path: Path) -> None:
    policy = tmp_path / "sys/devices/system/cpu/cpu0/cpufreq"
    policy.mkdir(parents=True)
    (policy / "scaling_governor").write_text("powersave\n")
    (policy / "scaling_max_freq").write_text("2400000\n")
    (policy / "scaling_cur_freq").write_text("600000\n")  # changes by itself, so it is none of them
    assert {"governor": "powersave", "highest clock": "2400000"}.items() <= machine.power_settings(tmp_path).items()
    assert "600000" not in machine.power_settings(tmp_path).values()


@pytest.mark.parametrize("damage", ["cut", "flipped", "other key", "no measurement"])
def test_a_damaged_measurement_is_none(damage: str, bench: Bench, store: Store) -> None:
    bench.entry(store)
    (path,) = files(store)
    content = path.read_bytes()
    document = unseal(content)
    path.write_bytes(
        {
            "cut": content[:-9],
            "flipped": content.replace(b'"lines":1', b'"lines":7'),
            "other key": seal({**document, "key": "0" * 64}),
            "no measurement": seal([1]),
        }[damage]
    )
    assert measurements.find(store, path.stem) is None
    assert list(verify(store)) == [path.stem]
    assert not files(store)
    assert bench.entry(store).fresh


def test_the_list_shows_age_and_quality_and_old_ones_go(
    bench: Bench, store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    bench.entry(store)
    age(store, 2)
    assert cli.main(["cache", "ls", "--cache", str(store.root)]) == 0
    assert "measure  " in (said := capsys.readouterr().out)
    assert "measured 2 d ago" in said
    assert "median known to ±0.0 %" in said
    assert cli.main(["cache", "ls", "--json", "--cache", str(store.root)]) == 0
    (one,) = json.loads(capsys.readouterr().out)["measurements"]
    assert one["facts"]["quality"]["noise"] == []
    assert one["machine"]["cpu"] == hardware.cpu_model()
    assert one["age_s"] == pytest.approx(2 * DAY_S, rel=0.01)
    collect(store, older_than_s=3 * DAY_S)
    assert files(store)
    collect(store, older_than_s=DAY_S)
    assert not files(store)
