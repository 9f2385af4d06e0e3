"""The messages that docs/troubleshooting.md quotes are messages of this program."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ROWS = re.findall(
    r"^\| ([^|]+) \| [^|]+ \| [^|]+ \|$", (ROOT / "docs" / "troubleshooting.md").read_text(), re.MULTILINE
)
QUOTED = [text for row in ROWS for text in re.findall(r"`([^`]+)`", row) if " " in text]
SOURCE = "\n".join(path.read_text(encoding="utf-8") for path in sorted((ROOT / "edgecompile").rglob("*.py")))
WRITTEN = re.sub(
    r'"\s*\n\s*f?"|\{[^{}]*\}', "", SOURCE
)  # literals that go on in the next line, without what is filled in


def test_there_are_some():
    assert len(QUOTED) > 12


@pytest.mark.parametrize("text", QUOTED)
def test_each_quoted_message_stands_in_the_source(text: str):
    assert text in SOURCE or text in WRITTEN


def test_the_control_a_message_that_is_never_printed():
    assert "the moon is not installed here" not in WRITTEN
