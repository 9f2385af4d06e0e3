"""Whatever stands in a recipe or on the command line: it composes, or it is refused in lines; nothing else escapes."""

from __future__ import annotations

import random

import pytest

from edgecompile.compose.composition import compose
from edgecompile.errors import EdgecompileError, Problem
from edgecompile.places import recipes_folder
from edgecompile.recipe.materials import find_materials

pytestmark = pytest.mark.slow


def parted(text: str) -> tuple[str, ...]:
    return tuple(text.split())


SIGNS = parted("{ } [ ] : | > # ! , ~ @ / ' \" & * % null ??? ${a} ${model} ${ -1 1e400 true é _self_ recipe")
PARTS = ("\t", "\x00", "\n", "  ", "- ", "override ", "passes: ", "defaults: ", "target: ", "hydra: ", "kind: ")
KEYS = parted("model.imgsz model data passes passes.simplify order gates.fps target target.isa recipe name zzz a.b.c")
VALUES = parted("1 null true foo [1,2] {a:1} {} yolo26n ${name} ${zzz} '' 1,2 ??? -1 nan ${oc.env:HOME} [a,b é glob(*)")


def told(*words: str) -> None:
    """Composes, and checks the message where that fails."""
    problems: tuple = ()
    try:
        find_materials(compose(*words))
    except EdgecompileError as error:
        problems = error.problems or ("nothing told",)
    assert all(isinstance(one, Problem) and one.message and "\n" not in str(one) for one in problems)


@pytest.mark.parametrize("seed", range(40))
def test_a_recipe_with_typing_errors(write, seed):
    chance = random.Random(seed)
    text = (recipes_folder() / "quickstart.yaml").read_text(encoding="utf-8")
    text += "order: [onnx_export, simplify, int8_static]\nname: mine\n"
    for _ in range(chance.randint(1, 4)):
        at = chance.randrange(len(text))
        text = text[:at] + chance.choice(SIGNS + PARTS) + text[at + chance.choice((0, 0, 1, 3, 10)) :]
    told(write(text, base=False))


@pytest.mark.parametrize("seed", range(40))
def test_a_line_with_typing_errors(seed):
    chance = random.Random(seed)
    words = [
        f"{chance.choice(('', '', '+', '++', '~'))}{chance.choice(KEYS)}={chance.choice(VALUES)}" for _ in range(3)
    ]
    told(*words[: chance.randint(1, 3)])
