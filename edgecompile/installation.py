"""Which packages a recipe needs, which of them are installed, and what installs the rest."""

from __future__ import annotations

import json
import platform
import subprocess
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, TypedDict

from edgecompile import __version__
from edgecompile.errors import MissingToolError, StepError
from edgecompile.execute.tools import install_command, version_of
from edgecompile.text import tell, to_json

if TYPE_CHECKING:
    from edgecompile.compose.requirements import Requirements

COMPILER = ("hydra-core", "omegaconf", "pydantic", "PyYAML", "rich", "filelock", "rfc8785", "psutil", "jinja2")
"""What composing and running any plan needs; the steps of a plan name the rest themselves."""


class StoreState(TypedDict):
    """Where the store lies, on what file system, whether its locks exclude (None: not known yet), and a remark."""

    path: str
    file_system: str
    locks: str | None
    remark: str | None


Package = TypedDict("Package", {"package": str, "version": str | None, "for": str, "fix": str | None})
"""A distribution, its installed version (None: missing), who needs it, and the command that installs it."""


BROKEN = "do not work"
BROKEN_LINE = "the locks of the store do not work; set EDGECOMPILE_CACHE to a folder on a file system with flock"


def report_installation(words: Sequence[str], *, as_json: bool) -> int:
    """Prints what a recipe needs and returns 0, 4 where something is missing, or 5 where the store has no locks.

    Args:
        words: the recipe, as for `build`.

    Raises:
        RecipeError: the recipe is wrong; what is wrong with it stands on stderr already.
    """
    rows = [_row(name, "the compiler") for name in COMPILER]
    requirements, store = None, None  # without the compiler no recipe can be read
    if all(row["version"] for row in rows):
        requirements, store = _requirements(words), _store()
        rows += [_row(tool, ", ".join(steps)) for tool, steps in requirements["tools"].items()]
    missing = [row for row in rows if not row["version"]]
    if as_json:
        known = {**requirements, "store": store} if requirements else {}
        print(to_json({"python": platform.python_version(), **known, "packages": rows}, indent=2))
    else:
        _show(rows, requirements, store)
    if store and store["locks"] == BROKEN:
        return StepError.exit_code
    return MissingToolError.exit_code if missing else 0


def _requirements(words: Sequence[str]) -> Requirements:
    """Returns what the steps of a recipe use. Asks another process, so that this process imports no Hydra."""
    command = [sys.executable, "-m", "edgecompile.compose.requirements", *words]
    finished = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    if finished.returncode:
        raise SystemExit(finished.returncode)
    return json.loads(finished.stdout)


def _store() -> StoreState:
    from edgecompile.execute import sharing
    from edgecompile.execute.store import Store

    root = Store.default().root
    mount = sharing.file_system(root)
    try:
        locks = None if not (root / "locks").is_dir() else BROKEN if sharing.fault(root / "locks") else "work"
    except OSError:
        locks = BROKEN
    return {"path": str(root), "file_system": mount.kind, "locks": locks, "remark": sharing.remark(root, mount)}


def _row(name: str, user: str) -> Package:
    version = version_of(name)
    return {"package": name, "version": version, "for": user, "fix": None if version else install_command(name)}


def _show(rows: list[Package], requirements: Requirements | None, store: StoreState | None) -> None:
    tell(f"edgecompile {__version__}, Python {platform.python_version()} on {platform.machine()}")
    if requirements:
        tell(f"recipe {requirements['name']}; the device needs {''.join(requirements['runtime'])}")
    width = max(len(row["package"]) for row in rows)
    for row in rows:
        state = row["version"] or "missing"
        tell(f"  {row['package']:{width}}  {state:12}  {row['for']}".rstrip())
    if store:
        locks = f"locks {store['locks']}" if store["locks"] else "not made yet"
        tell(f"  store {store['path']}: {store['file_system']}, {locks}")
        if store["locks"] == BROKEN:
            tell(f"edgecompile: {BROKEN_LINE}", file=sys.stderr)
        elif store["remark"]:
            tell(f"edgecompile: warning: {store['remark']}", file=sys.stderr)
    for row in rows:
        if row["fix"]:
            tell(f"edgecompile: {row['package']} is not installed; {row['fix']}", file=sys.stderr)
