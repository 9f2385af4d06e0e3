"""Families of foreign models: how each wants its pictures and puts out its boxes. Data, one YAML file each.

To add a family: `families/<family>.yaml` with `about`, `input` and `outputs`, in the words of
`edgecompile.graphs.onnx.statement`; it appears in recipes and in docs/foreign-models.md.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TypedDict

from edgecompile.graphs.onnx.stated import StatedInput, StatedOutputs


class Family(TypedDict, total=False):
    """A file of this folder: a line for people, and the parts of a statement."""

    about: str
    task: str
    input: StatedInput
    outputs: StatedOutputs


def family_names() -> tuple[str, ...]:
    """Returns the names of all families, sorted."""
    return tuple(sorted(file.stem for file in Path(__file__).parent.glob("*.yaml")))


@cache
def family(name: str) -> Family:
    """Returns the family that `family_names` names."""
    import yaml

    document: Family = yaml.safe_load((Path(__file__).parent / f"{name}.yaml").read_text(encoding="utf-8"))
    return document
