"""Each recipe that is shipped ends with a bundle on the embedded model, or with one that its device finishes.

Recipes that differ in the device alone have the same steps: one of them is built, for the others that is shown.
"""

from __future__ import annotations

import json
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import program
import pytest
from rough_measurement import ROUGH

from edgecompile.compose.composition import compose
from edgecompile.evaluate.tasks import find_task
from edgecompile.local_plan import prepare
from edgecompile.plan.step import Step
from edgecompile.runtime.archive import Archive

pytestmark = pytest.mark.slow

RECIPES = sorted(path.stem for path in (Path(__file__).parents[1] / "recipes").glob("*.yaml"))
ASKS = {"litert": "ai-edge-litert", "ncnn": "pnnx", "tensorrt-rtx": "tensorrt-rtx-cu13-libs"}
"""Runtimes whose converter or builder is no package that every environment has."""
AS = {
    "android-cpu_litert_fp16": "x86-cpu_litert_fp16",
    "android-cpu_litert_fp32": "x86-cpu_litert_fp32",
    "android-cpu_litert_int8": "x86-cpu_litert_int8",
    "arm64-cpu_onnxruntime_fp32": "x86-cpu_onnxruntime_fp32",
    "atlas-300i_cann_fp16": "atlas-200i-dk_cann_fp16",
    "atlas-300i_cann_int8": "atlas-200i-dk_cann_int8",
    "intel-igpu_openvino_int8": "intel-auto_openvino_int8",
    "jetson-agx-orin_tensorrt_fp16": "jetson-orin-nano_tensorrt_fp16",
    "jetson-agx-orin_tensorrt_int8": "jetson-orin-nano_tensorrt_int8",
    "jetson-orin-nx_tensorrt_fp16": "jetson-orin-nano_tensorrt_fp16",
    "jetson-orin-nx_tensorrt_int8": "jetson-orin-nano_tensorrt_int8",
    "nvidia-gpu_tensorrt_fp16": "jetson-orin-nano_tensorrt_fp16",
    "nvidia-gpu_tensorrt_int8": "jetson-orin-nano_tensorrt_int8",
    "raspberry-pi-4_ncnn_fp16": "raspberry-pi-5_ncnn_fp16",
    "raspberry-pi-4_ncnn_fp32": "raspberry-pi-5_ncnn_fp32",
    "raspberry-pi-4_ncnn_int8": "raspberry-pi-5_ncnn_int8",
    "raspberry-pi-4_onnxruntime_fp32": "x86-cpu_onnxruntime_fp32",
    "raspberry-pi-4_onnxruntime_int8": "arm64-cpu_onnxruntime_int8",
    "raspberry-pi-4_openvino_fp16": "raspberry-pi-5_openvino_fp16",
    "raspberry-pi-4_openvino_fp32": "raspberry-pi-5_openvino_fp32",
    "raspberry-pi-4_openvino_int8": "raspberry-pi-5_openvino_int8",
    "raspberry-pi-5_litert_fp16": "x86-cpu_litert_fp16",
    "raspberry-pi-5_litert_fp32": "x86-cpu_litert_fp32",
    "raspberry-pi-5_litert_int8": "x86-cpu_litert_int8",
    "raspberry-pi-5_onnxruntime_fp32": "x86-cpu_onnxruntime_fp32",
    "raspberry-pi-5_onnxruntime_int8": "arm64-cpu_onnxruntime_int8",
}
"""Recipe -> the one whose steps are the same, which is built."""
ENGINE = "build"
"""What the steps are told of the engine that the device builds of the artifact later."""
EMBEDDED = ("model=sample", "data=sample")
BUILT = [name for name in RECIPES if name not in AS]
OF_A_TASK = "quickstart_"
"""How recipes begin that name an embedded model of their own."""


def edgecompile(shared: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return program.edgecompile(shared, *words, EDGECOMPILE_CACHE=str(shared / "cache"))


def skip_without_tools(name: str) -> None:
    """Skips the test where what a recipe is converted or built with is not installed."""
    for runtime, package in ASKS.items():
        if f"_{runtime}_" in name:
            try:
                version(package)
            except PackageNotFoundError:
                pytest.skip(f"{package} is not installed")


def steps_of(name: str) -> dict[str, tuple[str, str, str]]:
    """Returns function, parameters and inputs of each step of a recipe by its name, but for those that measure here."""
    _, plan = prepare(compose(f"recipe={name}", *EMBEDDED))
    return {step.name: (step.function, told(step), str(step.inputs)) for step in plan if not step.measured}


def told(step: Step) -> str:
    params = {name: value for name, value in step.params.items() if name != ENGINE}
    return json.dumps(params, sort_keys=True, default=dict)


@pytest.mark.parametrize("name", AS)
def test_its_plan_is_clean_and_its_steps_are_those_of_a_recipe_that_is_built(shared, name):
    planned = edgecompile(shared, "plan", f"recipe={name}", *EMBEDDED)
    assert (planned.returncode, planned.stderr) == (0, "")
    assert AS[name] in BUILT
    assert steps_of(name) == steps_of(AS[name])


def test_negative_control_steps_of_other_recipes_differ():
    one = steps_of("jetson-orin-nano_tensorrt_int8")
    assert one != steps_of("jetson-orin-nano_tensorrt_fp16")
    assert one != steps_of("rtx_tensorrt-rtx_int8")
    assert steps_of("x86-cpu_openvino_int8") != steps_of("raspberry-pi-5_openvino_int8")


@pytest.mark.parametrize("name", BUILT)
def test_its_plan_is_clean_and_its_build_ends_with_a_bundle(shared, name):
    skip_without_tools(name)
    words = (f"recipe={name}", *(() if name.startswith(OF_A_TASK) else EMBEDDED))
    planned = edgecompile(shared, "plan", *words)
    built = edgecompile(shared, "build", *words, *ROUGH, "--quiet")
    assert planned.returncode == 0, planned.stderr
    assert planned.stderr == ""
    assert built.returncode == 0, built.stderr
    with Archive(shared / built.stdout.splitlines()[-1]) as archive:
        archive.check_members()
        manifest = archive.manifest
    gates = {gate["gate"]: gate["met"] for gate in manifest["gates"]}
    task = manifest["model"]["task"]
    assert task == (name.removeprefix(OF_A_TASK) if name.startswith(OF_A_TASK) else "detect")
    assert manifest["figures"][find_task(task).drop.name] < 0.02, json.dumps(manifest["figures"]["per_class"])
    assert gates["accuracy_drop"] is True
    if manifest["target"]["finalize"]:
        refused = edgecompile(shared, "verify", built.stdout.splitlines()[-1])
        assert refused.returncode in (4, 7), "the device's tools are missing here, or its model was not built"
        assert len(refused.stderr.splitlines()) == 1
