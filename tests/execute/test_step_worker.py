"""What a step function finds when it is called, and what becomes of what it raises. By real workers."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from edgecompile.errors import EdgecompileError, MissingToolError, RecipeError, StepError
from edgecompile.execute import process
from edgecompile.execute.limits import Limits
from edgecompile.execute.process import Report, Worker
from edgecompile.runtime import machine
from execute.plans import alive, python, step, until

LIMITS = Limits(seconds=60, memory_mb=2000)


def started(
    tmp_path: Path, function: str, inputs: dict[str, Any] | None = None, limits: Limits = LIMITS, **params: Any
) -> Worker:
    place = tmp_path / "place"
    place.mkdir()
    return Worker(step("one", function, params=params), inputs or {}, place, machine.usable_cores()[:1], limits)


def facts(worker: Worker) -> dict[str, Any]:
    worker.wait()
    return json.loads((worker.out / "facts.json").read_bytes())


def test_the_surroundings_are_pinned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    monkeypatch.setenv("LANG", "de_DE.UTF-8")
    monkeypatch.setenv("OMP_PROC_BIND", "spread")
    monkeypatch.setenv("OMP_NUM_THREADS", "8")
    monkeypatch.setenv("PYTHONHASHSEED", "77")
    monkeypatch.setenv("PYTHONPATH", "/somewhere")
    os.umask(0o077)
    try:
        seen = facts(started(tmp_path, "surroundings"))
    finally:
        os.umask(0o022)
    assert seen.pop("hash") == facts(started(tmp_path / "again", "surroundings"))["hash"]
    assert not os.path.samefile(seen.pop("folder"), os.getcwd())
    assert seen == {
        "environment": {
            "PYTHONHASHSEED": "0",
            "OMP_NUM_THREADS": "1",
            "TZ": "UTC",
            "LC_ALL": "C.UTF-8",
            "YOLO_AUTOINSTALL": "false",
            "ULTRALYTICS_SAFE_LOAD": "1",
            "LANG": None,
            "OMP_PROC_BIND": None,
            "PYTHONPATH": "/somewhere",
        },
        "cores": 1,
        "folder_is_empty": True,
        "umask": 0o022,
        "stdin": "",
        "folder_in_path": False,
    }


@pytest.fixture(autouse=True)
def again(tmp_path: Path) -> None:
    (tmp_path / "again").mkdir()


def test_inputs_and_parameters_arrive(tmp_path: Path) -> None:
    for name in "abc":
        (tmp_path / f"{name}.txt").write_text(name)
    worker = started(
        tmp_path, "write", {"x": tmp_path / "a.txt", "y": [tmp_path / "b.txt", tmp_path / "c.txt"]}, text="text ü"
    )
    report = worker.wait()
    assert (worker.out / "result.txt").read_text() == "text ü+a+b+c"
    assert (worker.out / "facts.json").read_bytes() == b'{"parts":4}'
    assert isinstance(report, Report)
    assert 0 <= report.wall_seconds < 10


@pytest.mark.slow
def test_peak_memory_is_that_of_the_step_and_not_of_who_started_it(tmp_path: Path) -> None:
    ballast = bytearray(os.urandom(1) * (400 << 20))
    small = started(tmp_path, "hoard", mb=1).wait().peak_memory_mb
    large = started(tmp_path / "again", "hoard", mb=150).wait().peak_memory_mb
    assert len(ballast)
    assert small < 100
    assert 145 < large - small < 160


def failure(
    tmp_path: Path, function: str, kind: type[EdgecompileError], **params: Any
) -> tuple[EdgecompileError, Worker]:
    worker = started(tmp_path, function, **params)
    with pytest.raises(EdgecompileError) as raised:
        worker.wait()
    assert type(raised.value) is kind
    return raised.value, worker


def test_errors_for_people_arrive_as_they_were_raised(tmp_path: Path) -> None:
    error, worker = failure(tmp_path, "two_problems", RecipeError)
    assert [str(problem) for problem in error.problems] == ["here:1: first", "second; mend it"]
    assert not worker.unexplained


def test_an_error_class_of_the_step_s_own_arrives_as_the_nearest_known_one(tmp_path: Path) -> None:
    error, _ = failure(tmp_path, "missing_tool", MissingToolError)
    assert str(error) == "no such compiler; install it"


def test_anything_else_is_one_line_and_a_log(tmp_path: Path) -> None:
    error, worker = failure(tmp_path, "unexpected", StepError)
    assert str(error) == "step 'one' failed: ValueError: it was"
    assert worker.unexplained
    log = worker.log.read_text()
    assert "about to fail" in log
    assert "Traceback" in log
    assert "not to be" in log


@pytest.mark.parametrize(
    ("function", "line"),
    [
        ("leave", "step 'one' failed: SystemExit: 3"),
        ("vanish", "step 'one' ended its process with exit code 7"),
        ("die", "step 'one' was killed by signal 9 (SIGKILL): out of memory?"),
        ("not_json", "the facts of step 'one' are not plain JSON: set is not a plain JSON value"),
        (
            "nothing_of_that_name",
            "step 'one' names a function that does not exist: execute.steps_for_tests:nothing_of_that_name",
        ),
    ],
)
def test_ends_of_other_kinds(tmp_path: Path, function: str, line: str) -> None:
    error, _ = failure(tmp_path, function, StepError)
    assert str(error) == line


def test_a_crash_names_its_signal(tmp_path: Path) -> None:
    error, worker = failure(tmp_path, "die", StepError, number=int(signal.SIGSEGV))
    assert str(error) == "step 'one' was killed by signal 11 (SIGSEGV)"
    assert not list(worker.log.parent.rglob("core*"))


@pytest.mark.slow
def test_a_step_that_takes_too_long_is_ended_with_all_that_it_started(tmp_path: Path) -> None:
    began = time.monotonic()
    error, worker = failure(tmp_path, "family", StepError, limits=Limits(1.5, 2000), pids=str(tmp_path / "pids"))
    assert time.monotonic() - began < 10
    assert str(error) == (
        "step 'one' was ended after 1.5 s, its limit; allow it more: --step-timeout 3, or EDGECOMPILE_STEP_TIMEOUT"
    )
    assert not worker.unexplained
    until(lambda: not any(map(alive, family(tmp_path / "pids"))))


@pytest.mark.slow
@pytest.mark.parametrize("function", ["hoard", "hoard_in_a_library", "hoard_in_a_child"])
def test_a_step_that_allocates_too_much_is_told_its_limit(tmp_path: Path, function: str) -> None:
    error, worker = failure(tmp_path, function, StepError, limits=Limits(60, 500), mb=600)
    assert str(error) == (
        "step 'one' ran out of memory: its limit is 0.5 GB; allow it more: --step-memory 1G, or EDGECOMPILE_STEP_MEMORY"
    )
    assert not worker.unexplained
    started(tmp_path / "again", function, limits=Limits(60, 900), mb=600).wait()


def family(path: Path) -> list[int]:
    return [int(pid) for pid in until(lambda: path.exists() and path.read_text()).split()]


def test_killing_a_worker_ends_all_that_it_started(tmp_path: Path) -> None:
    worker = started(tmp_path, "family", pids=str(tmp_path / "pids"))
    pids = family(tmp_path / "pids")
    assert len(pids) == 3
    assert all(map(alive, pids))
    worker.kill()
    with pytest.raises(StepError, match="killed by signal 9"):
        worker.wait()
    until(lambda: not any(map(alive, pids)))
    worker.kill()


def test_what_a_worker_leaves_running_ends_with_it(tmp_path: Path) -> None:
    worker = started(tmp_path, "family", pids=str(tmp_path / "pids"), seconds=0)
    worker.wait()
    until(lambda: not any(map(alive, family(tmp_path / "pids"))))


START = """
import sys, time
from pathlib import Path
from edgecompile.execute.limits import Limits
from edgecompile.execute.process import Worker
from execute.plans import step
place = Path(sys.argv[1]) / "place"
place.mkdir()
worker = Worker(step("one", "family", params={"pids": sys.argv[1] + "/pids"}), {}, place, [0], Limits(60, 2000))
print(worker.pid, flush=True)
worker.wait()
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_nothing_outlives_the_one_who_started_it(tmp_path: Path, number: signal.Signals) -> None:
    process = python(START, tmp_path)
    pids = family(tmp_path / "pids")
    assert int(process.stdout.readline()) == pids[0]
    process.send_signal(number)
    process.communicate()
    until(lambda: not any(map(alive, pids)))


