"""Runs command lines of the program in processes of their own that find its packages imported already.

Importing the compiler takes more than a second, and tests run hundreds of command lines. So each process of pytest has
a server that imports it once and forks. What a fresh process imports, tests/test_cli.py asks of real ones; commands of
the documentation, devices, interrupts and hostile files have real ones too. A build has the share of the machine that
tests/own_machine.py gives.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from functools import cache
from importlib import import_module
from pathlib import Path

import own_machine

from edgecompile.cli import main

IMPORTED = (
    "edgecompile.build",
    "edgecompile.compose.application",
    "edgecompile.device.remote_progress",
    "edgecompile.execute.progress",
    "edgecompile.local_plan",
    "edgecompile.recipe_lock",
    "edgecompile.sweep.report_files",
)
"""What `build` and `plan` import. Nothing here starts a thread."""


def edgecompile(folder: Path, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Runs a command line in a folder and returns how it ended.

    Args:
        environment: variables beside those of this process.
    """
    with tempfile.TemporaryDirectory() as place:
        out, err = Path(place, "out"), Path(place, "err")
        job = {
            "words": words,
            "folder": str(folder),
            "environment": {**os.environ, **own_machine.settings(), **environment},
        }
        server = _server()
        assert server.stdin is not None
        assert server.stdout is not None
        server.stdin.write(json.dumps({**job, "out": str(out), "err": str(err)}) + "\n")
        server.stdin.flush()
        code = int(server.stdout.readline())
        return subprocess.CompletedProcess(["edgecompile", *words], code, out.read_text(), err.read_text())


@cache
def _server() -> subprocess.Popen[str]:
    """Starts the server of this process; it ends when its standard input closes."""
    return subprocess.Popen(
        [sys.executable, __file__],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])},
        preexec_fn=own_machine.keep_to,
    )


def _serve() -> None:
    """Forks for each job, and answers with the exit code of the child."""
    del sys.path[0]  # the folder of this file: no step is to find the modules of tests
    for name in IMPORTED:
        import_module(name)
    answers = os.fdopen(os.dup(1), "w")
    while line := sys.stdin.readline():  # an iterator would read ahead, and each child closes what it inherits
        if (child := os.fork()) == 0:
            answers.close()
            raise SystemExit(_run(json.loads(line)))
        _, status = os.waitpid(child, 0)
        answers.write(f"{os.waitstatus_to_exitcode(status)}\n")
        answers.flush()


def _run(job: dict) -> int:
    flags = os.O_WRONLY | os.O_CREAT
    for descriptor, path, how in ((0, os.devnull, os.O_RDONLY), (1, job["out"], flags), (2, job["err"], flags)):
        opened = os.open(path, how)
        os.dup2(opened, descriptor)
        os.close(opened)
    os.environ.clear()
    os.environ.update(job["environment"])
    os.chdir(job["folder"])
    sys.argv = ["edgecompile", *job["words"]]
    return main(job["words"])


if __name__ == "__main__":
    _serve()
