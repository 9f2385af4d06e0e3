"""What the shell is offered, line by line."""

from __future__ import annotations

import os
import subprocess
import sys
from functools import partial

import pytest

from edgecompile.cli import parser_of
from edgecompile.compose.completion import candidates
from edgecompile.verbs import verb_names

VERBS = {verb: partial(parser_of, verb) for verb in verb_names()}


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    monkeypatch.setenv("COMP_LINE", "")


def offered(line: str) -> list[str]:
    return candidates(line, VERBS)


QUICK = ["quickstart", *(f"quickstart_{task}" for task in ("classify", "obb", "pose", "segment"))]


def test_verbs():
    assert set(VERBS) < set(offered("edgecompile "))
    assert offered("edgecompile bu") == ["build"]
    assert offered("edgecompile") == sorted([*VERBS, "--help", "--version"])


def test_second_words():
    assert offered("edgecompile list ") == ["data", "passes", "recipes", "targets"]
    assert offered("edgecompile cache v") == ["verify"]
    assert offered("edgecompile doctor recipe=quickstart_s") == ["recipe=quickstart_segment"]
    assert offered("edgecompile predict ") == []
    assert "--conf" in offered("edgecompile predict --")
    assert offered("edgecompile predict x.bundle.zip a.jpg --format ") == ["coco", "json", "jsonl", "table"]
    assert offered("edgecompile cache gc --older") == ["--older-than"]
    assert offered("edgecompile nonsense ") == []


@pytest.mark.slow
def test_recipes_groups_keys_and_values():
    assert "recipe=x86-cpu_openvino_int8" in offered("edgecompile build recipe=")
    assert offered("edgecompile build recipe=q") == [f"recipe={name}" for name in QUICK]
    assert {"recipe=", "target=", "model.", "gates."} <= set(offered("edgecompile build "))
    assert "target=x86-cpu_openvino" in offered("edgecompile plan target=x86")
    assert offered("edgecompile plan model.im") == ["model.imgsz="]
    assert offered("edgecompile plan gates.accuracy_drop=") == ["gates.accuracy_drop=0.02"]


@pytest.mark.slow
def test_behind_other_words(write):
    write("model: {imgsz: 416}\n")
    assert offered("edgecompile plan my.yaml model.imgsz=") == ["model.imgsz=416"]
    assert offered("edgecompile plan gates.fps=1 -m model.im") == ["model.imgsz="]
    assert offered("edgecompile plan target=x86-cpu_openvino target.inf") == ["target.inference_precision="]
    assert "passes.onnx_export." in offered("edgecompile plan passes.simplify=null passes.")


OWN = "model: {imgsz: 416}\n"
LINE = "edgecompile build my.yaml target=x86-cpu_openvino"


@pytest.mark.slow
def test_keys_of_an_own_recipe_in_a_fresh_process(write):
    """As the shell asks: no other question came before in that process."""
    write(OWN)
    asks = {**os.environ, "COMP_LINE": f"{LINE} target.inf"}
    program = [sys.executable, "-m", "edgecompile", "-sc", "query=bash"]
    answer = subprocess.run(program, env=asks, capture_output=True, text=True)
    assert (answer.returncode, answer.stdout, answer.stderr) == (0, "target.inference_precision=\n", "")


@pytest.mark.slow
def test_keys_that_no_file_sets(write):
    write(OWN)
    assert {"gates.fps=", "gates.map_drop="} <= set(offered("edgecompile build my.yaml gates."))
    assert offered("edgecompile build my.yaml model.dynamic.") == ["model.dynamic.batch=", "model.dynamic.imgsz="]
    assert offered("edgecompile build my.yaml dev") == ["device."]
    assert "target.hint=" in offered(f"{LINE} target.h")
    assert offered("edgecompile build my.yaml target=x86-cpu_onnxruntime target.hi") == []
    assert "target.hint=" in offered("edgecompile build my.yaml gates.fsp=1 target.hi")  # composes nothing: every kind


@pytest.mark.slow
def test_values_of_keys_that_take_one_of_a_few(write):
    write(OWN)
    precision = "target.inference_precision="
    assert offered(f"{LINE} {precision}") == [f"{precision}{one}" for one in ("bf16", "f16", "f32")]
    assert offered("edgecompile build my.yaml passes.onnx_export.end2end=t") == ["passes.onnx_export.end2end=true"]
    assert offered("edgecompile build my.yaml target.precisions=") == []


def test_behind_a_comma(write):
    write(OWN)
    rest = [f"recipe=quickstart,{name}" for name in QUICK if name != "quickstart"]  # that is named already
    assert offered("edgecompile build -m recipe=quickstart,q") == rest
    assert offered("edgecompile build -m recipe=my,quickstart_o") == ["recipe=my,quickstart_obb"]
    assert offered(f"{LINE} -m target.inference_precision=f32,f") == ["target.inference_precision=f32,f16"]


@pytest.mark.slow
def test_files(write):
    write("", "my.yaml")
    write("", "sub/other.yaml")
    assert offered("edgecompile build m")[:1] == ["model."] or "my.yaml" in offered("edgecompile build m")
    assert "sub/" in offered("edgecompile build s")
    assert offered("edgecompile build sub/") == ["sub/other.yaml"]


def test_flags():
    assert offered("edgecompile plan --m") == ["--mermaid", "--multirun"]
    assert offered("edgecompile build --j") == ["--jobs"]
    assert offered("edgecompile plan --cfg ") == ["all", "hydra", "job"]
    assert "defaults-tree" in offered("edgecompile plan --info d")


def test_the_shell_asks(run, monkeypatch):
    monkeypatch.setenv("COMP_LINE", "edgecompile build recipe=quickstart_p")
    ran = run("-sc", "query=bash")
    assert (ran.code, ran.out, ran.err) == (0, "recipe=quickstart_pose\n", "")
    monkeypatch.setenv("COMP_LINE", "edgecompile list ")
    assert run("--shell-completion", "query=fish").out.splitlines() == ["data", "passes", "recipes", "targets"]


def test_nothing_is_offered_where_something_is_wrong(run, monkeypatch, write):
    write("a: &x 1\n", "bad.yaml")
    monkeypatch.setenv("COMP_LINE", "edgecompile build bad.yaml model.")
    ran = run("-sc", "query=bash")
    assert (ran.code, ran.err) == (0, "")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_installs(run, shell):
    ran = run("-sc", f"install={shell}")
    assert ran.code == 0
    assert "edgecompile" in ran.out
    assert "edgecompile" not in os.environ["COMP_LINE"]
