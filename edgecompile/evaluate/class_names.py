"""Class names: those of the data set beside those of the model. Pure, and quick to import."""

from __future__ import annotations

from collections.abc import Sequence


def unique_names(names: tuple[str, ...]) -> list[str]:
    """Returns the class names, each that occurs more than once with its number, so that figures can go by name."""
    return [name if names.count(name) == 1 else f"{name} ({number})" for number, name in enumerate(names)]


def class_name_mismatch(data: Sequence[str], model: Sequence[str]) -> list[str]:
    """Returns a remark where the class names of a data set are not those of the model, up to case and spaces.

    Labels and detections meet by the number of their class. Where data and model number the same classes otherwise,
    every figure is wrong, and nothing else would show it.
    """
    if len(data) != len(model):
        return [f"the data set names {len(data)} classes, the model {len(model)}: they meet by their numbers"]
    pairs = enumerate(zip(data, model, strict=True))
    differing = [
        (number, data_name, model_name)
        for number, (data_name, model_name) in pairs
        if _plain(data_name) != _plain(model_name)
    ]
    if not differing:
        return []
    number, data_name, model_name = differing[0]
    more = f" (and {len(differing) - 1} more)" if len(differing) > 1 else ""
    remark = f"class {number} is '{data_name}' in the data set and '{model_name}' in the model{more}"
    if sorted(map(_plain, data)) == sorted(map(_plain, model)):
        return [f"{remark}: the same classes in another order; are the labels numbered as the model numbers them?"]
    return [f"{remark}: they meet by their numbers, and figures go by the model's names"]


def _plain(name: str) -> str:
    return "".join(name.casefold().split())
