"""The drawing of a plan."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from built import build

from edgecompile.plan.graph import Plan
from edgecompile.plan.step import Output, Stage, Step
from edgecompile.report.mermaid import mermaid_of


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    return build(tmp_path_factory.mktemp("built")).plan


def test_steps_stand_in_their_stages_and_every_need_is_an_edge(plan: Plan):
    text = mermaid_of(plan)
    assert text.startswith("flowchart TD\n")
    stages = re.findall(r'subgraph g\d+\["(\w+)"\]', text)
    assert stages == ["export", "fusion", "quantization", "compilation", "validation"]
    numbers = {name: node for node, name in re.findall(r'(s\d+)\["([\w.]+)', text)}
    assert set(numbers) == {step.name for step in plan}
    edges = set(re.findall(r"^  (s\d+) --> (s\d+)$", text, re.M))
    assert edges == {(numbers[need], numbers[step.name]) for step in plan for need in step.needs}
    assert f"class {numbers['measure']} measured" in text


def test_equal_plans_give_equal_text(plan: Plan, tmp_path: Path):
    assert mermaid_of(build(tmp_path / "x").plan) == mermaid_of(plan)


def test_labels_cannot_leave_their_quotes(plan: Plan):
    step = Step('a"] --> b', "a.b:c", Stage.FUSION, inputs={"x": Output("onnx_export")}, about="<script>\n`#`")
    text = mermaid_of(Plan((plan["onnx_export"], step), plan.result))
    assert "<script>" not in text
    assert '["a#quot;] --#gt; b<br/><small>#lt;script#gt; #96;#35;#96;</small>"]' in text
    assert all(line.count('"') % 2 == 0 for line in text.splitlines())
