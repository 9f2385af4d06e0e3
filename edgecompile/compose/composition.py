"""From Hydra's composed config to a typed recipe. No module behind this uses OmegaConf.

`recipe_of` serves the jobs of the Hydra application; `compose` serves Python.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path, PurePath
from typing import Any

import hydra
from hydra.core.config_loader import ConfigLoader
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from edgecompile.arguments import Parser
from edgecompile.compose import search_space, searchpath, shell_words
from edgecompile.compose.command_line import add_recipe_arguments, read_line
from edgecompile.compose.compose_cache import Loader, composed_once
from edgecompile.compose.hydra_errors import explained, first_line
from edgecompile.compose.searchpath import FileConfigSource
from edgecompile.errors import Problem, RecipeError
from edgecompile.json_types import JsonObject
from edgecompile.places import conf_folder, shown
from edgecompile.recipe import data_roots, folders
from edgecompile.recipe.locate import PRIMARY, Layer, Origins
from edgecompile.recipe.materials import find_file, missing_files
from edgecompile.recipe.schema import ModelSettings, Recipe
from edgecompile.recipe.training_size import odd_sizes
from edgecompile.recipe.validate import MISSING, read_part, recipe_from

MOST_INTERPOLATIONS = 16
"""In all files together; see `edgecompile.recipe.recipe_text`."""


def compose(*words: str) -> Recipe:
    """Returns the recipe of a command line: `compose("my.yaml", "model.imgsz=320")`, `compose("recipe=quickstart")`.

    Raises:
        RecipeError: with every problem found.
    """
    parser = Parser(prog="compose")
    add_recipe_arguments(parser)
    line = read_line(parser.read(words), folders.recipe_names)
    set_up(line.own_folders)
    config_dirs = [flag for flag in line.for_hydra() if flag.startswith("--")]
    if config_dirs:
        raise RecipeError(f"{config_dirs[0]} is a flag of the command line", where="compose")
    with composed_once(), hydra.initialize_config_dir(str(conf_folder()), job_name="edgecompile", version_base="1.3"):
        with explained():
            config = hydra.compose(PRIMARY, shell_words.as_meant(line.for_hydra()), return_hydra_config=True)
        HydraConfig.instance().set_config(config)
        return recipe_of(task_of(config))[0]


def task_of(config: DictConfig) -> DictConfig:
    """Returns a config without Hydra's own part."""
    return OmegaConf.masked_copy(config, [str(key) for key in config if key != "hydra"])


def set_up(own_folders: Sequence[Path] = ()) -> None:
    """Makes Hydra ready: what stands in `searchpath`, and the resolver that the primary config uses."""
    folders.own_folders[:] = list(own_folders)
    searchpath.register()
    OmegaConf.register_new_resolver("edgecompile.folder", folder_name, replace=True)
    OmegaConf.register_new_resolver(
        "edgecompile.stem", lambda choice: folder_name(PurePath(str(choice)).name), replace=True
    )
    OmegaConf.register_new_resolver("env", data_roots.data_root, replace=True)
    search_space.register()


def folder_name(text: Any) -> str:
    """Returns a text as the name of one folder: no separator, no leading dot, never empty."""
    name = "".join("_" if char in "/\\:\0" or not char.isprintable() else char for char in str(text)).lstrip(".")
    return name[:100] or "unnamed"


def _last_name(choice: Any) -> str:
    """Returns the name of a recipe's file, without the folders by which it may have been chosen."""
    return folder_name(PurePath(str(choice)).name)


def recipe_of(config: DictConfig) -> tuple[Recipe, list[str]]:
    """Returns the typed recipe of a job's config, and remarks for the person. Asks Hydra who set what.

    Raises:
        RecipeError: with every problem found.
    """
    overrides = given_overrides()
    loader = GlobalHydra.instance().config_loader()
    origins, notes = trace(loader, overrides)
    raw = plain(config, origins)
    notes += overruled(overrides, origins)
    recipe, problems = checked_recipe(raw, origins)
    if problems or recipe is None:
        raise RecipeError(problems)
    return recipe, notes


def checked_recipe(raw: JsonObject, origins: Origins) -> tuple[Recipe | None, list[Problem]]:
    """Returns the typed recipe of plain values, None where they make none, and every problem found."""
    odd = sizes_refused(read_part("model", raw.get("model"), origins).value, origins)
    try:
        return recipe_from(raw, origins), [*odd, *files_missing(raw, origins)] if odd else []
    except RecipeError as error:
        return None, list(dict.fromkeys([*odd, *error.problems, *files_missing(raw, origins)]))


def sizes_refused(model: ModelSettings | None, origins: Origins) -> list[Problem]:
    """Returns the problem of a size that models of the recipe's task do not take."""
    if model is None:
        return []
    try:
        weights = find_file(model.weights, origins.of("model", "weights"), "weights")
    except RecipeError:
        return odd_sizes(model, None, origins)
    return odd_sizes(model, weights, origins)


