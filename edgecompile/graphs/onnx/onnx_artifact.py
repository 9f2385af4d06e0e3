"""The last step for ONNX Runtime: preprocessing built in, forms that its CPU kernels run fastest."""

from __future__ import annotations

from pathlib import Path

from edgecompile.plan.facts import GraphFacts


def compile_onnx(out: Path, *, model: Path, spec: Path) -> GraphFacts:
    """Writes `model.onnx` that takes uint8 (n, h, w, channels) in OpenCV's order, and its final `spec.json`.

    Raises:
        StepError: when the outputs change by more than rounding explains.
    """
    import numpy as np

    from edgecompile.graphs.onnx.agreement import fixed_pictures, largest, require_agreement, run
    from edgecompile.graphs.onnx.dfl import rewrite_expectations
    from edgecompile.graphs.onnx.embed import BYTE, embed_pictures
    from edgecompile.graphs.onnx.model_spec import embed_preprocessing, read_spec, shapes_of, write_spec
    from edgecompile.graphs.onnx.rounding import require_same_quantizers, without_rounding
    from edgecompile.graphs.onnx.serialization import load, operator_counts, save, sort_nodes

    read = read_spec(spec)
    original, graph = load(model), load(model)
    changes = [embed_pictures(graph)]
    sort_nodes(graph)
    means = rewrite_expectations(graph)
    changes.append(f"{means} means of distance distributions written as sums of exponentials")

    action = "compiling the graph"
    require_same_quantizers(original, graph, action)
    before, after = (without_rounding(proto).SerializeToString() for proto in (original, graph))
    proof: dict[str, float] = {}
    for shape in shapes_of(read):
        values, pixels = fixed_pictures(shape, shape[2:])
        tensor = (values * np.float32(BYTE)).astype(np.float32)
        outputs = run(before, tensor), run(after, pixels)
        proof = largest(proof, require_agreement(*outputs, read, shape[2:], action))

    save(graph, out / "model.onnx")
    write_spec(embed_preprocessing(read), out / "spec.json")
    return {"changes": changes, "max_abs_diff": proof, "operators": operator_counts(graph)}
