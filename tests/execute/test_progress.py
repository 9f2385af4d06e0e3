from __future__ import annotations

import io
import re
from pathlib import Path

from edgecompile.execute.progress import Event, State, show_progress
from edgecompile.execute.runner import execute
from edgecompile.execute.store import Store
from edgecompile.plan.step_progress import StepProgress, read_note
from execute.plans import chain, finish, plan, python, step


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_without_a_terminal_each_step_that_ended_is_one_line(store: Store) -> None:
    one = chain(2)
    stream = io.StringIO()
    with show_progress(one, stream=stream) as listener:
        execute(one, store, progress=listener)
        execute(chain(1), store, progress=listener)
        listener(Event(one["s1"], State.WAITING, detail="waiting for process 7"))
        listener(Event(one["s1"], State.FAILED, detail="it broke"))
    lines = stream.getvalue().splitlines()
    assert len(lines) == 5
    assert re.fullmatch(r"\[1/2\] s0: done \(\d+\.\d s, \d+ MB\)", lines[0])
    assert re.fullmatch(r"\[3/2\] s0: reused \(saved \d+\.\d s, \d+ MB\)", lines[2])
    assert lines[3:] == ["[3/2] s1: waiting for process 7", "[4/2] s1: it broke"]


def test_on_a_terminal_all_steps_stand_in_a_table(store: Store) -> None:
    one = chain(2)
    stream = Terminal()
    with show_progress(one, stream=stream) as listener:
        listener(Event(one["s0"], State.WAITING, detail="for [process] 7"))
        listener(Event(one["s0"], State.RUNNING))
        execute(one, store, progress=listener)
    text = stream.getvalue()
    for word in ("step", "stage", "peak memory", "s0", "s1", "export", "done", "MB"):
        assert word in text


def test_a_step_may_tell_how_far_it_is(store: Store) -> None:
    one = plan(step("s0", function="tell_progress", params={"rounds": 4}))
    told: list[Event] = []
    execute(one, store, progress=told.append)
    far = [event.far for event in told if event.far]
    assert [event.state for event in told if event.far] == [State.RUNNING] * len(far)
    assert far[-1] == StepProgress(4, 4, "loss 0.25", 0)

    halfway = Event(one["s0"], State.RUNNING, far=StepProgress(2, 4, "loss [0.50]", 65))
    lines, table = io.StringIO(), Terminal()
    for stream in (lines, table):
        with show_progress(one, stream=stream) as listener:
            listener(Event(one["s0"], State.RUNNING))
            listener(halfway)
            listener(halfway)
    assert lines.getvalue() == "[0/1] s0: 2 of 4, loss [0.50], 1:05 left\n"
    assert "━" in table.getvalue()


def test_a_note_that_means_nothing_is_none(tmp_path: Path) -> None:
    note = tmp_path / "note.json"
    assert read_note(note) is None
    for text in ("", "[]", "{}", '{"done": 1, "total": 2, "words": "", "seconds_left": Infinity}'):
        note.write_text(text)
        assert read_note(note) is None


def test_quiet_says_nothing(store: Store) -> None:
    stream = Terminal()
    with show_progress(chain(1), quiet=True, stream=stream) as listener:
        execute(chain(1), store, progress=listener)
    assert stream.getvalue() == ""


def test_the_terminal_library_is_imported_for_terminals_only() -> None:
    code = (
        "import sys; from edgecompile.execute.progress import show_progress; from execute.plans import chain\n"
        "with show_progress(chain(1)): print('rich' in sys.modules)"
    )
    assert finish(python(code))[0] == "False\n"
