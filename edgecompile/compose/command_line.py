"""The command line of `build` and `plan`: recipe files, Hydra's flags anywhere, our flags, and overrides.

Reads words; opens nothing and imports no Hydra.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from edgecompile.errors import RecipeError, nearest
from edgecompile.places import conf_folder
from edgecompile.recipe.folders import LOCK_SUFFIX

SWITCHES = {
    "--multirun": "-m",
    "--run": "-r",
    "--resolve": "",
    "--shell-completion": "-sc",
    "--hydra-help": "",
}
VALUED = {"--cfg": "-c", "--package": "-p", "--config-dir": "-cd"}
CFG = ("job", "hydra", "all")
INFO = ("all", "config", "defaults", "defaults-tree", "plugins", "searchpath")
REFUSED = {
    "--config-name": "a recipe is chosen by its path, or by recipe=NAME",
    "--config-path": "further config groups are added by --config-dir",
    "--experimental-rerun": "it would load a pickle",
}
OURS = {
    "build": ("--debug", "--quiet", "--jobs", "--locked", "--step-timeout", "--step-memory"),
    "lock": ("--debug", "--quiet", "--out"),
    "plan": ("--debug", "--quiet", "--json", "--mermaid"),
}
SHORT = {short: long for long, short in {**SWITCHES, **VALUED, "--info": "-i", "--config-name": "-cn"}.items() if short}
SHORT["-cp"] = "--config-path"


@dataclass(frozen=True)
class Options:
    """Our own flags. Plain data: it travels to the processes of a parallel sweep.

    `point` is no flag: it says that the job is one of a sweep.
    """

    debug: bool = False
    quiet: bool = False
    json: bool = False
    mermaid: bool = False
    jobs: int | None = None
    locked: bool = False
    out: str | None = None
    step_timeout: str | None = None
    step_memory: str | None = None
    point: bool = False


@dataclass
class Line:
    """A command line, sorted.

    Attributes:
        flags: Hydra's, each as one word ("--cfg=job"), in the order given.
        overrides: "key=value" and so on, as given, without the recipe files.
        files: recipe files, absolute.
        options: our own flags.
    """

    flags: list[str] = field(default_factory=list)
    overrides: list[str] = field(default_factory=list)
    files: list[Path] = field(default_factory=list)
    options: Options = field(default_factory=Options)

    @property
    def multirun(self) -> bool:
        return "--multirun" in self.flags

    @property
    def own_folders(self) -> list[Path]:
        """The folders of the recipe files, each once."""
        return list(dict.fromkeys(file.parent for file in self.files))

    def for_hydra(self) -> list[str]:
        """Returns the words that Hydra gets: its flags first, then the recipe, then the overrides."""
        words = [quoted(file.stem) for file in self.files]
        chosen = [f"recipe={','.join(words)}"] if words else []
        groups = config_groups(self.flags)
        return [*self.flags, *chosen, *(rewritten(word, groups) for word in self.overrides)]


def parse(verb: str, words: Sequence[str], names: Callable[[], Sequence[str]] = list) -> Line:
    """Returns the sorted command line of `verb`.

    Args:
        words: what stands behind the verb.
        names: returns the names of all recipes, for bare words.

    Raises:
        RecipeError: for an unknown flag, a recipe that is not there, more than one recipe without --multirun.
    """
    line = Line()
    ours: dict[str, bool | int | str] = {}
    rest = iter(join_info(words))
    for word in rest:
        flag, _, value = word.partition("=")
        flag = SHORT.get(flag, flag)
        name = flag.removeprefix("--").replace("-", "_")
        if not flag.startswith("-"):
            _take_positional(line, word, names)
        elif flag in OURS[verb]:
            ours[name] = OF_VALUE[flag](flag, value or next(rest, "")) if flag in OF_VALUE else True
        else:
            line.flags += _hydra_flag(verb, flag, value, rest)
    line.options = Options(**ours)
    _check_recipes(line)
    if verb == "lock" and line.multirun:
        raise RecipeError("--multirun makes many recipes of one, and a lock is of one", where="command line")
    return line


def _hydra_flag(verb: str, flag: str, value: str, rest: Iterator[str]) -> list[str]:
    """Returns a flag of Hydra's as one word."""
    if flag in SWITCHES:
        return [flag]
    if flag in VALUED:
        value = value or next(rest, "")
        if not value:
            raise RecipeError(f"{flag} needs a value", where="command line")
        if flag == "--config-dir" and not os.path.isdir(value):
            raise RecipeError(f"folder '{value}' not found", where=f"command line:{flag}")
        return [_one_of(CFG, flag, value) if flag == "--cfg" else f"{flag}={value}"]
    if flag == "--info":
        return [_one_of(INFO, flag, value or "all")]
    if flag in REFUSED:
        raise RecipeError(f"{flag} is not taken: {REFUSED[flag]}", where="command line")
    known = [*SWITCHES, *VALUED, "--info", "--help", *OURS[verb]]
    raise RecipeError(f"unknown flag '{flag}'", where="command line", fix=nearest(flag, known))


def _one_of(choices: Sequence[str], flag: str, value: str) -> str:
    if value not in choices:
        raise RecipeError(f"found '{value}'", where=f"command line:{flag}", fix=nearest(value, choices))
    return f"{flag}={value}"


