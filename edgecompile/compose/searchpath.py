"""Where Hydra looks: the shipped config groups, folders of recipes, a person's --config-dir. Every text is guarded.

A recipe is one option of the group `recipe`, so `recipe=NAME`, `-m recipe=a,b` and `recipe=glob(*)` are plain Hydra.
Flat folders serve the group, and the first that has a name wins: the folder of the person's own recipe file,
`recipes/` of the working directory, the shipped recipes, third parties'. A recipe that another names by a path relative
to itself (`../common/base`) is served by that path, as `recipe//home/team/common/base`.
"""

from __future__ import annotations

import copy
import io
from functools import lru_cache
from pathlib import Path
from typing import Any

from hydra._internal.sources_registry import SourcesRegistry
from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.object_type import ObjectType
from hydra.core.plugins import Plugins
from hydra.plugins.config_source import ConfigResult, ConfigSource
from hydra.plugins.search_path_plugin import SearchPathPlugin
from omegaconf import Container, DictConfig, ListConfig, OmegaConf

from edgecompile.errors import RecipeError
from edgecompile.places import shown
from edgecompile.recipe.bases import base_file, is_relative
from edgecompile.recipe.folders import SUFFIXES, conf_folders, is_recipe, recipe_folders
from edgecompile.recipe.locate import COMMAND_LINE, PARAMETERS
from edgecompile.recipe.recipe_text import check_not_empty, check_recipe
from edgecompile.yaml_text import keys_at, read_text

GROUP = "recipe"

loaded: list[Path] = []
"""Files that Hydra has read since the last `register`, in order; messages about a composition that failed need them."""


class FileConfigSource(ConfigSource):
    """Serves config groups out of a folder, as Hydra's own source does, but reads no text that the guard refuses.

    Named as Hydra's is: a process of a parallel sweep finds Hydra's after ours, and takes two of one name for the same.
    """

    @staticmethod
    def scheme() -> str:
        return "file"

    def __init__(self, provider: str, path: str) -> None:
        super().__init__(provider, path if "://" in path else f"{self.scheme()}://{path}")
        self.folder = Path(self.path)

    def file(self, config_path: str) -> Path | None:
        """Returns the file of a config such as "target/x86-cpu_openvino", or None where this source lacks it."""
        if not _stays_inside(config_path):
            return None
        path = self.folder / (config_path if config_path.endswith(".yaml") else f"{config_path}.yaml")
        if not path.is_file():
            return None
        if config_path.split("/")[0] == "hydra" and not self.trusted():
            fix = "give it on the command line, such as hydra.launcher.n_jobs=2"
            raise RecipeError("a folder of config groups may not hold settings of Hydra", where=shown(path), fix=fix)
        return path

    def check(self, text: str, file: Path) -> None:
        """Refuses a text that could harm or mislead."""
        if not self.trusted():
            _check_recipe(text, file)

    def trusted(self) -> bool:
        """Returns whether the folder was installed, as opposed to handed in."""
        return self.folder in conf_folders()

    def load_config(self, config_path: str) -> ConfigResult:
        file = self.file(config_path)
        assert file is not None, "Hydra asks is_config first"
        loaded.append(file)
        text = read_text(file)
        self.check(text, file)
        config = _parsed(text, file)
        header = ConfigSource._get_header_dict(text[:512])
        return ConfigResult(provider=self.provider, path=self.full_path(), config=copy.deepcopy(config), header=header)

    def available(self) -> bool:
        return self.folder.is_dir()

    def is_group(self, config_path: str) -> bool:
        return _stays_inside(config_path) and (self.folder / config_path).is_dir()

    def is_config(self, config_path: str) -> bool:
        return self.file(config_path) is not None

    def list(self, config_path: str, results_filter: ObjectType | None) -> list[str]:
        names: list[str] = []
        for path in sorted((self.folder / config_path).iterdir()):
            if not path.name.startswith(("__", ".")):
                self._list_add_result(names, f"{config_path}/{path.name}".lstrip("/"), path.name, results_filter)
        return sorted(set(names))


