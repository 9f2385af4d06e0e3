"""Progress of work on a device: on a terminal a line that changes, elsewhere a line for each step."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

from edgecompile.device.connection import Listener
from edgecompile.text import escape, tell


@contextmanager
def show_lines(*, quiet: bool = False, stream: TextIO | None = None) -> Iterator[Listener]:
    """Yields a listener that shows lines of progress.

    Args:
        quiet: whether to show nothing.
        stream: where to; None for standard error.
    """
    stream = stream or sys.stderr
    if quiet:
        yield lambda line: None
    elif stream.isatty():
        with _moving(stream) as listener:
            yield listener
    else:
        yield lambda line: tell(line, file=stream)


@contextmanager
def _moving(stream: TextIO) -> Iterator[Listener]:
    """Shows the present line with a spinner, and earlier lines with the time they took."""
    from rich.console import Console
    from rich.text import Text

    console = Console(file=stream, highlight=False)
    present, since = "", time.monotonic()

    def finish() -> None:
        if present:
            console.print(Text(escape(f"{present}, {time.monotonic() - since:.1f} s")))

    with console.status("") as status:

        def listen(line: str) -> None:
            nonlocal present, since
            finish()
            present, since = line, time.monotonic()
            status.update(Text(escape(line)))

        yield listen
        finish()
