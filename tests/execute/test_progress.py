from __future__ import annotations

import io
import re

from edgecompile.execute.progress import Event, State, show_progress
from edgecompile.execute.runner import execute
from edgecompile.execute.store import Store
from execute.plans import chain, finish, python


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
