"""The last step for Ascend: a static ONNX, the configuration of AIPP, the line for ATC, and what CANN's list covers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TypedDict

from edgecompile.plan.facts import GraphFacts
from edgecompile.runtime.spec_document import SpecDocument

LIST = Path(__file__).with_name("cann_operators.txt")
NEWEST_OPSET = 17
"""Of ONNX 1.12, which CANN 8.0.0 reads."""
CONVERTED = frozenset({"QuantizeLinear", "DequantizeLinear"})
"""Operators that AMCT's `convert_qat_model` replaces before ATC reads the graph."""
CLOSE = 1e-6
"""Largest difference of a scaled pixel (0..1) between AIPP's arithmetic, v * (1/255), and v / 255."""
HEAD = """#!/bin/sh
# What `edgecompile finalize` does on the device, by hand. Run it beside model.onnx and aipp.cfg; it proves
# nothing of the outputs: that is what finalize is for.
set -eu
soc=Ascend$(npu-smi info | sed -nE 's/^\\| +[0-9]+ +(Ascend)?(310[A-Z][A-Za-z0-9]*) +\\|.*/\\2/p' | head -n 1)
"""


class OperatorCoverage(TypedDict):
    """The operators of a graph against CANN's list, which `source` names; each operator to how many there are.

    converted: by AMCT, before ATC reads the graph.
    """

    source: str
    covered: dict[str, int]
    not_covered: dict[str, int]
    converted: dict[str, int]


class CannFacts(GraphFacts, total=False):
    """What the step returns; `max_abs_diff_of_input` compares AIPP's pixels with scaled pixels."""

    coverage: OperatorCoverage
    max_abs_diff_of_input: float


def compile_cann(out: Path, *, model: Path, spec: Path) -> CannFacts:
    """Writes `model.onnx`, `aipp.cfg`, `atc.sh`, `operators.json` and the final `spec.json`.

    Returns:
        changes, operators (name to count), coverage (see `coverage`), max_abs_diff_of_input (AIPP against scaling).

    Raises:
        StepError: the graph is not static, newer than CANN reads, or has operators that CANN does not list.
    """
    import numpy as np

    from edgecompile.errors import StepError
    from edgecompile.graphs.onnx.agreement import COLOURS, fixed_pictures
    from edgecompile.graphs.onnx.model_spec import embed_preprocessing, read_spec, write_spec
    from edgecompile.graphs.onnx.serialization import load, operator_counts, save
    from edgecompile.runtime.aipp import config_of, preprocess, read_config

    read, graph = read_spec(spec), load(model)
    if -1 in read["input"]["shape"]:
        raise StepError(f"ATC builds one shape, and the model takes {read['input']['shape']}")
    opset = next(entry.version for entry in graph.opset_import if entry.domain in ("", "ai.onnx"))
    if opset > NEWEST_OPSET:
        fix = f"passes.onnx_export.opset={NEWEST_OPSET}"
        raise StepError(f"the graph has opset {opset}, and CANN 8.0.0 reads up to {NEWEST_OPSET}", fix=fix)
    counts = operator_counts(graph)
    covered = coverage(counts)
    if covered["not_covered"]:
        lacking = ", ".join(f"{name} ({count})" for name, count in covered["not_covered"].items())
        raise StepError(f"CANN's list of ONNX operators ({covered['source']}) lacks {lacking}")

    if read["input"]["shape"][1] != COLOURS:
        raise StepError(
            f"aipp.cfg is written for colour pictures; this model takes {read['input']['shape'][1]} channels"
        )
    final = embed_preprocessing(read)
    config = config_of(read, final)
    values, pixels = fixed_pictures(read["input"]["shape"], read["letterbox"]["size"])
    gap = float(np.abs(preprocess(pixels, read_config(config)) - values / np.float32(255)).max())
    if gap > CLOSE:
        raise StepError(f"aipp.cfg makes other numbers than the model is fed elsewhere: they differ by {gap:.3g}")

    save(graph, out / "model.onnx")
    (out / "aipp.cfg").write_text(config, encoding="utf-8")
    (out / "atc.sh").write_text(script(final, quantized=bool(CONVERTED & set(counts))), encoding="utf-8")
    (out / "operators.json").write_text(json.dumps(covered, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    write_spec(final, out / "spec.json")
    kinds = len(covered["covered"])
    return {
        "changes": [
            "colour order and scaling stand in aipp.cfg",
            f"all {kinds} kinds of operators that ATC reads are in CANN's list ({covered['source']})",
        ],
        "operators": counts,
        "coverage": covered,
        "max_abs_diff_of_input": gap,
    }


def coverage(counts: dict[str, int]) -> OperatorCoverage:
    """Compares the operators of a graph with CANN's documented list."""
    lines = LIST.read_text(encoding="utf-8").splitlines()
    source = next(line.partition(":")[2].strip() for line in lines if line.startswith("# source:"))
    listed_names = {name.casefold() for line in lines if not line.startswith("#") for name in line.split()}
    groups: OperatorCoverage = {"source": source, "covered": {}, "not_covered": {}, "converted": {}}
    for name, count in counts.items():
        listed = groups["covered"] if name.casefold() in listed_names else groups["not_covered"]
        (groups["converted"] if name in CONVERTED else listed)[name] = count
    return groups


def script(spec: SpecDocument, *, quantized: bool) -> str:
    """Returns a shell script that builds `model.om` as `edgecompile finalize` does.

    Args:
        spec: the final spec.
        quantized: whether the graph has Q/DQ pairs, which AMCT converts first.
    """
    from edgecompile.runtime.backends import cann

    lines = [HEAD.rstrip("\n")]
    model = "model.onnx"
    if quantized:
        lines.append(f'python3 -c "{cann.CONVERT}"')
        model = cann.CONVERTED
    words = [f'"{word}"' if "$" in word else word for word in cann.atc_words(spec, "$soc", model)]
    return "\n".join([*lines, " ".join(words)]) + "\n"
