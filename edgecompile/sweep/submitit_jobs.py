"""Jobs that submitit submits end with the sweep that submitted them.

Submitit lets them live on. But Ctrl-C ends a sweep, whatever launches its points: finished work is kept, the rest ends,
and the same command goes on where it stopped.
"""

from __future__ import annotations

import signal
import subprocess
from contextlib import suppress
from typing import Any

LAUNCHERS = ("submitit_local", "submitit_slurm")

_submitted: list[Any] = []


def keep_track() -> None:
    """Notes from now on what submitit submits. Needs submitit, and is called by the main thread."""
    import submitit

    submit = submitit.AutoExecutor.map_array

    def noted(executor: submitit.AutoExecutor, *arguments: Any) -> list[submitit.Job[Any]]:
        # Jobs on this machine inherit that they are deaf to Ctrl-C: they would answer it with tracebacks.
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)
        try:
            jobs = submit(executor, *arguments)
        finally:
            signal.signal(signal.SIGINT, before)
        _submitted.extend(jobs)
        return jobs

    if submit.__name__ != noted.__name__:
        submitit.AutoExecutor.map_array = noted


def forget() -> None:
    """Forgets what was noted: jobs of submitit clean up when they go, which fails at the end of the program."""
    _submitted.clear()


def end_all() -> None:
    """Ends all jobs that were noted: of Slurm by `scancel`, processes of this machine with all that they started."""
    import psutil

    slurm = {job.job_id.partition("_")[0] for job in _submitted if type(job).__name__ == "SlurmJob"}
    local = {job.job_id for job in _submitted if type(job).__name__ == "LocalJob"}
    for process in psutil.Process().children():  # the number of a process that has ended may be another's by now
        if str(process.pid) in local:
            with suppress(psutil.Error):
                for member in (process, *process.children(recursive=True)):
                    with suppress(psutil.Error):
                        member.kill()
    if slurm:
        with suppress(OSError):
            subprocess.run(["scancel", *sorted(slurm)], check=False)
