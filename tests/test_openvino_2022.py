"""What is built for the Neural Compute Stick 2 loads in OpenVINO 2022.3 and gives the golden outputs there. Optional:

    python3.10 -m venv DIR && DIR/bin/pip install openvino==2022.3.0 'numpy<2' 'opencv-python-headless<4.12'
    EDGECOMPILE_OPENVINO_2022=DIR/bin/python python -m pytest tests/test_openvino_2022.py

Its CPU plugin stands in for the stick's, which is in no package.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PYTHON = os.environ.get("EDGECOMPILE_OPENVINO_2022", "")
READ = "import sys; from openvino.runtime import Core; Core().read_model(sys.argv[1])"

pytestmark = pytest.mark.skipif(not PYTHON, reason="set EDGECOMPILE_OPENVINO_2022 to a Python with openvino 2022.3")


def built(recipe, folder):
    words = ["build", f"recipe={recipe}", "model=sample", "data=sample", "--quiet"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-m", "edgecompile", *words], cwd=folder, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return folder / done.stdout.strip().splitlines()[-1]


def test_it_runs_and_agrees_within_fp16(tmp_path):
    bundle = built("raspberry-pi_ncs2_fp16", tmp_path)
    images, labels = (ROOT / "edgecompile/sample" / name / "test" for name in ("images", "labels"))
    words = [str(bundle), "--options", "{}", "--images", str(images), "--labels", str(labels)]
    ran = subprocess.run([PYTHON, str(ROOT / "bench/elsewhere.py"), *words], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stdout + ran.stderr[-2000:]
    told = json.loads(ran.stdout)
    assert told["runtime"].startswith("openvino 2022.3")
    assert told["figures"]["map50_95"] == pytest.approx(told["built"]["map50_95"], abs=0.003)


def test_what_was_not_written_for_it_is_refused(tmp_path):
    """The negative control: the IR for today's OpenVINO does not load."""
    import zipfile

    with zipfile.ZipFile(built("x86-cpu_openvino_fp16", tmp_path)) as bundle:
        bundle.extractall(tmp_path / "open", ["artifact/model.xml", "artifact/model.bin"])
    model = tmp_path / "open" / "artifact" / "model.xml"
    ran = subprocess.run([PYTHON, "-c", READ, str(model)], capture_output=True, text=True)
    assert ran.returncode != 0
    assert "unsupported opset" in ran.stderr
