"""Tasks of packages: found by their name, and never one of two."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgecompile import entry_points
from edgecompile.errors import BundleError, MissingToolError, PlanError
from edgecompile.evaluate import tasks as evaluated
from edgecompile.runtime import tasks as run

CACHES = (entry_points._all, evaluated.find_task, run.find_task)


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Installs a distribution that claims to bring the task `count`, in a module that is not there."""

    def install_package(name: str) -> None:
        folder = tmp_path / f"{name}-1.0.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        groups = (evaluated.ENTRY_POINTS, run.ENTRY_POINTS)
        (folder / "entry_points.txt").write_text("".join(f"[{group}]\ncount = {name}:Task\n" for group in groups))

    monkeypatch.syspath_prepend(str(tmp_path))
    forget()
    yield install_package
    forget()


def forget() -> None:
    for function in CACHES:
        function.cache_clear()


def test_two_tasks_of_one_name_are_refused(install):
    install("near")
    install("far")
    for find in (evaluated.find_task, run.find_task):
        with pytest.raises(PlanError, match=r"two entry points of .* are named 'count': .*(near|far):Task"):
            find("count")


def test_negative_control_a_name_that_stands_once_is_taken(install):
    install("near")
    with pytest.raises(PlanError, match=r"'count' \(near:Task\) cannot be imported: ModuleNotFoundError"):
        evaluated.find_task("count")
    with pytest.raises(MissingToolError, match=r"'count' \(near:Task\) cannot be imported"):
        run.find_task("count")


def test_a_name_from_outside_is_cut():
    with pytest.raises(BundleError) as refused:
        run.find_task("x" * 100_000)
    assert len(str(refused.value)) < 200
