"""A model that is built on the device, from here in one command.

The device's own backend is that of `runtime/test_finalize.py`: its facts are a file, what it builds is real.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from runtime.test_finalize import BACKEND, DEVICE

from .server import edgecompile

PYTHON = ("--python", sys.executable)
FACTS = {
    "backend": "deskbuilt",
    "finalize": True,
    "runtime": ["rt", ">=10.3,<11"],
    "constraints": {"sm": ["8.7"], "driver": ">=540"},
    "tolerance": 1e-3,
}


def install_backend(site: Path) -> None:
    """Puts the backend into a folder as a package of its own, with the file that says what device it is on."""
    (site / "deskbuilt-1.0.dist-info").mkdir(parents=True)
    (site / "deskbuilt_backend.py").write_text(BACKEND)
    (site / "deskbuilt-1.0.dist-info/METADATA").write_text("Metadata-Version: 2.1\nName: deskbuilt\nVersion: 1.0\n")
    entry = "[edgecompile.backends]\ndeskbuilt = deskbuilt_backend:Backend\n"
    (site / "deskbuilt-1.0.dist-info/entry_points.txt").write_text(entry)
    (site / "device.json").write_text(json.dumps(DEVICE))


@pytest.fixture
def board(devices, tmp_path):
    """A device that builds its models itself."""
    install_backend(tmp_path / "site")
    return devices(pythonpath=str(tmp_path / "site"))


def test_finalize_builds_there_and_deploy_uses_what_was_built(board, make_bundle):
    bundle = make_bundle("built", **FACTS)
    before = edgecompile("verify", bundle, "--on", board.address, *PYTHON, options=board.options())
    assert before.returncode == 7
    assert "edgecompile finalize" in before.stderr
    ended = edgecompile("finalize", bundle, "--on", board.address, *PYTHON, options=board.options())
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "built here, now, with rt 10.3.0" in ended.stdout
    assert "detections   ok" in ended.stdout
    deployed = edgecompile("deploy", bundle, board.address, *PYTHON, options=board.options())
    assert deployed.returncode == 0, deployed.stderr
    assert "built here before" in deployed.stdout
    path = deployed.stdout.splitlines()[-1]
    launcher = board.home / "edgecompile/edgecompile"
    path_there = {"PYTHONPATH": str(board.folder.parent / "site")}
    ran = subprocess.run([launcher, "verify", path], capture_output=True, text=True, env=path_there)
    assert ran.returncode == 0, ran.stderr  # the lasting name leads to the model that was built
    assert not board.left()


def test_another_device_is_refused_in_one_line(board, make_bundle):
    bundle = make_bundle("elsewhere", **{**FACTS, "constraints": {"sm": ["8.9"]}})
    ended = edgecompile("finalize", bundle, "--on", board.address, *PYTHON, "--json", options=board.options())
    assert (ended.returncode, ended.stdout) == (7, "")
    complaints = [line for line in ended.stderr.splitlines() if line.startswith("edgecompile: ")]
    assert len(complaints) == 1
    assert "sm is 8.7 (the bundle is for 8.9)" in complaints[0]
    assert not board.left()
