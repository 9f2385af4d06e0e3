"""The command line of `build` and `plan`: recipe files, Hydra's flags anywhere, our flags, and overrides.

Reads words; opens nothing and imports no Hydra.
"""

from __future__ import annotations

import argparse
import os
import re
import shlex
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields
from itertools import pairwise
from pathlib import Path

from edgecompile.arguments import WHERE, Parser
from edgecompile.errors import RecipeError, nearest, nearest_few
from edgecompile.habits import taken
from edgecompile.places import conf_folder, shown
from edgecompile.recipe.folders import LOCK_SUFFIX
from edgecompile.text import tell

SWITCHES = ("--multirun", "--run", "--resolve", "--hydra-help")
CFG = ("job", "hydra", "all")
INFO = ("all", "config", "defaults", "defaults-tree", "plugins", "searchpath")
REFUSED = {
    ("--config-name", "-cn"): "a recipe is chosen by its path, or by recipe=NAME",
    ("--config-path", "-cp"): "further config groups are added by --config-dir",
    ("--experimental-rerun",): "it would load a pickle",
}
NO_NAME = re.compile(r"null|~|true|false|[-+]?[\d.]+", re.IGNORECASE)
"""What Hydra reads as something else than a name."""
WORDS = "RECIPE.yaml | recipe=NAME | key=value"
NOTES = """\
words:
  RECIPE.yaml       a recipe of yours; it may extend a shipped recipe: `defaults: [x86-cpu_openvino_int8]`
  recipe=NAME       a recipe, shipped or in ./recipes; see `edgecompile list recipes`
  target=NAME       another target, model, data, gates: any config group; see `edgecompile list targets`
  key=value         any key of the recipe: model.weights=my.pt passes.simplify=null gates.accuracy_drop=0.01
With no recipe, the quickstart is taken, which needs neither network nor files of yours."""


@dataclass(frozen=True)
class Options:
    """Our own flags. Plain data: it travels to the processes of a parallel sweep.

    `point` is no flag: it says that the job belongs to a sweep.
    """

    debug: bool = False
    quiet: bool = False
    json: bool = False
    mermaid: bool = False
    jobs: int | None = None
    locked: bool = False
    measure_again: bool = False
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
        """The folders of the recipe files, each once; first the folder around those whose name leads to several."""
        folders = [file.parent for file in self.files]
        return list(dict.fromkeys([self._around, *folders] if self._namesakes else folders))

    @property
    def _namesakes(self) -> list[Path]:
        """The recipe files whose name another of their folders holds too."""
        folders = {file.parent for file in self.files}
        known = [{*folder.glob("*.y*ml")} for folder in folders]
        return [file for file in self.files if sum(any(one.stem == file.stem for one in names) for names in known) > 1]

    @property
    def _around(self) -> Path:
        """The folder around the files whose name leads to several."""
        return Path(os.path.commonpath([file.parent for file in self._namesakes]))

    def choice(self, file: Path) -> str:
        """Returns what stands for a recipe file behind `recipe=`: its name, and folders where that leads to several."""
        if file not in self._namesakes:
            return file.stem
        return file.relative_to(self._around).with_suffix("").as_posix()

    def for_hydra(self) -> list[str]:
        """Returns the words that Hydra gets: its flags first, then the recipe, then the overrides."""
        words = [quoted(self.choice(file)) for file in self.files]
        chosen = [f"recipe={','.join(words)}"] if words else []
        groups = config_groups(self.flags)
        return [*self.flags, *chosen, *(rewritten(word, groups) for word in self.overrides)]


class _Refused(argparse.Action):
    """A flag of Hydra that is refused."""

    def __call__(self, parser: object, namespace: object, values: object, option_string: str | None = None) -> None:
        reason = next(why for names, why in REFUSED.items() if option_string in names)
        raise RecipeError(f"{self.option_strings[0]} is not taken: {reason}", where=WHERE)


