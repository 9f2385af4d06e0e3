"""What tests find around them: packages that are looked for, and their share of the machine."""

from __future__ import annotations

import os
import sys

import own_machine
import pytest
from needed import needs


@pytest.mark.parametrize("package", ["no_such_package", "no_such_package.inside", "json.no_such_module"])
def test_what_is_not_installed_skips_a_file(package: str) -> None:
    needs("json", "importlib.util")
    with pytest.raises(pytest.skip.Exception, match=package):
        needs("json", package)


def test_what_is_looked_for_is_not_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "antigravity", raising=False)
    needs("antigravity")
    assert "antigravity" not in sys.modules


@pytest.mark.parametrize(
    ("count", "shares"),
    [(1, [[0, 1, 2, 3]]), (2, [[0, 2], [1, 3]]), (4, [[0], [1], [2], [3]]), (5, [[0, 1, 2, 3]] * 5)],
)
def test_cores_are_shared_out(monkeypatch: pytest.MonkeyPatch, count: int, shares: list[list[int]]) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {0, 1, 2, 3})
    monkeypatch.setenv("PYTEST_XDIST_WORKER_COUNT", str(count))
    found = []
    for worker in range(count):
        monkeypatch.setenv("PYTEST_XDIST_WORKER", f"gw{worker}")
        found.append(own_machine.cores())
    assert found == shares
