"""Shell completion: verbs, flags, recipe files; groups and keys as Hydra completes them, and as the types state them.

`edgecompile -sc install=bash` prints Hydra's script, which calls `edgecompile -sc query=bash` with the line so far in
COMP_LINE. Nothing may be printed but candidates; after any error there are none.
"""

from __future__ import annotations

import contextlib
import io
import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException

from edgecompile.arguments import Parser
from edgecompile.compose.command_line import config_groups, quoted, rewritten
from edgecompile.compose.key_completion import Chosen, typed_candidates
from edgecompile.errors import EdgecompileError
from edgecompile.recipe import folders
from edgecompile.recipe.kinds import kind_of
from edgecompile.text import escape

WITH_CHOICES = ("--cfg", "-c", "--info", "-i")
"""Flags of Hydra's whose values are known."""


def main(words: Sequence[str], parser_of: Mapping[str, Callable[[], Parser]]) -> int:
    """Installs (install=bash) or answers (query=bash). Returns the exit code.

    Args:
        parser_of: each verb to what makes the parser of its arguments.
    """
    command = next((word for word in words if "=" in word), "")
    if not command.startswith("query="):
        sys.stdout.write(_ask_hydra(list(words)))
        return 0
    shell = command.partition("=")[2]
    with contextlib.suppress(Exception):
        completions = candidates(os.environ.get("COMP_LINE", ""), parser_of, shell)
        print(("\n" if shell == "fish" else " ").join(word for word in completions if word == escape(word)))
    return 0


def candidates(line: str, parser_of: Mapping[str, Callable[[], Parser]], shell: str = "bash") -> list[str]:
    """Returns what the last word of a command line may become, sorted."""
    words = line.split()[1:]
    last = "" if not line or line[-1].isspace() else words.pop() if words else ""
    if not words:
        return _starting(last, [*parser_of, "--help", "--version"])
    verb, given = words[0], words[1:]
    if verb not in parser_of:
        return []
    parser = parser_of[verb]()
    if verb == "doctor" and not last.startswith("-"):
        return _starting(last, [*_files(last), *(f"recipe={name}" for name in folders.recipe_names())])
    completions = _from_parser(parser, given, last)
    if not parser.composes or last.startswith("-") or (given and given[-1] in WITH_CHOICES):
        return completions
    files = [] if "=" in last else _files(last)
    head, tail = _split_list(last)
    offered = {*_from_hydra(given, tail, shell), *typed_candidates(tail, _chosen(given))}
    if not head:
        return sorted({*files, *offered})
    key, taken = tail.partition("=")[0], {*head.partition("=")[2].split(",")}
    values = (word.removeprefix(f"{key}=") for word in offered)
    return sorted(f"{head}{value}" for value in values if value not in taken)


def _split_list(word: str) -> tuple[str, str]:
    """Splits a list of values behind its last comma: into the beginning, which stays, and key and value to complete."""
    key, equals, value = word.partition("=")
    before, comma, last = value.rpartition(",")
    return (f"{key}={before},", f"{key}={last}") if equals and comma and "[" not in value else ("", word)


def _chosen(given: Sequence[str]) -> Chosen:
    """Returns target and passes of the recipe that the given words compose; nothing where they compose no recipe."""
    from edgecompile.compose.composition import compose

    words = [word for word in given if "=" in word or word.startswith(("~", "+")) or word.endswith(folders.SUFFIXES)]
    try:
        recipe = compose(*words)
    except (EdgecompileError, HydraException, OmegaConfBaseException):
        return Chosen()
    return Chosen(recipe.target.kind, {name: kind_of(chosen) for name, chosen in recipe.passes.items()})


def _from_parser(parser: Parser, given: Sequence[str], last: str) -> list[str]:
    """Returns what argcomplete finds: flags, choices and verbs of verbs; of files the shell knows more."""
    from argcomplete import CompletionFinder
    from argcomplete.completers import SuppressCompleter

    finder = CompletionFinder(parser, always_complete_options="long", default_completer=SuppressCompleter())
    words = finder._get_completions([parser.prog, *given], last, "", None)
    return sorted({word.rstrip() for word in words if word.startswith("-") <= last.startswith("-")})


def _from_hydra(given: Sequence[str], last: str, shell: str) -> list[str]:
    """Returns Hydra's candidates. Hydra gets the line as `build` would pass it, the word to complete as it stands."""
    own = [Path(word).absolute() for word in given if word.endswith(folders.SUFFIXES) and os.path.isfile(word)]
    overrides = [word for word in given if "=" in word or word.startswith(("~", "+"))]
    line = [f"recipe={quoted(file.stem)}" for file in own]
    line += [rewritten(word, config_groups()) for word in overrides]
    if any(word in ("-m", "--multirun") for word in given):
        line.insert(0, "--multirun")
    os.environ["COMP_LINE"] = " ".join(["edgecompile", *line, last])
    answers = _ask_hydra([f"query={shell}"], [file.parent for file in own]).split()
    return [word for word in answers if word.count("=") < 2 or not word.endswith("=")]  # places in a list, as "key=0="


def _ask_hydra(words: list[str], own_folders: Sequence[Path] = ()) -> str:
    """Returns what Hydra prints when asked about completion."""
    from edgecompile.compose.application import ask_hydra

    with contextlib.redirect_stdout(io.StringIO()) as printed, contextlib.redirect_stderr(io.StringIO()):
        ask_hydra(["--shell-completion", *words], own_folders)
    return printed.getvalue()


def _files(word: str) -> list[str]:
    """Returns the recipe files and folders that a word may become."""
    folder, _, _ = word.rpartition("/")
    names = []
    with contextlib.suppress(OSError):
        for path in sorted(Path(folder or ".").iterdir()):
            name = f"{folder}/{path.name}" if folder else path.name
            if path.is_dir() and not path.name.startswith("."):
                names.append(f"{name}/")
            elif folders.is_recipe(path):
                names.append(name)
    return [name for name in names if name.startswith(word)]


def _starting(word: str, choices: Iterable[str]) -> list[str]:
    return sorted(choice for choice in choices if choice.startswith(word))
