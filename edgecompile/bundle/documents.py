"""Canonical JSON, so that equal documents have equal bytes: RFC 8785, one line, ending in a newline."""

from __future__ import annotations

from typing import Any

from edgecompile.errors import StepError
from edgecompile.execute.canonical_json import canonical_json as without_newline


def canonical_json(document: Any) -> bytes:
    """Returns `document` (plain JSON values) as RFC 8785 bytes and a newline.

    Raises:
        StepError: a value has no canonical form (NaN, an infinity, an integer beyond 2**53, another type).
    """
    try:
        return without_newline(document) + b"\n"
    except (TypeError, ValueError) as error:
        raise StepError(f"a document of the bundle holds a value that JSON cannot say exactly: {error}") from error
