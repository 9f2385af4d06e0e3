"""Proves what is stated of a foreign model on labelled pictures: it must find something, and no other statement more.

A wrong order of colours, scale or layout leaves a model that runs, and finds little or nothing. Where a model finds
less than the floor, the alternatives are tried, and the message names the best. Where it finds little, those that leave
the layout alone are, and a remark names one that does better.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

from edgecompile.errors import BundleError, StepError
from edgecompile.json_types import JsonObject
from edgecompile.passes._foreign_graph import DECODED
from edgecompile.passes._other_statements import Change, colours, normalizations, readings, sizings
from edgecompile.runtime.tasks import Given

if TYPE_CHECKING:
    from edgecompile.runtime.predictor import Predictor

PICTURES = 16
"""Labelled pictures that a statement is proven on."""
BETTER = 0.05
"""By how much a figure must be larger to be worth a remark: less is chance on so few pictures."""
LITTLE = 0.5
"""Figure below which a model that is stated by a person finds little: another statement may fit better."""


class ProofFacts(TypedDict, total=False):
    """What the step returns: the figure, on how many pictures, and a remark where another statement fits better."""

    figure: float
    pictures: int
    notes: list[str]


@dataclass(frozen=True)
class _Labelled:
    """Pictures, what their labels say, and how results are judged."""

    task: Any
    pictures: Sequence[Path]
    truth: Sequence[Any]
    decoding: Given

    def figure(self, predictor: Predictor, picture: Change | None = None, tensor: Change | None = None) -> float:
        """Returns the main metric of a model whose pictures, or input tensors, are changed first; 0 of a model whose
        numbers mean nothing."""
        try:
            return self._figure(predictor, picture, tensor)
        except BundleError:
            return 0.0

    def _figure(self, predictor: Predictor, picture: Change | None, tensor: Change | None) -> float:
        from edgecompile.runtime.pictures import read_picture

        judged = []
        for path, truth in zip(self.pictures, self.truth, strict=True):
            image = read_picture(path, predictor.layout.input.channels)
            values, geometry = predictor.preprocess(picture(image) if picture else image)
            outputs = predictor.infer(tensor(values) if tensor else values)
            result = predictor.postprocess(outputs, geometry, slot=0, **self.decoding)
            judged.append(self.task.judge(result, truth, image.shape[:2]))
        metrics: dict[str, float] = self.task.accuracy(judged, self.truth, predictor.names).metrics
        return metrics[self.task.main.name]


def prove(
    out: Path,
    *,
    model: Path,
    spec: Path,
    weights: Path | list[Path],
    pictures: list[Path],
    labels: list[Path],
    floor: float,
    params: dict[str, Any],
    reading: JsonObject | None = None,
) -> ProofFacts:
    """Demands that a model finds what is labelled. Writes `proof.json`: its figure.

    Args:
        weights: the file that `model` was made from.
        pictures: all validation pictures; some of them are taken.
        labels: of these.
        floor: smallest main metric of the task.
        params: of `onnx_import.import_model`, by which `model` was made.
        reading: how labels are read, see `edgecompile.data.label_reading`.

    Raises:
        StepError: the figure is below the floor. Names the statement that fits best.
    """
    import json

    from edgecompile.runtime import open_artifact

    labelled = _labelled(spec, pictures, labels, reading or {})
    predictor = open_artifact(model, spec, "onnxruntime", {}, 1)
    figure = labelled.figure(predictor)
    (out / "proof.json").write_text(json.dumps({"figure": round(figure, 6)}) + "\n", encoding="utf-8")
    facts: ProofFacts = {"figure": round(figure, 6), "pictures": len(labelled.pictures)}
    title, count = labelled.task.main.title, len(labelled.pictures)
    if figure >= floor:
        stated = bool(params.get("entry") or params.get("outputs"))
        if figure < LITTLE and stated:
            others = dict(_alternatives(labelled, predictor, spec, model, weights, params, finds=True))
        else:
            others = dict(colours(labelled.figure, predictor, params.get("entry") or {}))
        if others and max(others.values()) > figure + BETTER:
            key = max(others, key=lambda name: others[name])
            better = f"{others[key]:.3f} with {key}: is that how it was trained?"
            facts["notes"] = [f"{title} of the imported model is {figure:.3f} on {count} pictures, and {better}"]
        return facts
    tried = dict(_alternatives(labelled, predictor, spec, model, weights, params, finds=False))
    best = max(tried, key=lambda name: tried[name], default="")
    message = f"{title} of the imported model is {figure:.3f} on {count} labelled pictures, expected {floor:g} or more"
    best_first = sorted(tried.items(), key=lambda pair: -pair[1])
    better_ones = [(name, value) for name, value in best_first if value >= max(floor, figure + BETTER)]
    listed = ", ".join(f"{name}: {value:.3f}" for name, value in (better_ones or best_first)[:3])
    if better_ones:
        raise StepError(f"{message}; what fits better is {listed}", fix=f"set {best}")
    fix = "is it a model of these classes? passes.onnx_import.floor=0 takes it all the same"
    raise StepError(f"{message}; nothing else fits better{f' ({listed})' if listed else ''}", fix=fix)


def _labelled(spec: Path, pictures: list[Path], labels: list[Path], reading: JsonObject) -> _Labelled:
    from edgecompile.data.label_reading import reading_from
    from edgecompile.data.layouts import find_layout
    from edgecompile.evaluate.tasks import find_task
    from edgecompile.runtime.spec import read_spec

    task = find_task(read_spec(spec).document["task"])
    how = reading_from(reading)
    lines = find_layout(how.layout).read_lines(labels, how, task.label_form)
    every = -(-len(pictures) // PICTURES)
    truth = [task.read_labels(picture_lines, how.facts) for picture_lines in lines[::every]]
    settings = {setting.name: setting.default for setting in task.settings}
    return _Labelled(task, pictures[::every], truth, task.options(settings, truth))


def _alternatives(
    labelled: _Labelled,
    predictor: Predictor,
    spec: Path,
    model: Path,
    weights: Path | list[Path],
    params: Mapping[str, Any],
    *,
    finds: bool,
) -> Iterator[tuple[str, float]]:
    """Yields other statements, each with the figure of the model under it.

    Args:
        finds: whether the model finds something as it is stated: then its layout is beyond doubt.
    """
    from edgecompile.graphs.onnx.model_spec import read_spec

    entry = params.get("entry") or {}
    yield from colours(labelled.figure, predictor, entry)
    yield from normalizations(labelled.figure, predictor, entry)
    yield from sizings(labelled.figure, model, read_spec(spec))
    if params["task"] in DECODED:
        files = weights if isinstance(weights, list) else [weights]
        yield from readings(labelled.figure, files, labelled.pictures[0], params, options_alone=finds)