def files_missing(raw: JsonObject, origins: Origins) -> list[Problem]:
    """Returns the problems of files that a recipe names and that are not there, where the rest of it is wrong too."""
    return missing_files(_get(raw.get("model"), "weights"), _get(raw.get("data"), "path"), origins.of)


def given_overrides() -> list[str]:
    """Returns the overrides of the job at hand as they were typed. Iterating over them would resolve them."""
    typed = OmegaConf.to_container(HydraConfig.get().overrides, resolve=False)
    assert isinstance(typed, dict)
    return [*typed["hydra"], *typed["task"]]


def trace(loader: ConfigLoader, overrides: Sequence[str]) -> tuple[Origins, list[str]]:
    """Returns which files and overrides Hydra's present config was merged from, in order, and a remark on each
    shadowed file."""
    merged = loader.merged(overrides) if isinstance(loader, Loader) else None
    merged = merged or loader.compute_defaults_list(PRIMARY, list(overrides), RunMode.RUN).defaults
    sources = [source for source in loader.get_sources() if isinstance(source, FileConfigSource)]
    layers, notes = [], []
    for default in merged:
        files = [file for source in sources if (file := source.file(default.config_path or ""))]
        files = list({file.resolve(): file for file in reversed(files)}.values())[::-1]
        if not files:
            continue
        layers.append(Layer(files[0], default.package or "", default.config_path or ""))
        for shadowed in files[1:]:
            used = f"'{default.config_path}' is {shown(files[0])}"
            notes.append(f"{used}; {shown(shadowed)}, of the same name, is not used")
    typed = tuple(override.lstrip("+~") for override in overrides if not override.lstrip("+~").startswith("hydra"))
    chosen = f"{searchpath.GROUP}/{HydraConfig.get().runtime.choices.get(searchpath.GROUP)}"
    recipe = next((layer.file for layer in layers if layer.choice == chosen), None)
    return Origins(tuple(layers), typed, recipe), list(dict.fromkeys(notes))


def plain(config: DictConfig, origins: Origins) -> JsonObject:
    """Returns a config as plain JSON values, interpolations resolved without the environment but for folders of data.

    Raises:
        RecipeError: an interpolation that leads nowhere, or more of them than any recipe needs.
    """
    bare = OmegaConf.to_container(config, resolve=False)
    if wrong := [replace(problem, where=str(origins.of(*keys))) for keys, problem in data_roots.faults(bare)]:
        raise RecipeError(wrong)
    count = sum(value.count("${") for value in texts(bare))
    if count > MOST_INTERPOLATIONS:
        raise RecipeError(f"{count} interpolations in one recipe", fix=f"{MOST_INTERPOLATIONS} are enough")
    try:
        with without_environment():
            content = OmegaConf.to_container(config, resolve=True)
    except OmegaConfBaseException as error:
        keys = (error.full_key or "").split(".")
        raise RecipeError(first_line(str(error)), where=str(origins.of(*keys))) from error
    assert isinstance(content, dict)
    return _with_text_keys(content)


def overruled(overrides: Sequence[str], origins: Origins) -> list[str]:
    """Returns remarks on choices from a group (`model=yolo26n`) of which the recipe overrules a part.

    Raises:
        RecipeError: the recipe overrules all of a choice, so that it would change nothing.
    """
    notes: list[str] = []
    problems: list[Problem] = []
    for override in overrides:
        group, _, value = override.partition("=")
        layer = next((candidate for candidate in origins.layers if candidate.choice == f"{group}/{value}"), None)
        if layer is None or group == searchpath.GROUP:
            continue
        leaves = list(origins.leaves(layer))
        lost = [keys for keys in leaves if origins.of(*keys).file not in (None, layer.file)]
        overrulers = ", ".join(str(origins.of(*keys)) for keys in lost)
        fix = f"set the key itself: {'.'.join(lost[0])}=…" if lost else ""
        if lost and len(lost) == len(leaves):
            problems.append(Problem(f"changes nothing: {overrulers} overrules it", f"command line:{override}", fix))
        elif lost:
            notes.append(f"command line:{override}: {overrulers} overrules a part of it; {fix}")
    if problems:
        raise RecipeError(problems)
    return notes


@contextmanager
def without_environment() -> Iterator[None]:
    """Takes `${oc.env:...}` away meanwhile: a recipe reads nothing of the machine that it is composed on."""
    from omegaconf.resolvers import oc

    OmegaConf.clear_resolver("oc.env")
    try:
        yield
    finally:
        OmegaConf.register_new_resolver("oc.env", oc.env, replace=True)


def texts(value: Any) -> Iterator[str]:
    """Yields the texts in nested mappings and lists."""
    if isinstance(value, dict):
        for inner in value.values():
            yield from texts(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from texts(inner)
    elif isinstance(value, str):
        yield value


def _with_text_keys(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _with_text_keys(inner) for key, inner in value.items()}
    return [_with_text_keys(inner) for inner in value] if isinstance(value, list) else value


def _get(section: Any, key: str) -> Any:
    value = section.get(key) if isinstance(section, dict) else None
    return None if value == MISSING else value