def add_recipe_arguments(parser: Parser, *, multirun: bool = True) -> None:
    """Adds what every verb takes that composes a recipe: its words, --quiet, and Hydra's flags.

    Args:
        multirun: whether the verb takes a sweep.
    """
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = NOTES
    parser.prepare = with_info
    parser.composes = True
    parser.add_argument("words", nargs="*", metavar=WORDS, help="what to compose; see below")
    parser.add_argument("--quiet", action="store_true", help="no progress")
    hydra = parser.add_argument_group("flags of Hydra")
    sweep = "each combination: -m recipe=a,b   -m 'recipe=glob(x86*)'   -m model.imgsz=320,640"
    hydra.add_argument("--multirun", "-m", action="store_true", help=sweep if multirun else argparse.SUPPRESS)
    hydra.add_argument("--cfg", "-c", choices=CFG, help="print the composed recipe, with --resolve as it is resolved")
    hydra.add_argument("--resolve", action="store_true", help=argparse.SUPPRESS)
    hydra.add_argument("--info", "-i", choices=INFO, help="print how it was composed (without a value: all)")
    hydra.add_argument("--package", "-p", help="the part of the recipe that --cfg prints")
    hydra.add_argument("--config-dir", "-cd", metavar="DIR", help="a folder of further config groups")
    hydra.add_argument("--run", "-r", action="store_true", help=argparse.SUPPRESS)
    hydra.add_argument("--hydra-help", action="store_true", help="Hydra's own help")
    for names in REFUSED:
        hydra.add_argument(*names, nargs="?", action=_Refused, help=argparse.SUPPRESS)


def read_line(arguments: argparse.Namespace, names: Callable[[], Sequence[str]] = list) -> Line:
    """Returns the sorted command line of parsed arguments.

    Args:
        names: returns the names of all recipes, for bare words.

    Raises:
        RecipeError: a recipe that is not there, more than one recipe without --multirun, no such folder.
    """
    line = Line(flags=_hydra_flags(arguments))
    _require_quoted(arguments.words)
    words, notes = taken(getattr(arguments, "asked_verb", "build"), arguments.words, names, _choices)
    for word in words:
        _take_positional(line, word, names)
    for note in [*notes, *_twice(line.overrides)]:
        tell(f"edgecompile: note: {note}", file=sys.stderr)
    known = vars(arguments)
    line.options = Options(**{option.name: known[option.name] for option in fields(Options) if option.name in known})
    _check_recipes(line)
    return line


def _choices(group: str) -> list[str]:
    """Returns the names of the choices of a config group."""
    return [path.stem for path in (conf_folder() / group).glob("*.yaml")]


def _require_quoted(words: Sequence[str]) -> None:
    """Raises:
    RecipeError: a path with a space was split into two words by the shell.
    """
    for first, second in pairwise(words):
        key, equals, value = first.partition("=")
        whole = f"{value if equals else first} {second}"
        if "=" not in second and os.path.lexists(whole) and not os.path.lexists(second):
            fix = f"quote it: {shlex.quote(f'{key}={whole}' if equals else whole)}"
            raise RecipeError(f"the shell made two words of '{whole}'", where=WHERE, fix=fix)


def _twice(overrides: Sequence[str]) -> list[str]:
    """Returns a note for each key that is given twice, as where the shell made two words of `name={a,b}`."""
    given: dict[str, str] = {}
    notes = []
    for word in overrides:
        key, equals, value = word.partition("=")
        if equals and given.get(key, value) != value:
            notes.append(f"{key} is given twice, and the last counts: {value}")
        given[key] = value
    return notes


def _hydra_flags(arguments: argparse.Namespace) -> list[str]:
    """Returns Hydra's flags, each as one word."""
    folder = arguments.config_dir
    if folder is not None and not os.path.isdir(folder):
        raise RecipeError(f"folder '{folder}' not found", where=f"{WHERE}:--config-dir")
    given = [flag for flag in SWITCHES if getattr(arguments, flag.removeprefix("--").replace("-", "_"))]
    for flag, value in (("--cfg", arguments.cfg), ("--info", arguments.info), ("--package", arguments.package)):
        given += [f"{flag}={value}"] if value else []
    return [*given, *([f"--config-dir={folder}"] if folder else [])]


def with_info(words: Sequence[str]) -> list[str]:
    """Returns the words with each bare `--info` as `--info=all`: its value may be left out, and a word may follow."""
    joined: list[str] = []
    for word in words:
        if joined and joined[-1] == "--info=all" and word in INFO:
            joined[-1] = f"--info={word}"
        else:
            joined.append("--info=all" if word in ("--info", "-i") else word)
    return joined


