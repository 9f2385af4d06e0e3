"""Turns what Hydra and OmegaConf raise into one line for people, with the nearest valid name."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path

import yaml
from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf.errors import InterpolationResolutionError, OmegaConfBaseException

from edgecompile.compose import searchpath, shell_words
from edgecompile.compose.hydra_plugins import choices, missing_plugin, no_slurm
from edgecompile.errors import EdgecompileError, MissingToolError, Problem, RecipeError, nearest, nearest_few
from edgecompile.places import conf_folder, recipes_folder, shown
from edgecompile.recipe import folders
from edgecompile.recipe.locate import COMMAND_LINE, line_of_text, lists_of
from edgecompile.yaml_text import line_of

TYPING_ERROR = 0.85
"""Likeness of two names above which one is the other, mistyped."""
HYDRA_INTERNAL_ERRORS = (ValueError, TypeError, AttributeError, AssertionError, KeyError)
"""What Hydra raises for input that it does not expect."""
MAPPINGS = ("model", "data", "target", "passes", "gates", "evaluate")
"""Sections of a recipe; so are the parts of `data` and each of `passes`."""
SEVERAL = re.compile(r"Ambiguous value for argument '(?P<key>[^=']+)=(?P<value>.*)'")
SWEEP = re.compile(r"Sweep parameters '(?P<key>[^=']+)=.*' requires --multirun")
CONTAINED = re.compile(r"In '?(?P<config>[^':]+)'?: (?P<rest>.*)", re.DOTALL)
TWICE = re.compile(
    r"(?:Multiple values for )?(?P<group>\S+?)(?: appears more than once in the final defaults|\. To override a)"
)
DELETE = re.compile(r"Could not delete (?:from config\. )?'(?P<key>[^'=]+)")


@contextmanager
def explained() -> Iterator[None]:
    """Raises RecipeError, with one line, for whatever Hydra raises inside; MissingToolError for a plugin to install."""
    try:
        yield
    except EdgecompileError:
        raise
    except RecursionError as error:
        first = next((file for file in searchpath.loaded if not _shipped(file)), Path("recipe"))
        where = f"{shown(first)}:{line_of(first, ['defaults']) or 1}:defaults"
        raise RecipeError("the recipe extends itself", where=where, fix="rename it, or extend another") from error
    except RuntimeError as error:
        if '"srun"' not in str(error):
            raise
        raise no_slurm() from error
    except OSError as error:
        if not isinstance(error, HydraException):
            raise
        raise _plugin(error) or RecipeError(problem_of(error)) from error
    except (HydraException, OmegaConfBaseException, yaml.YAMLError, *HYDRA_INTERNAL_ERRORS) as error:
        if ours := _ours(error):
            raise ours from None
        raise _plugin(error) or RecipeError(problem_of(error)) from error


def _ours(error: BaseException | None) -> EdgecompileError | None:
    """Returns what a resolver of ours raised, which OmegaConf and Hydra wrap; None where there is no such error."""
    while error is not None and not isinstance(error, EdgecompileError):
        error = error.__cause__ or error.__context__
    return error


def _plugin(error: BaseException) -> MissingToolError | None:
    """Returns the error for a launcher or sweeper that an extra brings; None where something else is wrong."""
    choice = getattr(error, "missing_cfg_file", None) or ""
    return missing_plugin(choice, _chosen_in(*choice.rpartition("/")[::2]))


def problem_of(error: BaseException) -> Problem:
    """Returns the problem that an error means for a person."""
    if isinstance(error, MissingConfigException):
        return _missing(error)
    if isinstance(error, OverrideParseException):
        return shell_words.unreadable(error.override, searchpath.where_given(_key(error.override)))
    cause = error.__cause__ if isinstance(error.__cause__, OmegaConfBaseException) else error
    text = str(cause) or str(error)
    if "set_int_max_str_digits" in text:  # Python's advice is for programmers
        return Problem("a number of too many digits", COMMAND_LINE)
    several = SEVERAL.search(text) or SWEEP.search(text)
    if several:
        key = _key(several.group("key"))
        return Problem(
            f"'{key}' has several values", searchpath.where_given(key), "add -m to build each, or write a list: [a,b]"
        )
    deleted = DELETE.search(text)
    if deleted:
        return Problem("nothing to delete", f"{COMMAND_LINE}:~{_key(deleted.group('key'))}", first_line(text))
    if "with ListConfig" in text and (listed := _list_for_mapping()):
        return listed
    contained = CONTAINED.match(text)
    if contained:
        file = file_of(contained.group("config"))
        return Problem(first_line(contained.group("rest")), shown(file) if file else contained.group("config"))
    full_key = str(getattr(cause, "full_key", None) or "")
    if full_key.startswith("hydra.") and isinstance(cause, InterpolationResolutionError) and (named := _named_in()):
        return Problem(first_line(text), named)
    own = next((file for file in reversed(searchpath.loaded) if _own(file)), None)
    if twice := TWICE.match(first_line(text)):
        return _chosen_twice(twice.group("group"), shown(own) if own else COMMAND_LINE)
    return Problem(first_line(text) or type(error).__name__, full_key or (shown(own) if own else COMMAND_LINE))


def _chosen_twice(group: str, where: str) -> Problem:
    """Returns the problem of a choice that two recipes make, one of which extends the other or a third."""
    group = group.partition("@")[0]
    fix = f"write '- override /{group}: NAME', in a recipe that stands behind the other one in `defaults`"
    return Problem(f"'{group}' is chosen twice", where, fix)


def _named_in() -> str:
    """Returns the line of a recipe that makes its name of other keys; Hydra names its folders after it."""
    lines = ((file, line_of(file, ["name"])) for file in reversed(searchpath.loaded) if not _shipped(file))
    return next((f"{shown(file)}:{line}:name" for file, line in lines if line), "")


def _list_for_mapping() -> Problem | None:
    """Returns the problem of a list that stands where the recipe has a mapping, which OmegaConf does not place."""
    for file in reversed(searchpath.loaded):
        for keys, line in () if _shipped(file) else lists_of(file):
            if (len(keys) == 1 and keys[0] in MAPPINGS) or (len(keys) == 2 and keys[0] in ("data", "passes")):
                return Problem(
                    "found a list, expected a mapping (key: value)", f"{shown(file)}:{line}:{'.'.join(keys)}"
                )
    return None


def _missing(error: MissingConfigException) -> Problem:
    """Returns the problem of a choice that does not exist: where it was made, and the nearest that exists."""
    group, _, choice = (error.missing_cfg_file or "").rpartition("/")
    where = _chosen_in(group, choice)
    if group in ("", f"{searchpath.GROUP}/{searchpath.GROUP}"):  # "/NAME" or "recipe/NAME" in a defaults list
        if choice in folders.recipe_names():
            return Problem(f"found a path to the recipe '{choice}', expected its name", where, f"write '- {choice}'")
        group = searchpath.GROUP
    known = folders.recipe_names() if group == searchpath.GROUP else [name for name, _ in folders.options(group)]
    known += choices(group)
    if group == searchpath.GROUP and not get_close_matches(choice, known, cutoff=TYPING_ERROR):
        listed = f"{nearest_few(choice, known)}; all {len(known)}: edgecompile list recipes"
        return Problem(f"unknown recipe '{choice}'", where, listed)
    kind = group if group in ("recipe", "target", "pass") else f"choice of '{group}'"
    return Problem(f"unknown {kind} '{choice}'", where, nearest(choice, known))


def _chosen_in(group: str, choice: str) -> str:
    """Returns the line of the recipe whose defaults list makes a choice, or the command line."""
    for file in reversed(searchpath.loaded):
        line = line_of_text(file, choice) if not _shipped(file) else 0
        if line:
            return f"{shown(file)}:{line}:defaults"
    return searchpath.where_given(group)


def file_of(config_path: str) -> Path | None:
    """Returns the file of a config such as "recipe/quickstart", where it was read."""
    name = config_path.rpartition("/")[2]
    return next((file for file in searchpath.loaded if file.stem == name), None)


def _shipped(file: Path) -> bool:
    """Returns whether a file belongs to the shipped config groups, which are not at fault."""
    return file.is_relative_to(conf_folder())


def _own(file: Path) -> bool:
    """Returns whether a file was not shipped."""
    return not (_shipped(file) or file.is_relative_to(recipes_folder()))


def _key(override: str) -> str:
    return override.partition("=")[0].lstrip("+~")


def first_line(text: str) -> str:
    """Returns the first line of a message that says something, without what Hydra adds to it."""
    if shell_words.PARSER_TALK.search(text):
        return (
            "a value cannot be read: quotes, brackets or ${...} have no end, or what has spaces or signs is not quoted"
        )
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    kept = [line for line in lines if not re.match(r"(full_key|object_type|reference_type|See https?:)", line)]
    return re.sub(r"'\+\+", "'", " ".join(kept[:2]))[:300]
