"""What is told of a sweep is read from the folders of its jobs."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest

from edgecompile.run_dir import PROGRESS, STATUS, write_json
from edgecompile.sweep.watch import Watch, duration

STEPS = {"total": 10, "run": 4, "reused": 6, "saved_s": 31.0}


def end(folder: Path, name: str, code: int = 0, **more) -> None:
    """Does as a job that has ended."""
    (folder / name).mkdir(parents=True, exist_ok=True)
    write_json(folder / name / STATUS, {"exit_code": code, "steps": STEPS, **more})


def test_points_that_ended_and_points_that_run(tmp_path: Path):
    watch = Watch(tmp_path, 3, stream=io.StringIO())
    watch.look()
    end(tmp_path, "0_a")
    (tmp_path / "1_b").mkdir()
    write_json(tmp_path / "1_b" / PROGRESS, {**STEPS, "run": 1, "reused": 2, "saved_s": 4.0, "now": "compile"})
    (tmp_path / "multirun.yaml").write_text("")
    watch.look()
    assert watch.stream.getvalue().startswith("[1/3] 0_a: built; 4 steps run, 6 reused, 31 s saved by sharing")
    assert str(watch.counts()) == "5 steps run, 8 reused, 35 s saved by sharing"
    assert "1_b: compile, 3 of 10 steps" in watch._line().plain
    end(tmp_path, "1_b", 6, job=1, problems=["gate map_drop: 0.5"])
    watch.look()
    watch.look()
    assert watch.stream.getvalue().splitlines()[1:] == [
        "edgecompile: job 1: gate map_drop: 0.5",
        watch.stream.getvalue().splitlines()[2],
    ]
    assert (
        watch.stream.getvalue().splitlines()[2].startswith("[2/3] 1_b: gate unmet; 4 steps run, 6 reused, 31 s saved")
    )
    assert "; 1 failed so far" in watch.stream.getvalue()
    assert (watch.exit_code, watch.failed) == (6, 1)
    assert watch.summary().startswith("2 of 3 points: 1 built, 1 failed; 8 steps run, 12 reused, 1 min 02 s saved") or (
        "62 s saved" in watch.summary()
    )


def test_what_is_half_written_or_of_an_earlier_sweep_does_not_count(tmp_path: Path):
    end(tmp_path, "0_old")
    watch = Watch(tmp_path, 2, stream=io.StringIO())
    (tmp_path / "1_new").mkdir()
    (tmp_path / "1_new" / STATUS).write_text('{"exit_code": 0, "st')
    watch.look()
    assert watch.ended == {}
    end(tmp_path, "1_new")
    end(tmp_path, "0_old", 5)
    watch.look()
    assert {name: status["exit_code"] for name, status in watch.ended.items()} == {"0_old": 5, "1_new": 0}


def test_time_left_follows_the_pace_of_the_points_that_ended_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    now = [0.0]
    monkeypatch.setattr("edgecompile.sweep.watch.time.monotonic", lambda: now[0])
    watch = Watch(tmp_path, 20, stream=io.StringIO())
    assert watch.left_s() is None
    now[0] = 100.0  # the first makes what all share
    end(tmp_path, "0_a")
    watch.look()
    assert watch.left_s() == 1900
    for number in range(1, 12):
        now[0] += 5
        end(tmp_path, f"{number}_a")
        watch.look()
    assert watch.left_s() == 40
    assert Watch(tmp_path, None, stream=io.StringIO()).left_s() is None


def test_a_thread_looks_until_it_is_stopped(tmp_path: Path):
    watch = Watch(tmp_path, 1, stream=io.StringIO())
    watch.start()
    end(tmp_path, "0_a")
    watch.stop()
    watch.stop()
    assert json.dumps(list(watch.ended)) == '["0_a"]'
    assert not watch._thread.is_alive()


def test_quiet_says_what_was_wrong_and_nothing_else(tmp_path: Path):
    watch = Watch(tmp_path, 2, quiet=True, stream=io.StringIO())
    end(tmp_path, "0_a")
    end(tmp_path, "1_b", 2, job=1, problems=["found 33"])
    watch.look()
    assert watch.stream.getvalue() == "edgecompile: job 1: found 33\n"


def test_durations():
    assert [duration(one) for one in (0.2, 99, 100, 5999, 7260)] == [
        "0 s",
        "99 s",
        "1 min 40 s",
        "99 min 59 s",
        "2 h 01 min",
    ]
