"""What hostile files are tried in: a data set, and a place with a home, a secret, a store, all watched."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgecompile.execute import locks

from .attack import SECRET, write_data


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_data(tmp_path_factory.mktemp("data"))


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for folder in ("home", "secret", "work", "tmp", "machine", "cache"):
        (tmp_path / folder).mkdir()
    (tmp_path / "home/.bashrc").write_text("# mine\n")
    (tmp_path / "secret/secret.txt").write_bytes(SECRET)
    monkeypatch.chdir(tmp_path / "work")
    for name, folder in (
        ("HOME", "home"), ("TMPDIR", "tmp"), ("EDGECOMPILE_CACHE", "cache"), (locks.MACHINE, "machine"),
    ):  # fmt: skip
        monkeypatch.setenv(name, str(tmp_path / folder))
    for name in ("EDGECOMPILE_STEP_TIMEOUT", "EDGECOMPILE_STEP_MEMORY"):
        monkeypatch.setenv(name, "none")  # so that what the command line sets is taken back
    return tmp_path
