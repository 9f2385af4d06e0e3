"""Text from outside is shown wherever it leaves the program, and never obeyed."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest

from edgecompile.errors import RecipeError
from edgecompile.report.terminal import write
from edgecompile.text import csv_cell, escape, tell, to_json

from .tiny import NAMES, bundled, tiny_manifest, tiny_spec

HIDDEN = (
    "\x00\x07\x08\x1b\x7f\x85\x9b\n\r\u061c\u200b\u200e\u200f\u2028\u2029\u202a\u202e\u2066\u2069\ufeff\ud800\U000e0041"
)
FORGED = "bolt\x1b]0;title\x07\x1b[2J\nseal         ok: forged\u202e"


@pytest.mark.parametrize("character", HIDDEN)
def test_what_a_terminal_obeys_is_escaped(character: str) -> None:
    assert escape(f"a{character}b").isprintable()
    assert escape(f"a{character}b") != "ab"
    assert character not in str(RecipeError(f"a{character}b", where=f"c{character}"))
    assert character not in to_json([f"a{character}b"])
    assert json.loads(to_json({f"a{character}b": 1})) == {f"a{character}b": 1}
    told = io.StringIO()
    tell(f"a{character}b", file=told)
    assert told.getvalue().count("\n") == 1
    assert character == "\n" or character not in told.getvalue()


@pytest.mark.parametrize("text", ["bolt", "Rück seite 写真", "a\u3000b", "[red]", "é", "😀", ""])
def test_text_that_hides_nothing_stays_as_it_is(text: str) -> None:
    assert escape(text) == text
    assert text in to_json([text])


def test_json_is_valid_json() -> None:
    found = {"a": [float("nan"), float("inf"), -float("inf"), 1.5], "b": (float("nan"),)}
    assert json.loads(to_json(found), parse_constant=pytest.fail) == {"a": [None, None, None, 1.5], "b": [None]}
    assert to_json({"a": [1]}, indent=2) == '{\n  "a": [1]\n}'


def test_lists_of_numbers_stay_on_a_line_and_nothing_else_changes() -> None:
    found = {"a": [1, -2.5, 3e-9], "b": [[], [7]], "c": ["1", "[\n  1\n]"], "d": [None, 1], "e": {"f": []}}
    text = to_json(found, indent=2)
    assert json.loads(text) == found
    assert '"a": [1, -2.5, 3e-09],' in text
    assert '"[\\n  1\\n]"' in text


@pytest.mark.parametrize(
    ("value", "cell"),
    [
        ("=1+1", "'=1+1"), ("@SUM(A1)", "'@SUM(A1)"), ("+x", "'+x"), ("-x", "'-x"), ("\t=1", "'\t=1"), ("-1.5", "-1.5"),
        (-1.5, -1.5), ("+3e-4", "+3e-4"), (None, None), ("a=b", "a=b"), ("", ""),
    ],
)  # fmt: skip
def test_a_spreadsheet_computes_no_cell(value: Any, cell: Any) -> None:
    assert csv_cell(value) == cell


def test_rich_obeys_neither_markup_nor_controls() -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table("a")
    table.add_row(Text(f"[red]{FORGED}"))
    stream = io.StringIO()
    write([Text(f"[red]{FORGED}"), table], stream)
    assert "[red]bolt\\x1b" in stream.getvalue()
    assert not {"\x1b", "\x07", "\u202e"} & {*stream.getvalue()}


@pytest.mark.slow
def test_names_of_a_bundle_are_shown_and_not_obeyed(
    tiny_members: dict[str, bytes], tmp_path: Path, pictures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from edgecompile.cli import main

    names = [FORGED, *NAMES[1:]]
    manifest = tiny_manifest()
    manifest["model"]["names"], manifest["description"], manifest["name"] = names, FORGED, FORGED
    members = {**tiny_members, "spec.json": json.dumps({**tiny_spec(), "names": names}).encode()}
    path = tmp_path / "forged.bundle.zip"
    path.write_bytes(bundled(members, manifest))
    for words in (["inspect"], ["verify"], ["inspect", "--json"], ["predict", str(pictures)]):
        assert main([words[0], str(path), *words[1:]]) == 0
        out, err = capsys.readouterr()
        assert not {"\x1b", "\x07", "\u202e"} & {*out, *err}
        assert not any(line.startswith("seal         ok: forged") for line in out.splitlines())
    assert main(["predict", str(path), str(pictures), "--format", "json"]) == 0
    assert FORGED in {one["name"] for picture in json.loads(capsys.readouterr().out) for one in picture["detections"]}
