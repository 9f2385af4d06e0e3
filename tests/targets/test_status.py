"""What is claimed of each target: its YAML, the table of docs/devices.md and `list targets` say the same."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import test_emulated_arm64
import yaml

from edgecompile.recipe.kinds import target_class

ROOT = Path(__file__).parents[2]
WRITTEN = {path.stem: yaml.safe_load(path.read_text()) for path in (ROOT / "conf" / "target").glob("*.yaml")}
ROW = re.compile(r"^\| `(?P<name>[^`]+)` \| (?P<status>[a-z ]+) \| `(?P<proof>[^`]+)`", re.MULTILINE)


def proven(name: str) -> dict[str, Any]:
    return {"name": name, "status": WRITTEN[name]["status"], "proof": WRITTEN[name]["proof"]}


def table() -> list[dict[str, str]]:
    text = (ROOT / "docs" / "devices.md").read_text()
    return [match.groupdict() for match in ROW.finditer(text)]


def test_the_table_has_one_row_for_each_target_and_says_what_its_yaml_says():
    assert sorted(table(), key=lambda row: row["name"]) == [proven(name) for name in sorted(WRITTEN)]


def test_the_list_prints_the_status_and_the_command_that_shows_it(tmp_path):
    command = [sys.executable, "-m", "edgecompile", "list", "targets"]
    told = subprocess.run([*command, "--json"], cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    rows = {row["name"]: row for row in json.loads(told)}
    assert rows.keys() == WRITTEN.keys()
    for name, row in rows.items():
        assert proven(name).items() <= row.items()
    lines = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True).stdout.splitlines()
    for line, row in zip(lines, rows.values(), strict=True):
        assert line.startswith(row["name"])
        assert line.endswith(f"{row['status']}  {' ' * (len('built here') - len(row['status']))}{row['proof']}")


@pytest.mark.parametrize("name", sorted(WRITTEN))
def test_the_command_is_one_that_there_is_and_that_is_about_this_target(name):
    status, words = WRITTEN[name]["status"], shlex.split(WRITTEN[name]["proof"])
    files = [ROOT / word for word in words if word.endswith(".py")]
    assert all(path.is_file() for path in files)
    if status == "emulated":
        assert files == [ROOT / "tests" / "test_emulated_arm64.py"]
        assert any(recipe.startswith(f"{name}_") for recipe in test_emulated_arm64.RECIPES)
        assert words[-2:] == ["-k", name]
    elif status == "built here":
        assert words[:3] == ["edgecompile", "build", f"target={name}"]
    else:
        assert len(files) == 1


def test_the_command_is_no_part_of_what_is_built():
    content = WRITTEN["x86-cpu_openvino"]
    target = target_class(content["kind"]).model_validate(content)
    assert target.proof == content["proof"]
    assert "proof" not in target.model_dump(mode="json")
