"""A package of a third party adds a pass, the one that docs/extending.md shows. Nothing here knows of it."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from needed import needs
from rough_measurement import ROUGH

from .packages import ROOT, Run, installed, runner

pytest.importorskip("onnx")
needs("ultralytics")

pytestmark = pytest.mark.slow

PAGE = ROOT / "docs" / "extending.md"


@pytest.fixture(scope="module")
def edgecompile(tmp_path_factory: pytest.TempPathFactory, shared: Path) -> Run:
    shown = re.search(r"^```python\n(# edgecompile/passes/drop_identity.py\n.*?)^```$", PAGE.read_text(), re.M | re.S)
    module = shown[1].replace("edgecompile.passes.drop_identity:", "plane.drop_identity:")
    yaml = "drop_identity: {most: 1000}\n"
    files = {"plane/drop_identity.py": module, "plane/conf/pass/drop_identity.yaml": yaml}
    return runner(installed("plane", tmp_path_factory, files), tmp_path_factory.mktemp("work"), shared / "cache")


def test_it_is_listed_and_in_the_schema(edgecompile):
    assert "drop_identity" in edgecompile("list", "passes").stdout
    assert "drop_identity" in edgecompile("schema").stdout


def test_it_runs_in_a_build_and_says_what_it_did(edgecompile):
    words = ("recipe=quickstart", "+passes.drop_identity.kind=drop_identity")
    planned = edgecompile("plan", *words)
    assert "removes Identity nodes" in planned.stdout, planned.stderr
    built = edgecompile("build", *words, *ROUGH, "--quiet")
    assert built.returncode == 0, built.stderr
    bundle = Path(built.stdout.strip().splitlines()[-1])
    report = json.loads(edgecompile("-c", SHOW, str(bundle.parent / "report.json"), module=False).stdout)
    (step,) = [step for step in report["steps"] if step["name"] == "drop_identity"]
    assert "Identity" in step["did"][0]


SHOW = "import sys; print(open(sys.argv[1]).read())"


def test_negative_control_its_fields_are_checked(edgecompile):
    refused = edgecompile("plan", "recipe=quickstart", "+passes.drop_identity={kind: drop_identity, most: 0}")
    assert refused.returncode == 2
    assert "passes.drop_identity.most" in refused.stderr
