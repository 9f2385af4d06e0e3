"""Starts a process that takes its job on standard input and answers on a descriptor. Standard library only."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO


def start(
    words: Sequence[str],
    job: bytes,
    *,
    output: int | IO[bytes],
    errors: IO[bytes] | None = None,
    folder: Path | None = None,
    environment: Mapping[str, str] | None = None,
    kept: Sequence[int] = (),
) -> tuple[subprocess.Popen[bytes], int]:
    """Starts Python with some arguments, to which the number of the descriptor is appended.

    The process leads a session of its own, so that it can be ended together with all that it starts. Its standard input
    stays open behind the job: its end shows the child that its starter has ended.

    Args:
        job: one line, without its end.
        output, errors: of the process, as for `subprocess.Popen`.
        kept: further descriptors that it inherits.

    Returns:
        the process, and the descriptor from which its answer is read.
    """
    answer, written = os.pipe()
    try:
        process = subprocess.Popen(
            [sys.executable, *words, str(written)],
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=errors,
            cwd=folder,
            env=environment,
            pass_fds=[written, *kept],
            start_new_session=True,
        )
    except BaseException:
        os.close(answer)
        raise
    finally:
        os.close(written)
    assert process.stdin is not None
    with suppress(BrokenPipeError):  # it has ended already: who reads the answer sees that
        process.stdin.write(job + b"\n")
        process.stdin.flush()
    return process, answer
