"""What a recipe may ask of Hydra: the lists of what is allowed. Knows no Hydra; everything else is refused.

Hydra takes orders from the config that it composes: environment variables, log files, classes to call, folders to
write to. A recipe is data, so of all that it may set only how its own keys are swept, as docs/sweeps.md has it. What a
person types on the command line is theirs.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from edgecompile.errors import nearest
from edgecompile.recipe.key_names import ROOTS, unknown_part
from edgecompile.recipe.locate import PARAMETERS

MODES = ("RUN", "MULTIRUN")
HYDRA_KEYS = ("hydra.mode", *(f"hydra.sweeper.{name}" for name in PARAMETERS), "hydra.sweeper.n_trials")
MOST_TRIALS = 100_000
HYDRA_CHOICES = {
    "hydra/launcher": ("basic", "joblib", "submitit_local", "submitit_slurm", "ray"),
    "hydra/sweeper": ("basic", "list", "filter", "optuna"),
}
"""Config groups of Hydra from which a recipe may choose, and what. Others may cost money, as machines of a cloud do."""
KEYWORDS = ("optional", "override")
RELATIVE = ("_global_", "_here_", "_group_")
"""Packages of Hydra that name no key."""
LONGEST_VALUE = 8 << 10
"""Characters of the values of one swept key; Hydra's grammar takes seconds for more."""
MOST_BRACKETS = 8
"""Depth of brackets in the values of one swept key."""

ON_THE_COMMAND_LINE = f"a recipe may set {', '.join(HYDRA_KEYS)}; give the rest on the command line"
_GROUP = re.compile(r"[A-Za-z_][\w-]*(/[A-Za-z_][\w-]*)*(@[A-Za-z_][\w.-]*)?", re.ASCII)
_DOTTED = re.compile(r"[A-Za-z_][\w-]*(\.[\w-]+|\[\d+\])*", re.ASCII)
_SIGNED = re.compile(r"(\+\+|\+|~)?(?P<name>.*)", re.DOTALL)
_WHOLE = re.compile(r"[1-9][0-9_]*")


class Fault(NamedTuple):
    """Why something is refused, and what to write instead."""

    message: str
    fix: str = ""


def hydra_key_fault(path: tuple[str, ...]) -> Fault | None:
    """Returns why a recipe may not have a key below `hydra`; None where it may.

    Args:
        path: such as ("hydra", "sweeper", "params", "++model.imgsz").
    """
    if len(path) == 4 and path[:2] == ("hydra", "sweeper") and path[2] in PARAMETERS:
        return swept_key_fault(path[3])
    allowed = [tuple(key.split(".")) for key in HYDRA_KEYS]
    if any(key[: len(path)] == path for key in allowed):
        return None
    return Fault("is not for a recipe to set", ON_THE_COMMAND_LINE)


def swept_key_fault(key: str) -> Fault | None:
    """Returns why a sweep in a recipe may not change a key; None where it may.

    Keys of a recipe and config groups may be swept. Whether a group exists is known only when Hydra looks for it.
    """
    signed = _SIGNED.fullmatch(key)
    name = signed["name"] if signed else key
    fix = "a sweep takes keys of a recipe (++model.imgsz) and config groups (target)"
    words = re.split(r"[^\w-]+", name)
    if "hydra" in (word.lower() for word in words):
        return Fault("is Hydra's own: a sweep in a recipe may not change it", fix)
    if "/" in name or "@" in name or (name not in ROOTS and "." not in name and "[" not in name):
        if not _GROUP.fullmatch(name):
            return Fault("is no key of a recipe", fix)
        return package_fault(name.partition("@")[2]) if "@" in name else None
    if not _DOTTED.fullmatch(name):
        return Fault("is no key of a recipe", fix)
    unknown = unknown_part([part for part in re.split(r"[.\[\]]+", name) if part])
    return Fault(f"no recipe has the key '{unknown[0]}'", nearest(unknown[0], unknown[1])) if unknown else None


def hydra_value_fault(path: tuple[str, ...], text: str, *, plain: bool) -> Fault | None:
    """Returns why a recipe may not give a key below `hydra` this scalar; None where it may.

    Args:
        path: of the value.
        text: of the scalar.
        plain: whether it stands without quotes.
    """
    if path == ("hydra", "mode"):
        return None if text in MODES else Fault(f"found '{text}'", f"expected {' or '.join(MODES)}")
    if path == ("hydra", "sweeper", "n_trials"):
        fits = plain and _WHOLE.fullmatch(text) and int(text) <= MOST_TRIALS
        return None if fits else Fault(f"found '{text}', expected a whole number from 1 to {MOST_TRIALS}")
    if len(path) >= 4:
        return swept_value_fault(path[3], text)
    empty = path[2:] and plain and text in ("", "null", "~")  # parameters that are null: none
    return None if empty else Fault(f"found '{text[:80]}', expected a mapping (key: value)")


