"""The pass that docs/extending.md shows is a pass: it plans, runs on a real graph, and changes no output."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import numpy as np
import pytest
from exported import exported, graph_for

from edgecompile.errors import PlanError
from edgecompile.plan.graph import Model
from edgecompile.plan.step import Output, Stage, Step

onnx = pytest.importorskip("onnx")
PAGE = Path(__file__).parents[2] / "docs" / "extending.md"


@pytest.fixture(scope="module")
def shown(tmp_path_factory):
    """The module that the page shows."""
    code = re.search(r"^```python\n# edgecompile/passes/drop_identity.py\n(.*?)^```$", PAGE.read_text(), re.M | re.S)
    file = tmp_path_factory.mktemp("pass") / "drop_identity.py"
    file.write_text(code[1])
    spec = importlib.util.spec_from_file_location("drop_identity", file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_it_plans(shown):
    graph = graph_for(target=None)
    graph.add(Step("onnx_export", "a.b:export", Stage.EXPORT))
    model = shown.DropIdentity(most=3).lower(graph, Model(Output("onnx_export", "model.onnx"), Output("onnx_export")))
    assert model.artifact == Output("drop_identity", "model.onnx")
    assert graph.steps["drop_identity"].params == {"most": 3}
    with pytest.raises(PlanError):
        shown.DropIdentity().lower(graph, None)


def test_it_removes_what_it_says_and_changes_nothing(shown, tmp_path):
    from edgecompile.graphs.onnx.agreement import fixed_input, run

    one = exported()
    graph = onnx.load(one.model)
    first = graph.graph.node[0]
    graph.graph.node.insert(0, onnx.helper.make_node("Identity", [graph.graph.input[0].name], ["same"]))
    first.input[0] = "same"
    onnx.save(graph, tmp_path / "longer.onnx")
    assert shown.rewrite(tmp_path, model=tmp_path / "longer.onnx", most=5) == {"changes": ["1 Identity nodes removed"]}
    picture = fixed_input([1, 3, 192, 256], [192, 256])
    outputs = [run(path.read_bytes(), picture)[0] for path in (one.model, tmp_path / "model.onnx")]
    for before, after in zip(*outputs, strict=True):
        np.testing.assert_array_equal(before, after)
    assert "nothing matched" in shown.rewrite(tmp_path, model=one.model, most=5)["changes"][0]