def _take_positional(line: Line, word: str, names: Callable[[], Sequence[str]]) -> None:
    """Sorts a word without a dash: a recipe file, a recipe's name, or an override."""
    key, equals, value = word.partition("=")
    if word.endswith(LOCK_SUFFIX) and key in ("recipe", word):
        fix = "`edgecompile reproduce` builds what a lock says"
        raise RecipeError(f"'{word}' is a lock; expected a recipe", where=WHERE, fix=fix)
    if _is_file(word):
        line.files.append(Path(os.path.abspath(word)))
    elif equals and key == "recipe" and _is_file(value):
        line.files.append(Path(os.path.abspath(value)))
    elif not key.strip("+~"):
        raise RecipeError(f"'{word}' names no key; expected key=value", where=WHERE)
    elif equals or word.startswith(("~", "+")):
        line.overrides.append(word)
    elif word.endswith((".yaml", ".yml")) or os.sep in word:
        raise RecipeError(_no_recipe(word), where=WHERE, fix=_beside(word))
    elif word in names():
        line.overrides.append(f"recipe={quoted(word)}")
    else:
        fix = nearest(word, names())
        if re.fullmatch(r"[a-z_]+(\.\w+)+", word):
            fix = f"a value is missing: {word}=VALUE"
        elif fix.startswith("valid"):
            fix = nearest_few(word, names())
        raise RecipeError(f"'{word}' is neither a recipe nor an override (key=value)", where=WHERE, fix=fix)


def _is_file(word: str) -> bool:
    return word.endswith((".yaml", ".yml")) and os.path.isfile(word)


def _no_recipe(word: str) -> str:
    return f"'{word}' is a folder; expected a recipe file" if os.path.isdir(word) else f"recipe file '{word}' not found"


def _beside(word: str) -> str:
    """Returns the recipe file whose name is nearest to that of a missing file."""
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
        raise RecipeError(f"both '{line.files[0].name}' and '{chosen[0]}' choose a recipe", where=WHERE)
    if len(line.files) > 1 and not line.multirun:
        listed = ", ".join(file.name for file in line.files)
        raise RecipeError(f"more than one recipe: {listed}", where=WHERE, fix="add -m to build each")
    for file in line.files:
        if line.files.count(file) > 1:
            raise RecipeError(f"'{shown(file)}' stands twice", where=WHERE, fix="once is enough")
        twin = file.with_suffix(".yaml" if file.suffix == ".yml" else ".yml")
        if twin.is_file():
            raise RecipeError(f"'{file.name}' and '{twin.name}' stand side by side", where=WHERE, fix="keep one")


def config_groups(flags: Sequence[str] = ()) -> set[str]:
    """Returns the names of the config groups: the shipped groups and those of --config-dir."""
    extra = [Path(flag.partition("=")[2]) for flag in flags if flag.startswith("--config-dir=")]
    folders = [conf_folder(), *(folder for folder in extra if folder.is_dir())]
    return {"recipe", *(child.name for folder in folders for child in folder.iterdir() if child.is_dir())}


def rewritten(word: str, groups: set[str]) -> str:
    """Returns a plain `key=value` as `++key=value`, unless it chooses from a group or configures Hydra.

    So any key can be set, whether or not a file sets it already, and the strict models, instead of Hydra, report a key
    that does not exist, with the nearest name.

    Raises:
        RecipeError: what is chosen from a group is no name.
    """
    key, equals, value = word.partition("=")
    group = key.partition("@")[0].partition("/")[0]
    chooses = group in groups and not value.lstrip().startswith("{")
    if chooses and "." not in key and NO_NAME.fullmatch(value.strip()):
        message = f"found {value}, expected the name of a choice"
        fix = f"{key}.NAME=null takes one key away" if value == "null" else ""
        raise RecipeError(message, where=f"{WHERE}:{key}", fix=fix)
    if not equals or key.startswith(("+", "~", "hydra.", "hydra/")) or chooses:
        return word
    return f"++{word}"


def quoted(name: str) -> str:
    """Returns a name as Hydra's override grammar reads it."""
    if re.fullmatch(r"[A-Za-z][\w./-]*", name, re.ASCII) and name.lower() not in (
        "null",
        "true",
        "false",
        "inf",
        "nan",
    ):
        return name
    return "'" + re.sub(r"(\\+)(?=$|')", r"\1\1", name).replace("'", "\\'") + "'"
