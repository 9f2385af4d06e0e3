"""Rules between the keys of a recipe, which no single key can break alone. Pure: looks at no file."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

from edgecompile.errors import BundleError, Problem, nearest
from edgecompile.passes import Pass
from edgecompile.plan.shapes import sides
from edgecompile.recipe.explain import show
from edgecompile.recipe.locate import Origins
from edgecompile.recipe.schema import Data, ModelSettings, stage_order
from edgecompile.runtime.backends import find_backend
from edgecompile.runtime.options import check_options
from edgecompile.targets import Target

LOW = ("fp16", "bf16", "int8")
"""Precisions that a pass lowers the model to."""


@dataclass(frozen=True)
class ReadParts:
    """The parts of a recipe that rules look at; None for a part that could not be read and an order that is not given.

    Attributes:
        data_given: whether the recipe has a section `data`.
    """

    model: ModelSettings | None
    data: Data | None
    target: Target | None
    passes: dict[str, Pass] | None
    order: tuple[str, ...] | None
    data_given: bool


def broken_rules(parts: ReadParts, origins: Origins) -> list[Problem]:
    """Returns the problems between the parts that could be read.

    Args:
        origins: where each key was set.
    """
    problems: list[Problem] = []
    data, target, passes, order = parts.data, parts.target, parts.passes, parts.order
    if data is not None:
        problems += [*_data(data, origins), *_validation(data, origins)]
    if parts.model is not None:
        problems += _shapes(parts.model, origins)
    if target is not None:
        problems += _options(target, origins)
    if passes is None:
        return problems
    names = stage_order(passes)
    if order is not None:
        faults = list(_order(order, passes, origins))
        problems += faults
        if not faults:
            names = order
    ordered = [(name, passes[name]) for name in names]
    problems += _begins(ordered, origins)
    problems += _precisions(ordered, target, origins)
    if order is not None and names is order:
        problems += _stages(ordered, origins)
    if data is not None and parts.data_given:
        problems += _calibration(ordered, data, origins)
    return problems


def _data(data: Data, origins: Origins) -> Iterator[Problem]:
    settings = data.calibration
    if settings is not None and settings.images < settings.minimum:
        yield Problem(
            f"{settings.images} calibration pictures are fewer than the minimum of {settings.minimum}",
            str(origins.of("data", "calibration", "images")),
            "take more, or lower data.calibration.minimum knowingly",
        )


def _validation(data: Data, origins: Origins) -> Iterator[Problem]:
    settings = data.validation
    if settings.images is not None and settings.images < settings.minimum:
        yield Problem(
            f"{settings.images} validation pictures are fewer than the minimum of {settings.minimum}",
            str(origins.of("data", "validation", "images")),
            "take more, or lower data.validation.minimum knowingly",
        )


def _shapes(model: ModelSettings, origins: Origins) -> Iterator[Problem]:
    points = model.dynamic.imgsz if model.dynamic is not None else None
    if points is not None and sides(points[1]) != sides(model.imgsz):
        yield Problem(
            f"opt is {show(_plain(points[1]))}, and model.imgsz is {show(_plain(model.imgsz))}: they are one size",
            str(origins.of("model", "dynamic", "imgsz")),
            f"model.imgsz={_plain(points[1])}".replace(" ", ""),
        )


def _plain(size: Any) -> Any:
    return size if isinstance(size, int) else list(size)


def _options(target: Target, origins: Origins) -> Iterator[Problem]:
    """Yields the options that the backend of a target, or its proxy backend, does not take: the runtime refuses a
    bundle with them."""
    proxy_backend = target.proxy_backend()
    asked = [(target.backend, target.options()), *([(proxy_backend[0], proxy_backend[2])] if proxy_backend else [])]
    where = str(origins.of("target"))
    for name, options in asked:
        try:
            backend = find_backend(name)
        except BundleError as error:
            yield from (replace(problem, where=where) for problem in error.problems)
            continue
        if target.backend == name and target.runtime[0] not in backend.distributions:
            known = " or ".join(backend.distributions)
            yield Problem(f"{target.kind} needs {target.runtime[0]}, and its backend '{name}' is of {known}", where)
        for fault in check_options(backend.options, options):
            at = f" {fault.key}:" if fault.key else ""
            yield Problem(f"the backend '{name}'{at} {fault.message}", where, fault.fix)


def _order(order: tuple[str, ...], passes: dict[str, Pass], origins: Origins) -> Iterator[Problem]:
    where = str(origins.of("order"))
    for index, name in enumerate(order):
        if name not in passes:
            yield Problem(f"'{name}' is no pass of this recipe", where, nearest(name, passes))
        elif name in order[:index]:
            yield Problem(f"'{name}' stands twice", where, "name each pass once")
    for name in passes:
        if name not in order:
            yield Problem(f"the pass '{name}' is missing from the order", where, "name each pass once, or write null")


def _begins(ordered: list[tuple[str, Pass]], origins: Origins) -> Iterator[Problem]:
    sources = [name for name, pass_ in ordered if pass_.is_source]
    if not sources:
        yield Problem(
            "no pass makes the model", str(origins.of("passes")), "add onnx_export, or onnx_import for an ONNX file"
        )
    for name in sources[1:]:
        yield Problem(
            f"'{name}' makes the model, and so does '{sources[0]}'",
            str(origins.of("passes", name)),
            f"leave one out: {name}: null",
        )
    if len(sources) == 1 and not ordered[0][1].is_source:
        yield Problem(
            f"'{ordered[0][0]}' stands before '{sources[0]}', which makes the model",
            str(origins.of("order")),
            f"begin with {sources[0]}",
        )


def _precisions(ordered: list[tuple[str, Pass]], target: Target | None, origins: Origins) -> Iterator[Problem]:
    lowering = [(name, pass_.output_precision) for name, pass_ in ordered if pass_.output_precision in LOW]
    for name, precision in lowering[1:]:
        first, before = lowering[0]
        yield Problem(
            f"'{name}' lowers the model to {precision}, but '{first}' has lowered it to {before} already",
            str(origins.of("passes", name)),
            f"leave one out: {name}: null",
        )
    if target is None:
        return
    for name, precision in lowering[:1]:
        if precision not in target.precisions:
            yield Problem(
                f"'{name}' makes {precision}, which {target.device} ({target.kind}) does not run",
                str(origins.of("passes", name)),
                f"it runs {', '.join(target.precisions)}",
            )


def _stages(ordered: list[tuple[str, Pass]], origins: Origins) -> Iterator[Problem]:
    for (before, first), (after, second) in pairwise(ordered):
        if second.stage.place < first.stage.place and not second.is_source:
            yield Problem(
                f"'{after}' ({second.stage.value}) cannot follow '{before}' ({first.stage.value})",
                str(origins.of("order")),
                f"put '{after}' first",
            )


def _calibration(ordered: list[tuple[str, Pass]], data: Data, origins: Origins) -> Iterator[Problem]:
    for name, pass_ in ordered:
        if calibrates(pass_) and data.calibration is None:
            yield Problem(
                f"'{name}' needs calibration pictures, and the recipe names none",
                str(origins.of("data", "calibration")),
                "calibration: {split: train, images: 300}",
            )


def calibrates(pass_: Pass) -> bool:
    """Returns whether a pass reads the calibration pictures: it declares so, or it makes INT8."""
    declared = getattr(type(pass_), "calibrates", None)
    return pass_.output_precision == "int8" if declared is None else bool(declared)
