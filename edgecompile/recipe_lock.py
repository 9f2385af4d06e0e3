"""A lock beside a recipe: written before anything runs (`edgecompile lock`), and held to (`build --locked`).

Its name is the recipe's, `my-camera.lock.yaml` beside `my-camera.yaml`; for a recipe that came with a package, into
whose folder nobody may write, it lies in the working directory. The `recipe.lock.yaml` of a bundle serves as well.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from edgecompile.bundle.assemble import TOOLS, lock_of
from edgecompile.bundle.diff import ABSENT, Difference, differences, first_apart, shown_value
from edgecompile.bundle.lock import Lock, Locked, open_locked, read_lock
from edgecompile.errors import PlanError, Problem, RecipeError, StepError
from edgecompile.execute import hardware, tools
from edgecompile.files import write_atomically
from edgecompile.places import shown
from edgecompile.recipe.folders import LOCK_SUFFIX, belongs_to_a_package
from edgecompile.run_dir import LOCK

if TYPE_CHECKING:
    from edgecompile.execute.entry import Entry
    from edgecompile.execute.source_digests import Sources
    from edgecompile.plan.graph import Materials, Plan
    from edgecompile.quantization.mixed_precision import Repair
    from edgecompile.recipe.locate import Origins
    from edgecompile.recipe.schema import Recipe


PROSE = (("recipe", "description"), ("recipe", "target.status"))
"""Section and key of what a lock states for people to read, because the bundle does; `--locked` does not compare it."""


def tool_versions(plan: Plan) -> dict[str, str]:
    """Returns the installed version of every distribution that affects the bundle of a plan."""
    named = {*TOOLS, *(tool for step in plan for tool in step.tools)}
    return {tool: version for tool in named if (version := tools.version_of(tool))}


def lock_document(
    recipe: Recipe,
    plan: Plan,
    materials: Materials,
    entries: Mapping[str, Entry],
    sources: Sources,
    repair: Repair | None = None,
) -> Lock:
    """Returns the lock of a build; see `edgecompile.bundle.assemble.lock_of`."""
    versions, isa_class = tool_versions(plan), hardware.isa_class()
    return lock_of(
        recipe, plan, materials, entries, read=sources.of, tools=versions, isa_class=isa_class, repair=repair
    )


def resolve_lock(
    recipe: Recipe, plan: Plan, materials: Materials, sources: Sources, repair: Repair | None = None
) -> Lock:
    """Returns the lock of a build that has not run: what a recipe resolves to here and now, without any output.

    Raises:
        MissingToolError: a tool of the plan is not installed, and so has no version.
        RecipeError: weights, a picture or a label file cannot be read.
    """
    tools.require_tools(plan)
    return lock_document(recipe, plan, materials, {}, sources, repair)


def lock_path(recipe: Recipe) -> Path:
    """Returns where the lock of a recipe stands, or would."""
    file = recipe.origins.recipe
    if file is None or belongs_to_a_package(file):
        return Path.cwd() / f"{file.stem if file else recipe.name}{LOCK_SUFFIX}"
    return file.with_name(f"{file.stem}{LOCK_SUFFIX}")


def write_lock(lock: Lock, path: Path) -> None:
    """Writes a lock, which appears whole or not at all, over a lock that may stand there.

    Raises:
        RecipeError: something else stands there.
        StepError: the disk refuses.
    """
    if path.exists() and not path.name.endswith(LOCK_SUFFIX):
        try:
            read_lock(path)
        except RecipeError:
            fix = f"choose another --out, such as NAME{LOCK_SUFFIX}"
            raise RecipeError("would be overwritten, and is no lock", where=shown(path), fix=fix) from None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, lock.to_bytes())
    except OSError as error:
        raise StepError(f"the lock cannot be written: {error.strerror or error}", where=shown(path)) from error


def lock_beside(recipe: Recipe) -> Locked:
    """Returns the lock beside a recipe.

    Raises:
        RecipeError: there is none, or it is no lock that this version reads.
    """
    path = lock_path(recipe)
    existing = next((file for file in (path, path.with_name(LOCK)) if file.is_file()), None)
    if existing is None:
        file = recipe.origins.recipe
        name = recipe.name if file is None or belongs_to_a_package(file) else shown(file)
        raise RecipeError(
            f"no lock '{shown(path)}'", where="command line:--locked", fix=f"run `edgecompile lock {name}`"
        )
    return open_locked(Path(shown(existing)))


def require_locked(was: Locked | None, resolve: Callable[[], Lock], origins: Origins) -> None:
    """Makes sure that a recipe resolves to what its lock says, where there is a lock.

    Args:
        resolve: returns what the recipe resolves to here and now.

    Raises:
        PlanError: it does not; with a problem for each difference.
    """
    if was is None:
        return
    changes = [change for change in differences(was.lock, resolve()) if (change.section, change.what) not in PROSE]
    if not any(step.isa for step in was.lock.steps):
        changes = [change for change in changes if change.section != "isa"]
    if not changes:
        return
    problems = [_problem(change, was.path, origins) for change in changes]
    file = origins.recipe
    fix = f"`edgecompile lock {shown(file) if file else 'RECIPE'}` writes the lock again"
    raise PlanError([*problems[:-1], replace(problems[-1], fix=fix)])


def _problem(change: Difference, lock: Path, origins: Origins) -> Problem:
    """Returns a difference as a problem: a key of the recipe with the line that sets it."""
    now, was = (ABSENT if value is None else shown_value(value) for value in (change.b, change.a))
    if change.section == "recipe":
        return Problem(f"found {now}, locked is {was} ({lock})", str(origins.of(*change.what.split("."))))
    return Problem(f"{change.what}: found {now}, locked is {was}", str(lock))


def require_same_outputs(was: Locked | None, now: Lock) -> None:
    """Makes sure that the steps' outputs are those of a lock, where there is a lock and as far as it states them.

    Raises:
        StepError: an output differs, although all that its step depends on is the same.
    """
    if was is not None and (step := first_apart(was.lock, now)):
        raise StepError(f"step '{step}' put out something else than is locked, of equal inputs", where=str(was.path))
