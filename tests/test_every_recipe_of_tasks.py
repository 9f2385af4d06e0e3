"""Each recipe of a device is planned for the embedded model of each task; a selection of both is built.

With ONNX Runtime the other tasks are built by `quickstart_TASK`, which tests/test_every_recipe.py runs.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from test_every_recipe import RECIPES, edgecompile, skip_without_tools

from edgecompile.evaluate.tasks import find_task
from edgecompile.runtime.archive import Archive

pytestmark = pytest.mark.slow

BUILT = {
    "classify": "raspberry-pi-5_ncnn_fp16",
    "segment": "raspberry-pi-5_ncnn_fp32",
    "obb": "x86-cpu_openvino_int8",
    "pose": "x86-cpu_openvino_fp32",
}
"""Task besides detection -> recipe of a device that is built for it."""
REFUSED: dict[tuple[str, str], str] = {("ncs2", "obb"): "does not run the sine and cosine"}
"""Runtime and task -> what `plan` says where the runtime cannot do it."""


def sample_of(task: str) -> tuple[str, str]:
    return f"model=sample-{task}", f"data=sample-{task}"


@pytest.mark.parametrize("task", BUILT)
@pytest.mark.parametrize("name", [name for name in RECIPES if not name.startswith("quickstart")])
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


@pytest.mark.parametrize(("task", "name"), BUILT.items())
def test_a_device_of_each_task_is_built(shared: Path, task: str, name: str) -> None:
    skip_without_tools(name)
    built = edgecompile(shared, "build", f"recipe={name}", *sample_of(task), "--quiet")
    assert built.returncode == 0, built.stderr
    with Archive(shared / built.stdout.splitlines()[-1]) as archive:
        archive.check_members()
        manifest = archive.manifest
    assert manifest["model"]["task"] == task
    assert manifest["figures"][find_task(task).drop.name] < 0.02