def join_info(words: Sequence[str]) -> list[str]:
    """Returns the words with "--info defaults" as one word: its value may be left out, so it cannot be told later."""
    joined: list[str] = []
    for word in words:
        if joined and joined[-1] in ("--info", "-i") and word in INFO:
            joined[-1] = f"--info={word}"
        else:
            joined.append(word)
    return joined


def _count(flag: str, value: str) -> int:
    if not value.isdigit() or int(value) < 1:
        raise RecipeError(f"found '{value}', expected a whole number of at least 1", where=f"command line:{flag}")
    return int(value)


def _text(flag: str, value: str) -> str:
    if not value:
        raise RecipeError(f"{flag} needs a value", where="command line")
    return value


OF_VALUE: dict[str, Callable[[str, str], int | str]] = {
    "--jobs": _count,
    "--out": _text,
    "--step-timeout": _text,
    "--step-memory": _text,
}
"""Our flags that take a value, each with what reads it."""


def _take_positional(line: Line, word: str, names: Callable[[], Sequence[str]]) -> None:
    """Sorts a word without a dash: a recipe file, a recipe's name, or an override."""
    key, equals, value = word.partition("=")
    if word.endswith(LOCK_SUFFIX) and key in ("recipe", word):
        fix = "`edgecompile reproduce` builds what a lock says"
        raise RecipeError(f"'{word}' is a lock; expected a recipe", where="command line", fix=fix)
    if _is_file(word):
        line.files.append(Path(os.path.abspath(word)))
    elif equals and key == "recipe" and _is_file(value):
        line.files.append(Path(os.path.abspath(value)))
    elif equals or word.startswith(("~", "+")):
        line.overrides.append(word)
    elif word.endswith((".yaml", ".yml")) or os.sep in word:
        raise RecipeError(_no_recipe(word), where="command line", fix=_beside(word))
    elif word in names():
        line.overrides.append(f"recipe={quoted(word)}")
    else:
        raise RecipeError(
            f"'{word}' is neither a recipe nor an override (key=value)",
            where="command line",
            fix=nearest(word, names()),
        )


def _is_file(word: str) -> bool:
    return word.endswith((".yaml", ".yml")) and os.path.isfile(word)


def _no_recipe(word: str) -> str:
    return f"'{word}' is a folder; expected a recipe file" if os.path.isdir(word) else f"recipe file '{word}' not found"


def _beside(word: str) -> str:
    """Returns the recipe file nearest to one that is not there."""
    folder = os.path.dirname(word)
    try:
        files = [name for name in os.listdir(folder or ".") if name.endswith((".yaml", ".yml"))]
    except OSError:
        return f"there is no folder '{folder}'"
    close = nearest(os.path.basename(word), files)
    return close if close.startswith("did you mean") else ""


def _check_recipes(line: Line) -> None:
    chosen = [word for word in line.overrides if word.startswith("recipe=")]
    if line.files and chosen:
        raise RecipeError(f"both '{line.files[0].name}' and '{chosen[0]}' choose a recipe", where="command line")
    if len(line.files) > 1 and not line.multirun:
        listed = ", ".join(file.name for file in line.files)
        raise RecipeError(f"more than one recipe: {listed}", where="command line", fix="add -m to build each")
    stems = [file.stem for file in line.files]
    for file in line.files:
        if stems.count(file.stem) > 1:
            raise RecipeError(f"two recipes are named '{file.stem}'", where="command line", fix="rename one of them")
        twin = file.with_suffix(".yaml" if file.suffix == ".yml" else ".yml")
        if twin.is_file():
            raise RecipeError(
                f"'{file.name}' and '{twin.name}' stand side by side", where="command line", fix="keep one"
            )


def config_groups(flags: Sequence[str] = ()) -> set[str]:
    """Returns the names of the config groups: the shipped ones and those of --config-dir."""
    extra = [Path(flag.partition("=")[2]) for flag in flags if flag.startswith("--config-dir=")]
    folders = [conf_folder(), *(folder for folder in extra if folder.is_dir())]
    return {"recipe", *(one.name for folder in folders for one in folder.iterdir() if one.is_dir())}


def rewritten(word: str, groups: set[str]) -> str:
    """Returns a plain `key=value` as `++key=value`, unless it chooses from a group or configures Hydra.

    So any key can be set, whether or not a file sets it already, and a key that does not exist is told by the strict
    models, with the nearest name, instead of by Hydra.
    """
    key, equals, value = word.partition("=")
    group = key.partition("@")[0].partition("/")[0]
    chooses = group in groups and not value.lstrip().startswith("{")
    if not equals or key.startswith(("+", "~", "hydra.", "hydra/")) or chooses:
        return word
    return f"++{word}"


def quoted(name: str) -> str:
    """Returns a name as Hydra's override grammar reads it."""
    if re.fullmatch(r"[A-Za-z][\w.-]*", name, re.ASCII) and name.lower() not in ("null", "true", "false", "inf", "nan"):
        return name
    return "'" + re.sub(r"(\\+)(?=$|')", r"\1\1", name).replace("'", "\\'") + "'"
