"""Where things lie on this machine: the user's cache, what was fetched, the packaged conf, recipes and sample."""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path

CACHE_VARIABLE = "EDGECOMPILE_CACHE"
SAMPLE_SCHEME = "sample://"


def cache_folder() -> Path:
    """Returns the folder of everything that may be made again: $EDGECOMPILE_CACHE, else the user's cache folder."""
    chosen = os.environ.get(CACHE_VARIABLE)
    if chosen:
        return Path(chosen).expanduser().absolute()
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "edgecompile"
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local") / "edgecompile"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "edgecompile"


def fetched_folder() -> Path:
    """Returns the folder into which `edgecompile fetch` downloads."""
    return cache_folder() / "fetched"


def conf_folder() -> Path:
    """Returns the folder of the shipped config groups."""
    return _packaged("conf")


def recipes_folder() -> Path:
    """Returns the folder of the shipped recipes."""
    return _packaged("recipes")


def sample_folder() -> Path:
    """Returns the folder of the embedded model and its pictures."""
    return Path(__file__).parent / "sample"


def shown(path: str | Path) -> str:
    """Returns `path` as a person would type it here: relative where it lies below the working directory."""
    try:
        return str(Path(path).relative_to(Path.cwd()))
    except ValueError:
        return str(path)


def _packaged(name: str) -> Path:
    """Returns the folder of the package edgecompile.<name>, which in a checkout stands beside the package."""
    spec = importlib.util.find_spec(f"edgecompile.{name}")
    if spec is not None and spec.submodule_search_locations:
        return Path(next(iter(spec.submodule_search_locations))).absolute()
    return Path(__file__).parent.parent.absolute() / name
