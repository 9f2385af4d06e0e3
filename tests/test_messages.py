"""What a message names exists: extras, keys of a recipe, verbs, flags and choices in every text of the package."""

from __future__ import annotations

import argparse
import ast
import re
from collections.abc import Iterator
from functools import cache
from importlib.metadata import metadata
from pathlib import Path

import pytest

from edgecompile.arguments import Parser
from edgecompile.compose import command_line, hydra_plugins
from edgecompile.recipe import folders
from edgecompile.recipe.key_names import ROOTS, unknown_part
from edgecompile.verbs import find_verb, verb_names

ROOT = Path(__file__).parent.parent
VALUE = "\0"
"""Stands for what is put into an f-string."""
FILES = (
    "bin",
    "engine",
    "json",
    "key",
    "om",
    "onnx",
    "param",
    "pkl",
    "pt",
    "tflite",
    "txt",
    "xml",
    "yaml",
    "yml",
    "zip",
)
"""Suffixes: `model.onnx` names a file, no key."""
ATTRIBUTES = (
    "model.model",
    "model.predict",
    "model.stream",
    "model.names",
    "model.predict_batch",
    "model.timings",
    "model.task.draw",
)
"""Attributes of Python objects that are called like a section of a recipe."""
EXTRA = re.compile(r"edgecompile\[([^\]]*)\]")
KEY = re.compile(rf"(?<![\w./-])(?:{'|'.join(ROOTS)})(?:\.[a-z0-9_{VALUE}]+)+(?![\w/]*/)")
VERB = re.compile(r"(?:`|prog=)edgecompile ([a-z][a-z-]*)")
FLAG = re.compile(r"(?<![\w-])--[a-z][a-z0-9-]*(?![\w=]*_)")
CHOICE = re.compile(r"(?<![\w.@/])(recipe|target|model|data|gates)=([a-z][\w-]*)(?!\.?[\w/-])")
"""`model=my.pt` names a file, no choice."""
EXAMPLES = ("a", "glob")
"""What stands for recipes where help shows `-m recipe=a,b` and `recipe=glob(x86*)`."""
OTHER_PROGRAMS = {
    "device/remote_agent.py": "pip and venv",
    "device/remote.py": "pip",
    "graphs/onnx/strongly_typed.py": "trtexec",
    "runtime/backends/cann.py": "atc",
    "runtime/machine.py": "nvidia-smi, git",
}
"""Modules that call other programs, whose flags are not ours."""
FLAGS_OF_OTHERS = {
    "--no-deps": "pip",
    "--upgrade": "pip",
    "--system-site-packages": "venv",
    "--allow": "trtexec",
    "--end2end": "YOLOv7",
    "--weights": "YOLOv5, YOLOv7",
    "--source": "YOLOv5, YOLOv7",
}
"""Flags of other programs in messages, each with its program."""

Text = tuple[str, str]
"""Where it stands (file:line below the package) and what it says."""


@cache
def texts() -> tuple[Text, ...]:
    """Returns every text of the package."""
    return tuple(read_texts())


def read_texts() -> Iterator[Text]:
    """Yields every text of the package; an f-string as one, with `VALUE` where a value is put in."""
    for file in sorted((ROOT / "edgecompile").rglob("*.py")):
        tree = ast.parse(file.read_text(encoding="utf-8"))
        place = file.relative_to(ROOT / "edgecompile")
        parts = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
        for node in ast.walk(tree):
            if isinstance(node, ast.JoinedStr):
                yield (
                    f"{place}:{node.lineno}",
                    "".join(one.value if isinstance(one, ast.Constant) else VALUE for one in node.values),
                )
            elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in parts:
                yield f"{place}:{node.lineno}", node.value


def named(pattern: re.Pattern[str]) -> list[tuple[str, str]]:
    """Returns where something is named, and what."""
    return [(where, found.group(found.re.groups)) for where, text in texts() for found in pattern.finditer(text)]


def extras() -> set[str]:
    return set(metadata("edgecompile").get_all("Provides-Extra"))


def wrong_extras(found: list[tuple[str, str]]) -> list[tuple[str, str]]:
    return [(where, name) for where, names in found for name in names.split(",") if name not in {*extras(), VALUE}]


def wrong_key(key: str) -> bool:
    parts = key.split(".")
    if parts[-1] in FILES or key in ATTRIBUTES or VALUE in parts[-1]:
        return False
    return unknown_part([part.replace(VALUE, "x") for part in parts]) is not None


def flags() -> set[str]:
    """Returns the flags of all verbs."""
    found = {"--version", "--debug", "--shell-completion", *command_line.REFUSED}
    for name in verb_names():
        parser = Parser(prog=f"edgecompile {name}")
        find_verb(name).add_arguments(parser)
        found |= parsers_flags(parser)
    return found


def parsers_flags(parser: argparse.ArgumentParser) -> set[str]:
    """Returns the flags of a parser and of those of its commands."""
    found = {flag for action in parser._actions for flag in action.option_strings}
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            found |= {flag for one in action.choices.values() for flag in parsers_flags(one)}
    return found


@pytest.mark.slow
def test_extras():
    assert wrong_extras(named(EXTRA)) == []
    assert set(hydra_plugins.EXTRAS.values()) <= extras()
    calls = [node for file in (ROOT / "edgecompile").rglob("*.py") for node in ast.walk(ast.parse(file.read_text()))]
    given = [node.args[1] for node in calls if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "missing"]
    assert given
    assert {one.value for one in given if isinstance(one, ast.Constant)} <= extras()


def test_keys_of_a_recipe():
    found = named(re.compile(f"({KEY.pattern})"))
    assert len(found) > 20
    assert [one for one in found if wrong_key(one[1])] == []


def test_verbs():
    found = named(VERB)
    assert len(found) > 10
    assert [one for one in found if one[1] not in verb_names()] == []


def test_flags():
    known = {*flags(), *FLAGS_OF_OTHERS}
    found = [one for one in named(re.compile(f"({FLAG.pattern})")) if one[0].split(":")[0] not in OTHER_PROGRAMS]
    assert len(found) > 40
    assert [one for one in found if one[1] not in known] == []


@pytest.mark.parametrize("group", ["recipe", "target", "model", "data", "gates"])
def test_choices(group: str):
    known = {name for name, _ in folders.options(group)} if group != "recipe" else {*folders.recipe_names(), *EXAMPLES}
    pairs = [(where, found.groups()) for where, text in texts() for found in CHOICE.finditer(text)]
    assert [one for one in pairs if one[1][0] == group and one[1][1] not in known] == []


def test_control_what_does_not_exist_is_found():
    assert wrong_extras([("x", "compile"), ("x", "all,nothing")]) == [("x", "compile"), ("x", "nothing")]
    assert wrong_key("model.size")
    assert wrong_key("passes.onnx_export.batch")
    assert wrong_key("gates.recall")
    assert not wrong_key("gates.map50")
    assert not wrong_key(f"passes.{VALUE}.method")
    assert "fetchx" not in verb_names()
    assert "--no-such-flag" not in flags()
