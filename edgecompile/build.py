"""The main job: a recipe becomes a plan, the plan's steps run, the gates are judged, the bundle is published."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edgecompile.plan.graph import Plan
    from edgecompile.recipe.schema import Recipe


def run_build(recipe: Recipe, *, run_dir: Path, jobs: int | None = None, quiet: bool = False) -> Path:
    """Builds the bundle of `recipe` and returns its path inside `run_dir`.

    Raises:
        EdgecompileError: a subclass for each way in which a build can end without a bundle.
    """
    raise SystemExit("not yet wired")


def show_plan(recipe: Recipe, *, as_json: bool = False, mermaid: bool = False) -> None:
    """Prints the plan of `recipe` to stdout: each step, its stage, hit or miss and why. Runs and writes nothing."""
    raise SystemExit("not yet wired")
