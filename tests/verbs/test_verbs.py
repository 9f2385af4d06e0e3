"""What holds for every verb: one file, one line about itself, a parser, and nothing imported for its help."""

from __future__ import annotations

import subprocess
import sys

import pytest

from edgecompile import cli
from edgecompile.arguments import Parser
from edgecompile.errors import RecipeError
from edgecompile.verbs import find_verb, verb_names


@pytest.mark.parametrize("name", verb_names())
def test_a_verb_says_what_it_does_and_what_it_takes(name, capsys):
    verb = find_verb(name)
    assert verb.ABOUT
    assert "\n" not in verb.ABOUT
    assert cli.main([name, "--help"]) == 0
    assert f"usage: edgecompile {name}" in capsys.readouterr().out


@pytest.mark.parametrize("name", [name for name in verb_names() if name != "schema"])
def test_an_unknown_flag_is_one_line(name, capsys):
    assert cli.main([name, "--no-such-flag"]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_the_list_of_verbs_imports_the_standard_library_alone():
    """A device lists verbs of the compiler, and has none of its packages."""
    code = "import sys; sys.modules |= dict.fromkeys(('numpy', 'cv2', 'yaml', 'pydantic', 'rich', 'hydra', 'filelock'))"
    code += "; from edgecompile.cli import main; sys.exit(main(['--help']))"
    finished = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (finished.returncode, finished.stderr) == (0, "")
    assert all(f"  {name} " in finished.stdout for name in verb_names())


def test_flags_stand_anywhere_and_the_nearest_is_named():
    parser = Parser(prog="edgecompile test")
    parser.add_argument("--loud", action="store_true")
    parser.add_argument("words", nargs="*")
    assert parser.read(["a", "--loud", "b"]).words == ["a", "b"]
    with pytest.raises(RecipeError, match=r"unknown flag '--lod'; did you mean '--loud'\?"):
        parser.read(["a", "--lod"])
