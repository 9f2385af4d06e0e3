"""The Hydra application behind `build` and `plan`: runs each job, keeps its outcome, and returns the worst at the end.

Hydra's own `main` is kept whole: overrides, --cfg, --info, -m with any launcher and sweeper, completion. In addition, a
job never raises (that would abort the other jobs of a sweep) but leaves `status.json`, and every error is one line and
an exit code.
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import sys
import tempfile
import traceback
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import DictConfig

from edgecompile import environment  # noqa: F401 - first of all, see there
from edgecompile.compose import search_space, shell_words
from edgecompile.compose.command_line import Line, Options, read_line
from edgecompile.compose.compose_cache import composed_once
from edgecompile.compose.composition import given_overrides, recipe_of, set_up
from edgecompile.compose.device_sweep import names_devices
from edgecompile.compose.hydra_errors import explained
from edgecompile.compose.sweep_points import Sweep, all_at_once, count
from edgecompile.errors import EdgecompileError, StepError
from edgecompile.places import conf_folder, shown
from edgecompile.recipe import folders
from edgecompile.recipe.locate import PRIMARY
from edgecompile.recipe.schema import Recipe
from edgecompile.run_dir import PROGRESS, STATUS, JobStatus, remove_earlier_results, write_json
from edgecompile.sweep import objectives, submitit_jobs
from edgecompile.sweep.watch import Watch
from edgecompile.text import tell

Work = Callable[[Recipe, Path, Options], "Path | None"]
After = Callable[[Path], None]
Whole = Callable[[Sweep, Options], int]

ONE_BY_ONE = "the devices are taken one after another; hydra/launcher=joblib takes them side by side"

set_up()  # also in the processes of a parallel sweep, which import this module to run a job


def main(
    arguments: argparse.Namespace, work: Work, *, writes: bool, after: After | None = None, whole: Whole | None = None
) -> int:
    """Runs the parsed command line of a verb that composes recipes; see `run`."""
    with explained():
        line = read_line(arguments, folders.recipe_names)
        if arguments.hydra_help:
            ask_hydra(["--hydra-help"])
            return 0
    return run(line, work, writes=writes, after=after, whole=whole)


def run(line: Line, work: Work, *, writes: bool, after: After | None = None, whole: Whole | None = None) -> int:
    """Runs the command line's jobs, each as `work(recipe, run_dir, options)`, and returns the worst exit code.

    Args:
        line: the sorted command line.
        work: what to do with a recipe; a function of a module, since a parallel sweep pickles it.
        writes: whether jobs leave a run directory. Without it, Hydra's are made elsewhere and removed.
        after: what to do with the folder of a sweep when all its jobs have ended, well or not.
        whole: what to do with a sweep instead of running its jobs: called with all its points, returns an exit code.

    Raises:
        EdgecompileError: where a single job fails, or no job begins.
    """
    set_up(line.own_folders)
    _quieten()
    Summary.runs, Summary.quiet, Summary.watch = whole is None, line.options.quiet, None
    job = Job(work, line.options)
    codes: list[int] = []
    interrupted = False
    with tempfile.TemporaryDirectory(prefix="edgecompile-") as scratch, explained():
        words = shell_words.as_meant(line.for_hydra())
        if not writes:
            words += [f"hydra.run.dir='{scratch}'", f"hydra.sweep.dir='{scratch}'"]
        try:
            if whole is None:
                _hydra_main(job, words)
            else:
                with all_at_once(lambda sweep: codes.append(whole(sweep, line.options))):
                    _hydra_main(job, words)
        except KeyboardInterrupt:
            interrupted = True
            submitit_jobs.end_all()
        finally:
            submitit_jobs.forget()
            if Summary.watch:
                Summary.watch.stop()
    if job.failure is not None:
        raise job.failure
    if Summary.watch:
        codes.append(_concluded(Summary.watch, after))
    if interrupted:
        raise KeyboardInterrupt
    return max(codes, default=0)


def _concluded(watch: Watch, after: After | None) -> int:
    """Sums up a sweep that has ended, well or not, and returns the worst exit code of its points."""
    if not watch.ended:
        return 0
    if not watch.quiet:
        tell(f"edgecompile: {watch.summary()}", file=sys.stderr)
    elif watch.failed:
        tell(f"edgecompile: {watch.failed} of {len(watch.ended)} points failed", file=sys.stderr)
    objectives.drop_losers(Summary.searched, watch.folder)
    if after:
        after(Path(shown(watch.folder)))
    return watch.exit_code


def ask_hydra(words: Sequence[str], own_folders: Sequence[Path] = ()) -> None:
    """Hands a line to Hydra that runs no job: about completion, or about itself.

    Args:
        own_folders: of recipe files that the line names.
    """
    set_up(own_folders)
    _quieten()
    _hydra_main(Job(lambda *_: None, Options()), list(words))


def _hydra_main(job: Job, words: list[str]) -> None:
    """Hands over to Hydra, which reads the words from sys.argv and raises what goes wrong."""
    argv, full = sys.argv, os.environ.get("HYDRA_FULL_ERROR")
    sys.argv = ["edgecompile", *words]
    os.environ["HYDRA_FULL_ERROR"] = "1"
    try:
        with composed_once():
            hydra.main(version_base="1.3", config_path=str(conf_folder()), config_name=PRIMARY)(job)()
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
        its exit code. No error leaves it. The path of a bundle goes to stdout; for a point of a sweep, its watch prints
        it, for the job may run where nobody sees what it prints."""
        settings = HydraConfig.get()
        run_dir = Path(settings.runtime.output_dir)
        sweeping = settings.mode is RunMode.MULTIRUN
        options = replace(self.options, point=sweeping)
        typed = [override for override in given_overrides() if not override.lstrip("+~").startswith("hydra")]
        status: JobStatus = {"exit_code": 0, "overrides": typed}
        remove_earlier_results(run_dir)
        if sweeping:
            status["job"] = settings.job.num
            (run_dir / STATUS).unlink(missing_ok=True)
            write_json(run_dir / PROGRESS, {"overrides": typed})
        try:
            recipe, notes = recipe_of(config)
            status["name"] = recipe.name
            for note in notes:
                tell(f"edgecompile: warning: {note}", file=sys.stderr)
            bundle = status["bundle"] = _text(self.work(recipe, run_dir, options))
            if bundle and not sweeping:
                tell(bundle)
        except KeyboardInterrupt:
            _remove_empty(run_dir)
            raise
        except Exception as error:
            if not sweeping:
                self.failure = error
                _remove_empty(run_dir)
                return 1.0
            failure = _as_ours(error, self.options.debug)
            status["exit_code"] = failure.exit_code
            status["problems"] = [str(problem) for problem in failure.problems]
        if sweeping:
            _end(run_dir, status)
            if names := search_space.objectives_of(config):
                return objectives.returned(names, run_dir, built=status["exit_code"] == 0)
        return float(status["exit_code"])


