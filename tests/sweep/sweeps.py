"""Invented sweeps for the tests: what the jobs of `build -m` leave behind, without building anything."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

CLASSES = [("bolt", 0.65), ("nut", 0.80)]


def report_of(precision: str, score: float, p50: float | None, *, device: str = "a small board", met: bool = True):
    """Returns as much of a report.json as a sweep reads; the float model has 0.75."""
    latency = None if p50 is None else {"total": {"p50": p50, "p95": p50 * 1.1, "p99": p50 * 1.2}}
    classes = {name: {"map50_95": old, "map50": old, "objects": 3} for name, old in CLASSES}
    changed = {name: {**one, "map50_95": one["map50_95"] + score - 0.75} for name, one in classes.items()}
    return {
        "target": {"device": device},
        "precision": precision,
        "model": {"imgsz": [256, 256]},
        "recipe": {"data": {"path": "data.yaml", "validation": {"split": "test", "images": None}}},
        "figures": {
            "map50_95": score,
            "map50": score + 0.1,
            "map_drop": round(0.75 - score, 6),
            "per_class": changed,
            "reference": {"map50_95": 0.75, "map50": 0.85, "per_class": classes},
            "pictures": 2,
            "objects": 6,
            "size_bytes": 10**6,
            "distance": {"max": None, "cosine": None, "sqnr_db": None},
        },
        "measured": {
            "latency_ms": latency,
            "peak_memory_mb": 90.0,
            "threads": 2,
            "exclusive": True,
            "machine": {"cpu": "A CPU", "cores": 2, "mhz": 2000 + int(p50 or 0)},
        },
        "gates": [{"gate": "map_drop", "met": met}],
        "steps": [
            {"name": "onnx_export", "about": "torch to ONNX", "key": "k0", "makes": True, "did": ["88 operators"]},
            {
                "name": "quantize",
                "about": precision,
                "key": f"k-{precision}",
                "makes": True,
                "did": [f"to {precision}"],
            },
            {"name": "evaluate", "about": "", "key": "k1", "makes": False, "did": []},
        ],
    }


def status_of(code: int = 0, *words: str, problem: str = "it broke") -> dict[str, Any]:
    """Returns a status.json."""
    status: dict[str, Any] = {"exit_code": code, "overrides": ["recipe=x", *words], "name": "x"}
    return status | ({"problems": [problem]} if code else {"bundle": "/somewhere/else/x.bundle.zip"})


def lay_out(folder: Path, jobs: dict[str, tuple[Any, Any]]) -> Path:
    """Writes status.json and report.json of each job, where there is one."""
    for name, documents in jobs.items():
        (folder / name).mkdir(parents=True)
        for file, document in zip(("status.json", "report.json"), documents, strict=True):
            if document is not None:
                (folder / name / file).write_text(json.dumps(document))
    return folder


def mixed(folder: Path) -> Path:
    """Lays out a sweep with all that may happen to a point."""
    return lay_out(
        folder,
        {
            "0_x": (status_of(0, "recipe=x_fp32"), report_of("fp32", 0.75, 10.0)),
            "1_x": (status_of(0, "++passes.int8_static.method=minmax"), report_of("int8", 0.746, 5.0)),
            "2_x": (
                status_of(6, "gates.map_drop=0.001", problem="gate map_drop: 0.75 → 0.70"),
                report_of("int8", 0.70, 4.0, met=False),
            ),
            "10_x": (status_of(2, "model.imgsz=33", problem="found 33, expected a multiple of 32"), None),
            "11_x": (None, None),
        },
    )