class RecipeSource(FileConfigSource):
    """Serves the group `recipe` out of one flat folder. A recipe's content is placed at the root by default."""

    @staticmethod
    def scheme() -> str:
        return "recipes"

    def file(self, config_path: str) -> Path | None:
        group, _, name = config_path.partition("/")
        if group != GROUP or not name or ".." in Path(name).parts:
            return None
        names = [name] if name.endswith(SUFFIXES) else [f"{name}{suffix}" for suffix in SUFFIXES]
        paths = (self.folder / file for file in names)  # of an absolute path, the path itself
        return next((path for path in paths if is_recipe(path) and path.is_file()), None)

    def check(self, text: str, file: Path) -> None:
        check_not_empty(text, file)
        _check_recipe(text, file)

    def trusted(self) -> bool:
        return False

    def load_config(self, config_path: str) -> ConfigResult:
        loaded = super().load_config(config_path)
        if loaded.header["package"] is None:
            loaded.header["package"] = "_global_"
        assert isinstance(loaded.config, DictConfig)
        file = self.file(config_path)
        assert file is not None
        _extend_by_path(loaded.config.get("defaults"), file, flat=config_path.count("/") == 1)
        return loaded

    def is_group(self, config_path: str) -> bool:
        group, _, inner = config_path.rstrip("/").partition("/")
        return not group or (group == GROUP and _stays_inside(inner) and (self.folder / inner).is_dir())

    def list(self, config_path: str, results_filter: ObjectType | None) -> list[str]:
        group, _, inner = config_path.rstrip("/").partition("/")
        if group != GROUP or results_filter is ObjectType.GROUP:
            return [GROUP] if not group and results_filter is not ObjectType.CONFIG else []
        return sorted({path.stem for path in (self.folder / inner).iterdir() if is_recipe(path)})


class RecipeFolders(SearchPathPlugin):
    """Adds the folders of recipes and third parties' config groups to Hydra's search path."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        for provider, folder in recipe_folders():
            search_path.append(provider, f"{RecipeSource.scheme()}://{folder}")
        for folder in conf_folders()[1:]:
            search_path.append("third party", f"{FileConfigSource.scheme()}://{folder}")


def register() -> None:
    """Makes Hydra use what stands here. May be called again."""
    loaded.clear()
    Plugins.instance().register(RecipeSource)
    Plugins.instance().register(RecipeFolders)
    # Hydra's own source for folders would read the files of --config-dir unguarded; its registry replaces nothing.
    SourcesRegistry.instance().types[FileConfigSource.scheme()] = FileConfigSource


def where_given(key: str) -> str:
    """Returns who gives a key or chooses from a group: the line of a recipe that sweeps it, else the command line."""
    name = key.lstrip("+~")
    for file in reversed(loaded):
        for section in PARAMETERS:
            for swept, line in keys_at(file, ("hydra", "sweeper", section)):
                if swept.lstrip("+~") == name:
                    return f"{shown(file)}:{line}:hydra.sweeper.{section}.{swept}"
    return f"{COMMAND_LINE}:{name}"


def _stays_inside(path: str) -> bool:
    """Returns whether a relative path leads nowhere out of the folder that it begins in."""
    relative = Path(path)
    return not relative.is_absolute() and ".." not in relative.parts


# Hydra composes each job several times, and parsing is most of what that costs.
_check_recipe = lru_cache(maxsize=256)(check_recipe)


@lru_cache(maxsize=256)
def _parsed(text: str, file: Path) -> Container:
    """Returns the content of a file."""
    return OmegaConf.load(io.StringIO(text))


def _extend_by_path(defaults: Any, file: Path, *, flat: bool) -> None:
    """Rewrites what a recipe extends to paths that Hydra finds.

    `- /recipe: NAME` becomes `- /recipe/NAME`, by which a config extends another: as a choice of the group `recipe` it
    would contend with the choice on the command line, and extend itself. `- ../common/base` becomes the path itself.

    Args:
        flat: whether the recipe was found by its name alone. Otherwise a name in its list means, as ever, the recipe
            beside it or else one of the folders of recipes, where Hydra would look beside it only.

    Raises:
        RecipeError: a relative path leads to no recipe.
    """
    if not isinstance(defaults, ListConfig):
        return
    for index, item in enumerate(list(defaults)):
        if OmegaConf.is_dict(item) and len(item) == 1:
            key = str(next(iter(item))).removeprefix("/")
            if key == GROUP and isinstance(item[next(iter(item))], str):
                defaults[index] = f"/{GROUP}/{item[next(iter(item))]}"
        elif isinstance(item, str) and is_relative(item):
            name, at, package = item.partition("@")
            defaults[index] = f"/{GROUP}/{base_file(file, name).with_suffix('')}{at}{package}"
        elif isinstance(item, str) and not flat and "/" not in item and item != "_self_":
            beside = any(file.with_name(f"{item}{suffix}").is_file() for suffix in SUFFIXES)
            defaults[index] = f"/{GROUP}/{file.with_name(item) if beside else item}"
