"""Text that leaves the program: names, paths and messages from outside are shown, and never obeyed.

Standard library only: the runtime and the errors use it.
"""

from __future__ import annotations

import json
import math
import re
import sys
import unicodedata
from typing import Any, TextIO

HIDDEN = frozenset(("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"))
"""Unicode categories of what moves the cursor, reverses or hides text, breaks lines, or is no character at all."""
FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""Beginnings of cells that a spreadsheet computes."""
NUMBERS = re.compile(r"\[\n([-+.\deE,\s]+)\]")
"""A list of numbers in indented JSON. No string holds a line break there."""


def escape(text: object, *, keep: str = "") -> str:
    """Returns `text` with all that a terminal would obey, reorder or hide written as escapes, such as `\\x1b`.

    Args:
        keep: characters that stay as they are.
    """
    plain = str(text)
    if plain.isascii() and plain.isprintable():
        return plain
    return "".join(char if char in keep or not _is_hidden(char) else _escaped(char) for char in plain)


def without_passwords(text: str) -> str:
    """Returns `text` with user and password of each address in it masked, such as `http://user:password@host`."""
    return re.sub(r"://[^\s/@:]*:[^\s/@]*@", "://***@", text)


def tell(*lines: object, file: TextIO | None = None) -> None:
    """Prints each argument as one line, escaped; to stdout where `file` is None."""
    stream = sys.stdout if file is None else file
    for line in lines:
        print(escape(line), file=stream)
    stream.flush()


def to_json(value: Any, *, indent: int | None = None) -> str:
    """Returns `value` as valid JSON on any terminal: what `escape` escapes is written as \\u escapes, which mean the
    same; a number that is not finite, which JSON has not, is null. A list of numbers stays on one line."""
    try:
        text = json.dumps(value, indent=indent, ensure_ascii=False, allow_nan=False)
    except ValueError:
        text = json.dumps(_finite(value), indent=indent, ensure_ascii=False, allow_nan=False)
    if indent:
        text = NUMBERS.sub(lambda found: f"[{' '.join(found[1].split())}]", text)
    if text.isascii():
        return text.replace("\x7f", "\\u007f")
    return "".join(char if char == "\n" or not _is_hidden(char) else json.dumps(char)[1:-1] for char in text)


def csv_cell(value: Any) -> Any:
    """Returns a value for a cell of a CSV file: text that a spreadsheet would take for a formula begins with an
    apostrophe; numbers stay numbers."""
    if not isinstance(value, str):
        return value
    text = escape(value, keep="\n\t\r")
    number = re.fullmatch(r"[+-]?\d+(\.\d*)?([eE][+-]?\d+)?", text)
    return f"'{text}" if text.startswith(FORMULA) and not number else text


def _is_hidden(character: str) -> bool:
    return unicodedata.category(character) in HIDDEN


def _escaped(character: str) -> str:
    number = ord(character)
    return f"\\x{number:02x}" if number < 256 else f"\\u{number:04x}" if number < 65536 else f"\\U{number:08x}"


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
