"""The program on one screen: verb → compose → plan → execute → print. Each verb imports what it needs, and only then.

Exit codes: 0 done, 2 recipe or command line, 3 plan, 4 missing tool, 5 step failed, 6 gate unmet, 7 bundle invalid,
130 interrupted. What a person is told goes to stderr, one line for each problem; results go to stdout.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgecompile.errors import EdgecompileError, MissingToolError, RecipeError, nearest

if TYPE_CHECKING:
    from edgecompile.compose.command_line import Options
    from edgecompile.compose.sweep_points import Sweep
    from edgecompile.recipe.schema import Recipe

VERBS = {
    "build": "compose, plan, run, publish; the bundle's path is the last line of stdout",
    "plan": "the staged graph: each step, its stage, hit or miss and why; runs nothing",
    "lock": "write what a recipe resolves to beside it, for `build --locked` and `reproduce`; runs nothing",
    "report": "tell the points of a sweep apart: table, Pareto front, failures, what to ship",
    "finalize": "on the device: build the model there, verify it, judge what needs the device",
    "predict": "run a bundle on pictures",
    "verify": "check a bundle: digests, golden vectors, the runtime it needs",
    "bench": "measure a bundle on this machine",
    "inspect": "say what a bundle holds",
    "deploy": "copy a bundle and the runtime to a device by ssh, verify and measure it there",
    "reproduce": "build a bundle again from its lock, and say whether the same came out",
    "diff": "say what differs between two bundles, locks or run directories",
    "doctor": "say which packages a recipe needs and which are missing",
    "list": "list recipes, passes, targets or data",
    "cache": "ls, verify or gc the store of results",
    "schema": "write the JSON schema of a recipe, for editors",
    "fetch": "download a published checkpoint or data set by name",
}

MODULES = {
    "cache": "edgecompile.verbs.cache",
    "report": "edgecompile.sweep.report_files",
    "reproduce": "edgecompile.reproduction",
    "diff": "edgecompile.verbs.diff",
}
"""Verbs of the compiler that take no recipe, each with the module whose `main` takes the words behind it."""

HELP = """\
usage: edgecompile VERB [arguments]

{verbs}

  edgecompile VERB --help        what a verb takes
  edgecompile --version
  eval "$(edgecompile -sc install=bash)"    completion of verbs, recipes, groups and keys (zsh: the same; fish: =fish)

With no recipe, `build` and `plan` take the quickstart, which needs neither network nor files of yours.
Exit codes: 2 recipe or command line, 3 plan, 4 missing tool, 5 step failed, 6 gate unmet, 7 bundle invalid."""

COMPILE_HELP = """\
usage: edgecompile {verb} [RECIPE.yaml | recipe=NAME] [key=value ...] [flags]

{about}

  RECIPE.yaml            a recipe of yours; it may extend a shipped one: `defaults: [x86-cpu_openvino_int8]`
  recipe=NAME            a shipped recipe, or one in ./recipes; see `edgecompile list recipes`
  target=NAME            another target, model, data, gates: any config group; see `edgecompile list targets`
  key=value              any key of the recipe: model.weights=my.pt passes.simplify=null gates.map_drop=0.01
{flags}
  --quiet                no progress
  --debug                tracebacks

Hydra's flags stand anywhere on the line:
  --cfg job [--resolve]  print the composed recipe
  --info [defaults-tree] how it was composed
  --config-dir DIR       further config groups
  --hydra-help           all of Hydra's"""

