"""Proves what is stated of a foreign model on labelled pictures: it must find something, and no other statement more.

A wrong order of colours, scale or layout leaves a model that runs, and finds little or nothing. Where a model finds
less than the floor, the alternatives are tried, and the message names the best.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, TypedDict

from edgecompile.errors import BundleError, EdgecompileError, StepError
from edgecompile.json_types import JsonObject
from edgecompile.runtime.tasks import Given

if TYPE_CHECKING:
    import numpy as np

    from edgecompile.runtime.predictor import Predictor
    from edgecompile.runtime.spec_document import LetterboxDocument, SpecDocument

PICTURES = 16
"""Labelled pictures that a statement is proven on."""
BETTER = 0.05
"""By how much a figure must be larger to be worth a remark: less is chance on so few pictures."""
INPUT = "passes.onnx_import.input"
LAYOUT = "passes.onnx_import.outputs.layout"

Change = Callable[["np.ndarray"], "np.ndarray"]


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
        swapped = dict(_colours(labelled, predictor, params))
        if swapped and max(swapped.values()) > figure + BETTER:
            key = max(swapped, key=lambda name: swapped[name])
            better = f"{swapped[key]:.3f} with {key}: is that the order of colours it was trained with?"
            facts["notes"] = [f"{title} of the imported model is {figure:.3f} on {count} pictures, and {better}"]
        return facts
    tried = dict(_alternatives(labelled, predictor, spec, model, weights, params))
    best = max(tried, key=lambda name: tried[name], default="")
    message = f"{title} of the imported model is {figure:.3f} on {count} labelled pictures, expected {floor:g} or more"
    listed = ", ".join(f"{name}: {value:.3f}" for name, value in sorted(tried.items(), key=lambda pair: -pair[1])[:4])
    if tried and tried[best] >= max(floor, figure + BETTER):
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


def _reversed(image: np.ndarray) -> np.ndarray:
    """Returns a picture with its colours in the other order."""
    import numpy as np

    return np.ascontiguousarray(image[..., ::-1])


def _colours(labelled: _Labelled, predictor: Predictor, params: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    """Yields the figure of the other order of colours."""
    if predictor.layout.input.channels == 3:
        other = "RGB" if (params.get("entry") or {}).get("color") == "BGR" else "BGR"
        yield f"{INPUT}.color={other}", labelled.figure(predictor, picture=_reversed)


def _alternatives(
    labelled: _Labelled,
    predictor: Predictor,
    spec: Path,
    model: Path,
    weights: Path | list[Path],
    params: Mapping[str, Any],
) -> Iterator[tuple[str, float]]:
    """Yields other statements, each with the figure of the model under it."""
    import numpy as np

    from edgecompile.graphs.onnx.model_spec import read_spec
    from edgecompile.runtime import open_artifact

    yield from _colours(labelled, predictor, params)
    entry = params.get("entry") or {}
    scale = entry.get("scale", 1 / 255)
    if not entry.get("mean"):
        for other, factor in ((1, 1 / scale), (round(1 / 255, 10), 1 / 255 / scale)):
            if not np.isclose(factor, 1, rtol=1e-3):
                scaled = partial(np.multiply, np.float32(factor))
                yield f"{INPUT}.scale={other}", labelled.figure(predictor, tensor=scaled)
    document = read_spec(spec)
    stated = document["letterbox"].get("resize", "letterbox")
    for resize in ("letterbox", "stretch"):
        if resize != stated:
            frame: LetterboxDocument = {**document["letterbox"], "resize": resize}
            frame.pop("shortest", None)
            reframed: SpecDocument = {**document, "letterbox": frame}
            yield f"{INPUT}.resize={resize}", labelled.figure(open_artifact(model, reframed, "onnxruntime", {}, 1))
    yield from _layouts(labelled, weights, params)


def _layouts(labelled: _Labelled, weights: Path | list[Path], params: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    """Yields the other layouts that the outputs might have."""
    from edgecompile.graphs.onnx.layouts import layout_names, layout_of
    from edgecompile.passes.onnx_import import import_model
    from edgecompile.runtime import open_artifact

    stated = (params.get("outputs") or {}).get("layout")
    for layout in layout_names():
        if layout == stated or (stated is None and layout_of(layout).BY_NUMBERS):  # the only one of these that fits
            continue
        with TemporaryDirectory() as folder:
            place = Path(folder)
            try:
                facts = import_model(
                    place,
                    weights=weights,
                    pictures=list(labelled.pictures[:1]),
                    **{**params, "outputs": {"layout": layout}},
                )
            except EdgecompileError:
                continue
            predictor = open_artifact(place / "model.onnx", place / "spec.json", "onnxruntime", {}, 1)
            yield f"{LAYOUT}={facts['layout']}", labelled.figure(predictor)
