from __future__ import annotations

import os
import shutil
import signal
import threading
from collections import Counter
from pathlib import Path

import pytest

from edgecompile.errors import MissingToolError, RecipeError, StepError
from edgecompile.execute.progress import Event, State
from edgecompile.execute.runner import execute
from edgecompile.execute.store import Store
from edgecompile.plan.graph import Plan
from edgecompile.plan.step import Output
from execute.plans import alive, chain, finish, lines, plan, python, source, step, until


class Recorder:
    """Keeps what a run tells."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def __call__(self, event: Event) -> None:
        self.events.append(event)

    def steps(self, state: State) -> list[str]:
        return sorted(event.step.name for event in self.events if event.state is state)


def run(one: Plan, store: Store, **settings: object) -> tuple[list[str], list[str]]:
    """Runs a plan; returns the names of the steps that ran and of those that were reused."""
    recorder = Recorder()
    entries = execute(one, store, progress=recorder, **settings)
    fresh = sorted(name for name, entry in entries.items() if entry.fresh)
    assert fresh == recorder.steps(State.DONE) == recorder.steps(State.RUNNING)
    return fresh, recorder.steps(State.REUSED)


def tidy(store: Store) -> bool:
    """Returns whether nothing half-written and no lock is left."""
    places = [path for path in (store.root / "staging").glob("*/*")]
    locks = [path for path in (store.root / "locks").iterdir() if not path.name.startswith("edgecompile-")]
    return not places and not locks


def diamond(top: str = "top", tally: Path | str = "") -> Plan:
    def one(name: str, *needs: str, text: str = "") -> object:
        return step(name, needs=needs, params={"text": text or name, "tally": str(tally)})

    return plan(one("a", text=top), one("b", "a"), one("c", "a"), one("d", "b", "c"))  # type: ignore[arg-type]


def test_steps_run_once_ever(store: Store) -> None:
    assert run(diamond(), store) == (["a", "b", "c", "d"], [])
    entries = execute(diamond(), store)
    assert entries["d"].path("result.txt").read_text() == "d+b+top+c+top"
    assert list(entries) == ["a", "b", "c", "d"]
    assert run(diamond(), store) == ([], ["a", "b", "c", "d"])
    assert run(diamond(), Store(store.root)) == ([], ["a", "b", "c", "d"])
    assert tidy(store)


def test_what_a_change_reaches_runs_again_and_nothing_else(store: Store) -> None:
    run(diamond(), store)
    changed = plan(*diamond().steps[:2], step("c", needs=("a",), params={"text": "C"}), diamond()["d"])
    assert run(changed, store) == (["c", "d"], ["a", "b"])


def test_the_record_says_how_a_result_was_made(store: Store) -> None:
    record = execute(chain(1), store)["s0"].record
    assert record["step"] == "s0"
    assert record["stage"] == "export"
    assert record["function"] == record["ingredients"]["function"] == "execute.steps_for_tests:write"
    assert record["wall_seconds"] >= 0
    assert record["peak_memory_mb"] > 1
    assert record["finished"].endswith("Z")


def test_equal_output_of_changed_work_stops_the_change(store: Store, tmp_path: Path) -> None:
    def early(version: int) -> Plan:
        data = source(tmp_path / "data", name="data", many=False)
        first = step("a", "constant", inputs={"source": data}, version=version)
        return plan(first, step("b", needs=("a",)), step("c", needs=("b",)))

    (tmp_path / "data").write_text("x")
    assert run(early(1), store) == (["a", "b", "c"], [])
    (tmp_path / "data").write_text("y")
    assert run(early(1), store) == (["a"], ["b", "c"])
    assert run(early(2), store) == (["a"], ["b", "c"])


def test_one_changed_picture_reruns_only_what_reads_it(store: Store, tmp_path: Path) -> None:
    pictures = [tmp_path / f"{n}.txt" for n in range(20)]
    for path in pictures:
        path.write_text(path.name)
    calibration, validation = source(*pictures[:10]), source(*pictures[10:])
    one = plan(
        step("export"),
        step("calibrate", needs=("export",), inputs={"pictures": calibration}),
        step("evaluate", needs=("export",), inputs={"pictures": validation}),
        step("quantize", needs=("calibrate",)),
    )
    assert run(one, store)[0] == ["calibrate", "evaluate", "export", "quantize"]
    pictures[3].write_text("another")
    assert run(one, store) == (["calibrate", "quantize"], ["evaluate", "export"])
    pictures[3].write_text("3.txt")
    assert run(one, store) == ([], ["calibrate", "evaluate", "export", "quantize"])


def test_equal_work_under_two_names_is_done_once(store: Store, tmp_path: Path) -> None:
    params = {"tally": str(tmp_path / "tally"), "seconds": 0.1}
    entries = execute(plan(step("one", params=params), step("two", params=params)), store)
    assert entries["one"].digest == entries["two"].digest
    assert len(lines(tmp_path / "tally")) == 1


def test_missing_tools_and_sources_are_told_before_anything_runs(store: Store, tmp_path: Path) -> None:
    tally = {"params": {"tally": str(tmp_path / "tally")}}
    with pytest.raises(MissingToolError, match="step 'b' needs unheard-of"):
        execute(plan(step("a", **tally), step("b", tools=("unheard-of",))), store)
    assert not lines(tmp_path / "tally")
    missing = source(tmp_path / "missing.pt", name="weights", many=False)
    with pytest.raises(RecipeError, match=r"weights '.*missing.pt' does not exist"):
        execute(plan(step("a", inputs={"given": missing})), store)


def test_an_output_that_no_step_put_out_is_named(store: Store) -> None:
    with pytest.raises(StepError, match=r"step 'a' put out no 'model\.onnx'"):
        execute(plan(step("a"), step("b", inputs={"given": Output("a", "model.onnx")})), store)


def test_the_first_failure_ends_the_others_and_keeps_what_is_done(store: Store, tmp_path: Path) -> None:
    recorder = Recorder()
    slow = step("slow", "family", params={"pids": str(tmp_path / "pids")})
    one = plan(step("done"), slow, step("bad", "fail_after", needs=("done",), params={"pids": str(tmp_path / "pids")}))
    with pytest.raises(StepError, match=r"^step 'bad' failed: ValueError: as planned; all it printed: ") as raised:
        execute(one, store, progress=recorder, jobs=2)
    assert recorder.steps(State.FAILED) == ["bad"]
    assert recorder.steps(State.CANCELLED) == ["slow"]
    pids = [int(pid) for pid in (tmp_path / "pids").read_text().split()]
    until(lambda: not any(map(alive, pids)))
    assert "Traceback" in Path(str(raised.value).rpartition(" ")[2]).read_text()
    assert run(plan(one["done"]), store) == ([], ["done"])
    assert tidy(store)


def test_a_listener_that_fails_ends_no_build(store: Store) -> None:
    def closed(event: Event) -> None:
        raise BrokenPipeError

    assert execute(chain(2), store, progress=closed)["s1"].fresh
    with pytest.raises(StepError, match="it was"):
        execute(plan(step("a", "unexpected")), store, progress=closed)


def test_failures_are_not_kept(store: Store) -> None:
    for _ in range(2):
        with pytest.raises(StepError, match="it was"):
            execute(plan(step("a", "unexpected")), store)
    assert not list((store.root / "entries").rglob("*.json"))


def test_a_worker_killed_from_outside_is_an_error_and_a_rerun_is_right(store: Store, tmp_path: Path) -> None:
    params = {"pids": str(tmp_path / "pids")}
    failures: list[BaseException] = []

    def build() -> None:
        try:
            execute(plan(step("a", "family", params=params)), store)
        except StepError as error:
            failures.append(error)

    thread = threading.Thread(target=build)
    thread.start()
    os.kill(int(until(lambda: lines(tmp_path / "pids"))[0].split()[0]), signal.SIGKILL)
    thread.join(30)
    assert str(failures[0]).startswith("step 'a' was killed by signal 9 (SIGKILL): out of memory?")
    assert tidy(store)
    assert run(chain(2), store)[0] == ["s0", "s1"]


BUILD = """
import signal, sys, pathlib
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell hands an ignored Ctrl-C down to background jobs
from edgecompile.execute.runner import execute
from edgecompile.execute.store import Store
from execute.plans import plan, step
tally, pids = sys.argv[2:4]
one = plan(
    step("before", params={"tally": tally, "text": "before"}),
    step("long", "family", needs=("before",), params={"pids": pids, "seconds": float(sys.argv[4])}),
)
try:
    execute(one, Store(sys.argv[1]), jobs=1)
