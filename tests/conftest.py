"""What holds for every test: nothing is kept in the user's own folders; what costs minutes is made once."""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import pytest

from edgecompile import cli

os.environ["EDGECOMPILE_DEVICE_CACHE"] = "off"
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:  # a shell hands an ignored Ctrl-C down to background jobs
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def shared(tmp_path_factory) -> Path:
    """A folder that all processes of this test run share; its `cache` is their store, so that recipes of the embedded
    model are exported, calibrated and evaluated once."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "shared"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory and a cache of this test's own."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("EDGECOMPILE_CACHE", str(tmp_path / "cache"))
    return folder


@dataclass
class Ran:
    """What a command line came to."""

    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[str]:
        return self.err.splitlines()


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str]):
    """Runs a command line in this process."""

    def run_line(*words: str) -> Ran:
        capfd.readouterr()
        code = cli.main(words)
        return Ran(code, *capfd.readouterr())

    return run_line


@pytest.fixture(scope="session")
def ultralytics(tmp_path_factory) -> ModuleType:
    """Ultralytics, to compare with; the test is skipped where it is not installed.

    Its settings let it install, fetch and unpickle nothing, and are kept in a temporary folder.
    """
    quiet = {"YOLO_AUTOINSTALL": "false", "YOLO_OFFLINE": "true", "ULTRALYTICS_SAFE_LOAD": "1", "YOLO_VERBOSE": "false"}
    for name, value in {**quiet, "YOLO_CONFIG_DIR": str(tmp_path_factory.mktemp("ultralytics"))}.items():
        os.environ.setdefault(name, value)
    return pytest.importorskip("ultralytics")
