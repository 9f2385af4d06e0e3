"""The points of a sweep as typed recipes, ten thousand in seconds: what they share is composed and read once.

Hydra composes once for each choice of config groups (`recipe=`, `target=`, `/pass@...`). Overrides of values are then
applied to plain data, and each part of a recipe is read once for each combination of overrides that touches it.
"""

from __future__ import annotations

import copy
import io
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout, suppress
from dataclasses import dataclass, field
from typing import Any

from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.plugins import Plugins
from hydra.errors import HydraException
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext
from omegaconf import DictConfig, OmegaConf, open_dict, read_write

from edgecompile.compose.composition import (
    checked_recipe,
    files_missing,
    overruled,
    plain,
    sizes_refused,
    task_of,
    texts,
    trace,
)
from edgecompile.compose.overrides import NotPlain, Reader, changed
from edgecompile.errors import Problem, RecipeError
from edgecompile.json_types import JsonObject
from edgecompile.recipe import data_roots
from edgecompile.recipe.locate import COMMAND_LINE, PRIMARY, Origins
from edgecompile.recipe.rules import calibrates
from edgecompile.recipe.schema import Recipe
from edgecompile.recipe.validate import PARTS, Part, join, problems_between, read_part
from edgecompile.sweep.points import Point

LISTING = ("list", "filter")
"""Sweepers of plugins that list all their points at once, whatever the result of a point."""
BASIC = f"{BasicSweeper.__module__}.{BasicSweeper.__name__}"
HEAD = "head"
OWN_NAME = "${edgecompile.stem:${hydra:runtime.choices.recipe}}"
"""The name that the primary config gives: the only interpolation that depends on nothing but a choice of groups."""
Words = tuple[str, ...]
_Layout = tuple[list[int], dict[str, list[int]]]
"""Which of a job's overrides choose from config groups, and which touch which part of a recipe."""


@contextmanager
def all_at_once(work: Callable[[Sweep], None]) -> Iterator[None]:
    """Makes Hydra hand a sweep over as a whole to `work`, instead of running each of its jobs."""
    plugins = Plugins.instance()
    real = plugins.instantiate_sweeper

    def sweeper(*, hydra_context: HydraContext, task_function: Any, config: DictConfig) -> _Sweeper:
        def chosen() -> Sweeper:
            return real(hydra_context=hydra_context, task_function=task_function, config=config)

        loader = hydra_context.config_loader
        assert isinstance(loader, ConfigLoaderImpl)
        return _Sweeper(work, loader, config, chosen)

    plugins.instantiate_sweeper = sweeper  # type: ignore[method-assign, assignment]
    try:
        yield
    finally:
        del plugins.instantiate_sweeper


@dataclass
class _Sweeper:
    """Takes the place of Hydra's sweeper: expands the same arguments into the same jobs, and launches none."""

    work: Callable[[Sweep], None]
    loader: ConfigLoaderImpl
    config: DictConfig
    chosen: Callable[[], Sweeper]

    def sweep(self, arguments: list[str]) -> None:
        name = _choice(self.config, "hydra/sweeper")
        if self.config.hydra.sweeper._target_ == BASIC:
            jobs = expanded(self.loader, self.config, arguments)
        elif name in LISTING:
            jobs = launched_by(self.chosen, arguments)
        else:
            raise RecipeError(
                f"the points of the sweeper '{name}' are known only while it runs",
                where="command line:hydra/sweeper",
                fix=f"plan lists those of Hydra's own, choice(), range() and glob(), and of {' and '.join(LISTING)}",
            )
        launcher = _choice(self.config, "hydra/launcher")
        unused = {f"nothing runs here, so the launcher '{launcher}' is not used": None} if launcher != "basic" else {}
        self.work(Sweep(self.loader, self.config, jobs, unused))


class _Recorder(Launcher):
    """Takes the place of a launcher, and notes the jobs that it is to launch."""

    def __init__(self) -> None:
        self.jobs: list[list[str]] = []

    def setup(self, **_: Any) -> None:
        pass

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[Any]:
        self.jobs += map(list, job_overrides)
        return []


