"""Composes a job once. Hydra composes it twice, first only to learn `hydra.mode`, which a recipe may set, and it
would compose a third time to report which files a config was merged from.

Composing takes most of the time of `plan`, so the first result is kept for the other calls.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import hydra._internal.hydra as internal
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.default_element import ResultDefault
from hydra.core.utils import configure_log
from hydra.plugins.config_source import ConfigResult
from hydra.types import RunMode
from omegaconf import DictConfig

from edgecompile.compose.device_sweep import sweep_devices
from edgecompile.compose.searchpath import FileConfigSource, loaded
from edgecompile.compose.sweep_limits import check_sweep
from edgecompile.errors import RecipeError
from edgecompile.places import conf_folder, shown
from edgecompile.recipe.key_names import ROOTS
from edgecompile.yaml_text import line_of

MOST_LOADED = 1000
"""Files of one config, each counted as often as a defaults list names it. Shipped recipes take about forty; two lists
that name each other's files twice, and those again, would take for ever."""
HOW_MANY = "hydra.mode=RUN"
"""The override that Hydra adds to those of a single job."""


class Loader(ConfigLoaderImpl):
    """Hydra's loader, which remembers what the last config was merged from.

    The class keeps it: a process of a parallel sweep has several loaders, and one config at a time.
    """

    _last: ClassVar[tuple[list[str], list[ResultDefault]] | None] = None

    def load_configuration(
        self, config_name: str | None, overrides: list[str], run_mode: RunMode, *args: Any, **options: Any
    ) -> DictConfig:
        Loader._last = None
        config = super().load_configuration(config_name, overrides, run_mode, *args, **options)
        if run_mode is RunMode.RUN:
            Loader._last = (_in_any_order(overrides), self._merged)
        return config

    def _compose_config_from_defaults_list(self, defaults: list[ResultDefault], repo: Any) -> DictConfig:
        self._merged = defaults
        return super()._compose_config_from_defaults_list(defaults, repo)

    def _parse_overrides_and_create_caching_repo(
        self, config_name: str | None, overrides: list[str]
    ) -> tuple[Any, Any]:
        """Returns the parsed overrides and what reads files, which stops where defaults lists name too many files."""
        parsed, repository = super()._parse_overrides_and_create_caching_repo(config_name, overrides)
        load, asked = repository.load_config, itertools.count(1)

        def load_some(config_path: str) -> ConfigResult | None:
            if next(asked) > MOST_LOADED:
                raise RecipeError(f"defaults lists lead to more than {MOST_LOADED} files", where=_first_defaults())
            return load(config_path)

        repository.load_config = load_some  # type: ignore[method-assign]
        return parsed, repository

    def _load_single_config(self, default: ResultDefault, repo: Any) -> ConfigResult:
        """Returns a config with its package around it. The package of a file that was handed in must lie in the recipe,
        whether the head of the file, a defaults list or the names of folders set it."""
        root = re.split(r"[.\[]", default.package or "")[0]
        if root and root not in ROOTS and (file := _handed_in(repo, default.config_path or "")):
            fix = f"expected a key of a recipe: {', '.join(ROOTS)}"
            raise RecipeError(f"it would be merged into '{default.package}'", where=shown(file), fix=fix)
        return super()._load_single_config(default, repo)

    @staticmethod
    def merged(overrides: Sequence[str]) -> list[ResultDefault] | None:
        """Returns what the last config was merged from, in order; None where it had other overrides."""
        return Loader._last[1] if Loader._last and Loader._last[0] == _in_any_order(overrides) else None


class ComposedOnce(internal.Hydra):
    """Hydra, but for a config that was composed to learn the mode and is asked for again."""

    _kept: tuple[list[str], DictConfig] | None = None

    def get_mode(self, config_name: str | None, overrides: list[str]) -> Any:
        """Returns the mode that the config sets, or None."""
        try:
            config = self.compose_config(config_name, overrides, RunMode.RUN)
        except Exception:  # of many jobs, or wrong: Hydra finds the mode in its own way, and reports errors later
            return super().get_mode(config_name, overrides)
        self._kept = (list(overrides), config)
        return config.hydra.mode

    def compose_config(
        self,
        config_name: str | None,
        overrides: list[str],
        run_mode: RunMode,
        with_log_configuration: bool = False,
        from_shell: bool = True,
        validate_sweep_overrides: bool = True,
    ) -> DictConfig:
        """Returns the composed config: the kept config, where nothing differs but that Hydra now sets the mode."""
        kept, self._kept = self._kept, None
        if kept is None or run_mode is not RunMode.RUN or overrides not in (kept[0], [*kept[0], HOW_MANY]):
            config = super().compose_config(
                config_name, overrides, run_mode, with_log_configuration, from_shell, validate_sweep_overrides
            )
            if run_mode is RunMode.MULTIRUN:
                sweep_devices(config)
                check_sweep(self.config_loader, config)
            return config
        before, config = kept
        if overrides != before:
            config.hydra.mode = RunMode.RUN
            config.hydra.overrides.hydra.append(HOW_MANY)
        if with_log_configuration:
            configure_log(config.hydra.hydra_logging, config.hydra.verbose)
        return config


@contextmanager
def composed_once() -> Iterator[None]:
    """Makes `hydra.main` use `ComposedOnce` and `Loader`."""
    originals = internal.Hydra, internal.ConfigLoaderImpl
    internal.Hydra, internal.ConfigLoaderImpl = ComposedOnce, Loader  # type: ignore[misc]
    try:
        yield
    finally:
        internal.Hydra, internal.ConfigLoaderImpl = originals  # type: ignore[misc]


def _first_defaults() -> str:
    """Returns the line of the defaults list of the first recipe that was read."""
    lines = ((file, line_of(file, ["defaults"])) for file in loaded if not file.is_relative_to(conf_folder()))
    return next((f"{shown(file)}:{line}:defaults" for file, line in lines if line), "defaults")


def _handed_in(repo: Any, config_path: str) -> Path | None:
    """Returns the file of a config, unless it was installed."""
    for source in repo.get_sources():
        if isinstance(source, FileConfigSource) and (file := source.file(config_path)):
            return None if source.trusted() else file
    return None


def _in_any_order(overrides: Sequence[str]) -> list[str]:
    return sorted(override for override in overrides if override != HOW_MANY)
