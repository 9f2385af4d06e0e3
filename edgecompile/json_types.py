"""What JSON holds, for functions that read or write it. A document with known keys has a type of its own instead."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeAlias

JsonValue: TypeAlias = "bool | int | float | str | Sequence[JsonValue] | Mapping[str, JsonValue] | None"
"""A value of JSON."""
JsonObject: TypeAlias = "Mapping[str, JsonValue]"
"""An object of JSON, whose keys are not known beforehand: parameters of a step, the facts of a machine."""