def launched_by(chosen: Callable[[], Sweeper], arguments: list[str]) -> list[list[str]]:
    """Returns the overrides of each job that a sweeper launches. Drops what it prints on folders, none of which stays.

    Raises:
        RecipeError: it launches none, or its parameters are wrong.
        HydraException: one of its jobs cannot be composed.
    """
    plugins, recorder = Plugins.instance(), _Recorder()
    plugins.instantiate_launcher = lambda **_: recorder  # type: ignore[method-assign]
    try:
        with redirect_stdout(io.StringIO()):
            sweeper: Any = chosen()
            sweeper.validate_batch_is_legal = lambda _: None  # each is read anyway
            sweeper.sweep(arguments)
    except ValueError as error:
        raise RecipeError(f"the sweeper cannot list its points: {error}", where="command line:hydra.sweeper") from error
    finally:
        del plugins.instantiate_launcher
    if not recorder.jobs:
        raise RecipeError("the sweeper leaves no point", where="command line:hydra.sweeper")
    return recorder.jobs


def expanded(loader: ConfigLoaderImpl, config: DictConfig, arguments: Sequence[str]) -> list[list[str]]:
    """Returns the overrides of each job into which Hydra's basic sweeper expands a command line.

    Raises:
        HydraException: a word is no override, or holds `interval()`, which has no list of points.
    """
    params = [f"{key}={value}" for key, value in (config.hydra.sweeper.params or {}).items()]
    overrides = OverridesParser.create(config_loader=loader).parse_overrides([*params, *arguments])
    (jobs,) = BasicSweeper.split_arguments(overrides, None)
    return jobs


def count(config: DictConfig) -> int | None:
    """Returns how many points a sweep has; None where that is known only when it is over."""
    if config.hydra.sweeper._target_ == BASIC:
        with suppress(HydraException):
            arguments: Any = OmegaConf.to_container(config.hydra.overrides.task, resolve=False)
            loader = GlobalHydra.instance().config_loader()
            assert isinstance(loader, ConfigLoaderImpl)
            return len(expanded(loader, config, list(map(str, arguments or ()))))
    return OmegaConf.select(config, "hydra.sweeper.n_trials")


@dataclass
class _Base:
    """What Hydra composed of one choice of config groups, before any override of a value.

    Attributes:
        config: the recipe as a config; `whole` also has Hydra's own part.
        content: the same as plain data; None where interpolations make it depend on what is overridden.
    """

    config: DictConfig
    whole: DictConfig
    origins: Origins
    content: JsonObject | None


