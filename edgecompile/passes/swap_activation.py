"""Swaps the activation of a checkpoint for one that devices run faster, and refits the network to what it was: without
labels, to its own feature maps, boxes and class scores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field

from edgecompile.errors import PlanError, Problem, StepError
from edgecompile.library_errors import explained
from edgecompile.passes import Pass
from edgecompile.plan.graph import Graph, Model, Request
from edgecompile.plan.step import Output, Stage, Step
from edgecompile.plan.step_progress import ProgressNote
from edgecompile.weights.checkpoint import read_checkpoint

EXPORT, REFIT = "onnx_export", "swap_activation"
BATCH = 8
"""Pictures in a training step."""
AVERAGE = 0.97
"""Share of the running mean of the weights that each training step keeps."""
NEEDS = "needs a checkpoint (.pt)"
LEFT_OUT = "leave it out: passes.swap_activation=null"
UNKNOWN_HEADS = ("RTDETRDecoder", "WorldDetect", "YOLOEDetect", "YOLOESegment", "YOLOESegment26")
"""Heads that match queries or texts: what they put out before decoding is no map of boxes and scores."""


class SwapActivation(Pass):
    """Swaps SiLU for another activation and refits the network on the calibration pictures.

    The gates go on comparing with the float model of the checkpoint, so the drop counts the swap too.

    Fields:
        to: the activation that takes the place of SiLU.
        keep: where SiLU stays: blocks ("/model.23/cv3") or nodes of the ONNX graph, or patterns of their names, as in
            `keep_float` of `int8_static`.
        steps: training steps, of 8 pictures each.
        seed: what the order and the variation of pictures are drawn from.
    """

    stage: ClassVar[Stage] = Stage.EXPORT  # it exports the checkpoint again, so it comes before what works on a graph
    calibrates: ClassVar[bool] = True

    to: Literal["hard_swish", "relu", "relu6", "leaky_relu"] = "hard_swish"
    keep: tuple[str, ...] = ()
    steps: int = Field(default=300, ge=0, le=100_000)
    seed: int = Field(default=0, ge=0, le=2**32 - 1)

    def check_weights(self, weights: Path, recipe: Request) -> list[Problem]:
        if weights.suffix != ".pt":
            return [Problem(f"'swap_activation' {NEEDS}, and '{weights.name}' is none", fix=LEFT_OUT)]
        checkpoint = read_checkpoint(weights)
        if checkpoint is None or checkpoint.head is None or refits(checkpoint.head):
            return []
        return [
            Problem(f"'swap_activation' cannot refit networks with the head '{checkpoint.head[:60]}'", fix=LEFT_OUT)
        ]

    def lower(self, graph: Graph, model: Model | None) -> Model:
        if model is None or model.artifact.step != EXPORT:
            raise PlanError(f"'swap_activation' {NEEDS}: put it right behind '{EXPORT}'", fix=LEFT_OUT)
        export = graph.steps[EXPORT]
        graph.add(
            Step(
                name=REFIT,
                function="edgecompile.passes.swap_activation:refit",
                stage=Stage.FUSION,
                params={"task": graph.task, "end2end": export.params["end2end"], **self.model_dump(mode="json")},
                inputs={
                    "weights": graph.materials.weights,
                    "model": model.artifact,
                    "spec": model.spec,
                    "pictures": graph.calibration,
                },
                tools=("torch", "ultralytics", "onnx", "numpy", "opencv-python-headless"),
                isa=True,
                memory_mb=2500,
                about=f"SiLU to {self.to}, refitted to the float model in {self.steps} training steps: takes minutes",
            )
        )
        graph.add(
            replace(
                export,
                name=f"{REFIT}.export",
                stage=Stage.FUSION,
                inputs={**export.inputs, "refit": Output(REFIT)},
                about=f"the refitted network to ONNX, as {EXPORT} did",
            )
        )
        return model.with_(artifact=Output(f"{REFIT}.export", "model.onnx"))


def refits(head: str) -> bool:
    """Whether networks can be refitted whose last layer is of that class."""
    return head not in UNKNOWN_HEADS


def refit(
    out: Path,
    *,
    weights: Path,
    model: Path,
    spec: Path,
    pictures: list[Path],
    task: str,
    end2end: bool | str,
    to: str,
    keep: Sequence[str],
    steps: int,
    seed: int,
) -> dict[str, Any]:
    """Writes the weights of the refitted network and where its activations were swapped, as `write_refit` does.

    Args:
        model: the network as ONNX, by whose node names `keep` goes.
        spec: how pictures are prepared.
        pictures: to refit on; their labels are not read.

    Raises:
        StepError: the network cannot be refitted, or an entry of `keep` names nothing.
    """
    with explained(f"'{weights.name}'"):
        return _refit(out, weights, model, spec, pictures, task, end2end, to, keep, steps, seed)


def _refit(
    out: Path,
    weights: Path,
    model: Path,
    spec: Path,
    pictures: list[Path],
    task: str,
    end2end: bool | str,
    to: str,
    keep: Sequence[str],
    steps: int,
    seed: int,
) -> dict[str, Any]:
    import copy

    from edgecompile.passes._activation_swap import activations_of, swap, write_refit
    from edgecompile.passes._refit import Effort, fast_bf16
    from edgecompile.passes._refit import refit as fit
    from edgecompile.passes._ultralytics_checkpoint import load_checkpoint
    from edgecompile.passes._ultralytics_heads import select_head
    from edgecompile.quantization.calibration_batches import input_reader

    teacher = load_checkpoint(weights, task)
    if not refits(head := type(teacher.model[-1]).__name__):
        raise StepError(f"networks with the head '{head}' cannot be refitted", fix=LEFT_OUT)
    select_head(teacher, end2end, weights.name)
    found = sorted(activations_of(teacher))
    kept = kept_activations(model, keep, found)
    swapped = [name for name in found if name not in kept]
    student = copy.deepcopy(teacher)
    swap(student, to, swapped)
    became = f"{len(swapped)} of {len(found)} SiLU became {to}" + (f", {len(kept)} kept" if kept else "")
    facts = {"swapped": len(swapped), "activations": len(found), "kept": sorted(kept)}
    if not swapped or not steps:
        write_refit(out, student, to, swapped)
        return {"changes": [f"{became}: steps is 0" if swapped else "0 SiLU: nothing to swap"], **facts, "loss": []}
    note = ProgressNote(steps)
    losses = fit(
        student, teacher, input_reader(spec), pictures, Effort(steps, BATCH, AVERAGE, seed),
        lambda number, loss: note.tell(number, f"loss {loss:.3g}"),
    )  # fmt: skip
    write_refit(out, student, to, swapped)
    tenth = max(1, steps // 10)
    curve = [round(sum(part) / len(part), 5) for part in (losses[at : at + tenth] for at in range(0, steps, tenth))]
    return {
        "changes": [
            became,
            f"refitted on {len(pictures)} pictures in {steps} training steps: loss {curve[0]:.3g} to {curve[-1]:.3g}",
        ],
        **facts,
        "loss": curve,
        "arithmetic": "bf16" if fast_bf16() else "fp32",
    }


def kept_activations(model: Path, keep: Sequence[str], found: Sequence[str]) -> set[str]:
    """Returns which of the activations of a network `keep` names, by the nodes of its ONNX graph.

    A node and a module are of one layer where the node reads the module's weights: the export names them as torch does.

    Args:
        found: names of modules, such as that of the activation of the first layer.

    Raises:
        StepError: an entry matches no node.
    """
    if not keep:
        return set()
    import onnx

    from edgecompile.quantization.exclusion import kept_in_float

    graph = onnx.load(model, load_external_data=False).graph
    named = set(kept_in_float(keep, (node.name for node in graph.node if node.name), "keep"))
    weights = {value.name for value in graph.initializer}
    owners = {
        name.rpartition(".")[0].rpartition(".")[0]  # model.0.conv.weight: the activation stands beside the convolution
        for node in graph.node
        if node.name in named
        for name in node.input
        if name in weights
    }
    kept = {name for name in found if name.rpartition(".")[0] in owners}
    if not kept:
        raise StepError(f"keep: no SiLU stands in {', '.join(keep)}")
    return kept
