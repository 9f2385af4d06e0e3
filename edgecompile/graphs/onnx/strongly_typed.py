"""The last step for TensorRT: a strongly typed ONNX that takes pictures, and the line that builds it by hand."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any, TypedDict

from edgecompile.plan.facts import GraphFacts
from edgecompile.plan.shapes import POINTS
from edgecompile.runtime.spec_document import SpecDocument

SCRIPT = "build.sh"


class EngineOptions(TypedDict):
    """Options of the engine that a device builds: plain JSON, a parameter of the step and part of the manifest.

    workspace_mb: memory that its kernels may use.
    dla: number of the accelerator that runs it, None for the GPU.
    """

    workspace_mb: int
    dla: int | None


def compile_typed(out: Path, *, model: Path, spec: Path, build: EngineOptions | None) -> GraphFacts:
    """Writes `model.onnx` that takes uint8 (n, h, w, 3) BGR, its final `spec.json` and, with `build`, `build.sh`.

    Args:
        build: options of the backend by which `edgecompile finalize` builds the engine; the script says the same to
            trtexec. None for no script.

    Raises:
        StepError: when the outputs change.
    """
    import numpy as np

    from edgecompile.graphs.onnx.agreement import fixed_pictures, largest, require_agreement
    from edgecompile.graphs.onnx.constants import fold_biases
    from edgecompile.graphs.onnx.embed import BYTE, embed_casts
    from edgecompile.graphs.onnx.model_spec import embed_preprocessing, read_spec, shapes_of, write_spec
    from edgecompile.graphs.onnx.serialization import load, operator_counts, save, sort_nodes

    read = read_spec(spec)
    original, graph = load(model), load(model)
    changes = [embed_casts(graph)]
    if biases := fold_biases(graph):
        changes.append(f"{biases} biases in INT32 are in float now, which TensorRT wants")
    sort_nodes(graph)
    before, after = original.SerializeToString(), graph.SerializeToString()
    proof: dict[str, float] = {}
    for shape in shapes_of(read):
        values, pixels = fixed_pictures(shape, shape[2:])
        tensor = (values * np.float32(BYTE)).astype(np.float32)
        outputs = _run(before, tensor), _run(after, pixels)
        proof = largest(proof, require_agreement(*outputs, read, shape[2:], "building in the preprocessing"))

    save(graph, out / "model.onnx")
    final = embed_preprocessing(read)
    write_spec(final, out / "spec.json")
    if build is not None:
        (out / SCRIPT).write_text(build_script(final, build), encoding="utf-8")
    return {"changes": changes, "max_abs_diff": proof, "operators": operator_counts(graph)}


def _run(model: bytes, tensor: Any) -> list[Any]:
    """Returns the outputs; without the fusions of ONNX Runtime, which know no scales in FP16."""
    from edgecompile.graphs.onnx.agreement import single_thread_session

    session = single_thread_session(model, optimize="ORT_DISABLE_ALL")
    return session.run(None, {session.get_inputs()[0].name: tensor})


def build_script(spec: SpecDocument, build: EngineOptions) -> str:
    """Returns a shell script that builds `model.engine` as `edgecompile finalize` does.

    Args:
        spec: the final spec; `input.profile`, where it stands, holds the smallest, usual and largest input shapes.
        build: of the target.
    """
    words = ["trtexec", "--onnx=model.onnx", "--saveEngine=model.engine", "--timingCacheFile=timing.cache"]
    words.append(f"--memPoolSize=workspace:{build['workspace_mb']}")
    if build.get("dla") is None:
        words.append("--stronglyTyped")
    else:
        words += [f"--useDLACore={build['dla']}", "--allowGPUFallback", "--fp16"]
    if profile := spec["input"].get("profile"):
        for point in POINTS:
            sides = "x".join(str(side) for side in profile[point])
            words.append(f"--{point}Shapes={spec['input']['name']}:{sides}")
    lines = (
        "#!/bin/sh",
        "# What `edgecompile finalize` does on the device, by hand. Run it beside model.onnx; it proves nothing of the",
        "# outputs: that is what finalize is for. TensorRT 11 types every network so: leave --stronglyTyped out there.",
        "set -eu",
        " ".join(shlex.quote(word) for word in words),
    )
    return "\n".join(lines) + "\n"