MULTIRUN = (
    "  -m, --multirun         each combination: -m recipe=a,b   -m 'recipe=glob(x86*)'   -m model.imgsz=320,640\n"
)
FLAGS = {
    "build": f"{MULTIRUN}  --jobs N               at most N steps side by side\n"
    "  --locked               fail where anything differs from the lock beside the recipe; see `lock`\n"
    "  --step-timeout SECONDS end a step that takes longer, or none (default: by its stage and pictures)\n"
    "  --step-memory SIZE     fail a step that allocates more, as 8G, or none (default: 3/4 of the machine's memory)",
    "lock": "  --out FILE             where to write (default: RECIPE.lock.yaml beside the recipe)",
    "plan": f"{MULTIRUN}  --json                 the plan as JSON\n"
    "  --mermaid              the graph as a Mermaid drawing",
}
COMPILER = ("hydra", "omegaconf", "antlr4", "pydantic", "yaml", "rich", "filelock", "rfc8785", "psutil", "jinja2")
BEYOND_RUNTIME = (*COMPILER, "edgecompile")
"""Packages that a device lacks; of this one it has the runtime only."""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command line and returns its exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    _complete_streams()
    try:
        return _run(words)
    except EdgecompileError as error:
        return _tell([str(problem) for problem in error.problems], error.exit_code, "--debug" in words)
    except SystemExit as leaving:  # argparse and Hydra leave this way when they have shown their help
        return leaving.code if isinstance(leaving.code, int) else int(leaving.code is not None)
    except KeyboardInterrupt:
        return _tell(["interrupted"], 130, debug=False)
    except BrokenPipeError:  # the reader of stdout went away, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except Exception as error:
        if isinstance(error, OSError) and error.strerror:
            where = f": {error.filename}" if error.filename else ""
            return _tell([f"{error.strerror}{where}"], 5, "--debug" in words)
        fix = "run it again with --debug for the traceback, and please report it"
        return _tell([f"unexpected {type(error).__name__}: {error}; {fix}"], 1, "--debug" in words)


def _complete_streams() -> None:
    """Opens what the caller closed of the standard streams, lest a file of ours takes their numbers; and has stdout
    write what a name holds that is no text, rather than fail at it."""
    while (number := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(number, True)
    os.close(number)
    if sys.stdout is None:
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115 - for the whole life of the process
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115
    if getattr(sys.stdout, "errors", None) == "strict" and hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="backslashreplace")


def _run(words: list[str]) -> int:
    verb, rest = _verb(words)
    if verb in FLAGS:
        return _compile(verb, rest)
    if verb in ("finalize", "predict", "verify", "bench", "inspect"):
        if any(word == "--on" or word.startswith("--on=") for word in rest):
            return _on_device(verb, rest)
        from edgecompile.runtime import commands

        return commands.main(verb, rest)
    if verb == "deploy":
        return _on_device(verb, rest)
    if verb in MODULES:
        with _compiler():
            return import_module(MODULES[verb]).main([word for word in rest if word != "--debug"])
    if verb == "doctor":
        from edgecompile.verbs import doctor

        return doctor.main([word for word in rest if word != "--debug"])
    if verb in VERBS:
        with _compiler():
            from edgecompile.recipe import commands as recipes

            return recipes.main(verb, [word for word in rest if word != "--debug"])
    return _without_verb(rest)


def _verb(words: list[str]) -> tuple[str, list[str]]:
    """Returns the verb, which flags may stand before, and the other words; "" where there is none.

    Raises:
        RecipeError: for a first word that is no verb.
    """
    for index, word in enumerate(words):
        if word in VERBS:
            return word, words[:index] + words[index + 1 :]
        if not word.startswith("-"):
            raise RecipeError(f"unknown verb '{word}'", where="command line", fix=nearest(word, VERBS))
        if word in ("-sc", "--shell-completion"):
            break
    return "", words


def _without_verb(words: list[str]) -> int:
    """Answers --version, --help and the shell that completes a line."""
    if "--version" in words:
        from edgecompile import __version__

        print(f"edgecompile {__version__}")
        return 0
    if "-sc" in words or "--shell-completion" in words:
        with _compiler():
            from edgecompile.compose import completion

            return completion.main(words[1:], VERBS)
    strange = [word for word in words if word not in ("-h", "--help", "--debug")]
    if strange:
        raise RecipeError(f"'{strange[0]}' without a verb", where="command line", fix="see `edgecompile --help`")
    print(HELP.format(verbs="\n".join(f"  {verb:9} {about}" for verb, about in VERBS.items())))
    return 0