def test_nor_does_it_when_killed_before_the_worker_is_up(tmp_path: Path) -> None:
    process = python(START, tmp_path)
    pid = int(process.stdout.readline())
    process.kill()
    process.communicate()
    until(lambda: not alive(pid))


def test_what_decides_which_code_is_loaded_is_the_persons_own_from_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process.environment, "AT_START", {"LD_LIBRARY_PATH": "/opt/cuda"})
    for name in ("LD_PRELOAD", "LD_AUDIT", "DYLD_INSERT_LIBRARIES", "GCONV_PATH", "PYTHONSTARTUP", "PYTHONHOME"):
        monkeypatch.setenv(name, "/set/since")
    monkeypatch.setenv("LD_LIBRARY_PATH", "/set/since")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")  # the control: what decides nothing of the kind goes through
    seen = process._environment(Path("/scratch"))
    assert "/set/since" not in seen.values()
    assert (seen["LD_LIBRARY_PATH"], seen["CUDA_VISIBLE_DEVICES"]) == ("/opt/cuda", "1")


def test_the_environment_of_the_start_is_known_before_anything_sets_a_variable() -> None:
    script = (
        "import os, edgecompile.cli; os.environ['LD_LIBRARY_PATH'] = '/later'\n"
        "from edgecompile.execute import process; from pathlib import Path\n"
        "print(process._environment(Path('/scratch'))['LD_LIBRARY_PATH'])"
    )
    before = {**os.environ, "LD_LIBRARY_PATH": "/opt/cuda"}
    told = subprocess.run([sys.executable, "-c", script], env=before, capture_output=True, text=True)
    assert told.stdout == "/opt/cuda\n"
