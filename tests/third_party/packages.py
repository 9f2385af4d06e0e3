"""Installs a package of a third party into a folder, as pip does it, and runs the program beside it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
Run = Callable[..., "subprocess.CompletedProcess[str]"]


def installed(package: str, factory: pytest.TempPathFactory, extra: dict[str, str] | None = None) -> Path:
    """Returns a folder into which the package of that folder was installed.

    Args:
        extra: path in the package to what is written there before.
    """
    folder = factory.mktemp("site")
    source = factory.mktemp("source") / package  # building leaves folders behind
    subprocess.run(["cp", "-r", str(Path(__file__).parent / package), str(source)], check=True)
    for path, text in (extra or {}).items():
        (source / path).parent.mkdir(parents=True, exist_ok=True)
        (source / path).write_text(text)
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--no-build-isolation"]
    done = subprocess.run([*command, "--target", str(folder), str(source)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    return folder


def runner(site: Path, work: Path, cache: Path) -> Run:
    """Returns a function that runs the program, or Python with `module=False`, in `work`, with the package at hand.

    Args:
        cache: its store.
    """
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(site), str(ROOT)]),
        "EDGECOMPILE_CACHE": str(cache),
    }

    def run(*words: str, module: bool = True, **more: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, *(["-m", "edgecompile"] if module else []), *words]
        return subprocess.run(
            command, cwd=work, env={**environment, **more}, capture_output=True, text=True, timeout=300
        )

    return run
