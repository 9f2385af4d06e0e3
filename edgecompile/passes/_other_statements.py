"""What else might be true of a foreign model: other orders of colours, scales, ways to size pictures, and layouts.

Each is tried without a new import where that can be: a change of the picture, or of the input tensor, is enough.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Protocol, cast

from edgecompile.errors import EdgecompileError
from edgecompile.graphs.onnx.stated import StatedInput

if TYPE_CHECKING:
    import numpy as np

    from edgecompile.graphs.onnx.canonical_input import Arithmetic
    from edgecompile.runtime.predictor import Predictor
    from edgecompile.runtime.spec_document import LetterboxDocument, SpecDocument

INPUT = "passes.onnx_import.input"
OUTPUTS = "passes.onnx_import.outputs"

NORMALIZATIONS: Sequence[Mapping[str, Any]] = (
    {"scale": round(1 / 255, 10)},
    {"scale": 1},
    {"scale": round(1 / 255, 10), "mean": 0.5, "std": 0.5},
    {"scale": round(1 / 255, 10), "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]},
    {"scale": 1, "mean": [123.68, 116.779, 103.939]},
)
"""How models are usually fed: 0 to 1, 0 to 255, -1 to 1, ImageNet's mean and deviation, Caffe's mean; by channel in the
order RGB."""
PLAIN = {"scale": 1 / 255, "mean": 0, "std": 1}
"""What is meant where nothing is stated."""

CHOICES: Mapping[str, Sequence[Any]] = {
    "offset": (0, 0.5),
    "boxes": ("corners", "corners_yx", "centres"),
    "unit": ("pixels", "fractions"),
    "activation": ("none", "sigmoid", "softmax"),
    "background": ("none", "first", "last"),
}
"""Options of layouts that may be stated wrongly, to what may be true."""

Figure = tuple[str, float]
"""Words for a command line that state something else, and the main metric of the model under it."""
Change = Callable[["np.ndarray"], "np.ndarray"]


class Measure(Protocol):
    """Returns the main metric of a model whose pictures, or input tensors, are changed first."""

    def __call__(self, predictor: Predictor, picture: Change | None = None, tensor: Change | None = None) -> float: ...


def colours(measure: Measure, predictor: Predictor, entry: Mapping[str, Any]) -> Iterator[Figure]:
    """Yields the figure of the other order of colours."""
    if predictor.layout.input.channels == 3:
        other = "RGB" if entry.get("color") == "BGR" else "BGR"
        yield f"{INPUT}.color={other}", measure(predictor, picture=_reversed)


def _reversed(image: np.ndarray) -> np.ndarray:
    """Returns a picture with its colours in the other order."""
    import numpy as np

    return np.ascontiguousarray(image[..., ::-1])


def normalizations(measure: Measure, predictor: Predictor, entry: Mapping[str, Any]) -> Iterator[Figure]:
    """Yields the figures of other scales, means and deviations."""
    import numpy as np

    from edgecompile.graphs.onnx.canonical_input import arithmetic_of

    channels = predictor.layout.input.channels
    stated = arithmetic_of(entry, channels)  # type: ignore[arg-type]
    kept = {key: value for key, value in entry.items() if key not in PLAIN}
    for normalization in NORMALIZATIONS:
        each = {key: value for key, value in normalization.items() if isinstance(value, list)}
        if each and channels != 3:
            continue
        flip = entry.get("color") == "BGR"
        other = {**PLAIN, **normalization, **({key: value[::-1] for key, value in each.items()} if flip else {})}
        wanted = arithmetic_of({**kept, **other}, channels)  # type: ignore[typeddict-item]
        if np.allclose(wanted.factor, stated.factor, rtol=1e-3) and np.allclose(
            wanted.offset, stated.offset, rtol=1e-3, atol=1e-3
        ):
            continue
        said = {key: value for key, value in other.items() if entry.get(key, PLAIN[key]) != value}
        yield _words(INPUT, said), measure(predictor, tensor=partial(_renormalized, stated=stated, wanted=wanted))


def _renormalized(values: np.ndarray, *, stated: Arithmetic, wanted: Arithmetic) -> np.ndarray:
    """Returns canonical pictures that the graph, which computes `stated`, brings to what `wanted` makes of `values`."""
    import numpy as np

    factor = wanted.factor / stated.factor
    shift = (stated.offset - wanted.offset) / stated.factor
    if stated.order is not None:  # both stand in the model's order
        canonical = np.argsort(stated.order)
        factor, shift = factor[canonical], shift[canonical]
    shape = (1, -1, 1, 1)
    return (values * factor.reshape(shape) + shift.reshape(shape)).astype(np.float32)


def sizings(measure: Measure, model: Path, document: SpecDocument) -> Iterator[Figure]:
    """Yields the figures of other ways to bring pictures to the size of the model."""
    from edgecompile.runtime import open_artifact

    stated = document["letterbox"].get("resize", "letterbox")
    for resize in ("letterbox", "stretch"):
        if resize != stated:
            frame: LetterboxDocument = {**document["letterbox"], "resize": resize}
            frame.pop("shortest", None)
            reframed: SpecDocument = {**document, "letterbox": frame}
            yield f"{INPUT}.resize={resize}", measure(open_artifact(model, reframed, "onnxruntime", {}, 1))


def readings(
    measure: Measure, files: Sequence[Path], picture: Path, params: Mapping[str, Any], *, options_alone: bool = False
) -> Iterator[Figure]:
    """Yields the figures of other layouts of the outputs, and of other options of the stated one.

    Args:
        params: of `onnx_import.import_model`.
        options_alone: whether the layout is beyond doubt.
    """
    from edgecompile.passes._foreign_graph import observe
    from edgecompile.passes.onnx_import import finish
    from edgecompile.runtime import open_artifact

    rest = {key: value for key, value in params.items() if key not in ("entry", "profile", "outputs")}
    entry = cast("StatedInput", params.get("entry") or {})
    observed = observe([*files], [picture], params["imgsz"], params["task"], entry, params.get("profile"))
    for outputs in _other_outputs(params.get("outputs") or {}, options_alone):
        with TemporaryDirectory() as folder:
            place = Path(folder)
            try:
                finish(place, observed, outputs=outputs, **rest)  # type: ignore[arg-type]
            except EdgecompileError:
                continue
            predictor = open_artifact(place / "model.onnx", place / "spec.json", "onnxruntime", {}, 1)
            stated = params.get("outputs") or {}
            said = {key: value for key, value in outputs.items() if stated.get(key) != value}
            yield _words(OUTPUTS, said), measure(predictor)


def _other_outputs(stated: Mapping[str, Any], options_alone: bool) -> Iterator[dict[str, Any]]:
    """Yields other statements on outputs: an option changed, that of a family, another layout; each once."""
    from edgecompile.graphs.onnx.layouts import AUTO, layout_of

    layout = stated.get("layout", AUTO)
    known = layout_of(layout).OPTIONS if layout != AUTO else frozenset()
    others = [{**stated, key: value} for key, values in CHOICES.items() if key in known for value in values]
    for outputs in _outputs_of_families():
        if outputs.get("layout") == layout:
            others += [{**stated, key: value} for key, value in outputs.items()]
        if outputs.get("layout") == layout or not options_alone:
            others.append(outputs)
    others += [] if options_alone else _other_layouts(stated, layout)
    tried = [dict(stated)]
    for outputs in others:
        if outputs not in tried:
            tried.append(outputs)
            yield outputs


def _outputs_of_families() -> list[dict[str, Any]]:
    from edgecompile.graphs.onnx.families import family, family_names

    return [dict(family(name).get("outputs", {})) for name in family_names()]


def _other_layouts(stated: Mapping[str, Any], layout: str) -> Iterator[dict[str, Any]]:
    """Yields every layout but the stated one, with the options that it shares with that."""
    from edgecompile.graphs.onnx.layouts import AUTO, layout_names, layout_of

    for name in layout_names():
        other = layout_of(name)
        if name != layout and not (layout == AUTO and other.BY_NUMBERS):  # of these, the one that fits was taken
            yield {"layout": name, **{key: value for key, value in stated.items() if key in other.OPTIONS}}


def _words(prefix: str, said: Mapping[str, Any]) -> str:
    """Returns words for a command line, as `prefix.mean=[1,2,3]`."""
    texts = {key: str(value).replace(" ", "").replace("'", "") for key, value in said.items()}
    return " ".join(f"{prefix}.{key}={text}" for key, text in texts.items())
