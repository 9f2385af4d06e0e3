"""Checks before a sweep begins: whether what a recipe sweeps exists, and how many points it has."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep, Glob, Override, RangeSweep
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf

from edgecompile.compose import searchpath
from edgecompile.errors import RecipeError, nearest
from edgecompile.recipe.key_names import ROOTS
from edgecompile.recipe.locate import COMMAND_LINE, PARAMETERS

MOST_POINTS = 100_000
"""Points of a sweep. Hydra makes a list of all before the first is built."""
SEARCHES = ("optuna",)
"""Sweepers to which a range is no list of points."""


def check_sweep(loader: Any, config: DictConfig) -> None:
    """Refuses a sweep of a recipe over a config group that does not exist, and a sweep of too many points.

    Raises:
        RecipeError: for each swept key that is wrong.
    """
    sweeper = config.hydra.sweeper
    swept = {name: _plain(sweeper.get(name)) for name in PARAMETERS}
    for values in swept.values():
        for key in values:
            _check_group(loader, key)
    if str(config.hydra.runtime.choices["hydra/sweeper"]) not in SEARCHES:
        given = [f"{key}={value}" for key, value in swept["params"].items()]
        typed: Any = OmegaConf.to_container(config.hydra.overrides.task, resolve=False)
        _check_count([*given, *typed], loader)


def _plain(values: Any) -> dict[str, object]:
    content = OmegaConf.to_container(values, resolve=False) if OmegaConf.is_config(values) else values
    return {str(key): value for key, value in content.items()} if isinstance(content, dict) else {}


def _check_group(loader: Any, key: str) -> None:
    """Refuses a swept key of a recipe that is neither a key of recipes nor a config group."""
    group = key.lstrip("+~").partition("@")[0]
    if "." in group or "[" in group or group in ROOTS or loader.repository.group_exists(group):
        return
    where = searchpath.where_given(key)
    if where.startswith(COMMAND_LINE):
        return  # what a person types is theirs
    known = {*ROOTS, *loader.list_groups("")} - {"hydra"}
    raise RecipeError("is neither a key of a recipe nor a config group", where=where, fix=nearest(group, known))


def _check_count(words: Sequence[str], loader: Any) -> None:
    try:
        overrides = OverridesParser.create(config_loader=loader).parse_overrides(list(words))
    except HydraException:
        return  # the sweeper reports what is wrong with it
    counts = [_values(override) for override in overrides]
    if math.prod(counts) > MOST_POINTS:
        widest = overrides[counts.index(max(counts))]
        size = f"a sweep of {math.prod(counts)} points" if math.inf not in counts else "a sweep without end"
        fix = "sweep in several parts, or search: hydra/sweeper=optuna"
        raise RecipeError(
            f"{size}; at most {MOST_POINTS} points are taken",
            where=searchpath.where_given(str(widest.get_key_element())),
            fix=fix,
        )


def _values(override: Override) -> float:
    """Returns how many values an override goes through."""
    value = override.value()
    if isinstance(value, ChoiceSweep):
        return len(value.list)
    if isinstance(value, RangeSweep):
        return _steps(value)
    return sum(1 for _ in override.sweep_iterator()) if isinstance(value, Glob) else 1


def _steps(span: RangeSweep) -> float:
    """Returns how many values `range()` has, without listing them; infinity where it has no end."""
    start, stop, step = (float(bound or 0) for bound in (span.start, span.stop, span.step))
    if step == 0 or not all(map(math.isfinite, (start, stop, step))):
        return math.inf
    return max(0, math.ceil((stop - start) / step))