def swept_value_fault(key: str, text: str) -> Fault | None:
    """Returns why a sweep in a recipe may not give a key these values; None where it may."""
    if "." not in key and ".." in re.split(r"[^\w.-]+", text):
        return Fault(f"'{text[:80]}' leaves the folder of config groups", "name what lies in it")
    if len(text) > LONGEST_VALUE:
        return Fault(
            f"{len(text)} characters of values", f"at most {LONGEST_VALUE} are taken: use range(), or two recipes"
        )
    depth = deepest = 0
    for sign in text:
        depth += (sign in "([{") - (sign in ")]}")
        deepest = max(deepest, depth)
    if deepest > MOST_BRACKETS:
        return Fault(f"brackets nested deeper than {MOST_BRACKETS}", "write the values out")
    return None


def container_fault(path: tuple[str, ...], *, mapping: bool) -> Fault | None:
    """Returns why a mapping or a list may not stand at a key path below `hydra` or `defaults`; None where it may."""
    if path[0] == "defaults":
        if len(path) == 1:
            return Fault("defaults must be a list", "such as [quickstart, _self_]") if mapping else None
        fits = mapping if len(path) == 2 else len(path) == 3 and not mapping
        return (
            None if fits else Fault(f"found a {'mapping' if mapping else 'list'}, expected a name or a list of names")
        )
    if len(path) <= 3:
        key = ".".join(path)
        leads = any(allowed_key == key or allowed_key.startswith(f"{key}.") for allowed_key in HYDRA_KEYS)
        scalar = path[-1] in ("mode", "n_trials")
        return None if not leads or (mapping and not scalar) else _wrong_container(mapping, scalar)
    fits = len(path) == 4 and not mapping
    return None if fits else Fault("found a mapping, expected values", "write the whole key: ++model.imgsz: 256,320")


def _wrong_container(mapping: bool, scalar: bool) -> Fault:
    container = "a mapping" if mapping else "a list"
    return Fault(f"found {container}, expected {'a plain value' if scalar else 'a mapping (key: value)'}")


def config_fault(item: str) -> Fault | None:
    """Returns why a defaults list may not name a config such as "quickstart" or "/recipe/quickstart"."""
    name, at, package = item.partition("@")
    if at and (fault := package_fault(package)):
        return Fault(f"'{item}' {fault.message}", fault.fix)
    relative = re.match(r"(\./)?(\.\./)*", name)  # of the file that names it: a base that recipes share
    parts = name[relative.end() if relative else 0 :].removeprefix("/").split("/")
    if "hydra" in parts[:-1] and name.startswith(("/", "hydra")):
        return Fault(f"'{item}' sets Hydra itself", f"a recipe may choose from {' and '.join(HYDRA_CHOICES)}")
    return _name_fault(item, parts)


def group_fault(key: str) -> Fault | None:
    """Returns why a defaults list may not choose from a config group, such as "/pass@passes" or "override /target"."""
    *keywords, name = key.split(" ")
    if any(word not in KEYWORDS for word in keywords):
        return Fault(f"'{key}' is no item of a defaults list", "such as: override /target: NAME")
    name, at, package = name.partition("@")
    group = name.removeprefix("/").split("/")
    if "hydra" in group and (at or "/".join(group) not in HYDRA_CHOICES):
        return Fault(f"'{key}' sets Hydra itself", f"a recipe may choose from {' and '.join(HYDRA_CHOICES)}")
    if at and (fault := package_fault(package)):
        return Fault(f"'{key}' {fault.message}", fault.fix)
    return None if "hydra" in group else _name_fault(key, group)


def choice_fault(group: str, choice: str) -> Fault | None:
    """Returns why a defaults list may not choose this from a config group, which `group_fault` has let through."""
    name = group.split(" ")[-1].partition("@")[0].removeprefix("/")
    if name in HYDRA_CHOICES:
        known = HYDRA_CHOICES[name]
        fix = f"{nearest(choice, known)}, or give it on the command line"
        return None if choice in known else Fault(f"'{choice}' is not for a recipe to choose", fix)
    return _name_fault(choice, choice.removeprefix("/").split("/"))


def _name_fault(item: str, parts: list[str]) -> Fault | None:
    """Returns why the parts of a name do not lead to a file in a folder of recipes or config groups."""
    if ".." in parts:
        return Fault(f"'{item}' leaves the folder of recipes", "name a recipe that lies in it")
    if any(not part or part.startswith("_global_") for part in parts):
        return Fault(f"'{item}' is no name of a recipe or config group")
    if strange := next((sign for part in parts for sign in part if sign in "@$:\\" or not sign.isprintable()), ""):
        return Fault(f"'{item}' is no name: it holds {strange!r}")
    return None


def package_fault(package: str) -> Fault | None:
    """Returns why a recipe may not place what it takes from a config group at a key path; None where it may."""
    name = package
    while name.startswith("_global_."):
        name = name.removeprefix("_global_.")
    root = re.split(r"[.\[:]", name)[0]
    if name in RELATIVE or (root in ROOTS and ":" not in name and "_global_" not in name):
        return None
    owner = "sets Hydra itself" if "hydra" in re.split(r"[^\w]+", package) else f"is placed at '{package}'"
    return Fault(owner, f"expected a key of a recipe: {', '.join(ROOTS)}")
