"""The file name is the registry; packages add their own; two of one name are an error."""

from __future__ import annotations

from pathlib import Path

import pytest

import edgecompile.passes
from edgecompile import entry_points
from edgecompile.compose.composition import compose
from edgecompile.errors import PlanError
from edgecompile.recipe import folders, kinds

PASS = """\
from typing import ClassVar
from edgecompile.passes import Pass
from edgecompile.plan.step import Stage

class Sparsify(Pass):
    \"\"\"Zeroes small weights.\"\"\"
    stage: ClassVar[Stage] = Stage.FUSION
    share: float = 0.5
    def lower(self, graph, model):
        return model
"""
RECIPE = "defaults: [quickstart, /pass@passes: [sparsify]]\ndescription: from afar\n"


@pytest.fixture
def forget():
    """Forgets what was found, before and after a test that installs something."""
    caches = (entry_points._all, kinds._known, kinds.pass_class, kinds.target_class, folders.installed)
    for one in caches:
        one.cache_clear()
    yield
    for one in caches:
        one.cache_clear()


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, forget):
    """Installs a distribution `afar` that adds a pass, config and recipes, with the given entry points."""

    def install_package(entry_points: str) -> None:
        site = tmp_path / "site"
        for folder in ("afar", "afar/conf/pass", "afar/recipes", "afar-1.0.dist-info"):
            (site / folder).mkdir(parents=True)
        for package in ("afar", "afar/conf", "afar/recipes"):
            (site / package / "__init__.py").touch()
        (site / "afar/thin.py").write_text(PASS)
        (site / "afar/conf/pass/sparsify.yaml").write_text("sparsify: {share: 0.25}\n")
        (site / "afar/recipes/afar_thin.yaml").write_text(RECIPE)
        (site / "afar-1.0.dist-info/METADATA").write_text("Metadata-Version: 2.1\nName: afar\nVersion: 1.0\n")
        (site / "afar-1.0.dist-info/entry_points.txt").write_text(entry_points)
        monkeypatch.syspath_prepend(str(site))

    return install_package


def test_files_are_the_registry():
    files = {file.stem for file in Path(edgecompile.passes.__file__).parent.glob("[!_]*.py")}
    assert set(kinds.pass_kinds()) == files
    assert "onnxruntime" in kinds.target_kinds()


@pytest.mark.parametrize("kind", kinds.pass_kinds())
def test_each_pass_has_its_class(kind):
    one = kinds.pass_class(kind)
    assert kinds.kind_of(one()) == kind


@pytest.mark.parametrize("kind", kinds.target_kinds())
def test_each_target_has_its_class(kind):
    assert kinds.target_class(kind).__module__ == f"edgecompile.targets.{kind}"


def test_a_package_adds_a_pass_config_and_recipes(install):
    points = "[edgecompile.passes]\nsparsify = afar.thin:Sparsify\n[edgecompile.conf]\nafar = afar.conf\n"
    install(points + "[edgecompile.recipes]\nafar = afar.recipes\n")
    recipe = compose("recipe=afar_thin")
    assert recipe.passes["sparsify"].share == 0.25
    assert kinds.kind_of(recipe.passes["sparsify"]) == "sparsify"
    assert "afar_thin" in folders.recipe_names()


def test_a_module_will_do(install):
    install("[edgecompile.passes]\nsparsify = afar.thin\n")
    assert kinds.pass_class("sparsify").__name__ == "Sparsify"


def test_a_clash_is_an_error(install):
    install("[edgecompile.passes]\nsimplify = afar.thin:Sparsify\n")
    with pytest.raises(PlanError, match=r"'simplify': edgecompile\.passes\.simplify and afar\.thin:Sparsify"):
        compose()


def test_a_package_that_cannot_be_imported(install):
    install("[edgecompile.passes]\nsparsify = afar.gone\n")
    assert "sparsify" in kinds.pass_kinds()
    with pytest.raises(PlanError, match=r"'sparsify' \(afar.gone\) cannot be imported"):
        kinds.pass_class("sparsify")


def test_a_folder_that_is_not_there(install):
    install("[edgecompile.recipes]\nafar = afar.nowhere\n")
    with pytest.raises(PlanError, match=r"names no package: afar\.nowhere"):
        compose()