def _compile(verb: str, words: list[str]) -> int:
    """Runs `build`, `plan` or `lock`, which are Hydra applications."""
    if "--help" in words or "-h" in words:
        print(COMPILE_HELP.format(verb=verb, about=VERBS[verb].capitalize(), flags=FLAGS[verb]))
        return 0
    with _compiler():
        from edgecompile.compose import application
    if verb == "plan":
        return application.main(verb, words, plan, writes=False, whole=plan_sweep)
    if verb == "lock":
        return application.main(verb, words, lock, writes=False)
    return application.main(verb, words, build, writes=True, after=tell_sweep)


def build(recipe: Recipe, run_dir: Path, options: Options) -> Path:
    """Builds one recipe and returns the bundle's path."""
    from edgecompile.build import run_build, summarize
    from edgecompile.execute import limits
    from edgecompile.execute.progress import noted, shown
    from edgecompile.recipe_lock import lock_beside

    limits.adjust(options.step_timeout, options.step_memory)
    held = lock_beside(recipe) if options.locked else None
    if options.point:  # of a sweep, which shows progress from the notes of its points, and their figures at its end
        progress, tell = partial(noted, folder=run_dir), _say_nothing
    else:
        progress, tell = partial(shown, quiet=options.quiet), summarize
    return run_build(
        recipe, run_dir=run_dir, jobs=options.jobs, quiet=options.quiet, lock=held, progress=progress, tell=tell
    )


def _say_nothing(report: Mapping[str, Any], run_dir: Path) -> None:
    """Leaves the figures of a build to whoever reads its report."""


def lock(recipe: Recipe, run_dir: Path, options: Options) -> None:
    """Writes the lock of one recipe and prints its path."""
    from edgecompile.build import resolved
    from edgecompile.recipe_lock import lock_path, write_lock

    path = Path(options.out) if options.out else lock_path(recipe)
    write_lock(resolved(recipe), path)
    print(path, flush=True)


def tell_sweep(folder: Path) -> None:
    """Writes the report of a sweep that has ended into its folder, and prints it."""
    from edgecompile.sweep.report_files import report

    report(folder, stream=sys.stderr)


def plan_sweep(sweep: Sweep, options: Options) -> int:
    """Prints what a sweep would run, and returns the worst exit code of its points."""
    from edgecompile.sweep.sweep_plan import show_sweep_plan

    return show_sweep_plan(sweep, as_json=options.json, mermaid=options.mermaid)


def plan(recipe: Recipe, run_dir: Path, options: Options) -> None:
    """Prints the plan of one recipe."""
    from edgecompile.local_plan import show_plan

    show_plan(recipe, as_json=options.json, mermaid=options.mermaid)


def _on_device(verb: str, words: list[str]) -> int:
    """Runs a verb on a device that is reached by ssh."""
    if verb in ("predict", "inspect"):
        raise RecipeError(f"{verb} takes no --on", where="command line", fix="use deploy, verify, bench or finalize")
    with _compiler():
        from edgecompile.device import commands

        return commands.main(verb, words)


@contextmanager
def _compiler() -> Iterator[None]:
    """Names the extra to install where a package of the compiler is missing: a device has none of them.

    Plugins of pydantic have no say in recipes; to look for some among all installed packages takes its time.
    """
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    try:
        yield
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in BEYOND_RUNTIME:
            raise
        raise MissingToolError(f"'{error.name}' is not installed", fix="pip install 'edgecompile[compiler]'") from error


def _tell(problems: Sequence[str], exit_code: int, debug: bool) -> int:
    if debug:
        traceback.print_exc()
    for problem in problems:
        print(f"edgecompile: {' '.join(problem.split())}", file=sys.stderr)
    return exit_code
