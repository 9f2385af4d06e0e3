"""What the tests of passes, quantization and targets share: the embedded sample, exported once; steps in processes.

Whatever imports ultralytics runs in a process of its own, as steps do: its safety flags are read once, at import.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import edgecompile
from edgecompile.plan.graph import Graph, Materials
from edgecompile.plan.step import Source

SAMPLE = Path(edgecompile.__file__).parent / "sample"
CHECKPOINT = SAMPLE / "parts.pt"
NAMES = ["bolt", "nut", "washer"]
SIZE = [192, 256]
"""Height and width of the sample's pictures: they need no border."""

PINNED = {
    "PYTHONHASHSEED": "0",
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "TZ": "UTC",
    "LC_ALL": "C.UTF-8",
    "YOLO_AUTOINSTALL": "false",
    "ULTRALYTICS_SAFE_LOAD": "1",
    "YOLO_OFFLINE": "true",
    "YOLO_VERBOSE": "false",
}
"""Environment of a step, as the worker pins it."""

CALL = """
import importlib, json, pathlib, sys
call = json.loads(sys.stdin.read())
Path = pathlib.Path
paths = {key: [*map(Path, v)] if isinstance(v, list) else Path(v) for key, v in call["paths"].items()}
module, name = call["function"].split(":")
facts = getattr(importlib.import_module(module), name)(pathlib.Path(call["out"]), **paths, **call["params"])
print("\\n" + json.dumps(facts))
"""


def run_code(code: str, *, text: str = "", cores: str = "", cwd: str | None = None, **environment: str) -> str:
    """Runs Python code in a process with the pinned environment and returns its last line of output.

    Args:
        cores: cores it may use, as `taskset -c` takes them; all where empty.
    """
    command = [sys.executable, "-W", "ignore", "-c", code]
    if cores:
        command = ["taskset", "-c", cores, *command]
    with tempfile.TemporaryDirectory() as folder:
        root = str(Path(edgecompile.__file__).parents[1])
        variables = {**os.environ, **PINNED, "PYTHONPATH": root, "YOLO_CONFIG_DIR": folder, **environment}
        done = subprocess.run(
            command, input=text, env=variables, cwd=cwd or folder, text=True, capture_output=True, timeout=300
        )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout.strip().splitlines()[-1]


def run_step(out: Path, function: str, paths: dict[str, Any], params: dict[str, Any], **how: Any) -> dict[str, Any]:
    """Runs a step's function in a process of its own and returns its facts."""
    out.mkdir(parents=True, exist_ok=True)
    plain = {key: [str(p) for p in value] if isinstance(value, list) else str(value) for key, value in paths.items()}
    call = {"function": function, "out": str(out), "paths": plain, "params": params}
    return json.loads(run_code(CALL, text=json.dumps(call), **how))


EXPORT = {"imgsz": SIZE, "opset": 18, "end2end": "auto", "task": "detect"}


@cache
def exported() -> SimpleNamespace:
    """Returns the exported sample: `folder`, `model`, `spec` and `facts`."""
    if not CHECKPOINT.is_file():
        pytest.skip("the embedded sample has no checkpoint")
    pytest.importorskip("onnx")
    pytest.importorskip("ultralytics")
    folder = Path(tempfile.mkdtemp(prefix="edgecompile-tests-"))
    facts = run_step(folder, "edgecompile.passes.onnx_export:export", {"weights": CHECKPOINT}, EXPORT)
    return SimpleNamespace(folder=folder, model=folder / "model.onnx", spec=folder / "spec.json", facts=facts)


@cache
def simplified() -> SimpleNamespace:
    """Returns the exported sample after `simplify`."""
    from edgecompile.passes.simplify import OPTIMIZATIONS, simplify

    before = exported()
    folder = before.folder / "simplify"
    folder.mkdir()
    facts = simplify(folder, model=before.model, spec=before.spec, optimizations=list(OPTIMIZATIONS))
    return SimpleNamespace(folder=folder, model=folder / "model.onnx", spec=before.spec, facts=facts)


def pictures(split: str, count: int) -> list[Path]:
    """Returns the first `count` pictures of a split of the sample."""
    return sorted((SAMPLE / "images" / split).glob("*.jpg"))[:count]


def graph_for(target: Any, *, weights: str = "model.pt", calibration: bool = True, imgsz: Any = 320) -> Graph:
    """Returns a graph to lower passes into, for invented materials."""
    materials = Materials(
        weights=Source("weights", (f"/data/{weights}",)),
        calibration=Source("calibration pictures", ("/data/a.jpg",), many=True) if calibration else None,
        validation=Source("validation pictures", ("/data/b.jpg",), many=True),
        labels=Source("labels", ("/data/b.txt",), many=True),
        names=tuple(NAMES),
    )
    recipe = SimpleNamespace(model=SimpleNamespace(imgsz=imgsz, dynamic=None, task=None), target=target)
    return Graph(recipe, materials)
