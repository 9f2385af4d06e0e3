"""Each recipe of a device is planned for the embedded model of each task, and what it makes is built.

Recipes of one runtime and precision differ in the device alone: the steps that make the artifact are the same, which a
test here shows, so that one of them is built for each task. In INT8 tests/test_every_task.py and
tests/test_classifier_builds.py build them, for detection tests/test_every_recipe.py. Of accuracy
only the drop in float is judged here: a few pictures show that.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import test_classifier_builds
import test_every_task
from rough_measurement import ROUGH
from test_every_recipe import AS, RECIPES, edgecompile, skip_without_tools

from edgecompile.compose.composition import compose
from edgecompile.evaluate.tasks import find_task
from edgecompile.local_plan import prepare
from edgecompile.plan.step import Stage
from edgecompile.runtime.archive import Archive

pytestmark = pytest.mark.slow

FEW = ("data.validation.images=16",)
TASKS = ("classify", "segment", "obb", "pose")
DEVICES = [name for name in RECIPES if not name.startswith("quickstart")]
MADE_HERE = (
    "atlas-200i-dk_cann_fp16",
    "jetson-orin-nano_tensorrt_fp16",
    "raspberry-pi-5_ncnn_fp16",
    "raspberry-pi-5_ncnn_fp32",
    "rtx_tensorrt-rtx_fp16",
    "x86-cpu-bf16_openvino_bf16",
    "x86-cpu_litert_fp16",
    "x86-cpu_litert_fp32",
    "x86-cpu_litert_int8",
    "x86-cpu_onnxruntime_fp32",
    "x86-cpu_openvino_fp16",
    "x86-cpu_openvino_fp32",
)
"""One recipe for each runtime and precision that the other files do not build for every task."""
CLASSIFIERS = (*test_classifier_builds.INT8, *test_classifier_builds.OTHERS, test_classifier_builds.FLOAT)
BUILT_ELSEWHERE = {task: CLASSIFIERS if task == "classify" else tuple(test_every_task.RECIPES) for task in TASKS}
BUILT = [(task, name) for task in TASKS for name in MADE_HERE if name not in BUILT_ELSEWHERE[task]]
NO_ARTIFACT = ("activation_ranges", "fp16_range")
"""Steps that look whether a device's arithmetic holds the numbers, and change nothing."""
REFUSED: dict[tuple[str, str], str] = {("ncs2", "obb"): "does not run the sine and cosine"}
"""Runtime and task -> what `plan` says where the runtime cannot do it."""


def sample_of(task: str) -> tuple[str, str]:
    return f"model=sample-{task}", f"data=sample-{task}"


PLANNED = [(name, task) for name in DEVICES for task in TASKS if name not in AS or task == "pose"]
"""Recipes whose steps are those of another are planned for one task, by which both are compared below."""


@pytest.mark.parametrize(("name", "task"), PLANNED)
def test_each_device_takes_each_task_or_says_why_not(here: Path, run, name: str, task: str) -> None:
    planned = run("plan", f"recipe={name}", *sample_of(task))
    told = REFUSED.get((name.split("_")[1], task))
    if told is None:
        assert planned.code == 0, planned.err
        assert planned.err == ""
    else:
        assert planned.code == 3
        assert told in planned.err


def test_negative_control_a_task_that_weights_are_not_of_is_refused(here: Path, run) -> None:
    planned = run("plan", f"recipe={RECIPES[0]}", "model=sample-pose", "data=sample-segment")
    assert planned.code in (2, 3)
    assert planned.err


def made_by(name: str) -> str:
    """Returns the steps that make the artifact of a recipe, as text; without the engine's settings on the device."""
    _, plan = prepare(compose(f"recipe={name}", *sample_of("pose")))
    making = [step for step in plan if step.stage not in (Stage.VALIDATION, Stage.PACKAGING)]
    steps = {
        step.name: (step.function, {key: value for key, value in step.params.items() if key != "build"})
        for step in making
        if step.name not in NO_ARTIFACT
    }
    return json.dumps(steps, sort_keys=True, default=list)


def test_what_each_device_recipe_makes_is_built_for_each_task() -> None:
    made = {name: made_by(name) for name in DEVICES}
    assert len(set(made.values())) < len(DEVICES) / 2
    for task in TASKS:
        built = {made[name] for name in (*BUILT_ELSEWHERE[task], *(name for own, name in BUILT if own == task))}
        missing = [name for name in DEVICES if made[name] not in built]
        assert missing == [], task


@pytest.mark.parametrize(("task", "name"), BUILT)
def test_a_device_of_each_task_is_built(shared: Path, task: str, name: str) -> None:
    skip_without_tools(name)
    built = edgecompile(shared, "build", f"recipe={name}", *sample_of(task), *FEW, *ROUGH, "--quiet")
    assert built.returncode == 0, built.stderr
    with Archive(shared / built.stdout.splitlines()[-1]) as archive:
        archive.check_members()
        manifest = archive.manifest
    assert manifest["model"]["task"] == task
    assert manifest["figures"][find_task(task).drop.name] < 0.02
