"""What a data set says of itself, in whatever layout it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from edgecompile.data.label_lines import LabelFacts
from edgecompile.json_types import JsonObject


@dataclass(frozen=True)
class DataFile:
    """A data set.

    Attributes:
        file: the data.yaml, the JSON or the folder that was named.
        root: the folder to which the splits are relative.
        names: the classes by number.
        splits: what each split names.
        facts: what holds for all labels.
        images: folders of pictures by split; "" for all splits. Only COCO's JSON needs it.
    """

    file: Path
    root: Path
    names: tuple[str, ...]
    splits: JsonObject
    facts: LabelFacts
    images: Mapping[str, str] = field(default_factory=dict)
