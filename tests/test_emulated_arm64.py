"""Bundles for Arm run on arm64 under emulation, and give the golden outputs. Optional: it takes minutes.

tools/arm64_emulator.sh DIR && EDGECOMPILE_ARM64=DIR python -m pytest tests/test_emulated_arm64.py
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
EMULATOR = Path(os.environ.get("EDGECOMPILE_ARM64", ""))
RECIPES = (
    "raspberry-pi-5_onnxruntime_fp32",
    "raspberry-pi-5_onnxruntime_int8",
    "raspberry-pi-5_ncnn_fp16",
    "raspberry-pi-5_ncnn_int8",
    "raspberry-pi-5_openvino_fp32",
    "raspberry-pi-5_openvino_int8",
    "raspberry-pi-4_onnxruntime_int8",
    "raspberry-pi-4_ncnn_int8",
    "raspberry-pi-4_openvino_int8",
    "arm64-cpu_onnxruntime_int8",
)
CPUS = {"raspberry-pi-4": "cortex-a72", "raspberry-pi-5": "cortex-a76", "arm64-cpu": "cortex-a76"}

pytestmark = pytest.mark.skipif(
    "EDGECOMPILE_ARM64" not in os.environ, reason="set EDGECOMPILE_ARM64 to a folder of tools/arm64_emulator.sh"
)


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("recipe", RECIPES)
def test_the_outputs_are_those_of_the_machine_that_built(recipe, tmp_path):
    words = ["build", f"recipe={recipe}", "model=sample", "data=sample", "--quiet"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    built = subprocess.run(
        [sys.executable, "-m", "edgecompile", *words], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert built.returncode == 0, built.stderr
    bundle = tmp_path / built.stdout.strip().splitlines()[-1]
    command = [str(EMULATOR / "python"), str(ROOT / "bench/elsewhere.py"), str(bundle)]
    cpu = {**os.environ, "EMULATED_CPU": CPUS[recipe.partition("_")[0]]}
    ran = subprocess.run(command, env=cpu, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stdout + ran.stderr[-2000:]
    told = json.loads(ran.stdout.splitlines()[-1])
    assert told["machine"] == "aarch64"
    print(told["runtime"], told["golden"])
