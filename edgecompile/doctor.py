"""The verb `doctor`: which packages a recipe needs, which of them are here, and what installs the others."""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

from edgecompile import __version__
from edgecompile.errors import MissingToolError, RecipeError
from edgecompile.execute.tools import install_command, version_of

COMPILER = ("hydra-core", "omegaconf", "pydantic", "PyYAML", "rich", "filelock", "rfc8785", "psutil", "jinja2")
"""What composing and running any plan needs; the steps of a plan name the rest themselves."""


def main(argv: Sequence[str]) -> int:
    """Prints what a recipe needs and returns 0, or 4 where something is missing.

    Raises:
        RecipeError: the recipe is wrong; what is wrong with it stands on stderr already.
    """
    arguments = _parser().parse_args(list(argv))
    rows = [_row(name, "the compiler") for name in COMPILER]
    wanted: dict[str, Any] = {}
    if all(row["version"] for row in rows):
        wanted = _requirements(arguments.recipe)
        rows += [_row(tool, ", ".join(steps)) for tool, steps in wanted["tools"].items()]
    missing = [row for row in rows if not row["version"]]
    if arguments.json:
        print(json.dumps({"python": platform.python_version(), **wanted, "packages": rows}, indent=2))
    else:
        _show(rows, wanted)
    return MissingToolError.exit_code if missing else 0


def _parser() -> argparse.ArgumentParser:
    class Parser(argparse.ArgumentParser):
        def error(self, message: str) -> NoReturn:
            raise RecipeError(message, where="command line", fix=f"see `{self.prog} --help`")

    parser = Parser(prog="edgecompile doctor", description="Say which packages a recipe needs and which are missing.")
    parser.add_argument("recipe", nargs="*", metavar="RECIPE.yaml | key=value", help="as for `build`")
    parser.add_argument("--json", action="store_true", help="print JSON")
    return parser


def _requirements(words: Sequence[str]) -> dict[str, Any]:
    """Returns what the steps of a recipe use. Asks another process, so that this one imports no Hydra."""
    command = [sys.executable, "-m", "edgecompile.recipe.requirements", *words]
    finished = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    if finished.returncode:
        raise SystemExit(finished.returncode)
    return json.loads(finished.stdout)


def _row(name: str, user: str) -> dict[str, Any]:
    version = version_of(name)
    return {"package": name, "version": version, "for": user, "fix": None if version else install_command(name)}


def _show(rows: list[dict[str, Any]], wanted: dict[str, Any]) -> None:
    print(f"edgecompile {__version__}, Python {platform.python_version()} on {platform.machine()}")
    if wanted:
        print(f"recipe {wanted['name']}; the device needs {''.join(wanted['runtime'])}")
    width = max(len(row["package"]) for row in rows)
    for row in rows:
        state = row["version"] or "missing"
        print(f"  {row['package']:{width}}  {state:12}  {row['for']}".rstrip())
    for row in rows:
        if row["fix"]:
            print(f"edgecompile: {row['package']} is not installed; {row['fix']}", file=sys.stderr)
