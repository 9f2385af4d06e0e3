"""The program on one screen: a verb, its arguments, its exit code. Each verb imports what it needs, and only then.

Exit codes: 0 done, 2 recipe or command line, 3 plan, 4 missing tool, 5 step failed, 6 gate unmet, 7 bundle invalid,
130 interrupted. Problems go to stderr, a line each; results go to stdout.
"""

from __future__ import annotations

import errno
import os
import re
import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial

from edgecompile import environment  # noqa: F401 - first of all, see there
from edgecompile.arguments import WHERE, Parser
from edgecompile.errors import EdgecompileError, MissingToolError, RecipeError, StepError, nearest
from edgecompile.habits import HELP as WORDS_FOR_HELP
from edgecompile.habits import OPENS_BUNDLES, answer_unknown_verb, require_bundle
from edgecompile.text import tell
from edgecompile.verbs import find_verb, verb_names

HELP = """\
usage: edgecompile VERB [arguments]

{verbs}

  edgecompile VERB --help        what a verb takes
  edgecompile --version
  eval "$(edgecompile -sc install=bash)"    completion of verbs, recipes, groups and keys (zsh: the same; fish: =fish)

With no recipe, `build` and `plan` take the quickstart, which needs neither network nor files of yours.
Exit codes: 2 recipe or command line, 3 plan, 4 missing tool, 5 step failed, 6 gate unmet, 7 bundle invalid."""

COMPILER = ("hydra", "omegaconf", "antlr4", "pydantic", "yaml", "rich", "filelock", "rfc8785", "psutil", "jinja2")
BEYOND_RUNTIME = (*COMPILER, "edgecompile")
"""Packages that a device lacks; of edgecompile it has the runtime only."""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command line and returns its exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in words
    _complete_streams()
    os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")  # a damaged picture is our line to report, not OpenCV's
    try:
        with _compiler():
            return run([word for word in words if word != "--debug"], debug=debug)
    except EdgecompileError as error:
        return _tell([str(problem) for problem in error.problems], error.exit_code, debug)
    except SystemExit as leaving:  # argparse and Hydra leave this way when they have shown their help
        return leaving.code if isinstance(leaving.code, int) else int(leaving.code is not None)
    except KeyboardInterrupt:
        return _tell(["interrupted"], 130, debug=False)
    except BrokenPipeError:  # the reader of stdout went away, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except Exception as error:
        if _is_interrupt(error):
            return _tell(["interrupted"], 130, debug=False)
        if ours := _of_the_machine(error):
            return _tell([str(ours)], ours.exit_code, debug)
        if isinstance(error, OSError) and error.strerror:
            where = f": {error.filename}" if error.filename else ""
            return _tell([f"{error.strerror}{where}"], 5, debug)
        fix = "run it again with --debug for the traceback, and please report it"
        return _tell([f"unexpected {type(error).__name__}: {error}; {fix}"], 1, debug)


def run(words: Sequence[str], *, debug: bool = False) -> int:
    """Runs the verb among the words, before which flags may stand, and returns the exit code.

    Raises:
        EdgecompileError: for `main` to print.
    """
    words = list(words)
    verbs = verb_names()
    for index, word in enumerate(words):
        if word in verbs:
            behind = words[:index] + words[index + 1 :]
            if word in OPENS_BUNDLES:
                require_bundle(word, behind)
            parser = parser_of(word)
            arguments = parser.read(behind)
            arguments.debug, arguments.asked_verb = debug, word
            return find_verb(word).run(arguments)
        if word in WORDS_FOR_HELP:  # `help build` is `build --help`
            return run([*(other for other in words[index + 1 :] if other in verbs), WORDS_FOR_HELP[word]])
        if not word.startswith("-"):
            answer_unknown_verb(word, words[index + 1 :])
            raise RecipeError(f"unknown verb '{word}'", where=WHERE, fix=nearest(word, verbs))
        if word in ("-sc", "--shell-completion"):
            from edgecompile.compose import completion

            return completion.main(words[index + 1 :], {verb: partial(parser_of, verb) for verb in verbs})
    return _without_verb(words)


def parser_of(verb: str) -> Parser:
    """Returns the parser of a verb's arguments."""
    module = find_verb(verb)
    parser = Parser(prog=f"edgecompile {verb}", description=f"{module.ABOUT[0].upper()}{module.ABOUT[1:]}.")
    module.add_arguments(parser)
    return parser


def _without_verb(words: Sequence[str]) -> int:
    """Answers --version and --help."""
    if "--version" in words:
        from edgecompile import __version__

        print(f"edgecompile {__version__}")
        return 0
    strange = [word for word in words if word not in ("-h", "--help")]
    if strange:
        raise RecipeError(f"'{strange[0]}' without a verb", where=WHERE, fix="see `edgecompile --help`")
    print(HELP.format(verbs="\n".join(f"  {verb:9} {find_verb(verb).ABOUT}" for verb in verb_names())))
    return 0


def _complete_streams() -> None:
    """Opens the standard streams that the caller closed, so that no file takes their numbers; and makes stdout write
    bytes of names that are no text as escapes, where it would fail."""
    while (number := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(number, True)
    os.close(number)
    if sys.stdout is None:
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115 - for the whole life of the process
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115
    if getattr(sys.stdout, "errors", None) == "strict" and hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="backslashreplace")


@contextmanager
def _compiler() -> Iterator[None]:
    """Names the extra to install where a package of the compiler is missing: a device has none of them.

    Plugins of pydantic do not affect recipes, and looking for them among all installed packages takes time.
    """
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    try:
        yield
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in BEYOND_RUNTIME:
            raise
        raise MissingToolError(f"'{error.name}' is not installed", fix="pip install 'edgecompile[compiler]'") from error


def _is_interrupt(error: BaseException | None) -> bool:
    """Returns whether an interrupt caused an error: a library that calls back may raise one of its own for it."""
    while error is not None:
        if isinstance(error, KeyboardInterrupt):
            return True
        error = error.__cause__ or error.__context__
    return False


def _of_the_machine(error: Exception) -> EdgecompileError | None:
    """Returns what this machine lacks, where that is what went wrong: memory, disk, a home, a library of the system."""
    text = " ".join(str(error).split())
    if isinstance(error, MemoryError) or re.search(r"bad[_ ]alloc|[Ii]nsufficient memory", text):
        return StepError("out of memory", fix="free some, or raise the limit of this process")
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return StepError(
            "no space left on the disk", where=str(error.filename or ""), fix="free some, or write elsewhere"
        )
    if isinstance(error, OSError) and error.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
        fix = "run in a folder that you may write to, and set HOME and EDGECOMPILE_CACHE to such folders"
        return MissingToolError(f"{error.strerror or error}".lower(), where=str(error.filename or ""), fix=fix)
    if "home directory" in text or (isinstance(error, KeyError) and "uid" in text):
        return MissingToolError("this user has no home directory here", fix="set HOME")
    if isinstance(error, ImportError) and (library := re.search(r"lib[\w+.-]*\.so", text)):
        headless = "pip install opencv-python-headless in place of opencv-python"
        fix = headless if library[0].startswith("libGL") else "install that library"
        return MissingToolError(f"a library of the system is missing ({text})", fix=fix)
    return None


def _tell(problems: Sequence[str], exit_code: int, debug: bool) -> int:
    if debug:
        traceback.print_exc()
    for problem in problems:
        tell(f"edgecompile: {' '.join(problem.split())}", file=sys.stderr)
    return exit_code
