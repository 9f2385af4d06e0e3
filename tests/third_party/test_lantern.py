"""The eighth device: a package of a third party adds a runtime and two devices, and nothing here knows of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from needed import needs
from rough_measurement import ROUGH

from .packages import ROOT, Run, installed, runner

MINE = """\
kind: onnxruntime
device: my board
arch: x86_64
isa: [avx2]
memory_mb: 512
threads: 1
precisions: [fp32]
source: a test
"""
ON_A_DEVICE = """
import sys
for name in ("pydantic", "yaml", "hydra", "omegaconf", "rich", "onnx", "torch"):
    sys.modules[name] = None
from edgecompile import runtime
model = runtime.load(sys.argv[1])
print(len(model.predict(sys.argv[2])), model.backend.__class__.__module__)
"""

pytest.importorskip("onnx")
needs("ultralytics")

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("work")


@pytest.fixture(scope="module")
def edgecompile(tmp_path_factory: pytest.TempPathFactory, shared: Path, work: Path) -> Run:
    return runner(installed("lantern", tmp_path_factory), work, shared / "cache")


def test_it_is_listed_completed_and_in_the_schema(edgecompile):
    targets = {row["name"]: row for row in json.loads(edgecompile("list", "targets", "--json").stdout)}
    assert targets["lantern_opencv_dnn"]["kind"] == "opencv_dnn"
    assert targets["lantern_onnxruntime"]["device"] == "Lantern"
    assert "lantern_opencv_dnn_fp32" in edgecompile("list", "recipes").stdout
    completed = edgecompile("-sc", "query=bash", COMP_LINE="edgecompile plan target=lantern")
    assert completed.stdout.split() == ["target=lantern_onnxruntime", "target=lantern_opencv_dnn"]
    schema = json.loads(edgecompile("schema").stdout)
    assert "opencv_dnn" in schema["properties"]["target"]["properties"]["kind"]["enum"]
    assert "fuses layers" in schema["definitions"]["target_opencv_dnn"]["properties"]["fusion"]["description"]


def test_a_new_runtime_is_one_file(edgecompile, work):
    doctor = edgecompile("doctor", "recipe=lantern_opencv_dnn_fp32")
    assert "the device needs opencv-python-headless>=4.8" in doctor.stdout
    built = edgecompile("build", "recipe=lantern_opencv_dnn_fp32", *ROUGH, "--quiet")
    assert built.returncode == 0, built.stderr
    bundle = work / built.stdout.strip().splitlines()[-1]
    assert edgecompile("verify", str(bundle)).returncode == 0
    picture = str(ROOT / "edgecompile/sample/images/test/test_0000.jpg")
    found = json.loads(edgecompile("predict", str(bundle), picture, "--format", "json").stdout)
    assert found
    on_device = edgecompile("-c", ON_A_DEVICE, str(bundle), picture, module=False)
    assert on_device.stdout.split()[1:] == ["lantern.opencv_dnn"], on_device.stderr
    assert int(on_device.stdout.split()[0]) > 3


def test_its_own_rules_are_told_as_ours_are(edgecompile):
    words = ["plan", "recipe=lantern_opencv_dnn_fp32", "target.fusoin=true"]
    refused = edgecompile(*words)
    assert (refused.returncode, "did you mean 'fusion'" in refused.stderr) == (2, True)
    refused = edgecompile("plan", "recipe=quickstart", "target=lantern_opencv_dnn")
    assert (refused.returncode, "does not run" in refused.stderr) == (2, True)


def test_a_device_on_a_known_runtime_is_one_yaml(edgecompile, work):
    folder = work / "my-conf" / "target"
    folder.mkdir(parents=True)
    (folder / "my-board.yaml").write_text(MINE)
    words = ["target=my-board", "passes.int8_static=null", "data.calibration=null", *ROUGH, "--quiet"]
    built = edgecompile("build", "--config-dir", "my-conf", *words)
    assert built.returncode == 0, built.stderr
    inspected = json.loads(edgecompile("inspect", built.stdout.strip().splitlines()[-1], "--json").stdout)
    assert "my board" in json.dumps(inspected)
    missing = edgecompile("plan", "--config-dir", "my-conf", "target=my-bord")
    assert missing.returncode == 2
    assert len(missing.stderr.strip().splitlines()) == 1


def test_without_the_package_its_bundles_say_what_they_need(edgecompile, work):
    bundle = (
        work / edgecompile("build", "recipe=lantern_opencv_dnn_fp32", *ROUGH, "--quiet").stdout.strip().splitlines()[-1]
    )
    refused = edgecompile("verify", str(bundle), PYTHONPATH=str(ROOT))
    assert refused.returncode == 7
    assert "needs the backend 'opencv_dnn', which this runtime does not have" in refused.stdout + refused.stderr
