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

LOW = ("fp16", "int8")
"""Precisions that a pass lowers the model to."""


@dataclass(frozen=True)
class ReadParts:
    """The parts of a recipe that rules look at; one that could not be read, and an order that is not given, is None.

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
    found: list[Problem] = []
    data, target, passes, order = parts.data, parts.target, parts.passes, parts.order
    if data is not None:
        found += [*_data(data, origins), *_validation(data, origins)]
    if parts.model is not None:
        found += _shapes(parts.model, origins)
    if target is not None:
        found += _options(target, origins)
    if passes is None:
        return found
    names = stage_order(passes)
    if order is not None:
        faults = list(_order(order, passes, origins))
        found += faults
        if not faults:
            names = order
    ordered = [(name, passes[name]) for name in names]
    found += _begins(ordered, origins)
    found += _precisions(ordered, target, origins)
    if order is not None and names is order:
        found += _stages(ordered, origins)
    if data is not None and parts.data_given:
        found += _calibration(ordered, data, origins)
    return found


def _data(data: Data, origins: Origins) -> Iterator[Problem]:
    wanted = data.calibration
    if wanted is not None and wanted.images < wanted.minimum:
        yield Problem(
            f"{wanted.images} calibration pictures are fewer than the minimum of {wanted.minimum}",
            str(origins.of("data", "calibration", "images")),
            "take more, or lower data.calibration.minimum knowingly",
        )


def _validation(data: Data, origins: Origins) -> Iterator[Problem]:
    wanted = data.validation
    if wanted.images is not None and wanted.images < wanted.minimum:
        yield Problem(
            f"{wanted.images} validation pictures are fewer than the minimum of {wanted.minimum}",
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
    """Yields the options of a target that its backend, or its stand-in's, does not take: a bundle with them is one
    that the runtime refuses."""
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
    beginners = [name for name, one in ordered if one.is_source]
    if not beginners:
        yield Problem(
            "no pass makes the model", str(origins.of("passes")), "add onnx_export, or onnx_import for an ONNX file"
        )
    for name in beginners[1:]:
        yield Problem(
            f"'{name}' makes the model, and so does '{beginners[0]}'",
            str(origins.of("passes", name)),
            f"leave one out: {name}: null",
        )
    if len(beginners) == 1 and not ordered[0][1].is_source:
        yield Problem(
            f"'{ordered[0][0]}' stands before '{beginners[0]}', which makes the model",
            str(origins.of("order")),
            f"begin with {beginners[0]}",
        )


def _precisions(ordered: list[tuple[str, Pass]], target: Target | None, origins: Origins) -> Iterator[Problem]:
    lowering = [(name, one.output_precision) for name, one in ordered if one.output_precision in LOW]
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
    for (before, one), (after, other) in pairwise(ordered):
        if other.stage.place < one.stage.place and not other.is_source:
            yield Problem(
                f"'{after}' ({other.stage.value}) cannot follow '{before}' ({one.stage.value})",
                str(origins.of("order")),
                f"put '{after}' first",
            )


def _calibration(ordered: list[tuple[str, Pass]], data: Data, origins: Origins) -> Iterator[Problem]:
    for name, one in ordered:
        if calibrates(one) and data.calibration is None:
            yield Problem(
                f"'{name}' needs calibration pictures, and the recipe names none",
                str(origins.of("data", "calibration")),
                "calibration: {split: train, images: 300}",
            )


def calibrates(one: Pass) -> bool:
    """Returns whether a pass reads the calibration pictures: it says so, or it makes INT8 in the calibration stage."""
    said = getattr(type(one), "calibrates", None)
    return one.output_precision == "int8" if said is None else bool(said)
