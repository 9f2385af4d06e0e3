"""Each recipe that is shipped ends with a bundle on the embedded model, or with one that its device finishes."""

from __future__ import annotations

import json
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import program
import pytest
from rough_measurement import ROUGH

from edgecompile.evaluate.tasks import find_task
from edgecompile.runtime.archive import Archive

pytestmark = pytest.mark.slow

RECIPES = sorted(path.stem for path in (Path(__file__).parents[1] / "recipes").glob("*.yaml"))
ASKS = {"ncnn": "pnnx", "tensorrt-rtx": "tensorrt-rtx-cu13-libs"}
"""Runtimes whose converter or builder is no package that every environment has."""
EMBEDDED = ("model=sample", "data=sample")
OF_A_TASK = "quickstart_"
"""How recipes begin that name an embedded model of their own."""


def edgecompile(shared: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return program.edgecompile(shared, *words, EDGECOMPILE_CACHE=str(shared / "cache"))


def skip_without_tools(name: str) -> None:
    """Skips the test where what a recipe is converted or built with is not installed."""
    for runtime, package in ASKS.items():
        if f"_{runtime}_" in name:
            try:
                version(package)
            except PackageNotFoundError:
                pytest.skip(f"{package} is not installed")


@pytest.mark.parametrize("name", RECIPES)
def test_its_plan_is_clean_and_its_build_ends_with_a_bundle(shared, name):
    skip_without_tools(name)
    words = (f"recipe={name}", *(() if name.startswith(OF_A_TASK) else EMBEDDED))
    planned = edgecompile(shared, "plan", *words)
    built = edgecompile(shared, "build", *words, *ROUGH, "--quiet")
    assert planned.returncode == 0, planned.stderr
    assert planned.stderr == ""
    assert built.returncode == 0, built.stderr
    with Archive(shared / built.stdout.splitlines()[-1]) as archive:
        archive.check_members()
        manifest = archive.manifest
    gates = {gate["gate"]: gate["met"] for gate in manifest["gates"]}
    task = manifest["model"]["task"]
    assert task == (name.removeprefix(OF_A_TASK) if name.startswith(OF_A_TASK) else "detect")
    assert manifest["figures"][find_task(task).drop.name] < 0.02, json.dumps(manifest["figures"]["per_class"])
    assert gates["accuracy_drop"] is True
    if manifest["target"]["finalize"]:
        refused = edgecompile(shared, "verify", built.stdout.splitlines()[-1])
        assert refused.returncode in (4, 7), "the device's tools are missing here, or its model was not built"
        assert len(refused.stderr.splitlines()) == 1
