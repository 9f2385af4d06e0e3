"""Each recipe that is shipped ends with a bundle on the embedded model, or with one that its device finishes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest

from edgecompile.runtime.archive import Archive

pytestmark = pytest.mark.slow

RECIPES = sorted(path.stem for path in (Path(__file__).parents[1] / "recipes").glob("*.yaml"))
ASKS = {"ncnn": "pnnx", "tensorrt-rtx": "tensorrt-rtx-cu13-libs"}
"""Runtimes whose converter or builder is no package that every environment has."""
EMBEDDED = ("model=sample", "data=sample")


def edgecompile(shared: Path, *words: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "EDGECOMPILE_CACHE": str(shared / "cache"), "EDGECOMPILE_DEVICE_CACHE": "off"}
    return subprocess.run(
        [sys.executable, "-m", "edgecompile", *words], cwd=shared, env=environment, capture_output=True, text=True
    )


@pytest.mark.parametrize("name", RECIPES)
def test_its_plan_is_clean_and_its_build_ends_with_a_bundle(shared, name):
    for runtime, package in ASKS.items():
        if f"_{runtime}_" in name:
            try:
                version(package)
            except PackageNotFoundError:
                pytest.skip(f"{package} is not installed")
    planned = edgecompile(shared, "plan", f"recipe={name}", *EMBEDDED)
    built = edgecompile(shared, "build", f"recipe={name}", *EMBEDDED, "--quiet")
    assert planned.returncode == 0, planned.stderr
    assert planned.stderr == ""
    assert built.returncode == 0, built.stderr
    with Archive(shared / built.stdout.splitlines()[-1]) as archive:
        archive.check_members()
        target, figures = archive.manifest["target"], archive.manifest["figures"]
        gates = {gate["gate"]: gate["met"] for gate in archive.manifest["gates"]}
    assert figures["map_drop"] < 0.02, json.dumps(figures["per_class"])
    assert gates["accuracy_drop"] is True
    if target["finalize"]:
        refused = edgecompile(shared, "verify", built.stdout.splitlines()[-1])
        assert refused.returncode in (4, 7), "the device's tools are missing here, or its model was not built"
        assert len(refused.stderr.splitlines()) == 1
