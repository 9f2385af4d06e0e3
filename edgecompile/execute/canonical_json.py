"""Equal values have equal bytes: canonical JSON, its digest, and documents that show any damage to themselves."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Any


class Damaged(Exception):
    """A stored file is not what was written. Always handled inside this package: a damaged result is built again."""


def plain(value: Any) -> Any:
    """Returns `value` with mappings as `dict`, sequences as `list` and enum members as their values.

    Raises:
        TypeError: when it holds anything that is no plain JSON value.
    """
    if isinstance(value, Enum):
        return plain(value.value)
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, Mapping):
        if odd := [key for key in value if not isinstance(key, str)]:
            raise TypeError(f"key {odd[0]!r} is not a string")
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, (bytes, bytearray)):
        return [plain(item) for item in value]
    raise TypeError(f"{type(value).__name__} is not a plain JSON value")


def canonical_json(value: Any) -> bytes:
    """Returns `value` as JSON in the one form of RFC 8785 (sorted keys, shortest numbers, UTF-8).

    Raises:
        TypeError: when it holds anything that is no plain JSON value.
        ValueError: when a number has no exact JSON form (NaN, infinity, an integer beyond 2**53).
    """
    import rfc8785

    return rfc8785.dumps(plain(value))


def digest_of(value: Any) -> str:
    """Returns the sha256, in hex, of the canonical JSON of `value`."""
    return hashlib.sha256(canonical_json(value)).hexdigest()


def seal(document: Any) -> bytes:
    """Returns `document` as one line of JSON and a second line with that line's sha256: see `unseal`."""
    body = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    return b"%s\n%s\n" % (body, hashlib.sha256(body).hexdigest().encode())


def unseal(raw: bytes) -> Any:
    """Returns the document of sealed bytes.

    Raises:
        Damaged: when as much as one bit differs from what `seal` returned.
    """
    body, _, rest = raw.partition(b"\n")
    if rest != hashlib.sha256(body).hexdigest().encode() + b"\n":
        raise Damaged("its seal does not fit its content")
    return json.loads(body)
