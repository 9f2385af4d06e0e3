"""JSON from outside, read strictly. Standard library alone."""

from __future__ import annotations

import json
import math
from typing import Any

from edgecompile.errors import BundleError

LONGEST_NUMBER = 40
"""Characters of a number in it."""


def parse_json(content: bytes, name: str) -> Any:
    """Returns the document in UTF-8 bytes that calls itself `name`: no key stands twice, no NaN, no number that is out
    of range.

    Raises:
        BundleError: it is none.
    """

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        result = dict(pairs)
        if len(result) != len(pairs):
            raise ValueError("a key stands twice")
        return result

    def refuse(constant: str) -> None:
        raise ValueError(f"{constant} is not JSON")

    def whole(text: str) -> int:
        if len(text) > LONGEST_NUMBER:
            raise ValueError(f"a number of {len(text)} digits")
        return int(text)

    def finite(text: str) -> float:
        value = float(text)
        if len(text) > LONGEST_NUMBER or not math.isfinite(value):
            raise ValueError(f"the number {text[:LONGEST_NUMBER]} is too large")
        return value

    try:
        text = content.decode("utf-8")
        return json.loads(text, object_pairs_hook=unique, parse_constant=refuse, parse_int=whole, parse_float=finite)
    except (ValueError, RecursionError) as error:
        raise BundleError(f"'{name}' is not a JSON document: {error}") from None
