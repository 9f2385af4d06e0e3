"""Whole builds of the embedded classifier: every family of devices, gates, proofs, comparisons, a sweep."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path
from typing import Any

import pytest
from rough_measurement import ROUGH
from test_every_recipe import edgecompile, skip_without_tools

from edgecompile.runtime.archive import Archive

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]
SAMPLE = ("model=sample-classify", "data=sample-classify")
FLOAT = "x86-cpu_onnxruntime_fp32"
PICTURE = str(ROOT / "edgecompile/sample/classify/val/nut/val_nut_0001.jpg")
HALF_A_POINT = 0.005
INT8 = (
    "x86-cpu_onnxruntime_int8",
    "x86-cpu_openvino_int8",
    "raspberry-pi-5_ncnn_int8",
    "arm64-cpu_onnxruntime_int8",
    "rtx_tensorrt-rtx_int8",
    "jetson-orin-nano_tensorrt_int8",
    "atlas-200i-dk_cann_int8",
)
OTHERS = (
    "x86-cpu_openvino_fp32",
    "raspberry-pi-5_ncnn_fp16",
    "jetson-orin-nano_tensorrt_fp16",
    "raspberry-pi_ncs2_fp16",
)


def build(shared: Path, name: str, *words: str) -> Path:
    """Returns the path of the bundle that a recipe makes of the embedded classifier."""
    skip_without_tools(name)
    built = edgecompile(shared, "build", f"recipe={name}", *SAMPLE, *ROUGH, *words, "--quiet")
    assert built.returncode == 0, built.stderr
    return shared / built.stdout.splitlines()[-1]


def manifest_of(bundle: Path) -> dict[str, Any]:
    with Archive(bundle) as archive:
        archive.check_members()
        return archive.manifest


@pytest.fixture(scope="module")
def bundle(shared: Path) -> Path:
    pytest.importorskip("ultralytics")
    return build(shared, FLOAT)


@pytest.mark.parametrize("name", INT8)
def test_int8_keeps_within_half_a_point(shared: Path, name: str) -> None:
    manifest = manifest_of(build(shared, name, f"gates.top1_drop={HALF_A_POINT}", "gates.size_mb=null"))
    assert manifest["data"]["validation"]["used"] == 420  # of which two are half a point
    assert [gate["gate"] for gate in manifest["gates"]] == ["top1_drop"]
    assert (
        manifest["figures"]["coverage"]["by_precision"]["int8"]["macs"] > 0.9 * manifest["figures"]["coverage"]["macs"]
    )


@pytest.mark.parametrize("name", OTHERS)
def test_float_and_fp16_are_as_the_float_model(shared: Path, bundle: Path, name: str) -> None:
    figures, ours = manifest_of(bundle)["figures"], manifest_of(build(shared, name, "gates.size_mb=null"))["figures"]
    assert abs(ours["top1"] - figures["top1"]) <= 0.003
    assert ours["reference"] == figures["reference"]


def test_the_manifest_speaks_of_classes(bundle: Path) -> None:
    manifest = manifest_of(bundle)
    figures = manifest["figures"]
    assert (manifest["model"]["task"], manifest["model"]["imgsz"]) == ("classify", [64, 64])
    assert (figures["main"], figures["drop"], figures["top1_drop"]) == ("top1", "top1_drop", 0.0)
    assert 0.85 < figures["top1"] <= figures["top5"] <= 1
    assert set(figures["per_class"]) == {"bolt", "coin", "nut", "pin", "plate", "washer"}
    assert figures["per_class"]["nut"]["objects"] == 70
    assert "map50" not in json.dumps(manifest)
    page = (bundle.parent / "report.html").read_text()
    legends = re.findall(r"<figcaption.*?</figcaption>", page)
    assert 5 in [len(re.findall(r"(?:bolt|coin|nut|pin|plate|washer) \d\.\d\d", legend)) for legend in legends]
    assert "top-1 accuracy" in page
    assert "mAP" not in page


def test_it_proves_itself_predicts_and_is_built_again(shared: Path, bundle: Path) -> None:
    verified = edgecompile(shared, "verify", str(bundle))
    assert verified.returncode == 0, verified.stderr
    assert "probabilities ok" in verified.stdout
    assert re.search(r"^classes +ok: \w+ first of 5", verified.stdout, re.M)
    (found,) = json.loads(edgecompile(shared, "predict", str(bundle), PICTURE, "--top", "2", "--format", "json").stdout)
    assert found["classes"][0]["name"] == "nut"
    assert len(found["classes"]) == 2
    saved = edgecompile(shared, "predict", str(bundle), PICTURE, "--save", "drawn")
    assert "nut 1.00" in saved.stdout
    assert (shared / "drawn" / Path(PICTURE).name).is_file()
    refused = edgecompile(shared, "predict", str(bundle), PICTURE, "--format", "coco")
    assert (refused.returncode, "COCO has no format" in refused.stderr) == (2, True)
    again = edgecompile(shared, "reproduce", str(bundle), "--quiet")
    assert again.returncode == 0, again.stdout + again.stderr
    other = build(shared, "x86-cpu_openvino_fp32", "gates.size_mb=null")
    compared = edgecompile(shared, "diff", str(bundle), str(other))
    assert "first step with another output: compile" in compared.stdout


def test_negative_control_gates(shared: Path, bundle: Path) -> None:
    """A floor that the float model itself misses, and a gate on the metric of another task."""
    unmet = edgecompile(shared, "build", f"recipe={FLOAT}", *SAMPLE, *ROUGH, "gates.top1=0.999", "--quiet")
    assert unmet.returncode == 6
    assert "gate top1: 0.9" in unmet.stderr
    assert "below the limit 0.999; lowest: " in unmet.stderr
    refused = edgecompile(shared, "plan", f"recipe={FLOAT}", *SAMPLE, "gates.map_drop=0.01")
    assert refused.returncode == 2
    assert "gates.map_drop: 'map_drop' is not on a metric of the task 'classify'" in refused.stderr
    assert "write top1_drop, or accuracy_drop for any task" in refused.stderr
    both = edgecompile(shared, "plan", f"recipe={FLOAT}", *SAMPLE, "gates.top1_drop=0.01")
    assert "gates.top1_drop alone counts" in both.stdout


def test_a_sweep_weighs_top_1(shared: Path, bundle: Path) -> None:
    words = (
        f"recipe={FLOAT},x86-cpu_openvino_fp32",
        *SAMPLE,
        "gates.size_mb=null",
        "objectives=[top1,accuracy_drop]",
        *ROUGH,
    )
    swept = edgecompile(shared, "build", "-m", *words, "hydra.sweep.dir=swept", "--quiet")
    assert swept.returncode == 0, swept.stderr
    rows = list(csv.DictReader((shared / "swept" / "results.csv").read_text().splitlines()))
    assert [float(row["top1"]) > 0.85 for row in rows] == [True, True]
    assert "map50_95" not in rows[0]
    assert "top-1 accuracy against latency" in (shared / "swept" / "report.html").read_text()


@pytest.mark.parametrize("imgsz", ["50", "[48,80]"])
def test_any_size(shared: Path, imgsz: str) -> None:
    """No multiple of 32; and not square, to which pictures are stretched."""
    built = build(shared, FLOAT, f"model.imgsz={imgsz}", "gates.accuracy_drop=0.003")
    verified = edgecompile(shared, "verify", str(built))
    assert verified.returncode == 0, verified.stdout + verified.stderr
    detector = edgecompile(shared, "plan", f"recipe={FLOAT}", "model=sample", "data=sample", f"model.imgsz={imgsz}")
    assert detector.returncode == 2
    assert "expected a multiple of 32" in detector.stderr


def test_sizes_that_change_from_run_to_run(shared: Path) -> None:
    dynamic = "model.dynamic={imgsz: [40, 64, 90], batch: [1, 1, 3]}"
    built = build(shared, FLOAT, dynamic)
    assert edgecompile(shared, "verify", str(built)).returncode == 0
    for size in ("64", "77"):
        found = edgecompile(shared, "predict", str(built), PICTURE, "--imgsz", size, "--format", "json")
        assert len(json.loads(found.stdout)[0]["classes"]) == 5, found.stderr
    refused = edgecompile(shared, "predict", str(built), PICTURE, "--imgsz", "91")
    assert "imgsz is 91x91, expected sides from 40x40 to 90x90" in refused.stderr
