"""Malformed recipes, each with one fault, the line on which it stands and the key that must be named.

`text` follows a sound beginning (`BASE` of the conftest), so that its first line is line `FIRST` of the file; where
`whole`, it is the whole file. The key is "" where no key can be named: what is not YAML has none.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from recipe_texts import BASE

FIRST = BASE.count("\n") + 1


class Malformed(NamedTuple):
    """One file."""

    text: str
    line: int
    key: str
    whole: bool = False

    def content(self) -> str:
        return self.text if self.whole else BASE + self.text

    @property
    def place(self) -> str:
        """What the message begins with, behind the name of the file."""
        return f"{self.line if self.whole else FIRST + self.line}:{self.key}"


VALUES = {
    "model.weights": ("''", "3", "1.5", "true", "[a.pt]", "{a: b}", "null", "nope.pt", "nope.onnx"),
    "model.imgsz": (
        "0",
        "33",
        "-32",
        "8192",
        "320.5",
        "big",
        "'320'",
        "true",
        "[320]",
        "[320, 33]",
        "[1, 2, 3]",
        "{h: 1}",
    ),
    "model.dynamic": ("true", "1"),
    "data.path": ("''", "3", "[a]", "nope.yaml"),
    "data.calibration.split": ("3", "''", "a/b", "[train]", "null", "nope"),
    "data.calibration.images": ("0", "-1", "2.5", "many", "100001", "null", "[1]"),
    "data.calibration.minimum": ("0", "few", "null"),
    "data.validation.split": ("7", "'../val'", "null", "nope"),
    "data.validation.images": ("0", "-3", "all", "1.5", "7"),
    "data.validation.minimum": ("0", "few", "null", "100"),
    "data.validation.warn_below": ("-1", "many"),
    "gates.map_drop": ("-0.1", "1.1", "little", "[0.1]", "true", "'0.1'"),
    "gates.map50_95": ("-1", "50", "good"),
    "gates.latency_p95_ms": ("0", "-5", "8ms", "{max: 8}"),
    "gates.fps": ("0", "-1", "fast", "30/s"),
    "gates.peak_memory_mb": ("0", "1GB"),
    "gates.peak_memory_percent": ("0", "70%"),
    "gates.size_mb": ("0", "-2", "small"),
    "gates.fps_per_watt": ("0", "true"),
    "gates.energy_per_picture_j": ("0", "1J"),
    "gates.jitter_ms": ("0", "-1", "small"),
    "gates.temperature_c": ("0", "hot"),
    "gates.throttled": ("true", "never", "1"),
    "gates.memory_growth_mb_per_hour": ("0", "none"),
    "evaluate.conf": ("-0.1", "2", "low", "null"),
    "evaluate.iou": ("1.5", "-1", "high"),
    "evaluate.max_det": ("0", "10001", "1.5", "all"),
    "evaluate.latency_images": ("9", "10001", "many"),
    "measurement.tolerance": ("0", "-0.03", "11", "3%"),
    "measurement.seconds": ("0", "4000", "long"),
    "measurement.max_age_days": ("-1", "week"),
    "measurement.refuse_noisy": ("2", "perhaps"),
    "passes.onnx_export.opset": ("1", "99", "new", "18.5"),
    "passes.onnx_export.batch": ("0", "-1", "[1]"),
    "passes.onnx_export.dynamic": ("1", "maybe"),
    "passes.onnx_export.end2end": ("3", "maybe"),
    "passes.simplify.constant_folding": ("1", "maybe", "null"),
    "passes.simplify.operator_fusion": ("0", "some"),
    "passes.int8_static.method": ("minmx", "3", "null", "[minmax]"),
    "passes.int8_static.percentile": ("5", "101", "most"),
    "passes.int8_static.per_channel": ("1", "maybe"),
    "passes.int8_static.symmetric": ("2", "maybe"),
    "target.kind": ("onnxrutime", "3", "null"),
    "target.arch": ("x86", "sparc", "64"),
    "target.isa": ("avx2", "3"),
    "target.memory_mb": ("0", "-1", "8GB"),
    "target.threads": ("0", "1025", "all", "1.5"),
    "target.device": ("3", "[a]"),
    "target.status": ("works", "3"),
    "schema": ("2", "0", "'1'", "one"),
    "name": ("''", "3", "../up", "a/b", ".hidden", "[a]", "null"),
    "description": ("3", "[a]"),
    "order": (
        "onnx_export",
        "3",
        "[onnx_export, equalize, int8_static]",
        "[onnx_export, simplify, simplify, equalize, int8_static]",
    ),
}
"""A key to values that it cannot take. `null` stands where a value is required."""

MISSPELT = {
    "": ("modle", "gate", "pass", "targets", "Model", "weights", "imgsz", "version"),
    "model": ("weight", "imgszs", "img_size", "path"),
    "data": ("paths", "train", "calibrate", "validate", "names"),
    "data.calibration": ("split_", "image", "count"),
    "data.validation": ("splits", "max"),
    "gates": ("map_dorp", "map", "latency", "latency_ms", "size", "memory_mb"),
    "evaluate": ("confidence", "nms", "maxdet"),
    "target": ("devise", "cores", "precision"),
    "passes": ("simplyfy", "int8", "quantize", "fp8"),
    "passes.onnx_export": ("opest", "half"),
    "passes.int8_static": ("methods", "bits"),
    "passes.simplify": ("fold",),
}
"""A section to keys that it does not have."""

SECTIONS = ("model", "data", "gates", "evaluate", "passes", "target", "data.validation", "passes.simplify")
"""What must be a mapping."""

FORBIDDEN = (
    Malformed("model: {imgsz: &a 320}\n", 0, "model.imgsz"),
    Malformed("gates: {fps: *a}\n", 0, ""),
    Malformed("model:\n  _target_: os.system\n", 1, "model._target_"),
    Malformed("gates:\n  fps: !!python/object:os.system 1\n", 1, "gates.fps"),
    Malformed("gates:\n  fps: !!int '3'\n", 1, "gates.fps"),
    Malformed("gates: {_partial_: true}\n", 0, "gates._partial_"),
    Malformed("gates:\n  fps: 012\n", 1, "gates.fps"),
    Malformed("gates:\n  fps: 1:30\n", 1, "gates.fps"),
    Malformed("gates:\n  fps: .nan\n", 1, "gates.fps"),
    Malformed("gates:\n  fps: -.inf\n", 1, "gates.fps"),
    Malformed("name: ${oc.env:HOME}\n", 0, "name"),
    Malformed("name: ${now:%Y}\n", 0, "name"),
    Malformed("name: ${nowhere}\n", 0, "name"),
    Malformed("gates:\n  fps: 1\n  fps: 2\n", 2, "gates.fps"),
    Malformed("model: {imgsz: 320}\nmodel: {imgsz: 640}\n", 1, "model"),
    Malformed("yes: 1\n", 0, ""),
    Malformed("1: a\n", 0, ""),
    Malformed("? [a, b]\n: c\n", 0, ""),
    Malformed("hydra: {run: {dir: /etc}}\n", 0, "hydra.run"),
    Malformed("gates: " + "[" * 60 + "]" * 60 + "\n", 0, ""),
    Malformed("gates:\n  fps: " + "9" * 5000 + "\n", 1, "gates.fps"),
    Malformed("gates: [1,\n", 1, ""),
    Malformed("gates:\n\tfps: 2\n", 1, ""),
    Malformed("gates: fps: 3\n", 0, ""),
    Malformed("name: 'open\n", 1, ""),
    Malformed("---\nname: two\n", 0, ""),
    Malformed("name: \x01\n", 0, ""),
)
"""What the guard refuses before anything is composed."""

WHOLE = (
    Malformed("- a\n", 1, "", True),
    Malformed("just words\n", 1, "", True),
    Malformed("3\n", 1, "", True),
    Malformed("defaults: quickstart\n", 1, "defaults", True),
    Malformed("defaults: [quickstrat]\n", 1, "defaults", True),
    Malformed("defaults:\n  - /quickstart\n", 2, "defaults", True),
    Malformed("defaults:\n  - recipe/quickstart\n", 2, "defaults", True),
    Malformed("defaults:\n  - /quickstrat\n", 2, "defaults", True),
    Malformed("defaults:\n  - quickstart\n  - override /target: x86-cpu_openvno\n", 3, "defaults", True),
    Malformed("defaults:\n  - quickstart\n  - override /model: yolo99\n", 3, "defaults", True),
    Malformed("defaults:\n  - /pass@passes: [onnx_exprt]\n", 2, "defaults", True),
    Malformed("defaults:\n  - /pas@passes: [onnx_export]\n", 2, "defaults", True),
    Malformed("defaults: [../../etc/passwd]\n", 1, "defaults", True),
    Malformed("defaults:\n  - evil@hydra.job_logging\n", 2, "defaults", True),
    Malformed("defaults:\n  - override hydra/job_logging: evil\n", 2, "defaults", True),
    Malformed("# @package hydra.job_logging\nname: a\n", 1, "", True),
)


def every() -> Iterator[Malformed]:
    """Yields all of them."""
    for key, values in VALUES.items():
        for value in values:
            yield nested(key, value)
    for section, names in MISSPELT.items():
        for name in names:
            yield nested(f"{section}.{name}".lstrip("."), "{}" if section == "passes" else "1")
    for section in SECTIONS:
        for value in ("3", "words", "[1, 2]", "true"):
            yield nested(section, value)
    yield from FORBIDDEN
    yield from WHOLE


def nested(key: str, value: str) -> Malformed:
    """Returns a recipe that sets a dotted key, a line for each part of it."""
    parts = key.split(".")
    lines = [f"{'  ' * depth}{part}:" for depth, part in enumerate(parts)]
    return Malformed("\n".join(lines) + f" {value}\n", len(parts) - 1, key)
