"""The import contracts of pyproject.toml hold, and so do two that import-linter cannot state."""

from __future__ import annotations

import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
MODULES = sorted((ROOT / "edgecompile").rglob("*.py"))
REGISTRIES = {"backends", "layouts", "passes", "targets", "tasks", "verbs"}


def test_import_contracts_hold():
    """Runs what `make lint` runs, so that a broken contract fails the suite too."""
    pytest.importorskip("importlinter")
    program = Path(sys.executable).with_name("lint-imports")
    finished = subprocess.run([program, "--no-cache"], cwd=ROOT, capture_output=True, text=True)
    assert finished.returncode == 0, finished.stdout


@pytest.mark.parametrize(("name", "exempt"), [("Hydra", {"compose"}), ("Ultralytics", {"passes"})])
def test_contracts_name_every_room(name, exempt):
    """A new room is not left out of what is forbidden everywhere else."""
    text = (ROOT / "pyproject.toml").read_text()
    contract = next(part for part in text.split("[[tool.importlinter.contracts]]") if f"{name}" in part.split("\n")[1])
    listed = set(re.findall(r'"edgecompile\.(\w+)"', contract))
    children = (ROOT / "edgecompile").iterdir()
    rooms = {child.stem for child in children if child.suffix == ".py" or (child / "__init__.py").is_file()}
    assert listed == rooms - exempt - {"__init__"}


def test_ultralytics_is_imported_beside_the_pass_that_exports():
    found = [module.name for module in MODULES if re.search(r"^\s*(import|from) ultralytics", module.read_text(), re.M)]
    assert sorted(found) == ["_ultralytics_checkpoint.py", "_ultralytics_heads.py"]


def test_modules_are_at_most_400_lines():
    long = {str(module.relative_to(ROOT)): n for module in MODULES if (n := len(module.read_text().splitlines())) > 400}
    assert not long


def test_file_names_are_unique():
    """A file name says where one is, except where it is the registry: a pass and a target may share theirs."""
    named = [module for module in MODULES if module.parent.name not in REGISTRIES and not module.stem.startswith("__")]
    counts = Counter(module.name for module in named)
    assert not {name for name, count in counts.items() if count > 1}


@pytest.mark.parametrize("group", ["passes", "targets"])
def test_each_kind_is_one_file_one_yaml_one_test(group):
    """The file name is the registry, so a kind without its YAML or its test is not finished."""
    kinds = {module.stem for module in (ROOT / "edgecompile" / group).glob("[!_]*.py")}
    assert kinds
    for kind in kinds:
        assert (ROOT / "tests" / group / f"test_{kind}.py").is_file(), f"{group}/{kind}.py has no test file"
    if group == "passes":
        assert {path.stem for path in (ROOT / "conf" / "pass").glob("*.yaml")} == kinds
    else:
        written = "\n".join(path.read_text() for path in (ROOT / "conf" / "target").glob("*.yaml"))
        assert all(re.search(rf"^kind: {kind}$", written, re.M) for kind in kinds)


def test_every_package_ships():
    """A folder of modules that pyproject.toml does not list is in no wheel."""
    text = (ROOT / "pyproject.toml").read_text()
    listed = set(re.findall(r'^    "(edgecompile[\w.]*)",$', text.split("[tool.setuptools]")[1].split("]")[0], re.M))
    folders = {file.parent.relative_to(ROOT).as_posix().replace("/", ".") for file in MODULES}
    assert listed - {"edgecompile.conf", "edgecompile.recipes"} == folders


def test_no_modules_import_each_other_in_a_circle():
    """Imports of types alone count too: a circle of them is knowledge that stands in two places."""
    grimp = pytest.importorskip("grimp")
    graph = grimp.build_graph("edgecompile", exclude_type_checking_imports=False)
    graph.remove_module("edgecompile")
    assert circles({module: graph.find_modules_directly_imported_by(module) for module in graph.modules}) == []


def test_negative_control_a_circle_is_found():
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}}) == [["a", "b", "c"]]


def circles(imports: dict[str, set[str]]) -> list[list[str]]:
    """Returns the groups of modules that reach each other."""

    def reached(start: str) -> set[str]:
        found, waiting = set(), [start]
        while waiting:
            fresh = imports.get(waiting.pop(), set()) - found
            found |= fresh
            waiting += fresh
        return found

    all_reached = {module: reached(module) for module in imports}
    groups = {
        tuple(sorted(other for other in reaches if module in all_reached.get(other, set())))
        for module, reaches in all_reached.items()
        if module in reaches
    }
    return [list(group) for group in sorted(groups)]
