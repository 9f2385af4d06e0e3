"""How the labels of validation pictures are read: as parameters of a step, and as a lock holds it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from edgecompile.data.label_lines import LabelFacts
from edgecompile.json_types import JsonObject

MOST_CLASSES = 100_000
"""Number that a class of a label stays below; the plan has compared it with the names of the data set."""


@dataclass(frozen=True)
class LabelReading:
    """What a step needs, beside the files, to read the labels of pictures.

    Attributes:
        kpt_shape, kpt_oks_sigmas: see `edgecompile.data.label_lines.LabelFacts`.
        layout: of the data set; see `edgecompile.data.layouts`.
        keys: of each picture that by which the layout finds its labels; none where each has a file of its own.
        names: of the classes by number, where the layout needs them.
        categories: ids that the data set has for the classes by number, None for a class that it has none for; none at
            all where the numbers are the ids.
    """

    kpt_shape: tuple[int, int] | None = None
    kpt_oks_sigmas: tuple[float, ...] | None = None
    layout: str = "yolo"
    keys: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    categories: tuple[int | None, ...] = ()

    def as_json(self) -> JsonObject:
        """Returns the attributes that differ from the defaults, as plain JSON."""
        default = LabelReading()
        values = {name: value for name, value in vars(self).items() if value != getattr(default, name)}
        return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}

    @property
    def facts(self) -> LabelFacts:
        """What holds for all labels, as far as a step needs to know: any number of classes."""
        return LabelFacts(MOST_CLASSES, self.kpt_shape, self.kpt_oks_sigmas)


def reading_from(document: JsonObject) -> LabelReading:
    """Returns what `LabelReading.as_json` wrote."""
    values: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in document.items()
    }
    return LabelReading(**values)
