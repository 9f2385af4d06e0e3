"""A store of its own for each test, and locks of its own: builds elsewhere on the machine are no concern of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from edgecompile.execute import locks
from edgecompile.execute.store import Store


@pytest.fixture(autouse=True)
def machine_of_its_own(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(locks.MACHINE, str(tmp_path_factory.mktemp("machine")))


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store(tmp_path / "store")
    yield store
    store.close()
