"""The tables of docs/ name all that there is: gates, parts of a recipe, passes, verbs and exit codes."""

from __future__ import annotations

import re
from pathlib import Path

from edgecompile import errors
from edgecompile.recipe.kinds import pass_kinds
from edgecompile.recipe.schema import Gates, Recipe
from edgecompile.verbs import verb_names

DOCS = Path(__file__).parents[2] / "docs"


def first_column(page: str, header: str) -> set[str]:
    """Returns what is quoted in the first column of the table whose header begins with `header`."""
    text = (DOCS / page).read_text(encoding="utf-8")
    table = text.split(f"\n| {header} |")[1].split("\n\n")[0]
    rows = re.findall(r"^\| ([^|]+) \|", table, re.MULTILINE)
    return {name for row in rows for name in re.findall(r"`([\w-]+)", row)}


def test_gates():
    assert first_column("accuracy.md", "gate") == set(Gates.model_fields)


def test_parts_of_a_recipe():
    fields = {field.alias or name for name, field in Recipe.model_fields.items()}
    assert first_column("recipes.md", "part") == fields - {"schema"} | {"defaults", "hydra"}


def test_passes():
    assert first_column("recipes.md", "pass") == set(pass_kinds())


def test_verbs():
    assert set(verb_names()) <= first_column("commands.md", "verb")


def test_exit_codes():
    text = (DOCS / "commands.md").read_text(encoding="utf-8")
    told = {int(code) for code in re.findall(r"^\| (\d+) \|", text, re.MULTILINE)}
    kinds = [
        kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.EdgecompileError)
    ]
    assert told == {kind.exit_code for kind in kinds} - {1} | {0, 130}