except KeyboardInterrupt:
    print("interrupted")
    raise SystemExit(130)
"""


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_build_that_is_ended_midway(store: Store, tmp_path: Path, number: signal.Signals) -> None:
    pids = tmp_path / "pids"
    process = python(BUILD, store.root, tmp_path / "tally", pids, 60, start_new_session=True)
    family = [int(pid) for pid in until(lambda: pids.exists() and pids.read_text()).split()]
    until(lambda: list((store.root / "entries").rglob("*.json")))
    process.send_signal(number)
    out, _ = process.communicate(timeout=30)
    until(lambda: not any(map(alive, family)))
    if number == signal.SIGINT:
        assert (out, process.returncode) == ("interrupted\n", 130)
        assert not list((store.root / "staging").iterdir())
    pids.unlink()
    finish(python(BUILD, store.root, tmp_path / "tally", pids, 0))
    assert lines(tmp_path / "tally") == ["before"], "what was done before the end was done again"
    assert not list((store.root / "staging").iterdir())
    assert tidy(store)


MANY = """
import sys
from edgecompile.execute.runner import execute
from edgecompile.execute.store import Store
from execute.test_runner import diamond
print(execute(diamond(tally=sys.argv[2]), Store(sys.argv[1]))["d"].digest)
"""


@pytest.mark.slow
def test_several_processes_run_each_step_exactly_once(store: Store, tmp_path: Path) -> None:
    processes = [python(MANY, store.root, tmp_path / "tally") for _ in range(5)]
    digests = {finish(process)[0] for process in processes}
    assert len(digests) == 1
    assert Counter(lines(tmp_path / "tally")) == {"top": 1, "b": 1, "c": 1, "d": 1}


@pytest.mark.slow
def test_a_stopped_build_holds_nobody_up_and_is_named(store: Store, tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    process = python(BUILD, store.root, tmp_path / "tally", pids, 60, start_new_session=True)
    try:
        first = until(lambda: pids.exists() and pids.read_text())
        process.send_signal(signal.SIGSTOP)
        pids.unlink()
        one = plan(
            step("before", params={"tally": str(tmp_path / "tally"), "text": "before"}),
            step("long", "family", needs=("before",), params={"pids": str(pids), "seconds": 60.0}),
        )
        recorder, cancelled = Recorder(), threading.Thread(target=lambda: until(pids.exists))
        cancelled.start()

        def second() -> None:
            with pytest.raises(StepError, match="killed by signal 9"):
                execute(one, store, progress=recorder)

        build = threading.Thread(target=second, daemon=True)
        build.start()
        cancelled.join(20)
        assert pids.exists(), "the second build never started the step"
        assert pids.read_text() != first
        details = [event.detail for event in recorder.events if event.state is State.WAITING]
        assert f"waiting for process {process.pid} (long), which runs the same step" in details
        os.kill(int(pids.read_text().split()[0]), signal.SIGKILL)
        build.join(20)
    finally:
        process.send_signal(signal.SIGCONT)
        process.kill()
        process.communicate()


def test_damage_found_on_the_way_heals_in_the_same_build(store: Store, tmp_path: Path) -> None:
    tally = {"tally": str(tmp_path / "tally")}
    one = plan(step("a", params={"text": "a", **tally}), step("b", needs=("a",), params={"text": "b", **tally}))
    entry = execute(one, store)["a"]
    entry.path("result.txt").chmod(0o644)
    entry.path("result.txt").write_text("A")
    assert run(one, store) == (["a"], ["b"])
    assert execute(one, store)["b"].path("result.txt").read_text() == "b+a"
    assert lines(tmp_path / "tally") == ["a", "b", "a"]


@pytest.mark.parametrize("function", ["spoil_once", "fail_once"])
def test_damage_while_a_step_reads_never_reaches_a_result(store: Store, tmp_path: Path, function: str) -> None:
    given = {"given": Output("a", "result.txt")}
    one = plan(
        step("a", params={"text": "good"}), step("b", function, inputs=given, params={"mark": str(tmp_path / "m")})
    )
    assert execute(one, store)["b"].path("result.txt").read_text() == "good"
    assert tidy(store)


def test_a_step_that_spoils_its_input_every_time_is_refused(store: Store) -> None:
    one = plan(step("a"), step("b", "spoil", inputs={"given": Output("a", "result.txt")}))
    with pytest.raises(StepError, match="the output of 'a' changed while step 'b' read it"):
        execute(one, store)
    assert run(chain(1), store)[0] == ["s0"]


@pytest.mark.slow
def test_a_source_that_changes_while_it_is_read_counts_as_it_is_in_the_end(store: Store, tmp_path: Path) -> None:
    (tmp_path / "data.txt").write_text("old")
    one = plan(step("a", inputs={"data": source(tmp_path / "data.txt")}, params={"seconds": 0.5}))

    def change(event: Event) -> None:
        if event.state is State.RUNNING:
            (tmp_path / "data.txt").write_text("new")

    assert execute(one, store, progress=change)["a"].path("result.txt").read_text() == "text+new"
    assert run(one, store) == ([], ["a"])


def test_steps_run_in_a_read_only_store_only_if_it_has_them_all(tmp_path: Path) -> None:
    made = Store(tmp_path / "made")
    execute(chain(2), made)
    made.close()
    shutil.copytree(made.root, tmp_path / "copy")
    for name in ("sessions", "staging"):
        (tmp_path / "copy" / name).rmdir()
        (tmp_path / "copy" / name).write_text("no folder can be made here")
    store = Store(tmp_path / "copy")
    assert run(chain(2), store) == ([], ["s0", "s1"])
    with pytest.raises(StepError, match="cannot be written"):
        execute(chain(3), store)


FULL = """
import resource, sys
from edgecompile.errors import StepError
from edgecompile.execute.runner import execute
from edgecompile.execute.store import Store
from execute.plans import chain
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), resource.RLIM_INFINITY))
try:
    execute(chain(2, size=1 << 20), Store(sys.argv[1]))
except StepError as error:
    print(error)
    raise SystemExit(5)
"""


@pytest.mark.parametrize("limit", [0, 10, 300, 5000, 1 << 19])
def test_a_disk_that_takes_no_more_is_one_line_and_harms_nothing(store: Store, limit: int) -> None:
    process = python(FULL, store.root, limit)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (5, "")
    assert len(out.splitlines()) == 1
    assert not list((store.root / "staging").glob("*/*"))
    one = chain(2, size=1 << 20)
    assert run(one, store)[0][-1] == "s1"
    assert execute(one, store)["s1"].path("result.txt").read_text() == "1+0"


@pytest.mark.slow
def test_twelve_steps_at_hand_import_nothing_heavy(store: Store) -> None:
    execute(chain(12), store)
    code = (
        "import sys; from edgecompile.execute.runner import execute; from edgecompile.execute.store import Store;"
        "from execute.plans import chain; print(len(execute(chain(12), Store(sys.argv[1]))));"
        "print({'numpy', 'torch', 'onnx', 'rich', 'pydantic', 'hydra', 'psutil'} & set(sys.modules))"
    )
    assert finish(python(code, store.root))[0] == "12\nset()\n"
