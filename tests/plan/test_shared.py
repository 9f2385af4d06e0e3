"""Steps of many plans in one graph: equal work once, whatever it is called."""

from __future__ import annotations

from edgecompile.plan.graph import Model, Plan
from edgecompile.plan.shared import SharedSteps, by_stage
from edgecompile.plan.step import Output, Source, Stage, Step
from edgecompile.report.mermaid import mermaid_of

WEIGHTS = Source("weights", ("/a/w.pt",))
COPY = Source("weights", ("/b/w.pt",))
OTHER = Source("weights", ("/c/w.pt",))
DIGESTS = {WEIGHTS: "1", COPY: "1", OTHER: "2"}


def plan(weights: Source = WEIGHTS, export: str = "export", **params) -> Plan:
    steps = (
        Step(export, "m:export", Stage.EXPORT, inputs={"weights": weights}, params={"opset": 18}),
        Step("compile", "m:compile", Stage.COMPILATION, inputs={"model": Output(export, "m.onnx")}, params=params),
        Step("measure", "m:measure", Stage.VALIDATION, inputs={"artifact": Output("compile")}, measured=True),
    )
    return Plan(steps, Model(Output("compile"), Output(export)))


def test_equal_steps_stand_once_under_whatever_name_and_wherever_the_files_lie():
    shared = SharedSteps(DIGESTS.__getitem__)
    assert shared.add(plan(half=False)) == (0, 1, 2)
    assert shared.add(plan(COPY, export="another_name", half=False)) == (0, 1, 2)
    assert len(shared.steps) == 3


def test_what_differs_makes_all_that_follows_another_step():
    shared = SharedSteps(DIGESTS.__getitem__)
    shared.add(plan(half=False))
    assert shared.add(plan(half=True)) == (0, 3, 4)
    assert shared.add(plan(OTHER, half=False)) == (5, 6, 7)
    assert [step.name for step in shared.steps[3:]] == ["compile#2", "measure#2", "export#2", "compile#3", "measure#3"]
    assert shared.steps[6].inputs["model"] == Output("export#2", "m.onnx")


def test_the_graph_of_all_can_be_drawn():
    shared = SharedSteps(DIGESTS.__getitem__)
    shared.add(plan(half=False))
    shared.add(plan(OTHER, half=False))
    drawing = mermaid_of(by_stage(shared.steps))
    assert drawing.count("subgraph") == 3
    assert drawing.count("-->") == 4
