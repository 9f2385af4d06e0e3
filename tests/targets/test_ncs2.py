"""The Neural Compute Stick 2 as a target: FP16 only, judged by a stand-in, and said to be end-of-life."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from exported import graph_for

from edgecompile.errors import PlanError
from edgecompile.plan.graph import Model
from edgecompile.plan.step import Output
from edgecompile.targets.ncs2 import Ncs2

WRITTEN = Path(__file__).parents[2] / "conf/target/raspberry-pi_ncs2.yaml"
FLOAT = Model(Output("simplify", "model.onnx"), Output("onnx_export", "spec.json"))


@pytest.fixture
def stick():
    return Ncs2(**yaml.safe_load(WRITTEN.read_text()))


def test_its_life_has_ended_and_what_to_use_instead_is_said(stick):
    (warning,) = stick.warnings("fp16")
    assert "end-of-life" in warning
    assert "use instead: the Raspberry Pi 5" in warning


def test_the_device_opens_it_on_the_stick_and_this_machine_on_its_cpu(stick):
    assert stick.options() == {"DEVICE": "MYRIAD"}
    backend, distribution, options = stick.proxy_backend()
    assert (backend, distribution) == ("openvino", "openvino")
    assert "DEVICE" not in options


def test_only_fp16_is_compiled(stick):
    graph = graph_for(stick)
    graph.steps.update(simplify=None, onnx_export=None)
    model = stick.compile(graph, FLOAT.with_(precision="fp16"))
    assert model.artifact == Output("legacy")
    assert graph.steps["compile"].params["half"] is True
    with pytest.raises(PlanError, match="computes in FP16 only"):
        stick.compile(graph, FLOAT)
    with pytest.raises(PlanError, match="has no INT8"):
        stick.quantize(graph, FLOAT, None)


def test_plan_says_that_rotated_boxes_cannot_be_decoded(stick):
    graph = graph_for(stick)
    turned = replace(graph, materials=replace(graph.materials, task="obb"))
    with pytest.raises(PlanError, match="does not run the sine and cosine by which rotated boxes are decoded"):
        stick.compile(turned, FLOAT.with_(precision="fp16"))
