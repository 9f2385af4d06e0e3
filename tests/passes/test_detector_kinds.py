"""Detectors that are no plain YOLO: RT-DETR, and open-vocabulary models whose classes are fixed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

MAKE = """
import json, pathlib, sys
import torch
torch.set_num_threads(1)
from ultralytics.nn import tasks
from ultralytics.utils import ROOT, YAML
from edgecompile.errors import EdgecompileError
from edgecompile.passes.onnx_export import export
folder = pathlib.Path(sys.argv[1])
kinds = {
    "rtdetr": ("v8/yolov8-rtdetr", tasks.RTDETRDetectionModel),
    "world": ("v8/yolov8-worldv2", tasks.WorldModel),
    "yoloe": ("11/yoloe-11", tasks.YOLOEModel),
    "yoloe26": ("26/yoloe-26", tasks.YOLOEModel),
    "grey": ("11/yolo11", tasks.DetectionModel),
}
PLAIN, facts = ("rtdetr", "grey"), {}
for kind, (file, make) in kinds.items():
    torch.manual_seed(0)
    architecture = YAML.load(ROOT / f"cfg/models/{file}.yaml")
    architecture.update(scales={"p": [0.5, 0.125, 512]}, nc=3 if kind in PLAIN else 80)
    channels = 1 if kind == "grey" else 3
    model = make({**architecture, "yaml_file": f"{kind}.yaml", "scale": "p"}, ch=channels, verbose=False)
    if kind not in PLAIN:  # what set_classes does, without the text encoder
        classes = torch.nn.functional.normalize(torch.randn(1, 3, 512), dim=-1)
        setattr(model, "txt_feats" if kind == "world" else "pe", classes)
        model.model[-1].nc = 3
    model.names, model.args, model.task = {0: "a", 1: "b", 2: "c"}, {}, "detect"
    weights = folder / f"{kind}.pt"
    torch.save({"model": model.eval(), "train_args": {}}, weights)
    (folder / kind).mkdir()
    settings = {"imgsz": [64, 96], "opset": 18, "task": "detect"}
    facts[kind] = export(folder / kind, weights=weights, end2end="auto", **settings)
    if kind == "rtdetr":
        try:
            export(folder / kind, weights=weights, end2end=False, **settings)
        except EdgecompileError as error:
            facts["refused"] = str(error.problems[0])
print("\\n" + json.dumps(facts))
"""

SAFE = {"ULTRALYTICS_SAFE_LOAD": "1", "YOLO_AUTOINSTALL": "false", "YOLO_OFFLINE": "true", "YOLO_VERBOSE": "false"}


@pytest.fixture(scope="module")
def kinds(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, dict[str, object]]]:
    pytest.importorskip("ultralytics")
    folder = tmp_path_factory.mktemp("kinds")
    ended = subprocess.run(
        [sys.executable, "-c", MAKE, folder], capture_output=True, text=True, env={**os.environ, **SAFE}
    )
    assert ended.returncode == 0, ended.stderr[-2000:]
    return folder, json.loads(ended.stdout.splitlines()[-1])


@pytest.mark.slow
def test_they_agree_with_torch(kinds):
    """The step itself demands agreement; here is what it found."""
    _, facts = kinds
    assert {facts[kind]["head"] for kind in ("rtdetr", "world", "yoloe")} == {
        "RTDETRDecoder", "WorldDetect", "YOLOEDetect",
    }  # fmt: skip
    assert [facts[kind]["end2end"] for kind in ("rtdetr", "world", "yoloe", "yoloe26")] == [True, False, False, False]
    assert all(facts[kind]["classes"] == 3 for kind in ("rtdetr", "world", "yoloe", "yoloe26"))


@pytest.mark.slow
def test_rows_of_rt_detr_are_corners_in_pixels(kinds):
    """Its decoder puts out centre and size as shares of the sides, of which nothing would be detected."""
    import numpy as np

    from edgecompile.graphs.onnx.agreement import fixed_input, run

    folder, _ = kinds
    (rows,) = run((folder / "rtdetr/model.onnx").read_bytes(), fixed_input((1, 3, 64, 96), (64, 96)))
    assert json.loads((folder / "rtdetr/spec.json").read_text())["letterbox"]["resize"] == "stretch"
    boxes = rows[0, :, :4]
    assert (boxes[:, 2:] > boxes[:, :2]).all()
    assert np.abs(boxes).max() > 20
    assert set(np.unique(rows[0, :, 5])) <= {0.0, 1.0, 2.0}


@pytest.mark.slow
def test_rt_detr_has_no_head_that_needs_suppression(kinds):
    _, facts = kinds
    assert facts["refused"] == "'rtdetr.pt' has only the NMS-free head left; set end2end to auto or true"


@pytest.mark.slow
def test_a_checkpoint_of_grey_pictures_says_so_in_its_spec(kinds):
    folder, _ = kinds
    spec = json.loads((folder / "grey/spec.json").read_text())
    assert (spec["input"]["shape"], spec["input"]["color"]) == ([1, 1, 64, 96], "GRAY")