@dataclass
class Sweep:
    """The points of a sweep, in the order of its jobs.

    Attributes:
        jobs: the overrides of each point.
        notes: remarks for the person, each once; complete when all points were gone through.
    """

    loader: ConfigLoaderImpl
    master: DictConfig
    jobs: Sequence[Sequence[str]]
    notes: dict[str, None] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.jobs)

    def __iter__(self) -> Iterator[Point]:
        """Yields the points.

        Raises:
            RecipeError, HydraException: where a point cannot even be composed; Hydra then runs none of them.
        """
        self._reader = Reader()
        self._bases: dict[Words, _Base] = {}
        self._parts: dict[Hashable, Part] = {}
        self._heads: dict[Hashable, JsonObject] = {}
        self._faults: dict[Hashable, list[Problem]] = {}
        self._between: dict[Hashable, list[Problem]] = {}
        self._overruled: dict[Hashable, _Overruled] = {}
        self._missing: dict[Hashable, list[Problem]] = {}
        self._sizes: dict[Hashable, list[Problem]] = {}
        self._weights: dict[Hashable, Hashable] = {}
        layouts = self._layouts()
        for number, job in enumerate(map(tuple, self.jobs)):
            self._chosen, self._touching = layouts[_keys(job)]
            yield self._point(number, job)

    def _layouts(self) -> dict[Words, _Layout]:
        """Returns the layout of jobs that have the same keys in the same order. Most sweeps have one layout."""
        hydra: Any = OmegaConf.to_container(self.master.hydra.overrides.hydra)
        _, repository = self.loader._parse_overrides_and_create_caching_repo(PRIMARY, hydra)
        alike: dict[Words, list[Sequence[str]]] = {}
        for job in self.jobs:
            alike.setdefault(_keys(job), []).append(job)
        return {keys: self._layout(jobs, repository) for keys, jobs in alike.items()}

    def _layout(self, jobs: Sequence[Sequence[str]], repository: Any) -> _Layout:
        chosen: list[int] = []
        touching: dict[str, list[int]] = {name: [] for name in (*PARTS, HEAD)}
        for place, text in enumerate(jobs[0]):
            key = self._reader.override(text).key_or_group
            if repository.group_exists(key):
                values = {job[place] for job in jobs}
                mappings = sum(isinstance(self._reader.override(value).value(), dict) for value in values)
                if mappings not in (0, len(values)):
                    raise RecipeError(f"'{key}' is a choice in some points and a mapping in others", where=COMMAND_LINE)
                if not mappings:
                    chosen.append(place)
                    continue
            part = key.partition(".")[0].partition("[")[0]
            touching[part if part in PARTS else HEAD].append(place)
        return chosen, touching

    def _composed(self, choices: Words) -> _Base:
        """Returns what Hydra composes of a choice of config groups."""
        whole = self.loader.load_sweep_config(self.master, list(choices))
        HydraConfig.instance().set_config(whole)
        config = task_of(whole)
        OmegaConf.set_struct(config, True)
        origins, notes = trace(self.loader, [*self.master.hydra.overrides.hydra, *choices])
        self.notes |= dict.fromkeys(notes)
        return _Base(config, whole, origins, _plain_content(config, origins))

    def _point(self, number: int, job: Words) -> Point:
        choices = tuple(job[place] for place in self._chosen)
        if choices not in self._bases:
            self._bases[choices] = self._composed(choices)
        base = self._bases[choices]
        typed = {name: tuple([job[place] for place in places]) for name, places in self._touching.items()}
        origins = base.origins.with_overrides([word.lstrip("+~") for word in job])
        lost = self._notes(choices, job, origins)
        self.notes |= dict.fromkeys(lost.notes)
        try:
            parts = {name: self._part(base, name, choices, typed[name]) for name in PARTS}
            head = self._head(base, choices, typed[HEAD])
        except NotPlain:
            return self._by_hydra(number, job, base, origins, lost.problems)
        problems = [*lost.problems, *(problem for part in parts.values() for problem in part.problems)]
        problems += self._rules(choices, typed, parts, origins)
        problems += self._sizes_refused(choices, typed, parts, origins)
        unread = (choices, typed[HEAD], *(part.value is None for part in parts.values()))
        recipe, faults = (None, self._faults[unread]) if unread in self._faults else join(head, parts, origins)
        problems += faults
        if recipe is None:
            self._faults[unread] = faults
        if problems or recipe is None:
            problems += self._files_missing(choices, typed, parts, origins)
            return Point(number, job, None, tuple(dict.fromkeys(problems)))
        gates = frozenset(name for name, limit in recipe.gates if limit is not None)
        alike = (choices, gates, *(typed[name] for name in PARTS if name != "gates"))
        weights = self._origin_of_weights(choices, typed["model"], recipe)
        model = (weights, recipe.model.task, recipe.model.imgsz is None)
        files = (choices, gates, model, typed["data"], _calibrates(recipe))
        return Point(number, job, recipe, (), alike, files)

    def _part(self, base: _Base, name: str, choices: Words, typed: Words) -> Part:
        """Returns a part of a recipe, read once for each combination of overrides that touches it."""
        if base.content is None:
            raise NotPlain
        key = (name, choices, typed)
        if key not in self._parts:
            content = {name: base.content[name]} if name in base.content else {}
            raw = changed(content, [self._reader.change(text) for text in typed]).get(name)
            origins = base.origins.with_overrides([word.lstrip("+~") for word in typed])
            self._parts[key] = read_part(name, raw, origins)
        return self._parts[key]

    def _head(self, base: _Base, choices: Words, typed: Words) -> JsonObject:
        """Returns the head of a recipe, read once for each combination of overrides that touches it."""
        assert base.content is not None
        key = (choices, typed)
        if key not in self._heads:
            content = {name: value for name, value in base.content.items() if name not in PARTS}
            self._heads[key] = changed(content, [self._reader.change(text) for text in typed])
        return self._heads[key]

    def _rules(
        self, choices: Words, typed: dict[str, Words], parts: dict[str, Part], origins: Origins
    ) -> list[Problem]:
        """Returns the problems between the parts."""
        key = (choices, *(typed[name] for name in ("data", "target", "passes", "order")))
        if key not in self._between:
            self._between[key] = problems_between(parts, origins)
        return self._between[key]

    def _notes(self, choices: Words, job: Words, origins: Origins) -> _Overruled:
        """Returns remarks on choices that the recipe overrules; they depend on which keys are typed."""
        keys = tuple([word if "{" in word else word.partition("=")[0] for word in job])
        if (choices, keys) not in self._overruled:
            try:
                self._overruled[choices, keys] = _Overruled(tuple(overruled(choices, origins)), ())
            except RecipeError as error:
                self._overruled[choices, keys] = _Overruled((), error.problems)
        return self._overruled[choices, keys]

    def _sizes_refused(
        self, choices: Words, typed: dict[str, Words], parts: dict[str, Part], origins: Origins
    ) -> list[Problem]:
        """Returns the problem of a size that models of the recipe's task do not take."""
        key = (choices, typed["model"])
        if key not in self._sizes:
            self._sizes[key] = sizes_refused(parts["model"].value, origins)
        return self._sizes[key]

    def _files_missing(
        self, choices: Words, typed: dict[str, Words], parts: dict[str, Part], origins: Origins
    ) -> list[Problem]:
        """Returns the problems of files that are not there, where the rest of a recipe is wrong too."""
        key = (choices, typed["model"], typed["data"])
        if key not in self._missing:
            self._missing[key] = files_missing({name: parts[name].raw for name in ("model", "data")}, origins)
        return self._missing[key]

    def _origin_of_weights(self, choices: Words, typed: Words, recipe: Recipe) -> Hashable:
        """Returns what decides which weights a point names: their name, and the folder to which it is relative."""
        key = (choices, typed)
        if key not in self._weights:
            self._weights[key] = (recipe.model.weights, recipe.origins.of("model", "weights").folder)
        return self._weights[key]

    def _by_hydra(self, number: int, job: Words, base: _Base, origins: Origins, problems: Sequence[Problem]) -> Point:
        """Returns a point that only Hydra can make of its overrides.

        Raises:
            HydraException: it cannot.
        """
        config = copy.deepcopy(base.config)
        values = [self._reader.override(text) for place, text in enumerate(job) if place not in self._chosen]
        ConfigLoaderImpl._apply_overrides_to_config(values, config)
        with read_write(base.whole.hydra), open_dict(base.whole.hydra):
            base.whole.hydra.job.num = number
        HydraConfig.instance().set_config(base.whole)
        try:
            recipe, found = checked_recipe(plain(config, origins), origins)
            problems = [*problems, *found]
        except RecipeError as error:
            problems = [*problems, *error.problems, *files_missing({}, origins)]
        if problems:
            return Point(number, job, None, tuple(dict.fromkeys(problems)))
        return Point(number, job, recipe, (), number, number)


def _keys(job: Sequence[str]) -> Words:
    return tuple([word.partition("=")[0] for word in job])


def _choice(config: DictConfig, group: str) -> str:
    """Returns the option of a config group that was chosen."""
    return str(config.hydra.runtime.choices[group])


@dataclass(frozen=True)
class _Overruled:
    """Remarks and problems of choices that the recipe overrules."""

    notes: tuple[str, ...]
    problems: tuple[Problem, ...]


def _plain_content(config: DictConfig, origins: Origins) -> JsonObject | None:
    """Returns a config as plain data; None where a value refers to another value, which an override might change."""
    bare = OmegaConf.to_container(config, resolve=False)
    if any("${" in data_roots.REFERENCE.sub("", text) for text in texts(bare) if text != OWN_NAME):
        return None
    return plain(config, origins)


def _calibrates(recipe: Recipe) -> bool:
    return any(calibrates(pass_) for pass_ in recipe.passes.values())
