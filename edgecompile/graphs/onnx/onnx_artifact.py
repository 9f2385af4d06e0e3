"""The last step for ONNX Runtime: preprocessing built in, forms that its CPU kernels run fastest."""

from __future__ import annotations

from pathlib import Path

from edgecompile.plan.facts import GraphFacts


def compile_onnx(out: Path, *, model: Path, spec: Path) -> GraphFacts:
    """Writes `model.onnx` that takes uint8 (n, h, w, 3) BGR, and its final `spec.json`.

    Raises:
        StepError: when the outputs change by more than rounding explains.
    """
    import numpy as np

    from edgecompile.graphs.onnx.agreement import fixed_input, largest, require_agreement, run
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
        picture = np.round(fixed_input(shape, shape[2:]) * 255)
        pixels = np.ascontiguousarray(picture[:, ::-1].transpose(0, 2, 3, 1)).astype(np.uint8)
        outputs = run(before, (picture * np.float32(BYTE)).astype(np.float32)), run(after, pixels)
        proof = largest(proof, require_agreement(*outputs, read, shape[2:], action))

    save(graph, out / "model.onnx")
    write_spec(embed_preprocessing(read), out / "spec.json")
    return {"changes": changes, "max_abs_diff": proof, "operators": operator_counts(graph)}
