"""The rest of a Q/DQ graph in FP16, for runtimes that compute each operator in the type that the graph gives it."""

from __future__ import annotations

from pathlib import Path

from edgecompile.plan.facts import GraphFacts


def halve_rest(out: Path, *, model: Path, reference: Path, beyond: Path) -> GraphFacts:
    """Writes `model.onnx`: what `model` leaves in float is in FP16, scales included, but for the decoding of boxes.

    Args:
        model: a graph with Q/DQ pairs.
        reference: the float graph that it was made of: there the decode part is found by its structure.
        beyond: `beyond.json` of `fp16_range.check`: what makes or reads such numbers is left in float.
    """
    from edgecompile.graphs.onnx.fp16 import decode_names, halve, with_half_scales
    from edgecompile.graphs.onnx.serialization import load, operator_counts, save
    from edgecompile.graphs.onnx.structure import Structure
    from edgecompile.quantization.fp16_range import left_in_float

    decode = decode_names(load(reference))
    graph = with_half_scales(load(model))
    wide = left_in_float(Structure(graph), beyond)
    halved = halve(graph, nodes=[*decode, *wide])
    save(halved, out / "model.onnx")
    changes = [f"what is not in INT8 is in FP16; {len(decode)} nodes that decode boxes left in float"]
    if wide:
        changes.append(f"{len(wide)} nodes left in float for numbers beyond FP16")
    return {"changes": changes, "in_float": wide, "operators": operator_counts(halved)}
