"""What a person sees while something happens on a device."""

from __future__ import annotations

import io
import re

from edgecompile.device.remote_progress import show_lines


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def told(stream: io.StringIO, **how: bool) -> str:
    with show_lines(stream=stream, **how) as listener:
        for line in ("copying x.bundle.zip", "[measuring]"):
            listener(line)
    return stream.getvalue()


def test_a_line_each_where_there_is_no_terminal():
    assert told(io.StringIO()) == "copying x.bundle.zip\n[measuring]\n"


def test_a_terminal_shows_how_long_each_took():
    said = told(Terminal())
    assert re.search(r"copying x\.bundle\.zip, \d+\.\d s\n", said)
    assert re.search(r"\[measuring\], \d+\.\d s\n", said)  # a text, not the markup of rich


def test_quiet_is_quiet():
    assert told(io.StringIO(), quiet=True) == told(Terminal(), quiet=True) == ""