class Summary(Callback):
    """Watches a sweep from its beginning, in the process that began it: jobs may run in other processes."""

    runs: bool = False
    quiet: bool = False
    watch: Watch | None = None
    searched: Sequence[str] = ()

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        search_space.prepare(config)
        Summary.searched = search_space.objectives_of(config)
        # Some sweepers resolve the config of a point before its job runs, and it names the recipe by way of Hydra's.
        HydraConfig.instance().set_config(copy.deepcopy(config))
        if not Summary.runs:
            return
        if config.hydra.runtime.choices["hydra/launcher"] in submitit_jobs.LAUNCHERS:
            submitit_jobs.keep_track()
        elif config.hydra.runtime.choices["hydra/launcher"] == "basic" and names_devices(config):
            tell(f"edgecompile: {ONE_BY_ONE}", file=sys.stderr)
        folder = Path(os.path.abspath(config.hydra.sweep.dir))
        Summary.watch = Watch(folder, count(config), Summary.quiet, searches=search_space.searches(config))
        Summary.watch.start()


def _as_ours(error: Exception, debug: bool) -> EdgecompileError:
    """Returns what went wrong in one job of a sweep as an error with an exit code. The sweep reports its lines."""
    if debug:
        traceback.print_exception(error)
    return error if isinstance(error, EdgecompileError) else StepError(f"{type(error).__name__}: {error}")


def _end(run_dir: Path, status: JobStatus) -> None:
    """Writes the status of a job that has ended, with the steps that it noted while it ran."""
    progress = json.loads((run_dir / PROGRESS).read_text(encoding="utf-8"))
    status["steps"] = {key: progress[key] for key in ("total", "run", "reused", "saved_s") if key in progress}
    write_json(run_dir / STATUS, status)
    (run_dir / PROGRESS).unlink(missing_ok=True)


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
        tell(f"edgecompile: warning: {' '.join(str(message).split())}", file=sys.stderr)

    warnings.showwarning = show
