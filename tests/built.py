"""An invented build for the tests of bundle/ and report/: a recipe, its plan, and what each step would have put out.

The figures are those of the blood-cell model of the design, the pictures and the golden vectors are real files.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from edgecompile.bundle.assemble import lock_of, manifest_of
from edgecompile.data.counts import DataCounts, LabelCounts, SplitCounts
from edgecompile.evaluate.gates import judge
from edgecompile.evaluate.metrics import figures_of
from edgecompile.evaluate.tasks import find_task
from edgecompile.execute.source_digests import Sources
from edgecompile.execute.store import Entry
from edgecompile.plan.graph import Graph, Materials, Model, Plan
from edgecompile.plan.step import Output, Source, Stage, Step
from edgecompile.recipe.schema import Recipe
from edgecompile.recipe.validate import recipe_from
from edgecompile.report.document import report_of
from edgecompile.runtime.figures import Figures
from edgecompile.runtime.measurement import Measurement

NAMES = ("RBC", "WBC", "Platelets")
SIZE = 64
FLOAT = {"RBC": (0.5534, 0.8271), "WBC": (0.7316, 0.9650), "Platelets": (0.1736, 0.6121)}
INT8 = {"RBC": (0.5511, 0.8264), "WBC": (0.7297, 0.9650), "Platelets": (0.1655, 0.6013)}
RECIPE: dict[str, Any] = {
    "name": "blood-cells",
    "description": "YOLO11n on blood cells, INT8 for an x86 server",
    "model": {"weights": "/home/somebody/models/yolo11n_bccd.pt", "imgsz": SIZE},
    "data": {"path": "/data/bccd/data.yaml"},
    "target": {
        "kind": "openvino",
        "device": "Intel Xeon with VNNI",
        "arch": "x86_64",
        "isa": ["avx512_vnni"],
        "memory_mb": 8192,
        "threads": 2,
        "status": "built here",
    },
    "passes": {"simplify": {}, "onnx_export": {"opset": 18}, "int8_static": {"method": "minmax"}},
    "gates": {"map_drop": 0.01, "latency_p95_ms": 8.0, "fps": 100.0, "size_mb": 4.0},
}
"""What a person writes, as plain data: `build` has the schema read it, as every recipe."""
COVERAGE = {
    "layers": 88,
    "macs": 806_000_000,
    "by_precision": {"fp32": {"layers": 2, "macs": 6_000_000}, "int8": {"layers": 86, "macs": 800_000_000}},
}
PAIRED = {
    "drop_error": {"standard_error": 0.0031, "groups": 72, "same": False},
    "scores": {
        "threshold": 0.25,
        "reference": {"found": 1012, "precision": 0.8123, "recall": 0.871},
        "artifact": {"found": 988, "precision": 0.8201, "recall": 0.8587},
        "matched": 1001,
        "median_shift": -0.0123,
        "largest_shift": 0.2104,
    },
}


@dataclass
class Built:
    """All that build.py has in hand when the gates were judged."""

    recipe: Recipe
    materials: Materials
    plan: Plan
    entries: dict[str, Entry]
    figures: Figures
    verdicts: list[Any]
    manifest: dict[str, Any]
    lock: dict[str, Any]

    def inputs(self) -> dict[str, Path]:
        """Returns the inputs of the packaging step as paths."""
        artifact, spec = self.plan.result.artifact, self.plan.result.spec
        return {
            "artifact": self.entries[artifact.step].path(artifact.path),
            "spec": self.entries[spec.step].path(spec.path),
            "golden": self.entries["golden"].path(),
        }

    def report(self, *, whole: bool = False) -> dict[str, Any]:
        """Returns the report; `whole` that of the run directory."""
        facts = {"measured": self.entries["measure"].facts, "run": RUN} if whole else {}
        return report_of(self.manifest, self.lock["recipe"], self.plan, self.entries, self.verdicts, **facts)


RUN = {
    "started": "2026-11-23T09:30:12+00:00",
    "wall_s": 71.3,
    "host": "buildbox",
    "python": "3.11.7",
    "bundle": {"name": "blood-cells.bundle.zip", "sha256": "ab" * 32, "size_bytes": 3_412_889},
}


def build(folder: Path, *, names: tuple[str, ...] = NAMES, **changes: Any) -> Built:
    """Returns an invented build whose files lie below `folder`.

    Args:
        names: three class names.
        changes: parts of the recipe, as plain data.
    """
    recipe = recipe_from({**RECIPE, **changes})
    materials = _materials(folder / "data", names)
    plan = _plan(recipe, materials)
    entries = {step.name: _entry(step, folder / "store", names) for step in plan}
    facts = {name: entry.facts for name, entry in entries.items()}
    accuracies = facts["reference.evaluate"], facts["evaluate"]
    figures = figures_of(find_task(materials.task), *accuracies, facts["distance"], COVERAGE, PAIRED)
    verdicts = judge(recipe.gates, figures, Measurement.from_json(facts["measure"]))
    environment = {"tools": {"onnx": "1.23.2", "openvino": "2026.4.1"}, "isa_class": "x86_64+avx2+avx512_vnni"}
    sources = Sources(folder / "stat")
    lock = lock_of(recipe, plan, materials, entries, read=sources.of, **environment)
    spec = json.loads(entries["onnx_export"].path("spec.json").read_text())
    manifest = manifest_of(recipe, plan, entries, figures, verdicts, spec=spec, weights=lock.weights, **environment)
    return Built(recipe, materials, plan, entries, figures, verdicts, manifest.to_json(), lock.to_json())


def _materials(folder: Path, names: tuple[str, ...]) -> Materials:
    folder.mkdir(parents=True)
    paths = {}
    for kind, suffix, count in (("train", "jpg", 4), ("val", "jpg", 3), ("val", "txt", 2)):
        for number in range(count):
            (folder / f"{kind}_{number}.{suffix}").write_text(f"{kind} {number}")
        # The third validation picture has no label file: it shows no object.
        paths[kind, suffix] = tuple(str(folder / f"{kind}_{number}.{suffix}") for number in range(max(count, 3)))
    (folder / "yolo11n_bccd.pt").write_text("weights")
    return Materials(
        weights=Source("weights", (str(folder / "yolo11n_bccd.pt"),)),
        calibration=Source("calibration pictures", paths["train", "jpg"], many=True),
        validation=Source("validation pictures", paths["val", "jpg"], many=True),
        labels=Source("validation labels", paths["val", "txt"], many=True),
        names=names,
        counts=DataCounts(
            SplitCounts("val", 7, 2, left_out={".heic, which OpenCV does not decode": 5}),
            LabelCounts(missing=1, empty=0, objects=51),
            SplitCounts("train", 2, 2),
        ),
    )


def _plan(recipe: Any, materials: Materials) -> Plan:
    graph = Graph(recipe, materials)
    graph.add(
        Step("onnx_export", "a.b:export", Stage.EXPORT, params={"opset": 18}, inputs={"weights": materials.weights},
             tools=("onnx",), about="torch to ONNX, opset 18, 320x320")
    )  # fmt: skip
    graph.add(
        Step("simplify", "a.b:simplify", Stage.FUSION, inputs={"model": Output("onnx_export", "model.onnx")},
             about="constant folding, operator fusion, dead code elimination")
    )  # fmt: skip
    graph.add(
        Step("int8_static.quantize", "a.b:quantize", Stage.QUANTIZATION, isa=True,
             inputs={"model": Output("simplify", "model.onnx"), "pictures": materials.calibration},
             about="INT8 by NNCF, MinMax on 300 pictures")
    )  # fmt: skip
    graph.add(
        Step("compile", "a.b:compile", Stage.COMPILATION, inputs={"model": Output("int8_static.quantize", "ir")},
             about="OpenVINO IR, preprocessing embedded")
    )  # fmt: skip
    reference = Model(Output("simplify", "model.onnx"), Output("onnx_export", "spec.json"))
    model = Model(Output("compile", "ir"), Output("onnx_export", "spec.json"), "openvino", "int8")
    pictures = {"pictures": materials.validation}
    for name, judged in (("reference.evaluate", reference), ("evaluate", model)):
        labelled = {**pictures, "labels": materials.labels, "artifact": judged.artifact, "spec": judged.spec}
        graph.add(Step(name, "a.b:evaluate", Stage.VALIDATION, params={"conf": 0.001}, inputs=labelled, isa=True))
    folders = {"reference": Output("reference.evaluate"), "artifact": Output("evaluate")}
    graph.add(Step("distance", "a.b:compare", Stage.VALIDATION, inputs=folders, isa=True))
    shipped = {**pictures, "artifact": model.artifact, "spec": model.spec}
    graph.add(Step("golden", "a.b:golden", Stage.VALIDATION, inputs=shipped, isa=True))
    graph.add(Step("measure", "a.b:measure", Stage.VALIDATION, inputs=shipped, measured=True))
    return Plan(
        tuple(graph.steps.values()),
        model,
        ("the target was emulated, latency is that of this machine",),
        materials.counts,
    )


def _accuracy(scores: dict[str, tuple[float, float]], names: tuple[str, ...], size: int) -> dict[str, Any]:
    per_class = {
        name: {"map50_95": strict, "map50": loose, "objects": 10 * number + 7}
        for number, (name, (strict, loose)) in enumerate(zip(names, scores.values(), strict=True))
    }
    return {
        "metrics": {name: round(sum(one[name] for one in per_class.values()) / 3, 6) for name in ("map50_95", "map50")},
        "per_class": per_class,
        "pictures": 72,
        "objects": 51,
        "found": 9000,
        "size_bytes": size,
    }


def _facts(step: str, names: tuple[str, ...]) -> dict[str, Any]:
    part = {"p50": 0.41, "p95": 0.52, "p99": 0.71}
    return {
        "onnx_export": {"head": "Detect", "end2end": False, "parameters": 2_590_425, "operators": {"Conv": 88}},
        "simplify": {
            "changes": ["operator fusion: -3 Add", "0 of 88 convolutions fused: no BatchNormalization left"],
            "operators": {"before": {"Conv": 88, "Add": 20}, "after": {"Conv": 88, "Add": 17}},
        },
        "int8_static.quantize": {"notes": ["86 of 88 convolutions quantized; the decode of the head stays in float"]},
        "compile": {"inputs": "uint8 NHWC BGR"},
        "reference.evaluate": _accuracy(FLOAT, names, 10_612_000),
        "evaluate": _accuracy(INT8, names, 2_951_000),
        "distance": {"max": 2.31, "cosine": 0.99921, "sqnr_db": 28.4},
        "golden": {"max_abs": 0.05, "min_cosine": 0.999},
        "measure": {
            "latency_ms": {
                "preprocess": part,
                "inference": {"p50": 3.12, "p95": 3.55, "p99": 4.9},
                "postprocess": {"p50": 0.22, "p95": 0.3, "p99": 0.35},
                "total": {"p50": 3.77, "p95": 4.31, "p99": 5.8},
            },
            "latency_p95_ms": 4.31,
            "fps": 261.4, "jitter_ms": 0.54, "predictions": 200, "import_ms": 91.0, "open_ms": 120.4, "first_ms": 6.2,
            "peak_memory_mb": 141.2, "power_watt": None, "fps_per_watt": None, "power_meter": None, "threads": 2,
            "machine": {"arch": "x86_64", "cpu": "Intel(R) Xeon(R) Processor", "cores": 2, "memory_mb": 16700,
                        "board": None, "governor": None, "max_mhz": None, "mhz": None,
                        "system": "Linux 6.1", "python": "3.11.7"},
            "temperature_c": [None, None],
            "unmeasured": {"fps_per_watt": "this machine shows no power meter"},
        },
    }[step]  # fmt: skip


def _entry(step: Step, store: Path, names: tuple[str, ...]) -> Entry:
    root = store / step.name
    root.mkdir(parents=True)
    facts = _facts(step.name, names)
    if step.name == "compile":
        (root / "ir").mkdir()
        (root / "ir" / "model.xml").write_text("<net/>")
        (root / "ir" / "model.bin").write_bytes(bytes(range(256)) * 8)
    elif step.name == "golden":
        _golden(root)
    elif step.name == "onnx_export":
        letterbox = {"size": [SIZE, SIZE], "fill": 114}
        (root / "spec.json").write_text(
            json.dumps({"schema": 1, "task": "detect", "names": names, "letterbox": letterbox})
        )
    (root / "facts.json").write_text(json.dumps(facts))
    files = {
        path.relative_to(root).as_posix(): (hashlib.sha256(path.read_bytes()).hexdigest(), path.stat().st_size)
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }
    key, digest = (hashlib.sha256(f"{step.name} {what}".encode()).hexdigest() for what in ("key", "output"))
    record = {"step": step.name, "wall_seconds": 2.7, "peak_memory_mb": 512.0}
    return Entry(key, digest, files, facts, record, root, fresh=step.name != "onnx_export")


def _golden(root: Path) -> None:
    """Writes a small picture with two discs, raw outputs, and the detections of the discs."""
    picture = np.full((SIZE, SIZE, 3), 114, np.uint8)
    cv2.circle(picture, (20, 20), 10, (60, 60, 200), -1)
    cv2.circle(picture, (44, 40), 12, (200, 80, 60), -1)
    cv2.imwrite(str(root / "input.png"), picture)
    np.save(root / "output_0.npy", np.arange(12, dtype=np.float32).reshape(1, 3, 4))
    detections = {"boxes": [[10, 10, 30, 30], [32, 28, 56, 52]], "scores": [0.91, 0.84], "classes": [0, 1]}
    (root / "result.json").write_text(json.dumps(detections))
