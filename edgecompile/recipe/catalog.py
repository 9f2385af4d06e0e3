"""Recipes, passes, targets and data that can be chosen here."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from edgecompile.errors import RecipeError
from edgecompile.json_types import JsonObject
from edgecompile.places import fetched_folder, shown
from edgecompile.recipe import folders
from edgecompile.text import tell, to_json
from edgecompile.yaml_text import check_data, read_text

Row = JsonObject


def rows(what: str) -> list[Row]:
    """Returns what can be chosen; `what` is one of `LISTS`."""
    return list(LISTS[what]())


def show(what: str, as_json: bool) -> None:
    """Prints what can be chosen, to stdout."""
    found = rows(what)
    if as_json:
        print(to_json(found, indent=2))
        return
    columns = list(found[0]) if found else []
    widths = {key: max(len(_text(row[key])) for row in found) for key in columns[:-1]}
    for row in found:
        cells = [_text(row[key]).ljust(widths[key]) for key in columns[:-1]]
        tell("  ".join([*cells, _text(row[columns[-1]])]).rstrip())


def recipes() -> Iterator[Row]:
    """Yields each recipe: its name, who provides it, what it says of itself."""
    for name, (provider, file) in folders.recipes().items():
        yield {"name": name, "from": provider, "about": _content(file).get("description", "")}


def passes() -> Iterator[Row]:
    """Yields each pass: its kind, its stage, the precision it makes, what it does."""
    from edgecompile.recipe.kinds import pass_class, pass_kinds

    for kind in pass_kinds():
        one = pass_class(kind)
        yield {"kind": kind, "stage": one.stage.value, "makes": one.output_precision or "-", "about": _first_line(one)}


def targets() -> Iterator[Row]:
    """Yields each target: its name, its runtime, the precisions it runs, the device, how far it was proven, and the
    command that shows that."""
    for name, file in folders.options("target"):
        content = _content(file)
        yield {
            "name": name,
            "kind": content.get("kind", ""),
            "precisions": content.get("precisions", []),
            "device": content.get("device", ""),
            "status": content.get("status", "untested"),
            "proof": content.get("proof", ""),
        }


def data() -> Iterator[Row]:
    """Yields each data set: its name, its data.yaml and whether it is at hand."""
    for name, file in folders.options("data"):
        path = str(_content(file).get("path", ""))
        here = path.startswith("sample://") or (fetched_folder() / path).is_file() or Path(path).is_file()
        yield {"name": name, "path": path, "at hand": "yes" if here else f"no: edgecompile fetch {path}"}


LISTS = {"recipes": recipes, "passes": passes, "targets": targets, "data": data}


def _content(file: Path) -> Row:
    """Returns what a YAML says; a file that says nothing, with the reason as its description."""
    try:
        text = read_text(file)
        check_data(text, file)
        return yaml.safe_load(text) or {}
    except (RecipeError, yaml.YAMLError) as error:
        return {"description": f"(unreadable: {str(error).splitlines()[0].removeprefix(shown(file))})"}


def _first_line(one: type) -> str:
    return (one.__doc__ or "").strip().partition("\n")[0].rstrip(".")


def _text(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
