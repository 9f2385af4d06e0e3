"""What `list` shows."""

from __future__ import annotations

import json

import pytest


def test_recipes(run, write):
    write("description: of my own\n", "recipes/local.yaml")
    write("a: &x 1\n", "recipes/bad.yaml", base=False)
    found = {row["name"]: row for row in json.loads(run("list", "recipes", "--json").out)}
    assert found["quickstart"]["from"] == "edgecompile"
    assert found["quickstart"]["about"]
    assert (found["local"]["from"], found["local"]["about"]) == ("here", "of my own")
    assert "unreadable" in found["bad"]["about"]


@pytest.mark.parametrize(
    ("what", "name"), [("passes", "int8_static"), ("targets", "x86-cpu_openvino"), ("data", "sample")]
)
def test_others(run, what, name):
    ran = run("list", what)
    assert ran.code == 0
    assert any(line.startswith(name) for line in ran.out.splitlines())
    assert all(line == line.rstrip() for line in ran.out.splitlines())


def test_data_says_what_is_at_hand(run):
    found = {row["name"]: row["at hand"] for row in json.loads(run("list", "data", "--json").out)}
    samples = ("sample", *(f"sample-{task}" for task in ("classify", "obb", "pose", "segment")))
    assert found == {"coco128": "no: edgecompile fetch coco128.yaml", **dict.fromkeys(samples, "yes")}


def test_wrong(run):
    ran = run("list", "recipe")
    assert (ran.code, len(ran.lines)) == (2, 1)
