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


def rows(name: str) -> list[Row]:
    """Returns the rows of one of `LISTS`."""
    return list(LISTS[name]())


def show(name: str, as_json: bool) -> None:
    """Prints one of `LISTS` to stdout."""
    listed = rows(name)
    if as_json:
        print(to_json(listed, indent=2))
        return
    columns = list(listed[0]) if listed else []
    widths = {key: max(len(_text(row[key])) for row in listed) for key in columns[:-1]}
    for row in listed:
        cells = [_text(row[key]).ljust(widths[key]) for key in columns[:-1]]
        tell("  ".join([*cells, _text(row[columns[-1]])]).rstrip())


def recipes() -> Iterator[Row]:
    """Yields each recipe: its name, who provides it, its description."""
    for name, (provider, file) in folders.recipes().items():
        yield {"name": name, "from": provider, "about": _content(file).get("description", "")}


def passes() -> Iterator[Row]:
    """Yields each pass: its kind, its stage, the precision it makes, what it does."""
    from edgecompile.recipe.kinds import pass_class, pass_kinds

    for kind in pass_kinds():
        pass_type = pass_class(kind)
        yield {
            "kind": kind,
            "stage": pass_type.stage.value,
            "makes": pass_type.output_precision or "-",
            "about": _first_line(pass_type),
        }


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
    """Yields each data set: its name, its data.yaml and whether that is on this machine."""
    for name, file in folders.options("data"):
        path = str(_content(file).get("path", ""))
        at_hand = path.startswith("sample://") or (fetched_folder() / path).is_file() or Path(path).is_file()
        yield {"name": name, "path": path, "at hand": "yes" if at_hand else f"no: edgecompile fetch {path}"}


LISTS = {"recipes": recipes, "passes": passes, "targets": targets, "data": data}


def _content(file: Path) -> Row:
    """Returns the content of a YAML file; for an unreadable file, the reason as its description."""
    try:
        text = read_text(file)
        check_data(text, file)
        return yaml.safe_load(text) or {}
    except (RecipeError, yaml.YAMLError) as error:
        return {"description": f"(unreadable: {str(error).splitlines()[0].removeprefix(shown(file))})"}


def _first_line(documented: type) -> str:
    return (documented.__doc__ or "").strip().partition("\n")[0].rstrip(".")


def _text(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
