"""The Hydra application behind `build` and `plan`: runs each job, keeps its outcome, and tells the worst at the end.

Hydra's own `main` is kept whole: overrides, --cfg, --info, -m with any launcher and sweeper, completion. What is added
is that a job never raises (that would abort the other jobs of a sweep) but leaves `status.json`, and that whatever goes
wrong is one line and an exit code.
"""

from __future__ import annotations

import copy
import json
import os
import sys
import tempfile
import traceback
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import DictConfig

from edgecompile.errors import EdgecompileError, StepError
from edgecompile.recipe import folders, objectives
from edgecompile.recipe.arguments import Line, Options, parse
from edgecompile.recipe.compose import CONFIG, given_overrides, recipe_of, set_up
from edgecompile.recipe.hydra_errors import explained
from edgecompile.recipe.places import conf_folder
from edgecompile.recipe.schema import Recipe

STATUS = "status.json"
Work = Callable[[Recipe, Path, Options], "Path | None"]
After = Callable[[Path], None]

set_up()  # also in the processes of a parallel sweep, which import this module to run a job


def main(verb: str, words: Sequence[str], work: Work, *, writes: bool, after: After | None = None) -> int:
    """Runs the command line of `build` or `plan`; see `run`."""
    with explained():
        line = parse(verb, words, folders.recipe_names)
    return run(line, work, writes=writes, after=after)


def run(line: Line, work: Work, *, writes: bool, after: After | None = None) -> int:
    """Runs the command line's jobs, each as `work(recipe, run_dir, options)`, and returns the worst exit code.

    Args:
        line: the sorted command line.
        work: what to do with a recipe; a function of a module, since a parallel sweep pickles it.
        writes: whether jobs leave a run directory. Without it, Hydra's are made elsewhere and removed.
        after: what to do with the folder of a sweep when all its jobs have ended, well or not.

    Raises:
        EdgecompileError: where a single job fails, or no job begins.
    """
    set_up(line.own_folders)
    _quieten()
    Summary.exit_code = Summary.folder = None
    job = Job(work, line.options)
    with tempfile.TemporaryDirectory(prefix="edgecompile-") as scratch, explained():
        words = line.for_hydra()
        if not writes:
            words += [f"hydra.run.dir='{scratch}'", f"hydra.sweep.dir='{scratch}'"]
        _hydra_main(job, words)
    if job.failure is not None:
        raise job.failure
    if after and Summary.folder:
        after(Summary.folder)
    return Summary.exit_code or 0


def ask_hydra(words: Sequence[str]) -> None:
    """Hands a line to Hydra that runs no job: about completion, or about itself."""
    set_up(folders.own_folders)
    _quieten()
    _hydra_main(Job(lambda *_: None, Options()), list(words))


def _hydra_main(job: Job, words: list[str]) -> None:
    """Hands over to Hydra, which reads the words from sys.argv and raises what goes wrong."""
    argv, full = sys.argv, os.environ.get("HYDRA_FULL_ERROR")
    sys.argv = ["edgecompile", *words]
    os.environ["HYDRA_FULL_ERROR"] = "1"
    try:
        hydra.main(version_base="1.3", config_path=str(conf_folder()), config_name=CONFIG)(job)()
    finally:
        sys.argv = argv
        os.environ.pop("HYDRA_FULL_ERROR")
        if full is not None:
            os.environ["HYDRA_FULL_ERROR"] = full


@dataclass
class Job:
    """What Hydra calls with each composed config. A plain object, so that launchers can send it to other processes."""

    work: Work
    options: Options
    failure: Exception | None = field(default=None, compare=False)

    def __call__(self, config: DictConfig) -> float | list[float]:
        """Runs one job and returns what sweepers take: the figures of its objectives where the recipe names some, else
        its exit code. No error leaves it."""
        settings = HydraConfig.get()
        run_dir = Path(settings.runtime.output_dir)
        sweeping = settings.mode is RunMode.MULTIRUN
        typed = [one for one in given_overrides() if not one.startswith("hydra")]
        status: dict[str, Any] = {"exit_code": 0, "overrides": typed}
        try:
            recipe, notes = recipe_of(config)
            status["name"] = recipe.name
            for note in notes:
                print(f"edgecompile: warning: {note}", file=sys.stderr)
            status["bundle"] = _text(self.work(recipe, run_dir, self.options))
        except KeyboardInterrupt:
            _remove_empty(run_dir)
            raise
        except Exception as error:
            if not sweeping:
                self.failure = error
                _remove_empty(run_dir)
                return 1.0
            failure = _told(error, f"job {settings.job.num}", self.options.debug)
            status |= {"exit_code": failure.exit_code, "problems": [str(problem) for problem in failure.problems]}
        if sweeping:
            text = json.dumps(status, indent=2, ensure_ascii=False) + "\n"
            (run_dir / STATUS).write_text(text, encoding="utf-8")
            if names := objectives.named(config):
                return objectives.returned(names, run_dir, built=status["exit_code"] == 0)
        return float(status["exit_code"])


class Summary(Callback):
    """Reads the status of every job when a sweep ends: jobs may have run in other processes."""

    exit_code: int | None = None
    folder: Path | None = None

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        objectives.prepare(config)
        # Some sweepers resolve the config of a point before its job runs, and it names the recipe by way of Hydra's.
        HydraConfig.instance().set_config(copy.deepcopy(config))

    def on_multirun_end(self, config: DictConfig, **_: Any) -> None:
        folder = Path(config.hydra.sweep.dir)
        statuses = [json.loads(file.read_text()) for file in sorted(folder.glob(f"*/{STATUS}"))]
        Summary.folder = folder if statuses else None
        failed = [status for status in statuses if status["exit_code"]]
        Summary.exit_code = max((status["exit_code"] for status in statuses), default=0)
        if failed:
            print(f"edgecompile: {len(failed)} of {len(statuses)} jobs failed", file=sys.stderr)


def _told(error: Exception, job: str, debug: bool) -> EdgecompileError:
    """Tells the person what went wrong in one job of a sweep, and returns it as an error with an exit code."""
    failure = error if isinstance(error, EdgecompileError) else StepError(f"{type(error).__name__}: {error}")
    for problem in failure.problems:
        print(f"edgecompile: {job}: {problem}", file=sys.stderr)
    if debug:
        traceback.print_exception(error)
    return failure


def _remove_empty(run_dir: Path) -> None:
    """Removes the folders that Hydra made for a run that left nothing in them."""
    for folder in (run_dir, run_dir.parent, run_dir.parent.parent):
        try:
            folder.rmdir()
        except OSError:
            return


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path)


def _quieten() -> None:
    """Makes warnings one line each: Hydra's span several and show its source."""

    def show(message: Warning | str, *_: Any, **__: Any) -> None:
        print(f"edgecompile: warning: {' '.join(str(message).split())}", file=sys.stderr)

    warnings.showwarning = show
