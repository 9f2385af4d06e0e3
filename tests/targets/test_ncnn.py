"""ncnn as a target: what it is opened with, what it refuses, what it warns of."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from exported import graph_for

from edgecompile.errors import PlanError
from edgecompile.passes.int8_static import Int8Static
from edgecompile.plan.graph import Model
from edgecompile.plan.step import Output
from edgecompile.targets.ncnn import Ncnn

CONF = Path(__file__).parents[2] / "conf" / "target"
WRITTEN = sorted(path for path in CONF.glob("*.yaml") if "kind: ncnn" in path.read_text())
FLOAT = Model(Output("simplify", "model.onnx"), Output("onnx_export", "spec.json"))


def a_board(**fields):
    return Ncnn(**{"device": "a board", "memory_mb": 1024, **fields})


def graph(target):
    found = graph_for(target)
    found.steps.update(simplify=None, onnx_export=None)
    return found


@pytest.mark.parametrize("path", WRITTEN, ids=lambda path: path.stem)
def test_written_targets_pin_float_and_say_where_they_come_from(path):
    target = Ncnn(**yaml.safe_load(path.read_text()))
    assert target.source
    assert target.board.source
    assert not any(target.options().values())
    assert "asimddp" not in target.isa or not target.warnings("int8")


def test_int8_is_made_of_the_float_conversion_and_shares_it():
    plain, lowered = graph(a_board()), graph(a_board())
    a_board().compile(plain, FLOAT)
    model = a_board().quantize(lowered, FLOAT, Int8Static())
    assert plain.steps["compile"] == lowered.steps["compile"]
    assert (model.format, model.precision, model.artifact) == ("ncnn", "int8", Output("quantization"))
    assert a_board().compile(lowered, model) is model


def test_what_ncnn_cannot_do_is_refused_in_the_plan():
    with pytest.raises(PlanError, match="symmetric INT8 only"):
        a_board().quantize(graph(a_board()), FLOAT, Int8Static(symmetric=False))
    with pytest.raises(PlanError, match="percentile"):
        a_board().quantize(graph(a_board()), FLOAT, Int8Static(method="entropy"))


def test_what_will_not_help_is_said():
    half = {"inference_precision": "f16"}
    assert all(a_board(**half).options().values())
    assert "no FP16 arithmetic" in a_board(isa=("asimd",), **half).warnings("fp16")[0]
    assert "confirm accuracy there" in a_board(isa=("asimdhp",), **half).warnings("fp16")[0]
    assert "not the time" in a_board().warnings("fp16")[0]
    assert "no dot product" in a_board(isa=("asimd",)).warnings("int8")[0]
    assert not a_board(isa=("asimddp",)).warnings("int8")
    assert not a_board().warnings("fp32")
