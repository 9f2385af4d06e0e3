"""Operator sets of foreign files, from 9 on: the same model in each computes the same after the import."""

from __future__ import annotations

import pytest
from exported import CHECKPOINT, NAMES, SIZE, exported, pictures, run_code

from edgecompile.graphs.onnx.agreement import fixed_input
from edgecompile.graphs.onnx.agreement import run as run_model
from edgecompile.passes.onnx_import import import_model

onnx = pytest.importorskip("onnx")
pytestmark = pytest.mark.slow

EXPORT = """
import pathlib, sys
from edgecompile.graphs.onnx.agreement import fixed_input
from edgecompile.passes._ultralytics_checkpoint import load_checkpoint
from edgecompile.passes._ultralytics_heads import outputs_of, prepare_for_tracing, select_head, trace
folder, weights = map(pathlib.Path, sys.stdin.read().split())
for version in (9, 11, 20):
    model = load_checkpoint(weights)
    select_head(model, "auto", "parts.pt")
    prepare_for_tracing(model, dynamic=False, smallest=SIZE)
    example = fixed_input([1, 3, *SIZE], SIZE)
    outputs_of(model, example)
    exported = trace(model, example, version, [1, 3, *SIZE], {"output0": (1, 7, 1008)})
    (folder / f"{version}.onnx").write_bytes(exported.SerializeToString())
print("[]")
"""


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory):
    """The sample's detector in several operator sets: of torch's own, and of onnx's converter beyond those."""
    pytest.importorskip("ultralytics")
    folder = tmp_path_factory.mktemp("sets")
    run_code(EXPORT.replace("SIZE", repr(list(SIZE))), text=f"{folder} {CHECKPOINT}")
    newest = onnx.version_converter.convert_version(onnx.load(folder / "20.onnx"), 23)
    onnx.save(newest, folder / "23.onnx")
    return folder


@pytest.mark.parametrize("version", [9, 11, 20, 23])
def test_it_computes_as_the_exported_model_does(files, version: int, tmp_path) -> None:
    facts = import_model(
        tmp_path,
        weights=files / f"{version}.onnx",
        pictures=pictures("val", 2),
        imgsz=SIZE,
        names=NAMES,
        stride="auto",
        class_names="file",
        task="detect",
    )
    picture = fixed_input([1, 3, *SIZE], SIZE)
    (expected,) = run_model(exported().model.read_bytes(), picture)
    (found,) = run_model((tmp_path / "model.onnx").read_bytes(), picture)
    assert abs(found[:, :4] - expected[:, :4]).max() < 0.02  # pixels
    assert abs(found[:, 4:] - expected[:, 4:]).max() < 1e-4
    raised = [change for change in facts["changes"] if change.startswith("operator set raised")]
    assert bool(raised) == (version < 13), facts["changes"]
