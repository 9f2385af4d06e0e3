"""Each runtime takes the embedded model of each task that it can run, in INT8, and a graph quantized whole fails."""

from __future__ import annotations

import json
import subprocess
from importlib.util import find_spec
from pathlib import Path

import pytest
from rough_measurement import ROUGH
from test_every_recipe import edgecompile

from edgecompile.runtime.archive import Archive

pytestmark = pytest.mark.slow

TASKS = ("segment", "pose", "obb")
CANNOT = {("raspberry-pi_ncs2_fp16", "obb"): "does not run the sine and cosine by which rotated boxes are decoded"}
"""What a device cannot do, and what `plan` says of it."""
MOST = 0.01
"""Largest loss of the main metric in INT8, against the float model."""
RECIPES = {
    "x86-cpu_onnxruntime_int8": "",
    "arm64-cpu_onnxruntime_int8": "",
    "x86-cpu_openvino_int8": "nncf",
    "raspberry-pi-5_ncnn_int8": "pnnx",
    "jetson-orin-nano_tensorrt_int8": "",
    "rtx_tensorrt-rtx_int8": "tensorrt_rtx_bindings",
    "atlas-200i-dk_cann_int8": "",
    "raspberry-pi_ncs2_fp16": "",
}
"""One recipe for each runtime and way of quantization, and the module that its build asks for beside those of all."""
PLAN, UNMET = 3, 6


def build(shared: Path, recipe: str, task: str, *words: str) -> subprocess.CompletedProcess[str]:
    embedded = (f"model=sample-{task}", f"data=sample-{task}", *ROUGH, "--quiet")
    return edgecompile(shared, "build", f"recipe={recipe}", *embedded, *words)


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("recipe", RECIPES)
def test_int8_loses_little(shared: Path, recipe: str, task: str) -> None:
    if RECIPES[recipe] and find_spec(RECIPES[recipe]) is None:
        pytest.skip(f"{RECIPES[recipe]} is not installed")
    built = build(shared, recipe, task)
    if (recipe, task) in CANNOT:
        assert (built.returncode, CANNOT[recipe, task] in built.stderr) == (PLAN, True), built.stderr
        return
    assert built.returncode == 0, built.stderr
    with Archive(shared / built.stdout.splitlines()[-1]) as archive:
        archive.check_members()
        manifest = archive.manifest
    assert manifest["model"]["task"] == task
    figures = manifest["figures"]
    assert figures[next(name for name in figures if name.endswith("_drop"))] <= MOST, json.dumps(figures["per_class"])


def test_on_ncnn_a_whole_graph_loses_more_than_a_point(shared: Path) -> None:
    """ncnn quantizes what each convolution reads by itself, and puts out float: boxes and scores share no scale, so
    that less is lost than elsewhere."""
    if find_spec("pnnx") is None:
        pytest.skip("pnnx is not installed")
    built = build(
        shared, "raspberry-pi-5_ncnn_int8", "segment", "passes.int8_static.exclude=[]", f"gates.map_drop={MOST}"
    )
    assert built.returncode == UNMET, built.stderr


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("recipe", ["x86-cpu_onnxruntime_int8", "x86-cpu_openvino_int8"])
def test_a_graph_that_is_quantized_whole_fails_its_gate(shared: Path, recipe: str, task: str) -> None:
    built = build(shared, recipe, task, "passes.int8_static.exclude=[]")
    assert built.returncode == UNMET, built.stderr
