"""Tasks that find objects: a row of the output has a box, class scores, and what else the task knows of an object."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar, TypedDict, TypeVar, cast

from edgecompile.errors import BundleError, InputError
from edgecompile.runtime import tasks
from edgecompile.runtime.tasks import Given, OutputError, Parts, Result, Setting

if TYPE_CHECKING:
    import numpy as np

    from edgecompile.runtime.spec_document import SpecDocument
    from edgecompile.runtime.tasks._boxes import Boxes

SUPPRESSED = "suppressed"
DECODES = ("yolo", "end2end", SUPPRESSED)
MOST_BOXES = 1_000_000
BORDER = 0.15
"""How far above the lowest score an object may score that another machine does not find: so far scores drift in 8
bits."""

BOXES, SCORES, CLASSES, COUNTS, BESIDE = "boxes", "scores", "classes", "counts", "extras"
"""Outputs of a model that holds its post-processing; all but the first are also keys of `output` of spec.json."""
PARAMETERS = {"conf": "float32", "iou": "float32", "max_det": "int64"}
"""Inputs of such a model whose thresholds are given with each run: `parameters` of spec.json."""

Found = TypeVar("Found", bound=Result)


class SuppressedOutputs(TypedDict, total=False):
    """Names of the outputs of "suppressed" beside the boxes; see `ObjectRows.decode_as`."""

    scores: str
    classes: str
    counts: str
    extras: str


class OutputDocument(SuppressedOutputs):
    """`output` of spec.json: name and shape of the output, and how it is read; of "suppressed", of the boxes."""

    name: str
    shape: list[int]
    decode: str


class NmsDocument(TypedDict):
    """`nms` of spec.json: defaults of the post-processing; the meaning of each key stands at `ObjectRows`."""

    conf: float
    iou: float
    max_det: int
    class_agnostic: bool


class RowsDocument(TypedDict):
    """The parts of spec.json that all tasks with rows of objects share."""

    output: OutputDocument
    nms: NmsDocument


class ObjectRows(tasks.Task[Found]):
    """A task whose first output holds rows of objects, as a spec describes it.

    Attributes:
        decode_as: "yolo": the output is (n, 4 + classes + extras, anchors), centre x, y, width, height in input pixels,
            class scores 0..1, then the extras; "end2end": (n, boxes, 6 + extras), corners in input pixels, score,
            class, then the extras: no suppression needed; "suppressed": the suppression is in the model, whose outputs
            are boxes (n, max_det, 4), corners in input pixels, scores (n, max_det), classes (n, max_det), counts (n,)
            and, where there are extras, those (n, max_det, extras).
        row_outputs: how many outputs hold rows: the first of `outputs`.
        extras: how many values of a row belong to the task alone.
        conf, iou, max_det: defaults: lowest score, largest overlap (intersection over union), most boxes.
        takes_thresholds: whether the model, one of "suppressed", takes them as inputs.
        class_agnostic: whether boxes of different classes may drop each other.
    """

    settings: ClassVar[tuple[Setting, ...]] = (
        Setting("conf", float, "lowest score, 0..1 (default: the bundle's)"),
        Setting("iou", float, "largest overlap of two boxes of a class, 0..1"),
        Setting("max_det", int, "most boxes on a picture"),
    )

    switches: ClassVar[frozenset[str]] = frozenset({"multi_label", "clip"})
    suppression: ClassVar[str] = "yolo"
    """Which suppression the rows of "yolo" need: "yolo", of upright boxes, or "rotated"."""

    def __init__(self, document: SpecDocument, names: tuple[str, ...]) -> None:
        own = cast("RowsDocument", document)
        output, nms = own["output"], own["nms"]
        self.names = names
        self.decode_as: str = output["decode"]
        self.extras = self.extras_in(document)
        self.outputs = (str(output["name"]), *self._outputs_beside(output))
        self.row_outputs = len(self.outputs)
        self.conf, self.iou = float(nms["conf"]), float(nms["iou"])
        self.max_det, self.class_agnostic = int(nms["max_det"]), bool(nms["class_agnostic"])
        parameters = document.get("parameters", {})
        self.takes_thresholds = bool(parameters)
        if parameters and (self.decode_as != SUPPRESSED or parameters != PARAMETERS):
            raise BundleError(
                f"spec.json: parameters are {parameters}, this runtime gives {PARAMETERS} to 'suppressed'"
            )
        if self.decode_as not in DECODES:
            known = ", ".join(DECODES)
            raise BundleError(f"spec.json: output.decode is {self.decode_as!r}, this runtime does {known}")
        if not (0 <= self.conf <= 1 and 0 <= self.iou <= 1 and 1 <= self.max_det <= MOST_BOXES):
            raise BundleError(f"spec.json: nms wants conf and iou in 0..1 and max_det in 1..{MOST_BOXES}")
        shape = tuple(int(side) for side in output["shape"])
        channels = shape[self.channel_axis] if len(shape) == 3 else None
        if not names or channels not in (-1, self.channels):
            raise BundleError(f"spec.json: the output {list(shape)} does not fit {len(names)} classes")

    def extras_in(self, document: SpecDocument) -> int:
        """Returns how many values a row has behind box and scores, as a spec says.

        Raises:
            BundleError, KeyError, TypeError, ValueError: as `Task.__init__`.
        """
        return 0

    def _outputs_beside(self, output: OutputDocument) -> tuple[str, ...]:
        """Returns the names of the outputs with rows, but for the first."""
        if self.decode_as != SUPPRESSED:
            return ()
        beside = (output["scores"], output["classes"], output["counts"])
        return (*map(str, beside), *([str(output["extras"])] if self.extras else []))

    @property
    def channel_axis(self) -> int:
        """The axis of the output along which the values of a row stand."""
        return 1 if self.decode_as == "yolo" else 2

    @property
    def channels(self) -> int:
        """How many values a row of the first output has."""
        if self.decode_as == SUPPRESSED:
            return 4
        return (4 + len(self.names) if self.decode_as == "yolo" else 6) + self.extras

    def choose(self, outputs: Sequence[np.ndarray], slot: int, given: Given) -> Boxes:
        """Returns the rows of one picture that count, with boxes in pixels of the input.

        Args:
            outputs: those that `self.outputs` names; those after the first `row_outputs` are not read.
            slot: which picture of the stack.
            given: settings and switches, as for `Task.decode`.
        """
        from edgecompile.runtime.tasks import _boxes

        lowest, overlap, most = self.chosen_settings(given)
        rows = self._joined_rows(outputs, slot) if self.decode_as == SUPPRESSED else self.rows(outputs[0], slot)
        try:
            if self.decode_as != "yolo":
                return _boxes.decode_end2end(rows, conf=lowest, max_det=most, classes=len(self.names))
            return self.suppressed(rows, lowest, overlap, most, multi_label=bool(given.get("multi_label")))
        except OutputError as error:
            raise OutputError(f"output '{self.outputs[0]}' of the model holds {error}") from error

    def suppressed(self, rows: np.ndarray, conf: float, iou: float, max_det: int, *, multi_label: bool) -> Boxes:
        """Returns the rows (channels, anchors) of a `yolo` output that non-maximum suppression leaves."""
        from edgecompile.runtime.tasks import _boxes

        return _boxes.decode_yolo(
            rows,
            conf=conf,
            iou=iou,
            max_det=max_det,
            class_agnostic=self.class_agnostic,
            multi_label=multi_label,
            extras=self.extras,
        )

    def chosen_settings(self, given: Given) -> tuple[float, float, int]:
        """Returns the lowest score, the largest overlap and the most boxes of a prediction.

        Raises:
            InputError: one is out of range, or the suppression is in the model and another is asked for.
        """
        defaults = {"conf": self.conf, "iou": self.iou, "max_det": self.max_det}
        lowest, overlap, most = (
            setting.checked(defaults[setting.name] if given.get(setting.name) is None else given[setting.name])
            for setting in self.settings
        )
        if self.takes_thresholds and most > self.max_det:
            raise InputError(f"max_det is {most}, and the outputs of the model have {self.max_det} places")
        fixed = self.decode_as == SUPPRESSED and not self.takes_thresholds
        if fixed and (lowest < self.conf or overlap != self.iou or most > self.max_det):
            built_in = f"conf {self.conf:g}, iou {self.iou:g} and max_det {self.max_det}"
            raise InputError(
                f"conf {lowest:g}, iou {overlap:g} and max_det {most} are asked for, and the model holds its "
                f"post-processing with {built_in}: conf can be raised and max_det lowered, iou stays",
                fix="build the bundle without the pass embed_postprocess, or with other thresholds",
            )
        return float(lowest), float(overlap), int(most)

    @property
    def without_effect(self) -> Mapping[str, str]:
        return {"iou": "its head leaves no boxes to be suppressed"} if self.decode_as == "end2end" else {}

    def parameters(self, given: Given) -> dict[str, np.ndarray]:
        import numpy as np

        if not self.takes_thresholds:
            return {}
        values = zip(PARAMETERS.items(), self.chosen_settings(given), strict=True)
        return {name: np.array([value], kind) for (name, kind), value in values}

    def rows(self, output: np.ndarray, slot: int) -> np.ndarray:
        """Returns the numbers of one picture of the stack, which have the shape that the spec states.

        Raises:
            OutputError: they have another.
        """
        shape: tuple[int, ...] = getattr(output, "shape", ())
        kind = getattr(getattr(output, "dtype", None), "kind", "O")
        fits = len(shape) == 3 and shape[self.channel_axis] == self.channels
        if kind not in "fiu" or not fits or not slot < shape[0]:
            expected = ["n", self.channels, -1] if self.decode_as == "yolo" else ["n", -1, self.channels]
            actual = f"{list(shape)}, and numbers in it: {'yes' if kind in 'fiu' else 'no'}"
            raise OutputError(f"output '{self.outputs[0]}' of the model is {actual}; expected numbers {expected}")
        return output[slot]

    def _joined_rows(self, outputs: Sequence[np.ndarray], slot: int) -> np.ndarray:
        """Returns the rows of one picture as "end2end" has them, of a model that holds its suppression.

        Raises:
            OutputError: an output has another shape than the spec states, or a count is none.
        """
        import numpy as np

        boxes = self.rows(outputs[0], slot)
        columns = [boxes]
        for name, output in zip(self.outputs[1:3], outputs[1:3], strict=True):
            columns.append(_picture(output, slot, (len(boxes),), name)[:, None])
        if self.extras:
            columns.append(_picture(outputs[4], slot, (len(boxes), self.extras), self.outputs[4]))
        count = float(_picture(outputs[3], slot, (), self.outputs[3]))
        if not (0 <= count <= len(boxes) and count == int(count)):
            raise OutputError(f"output '{self.outputs[3]}' of the model holds {count:g}, expected 0..{len(boxes)}")
        return np.concatenate([column[: int(count)] for column in columns], axis=1, dtype=np.float32)

    def parts(self, reference: Sequence[np.ndarray], other: Sequence[np.ndarray]) -> Parts:
        """Returns the boxes, the scores and the extras of two outputs: compared together, dead scores would hide behind
        good boxes (a cosine above 0.9999 with every score 0).

        The anchors of `yolo` always stand in one order. The rows of `end2end` and `suppressed` are sorted by score, so
        that the least change of scores moves rows: each row that scores above `conf` in the reference is paired with
        the row of its class that overlaps it most, or with zeros. Of `suppressed`, rows that are just above `conf` may
        be missing.
        """
        from edgecompile.runtime.tasks import _boxes

        before, after = reference[0], other[0]
        if before.ndim != 3 or before.shape[self.channel_axis] != self.channels:
            return {"": (before, after)}
        if self.decode_as == SUPPRESSED:
            before, after = (self._joined_rows(outputs, 0)[None] for outputs in (reference, other))
        if self.decode_as == "yolo":
            end = self.channels - self.extras
            beside = self.extra_parts(before[0, end:].T, after[0, end:].T)
            return {
                "boxes": (before[:, :4], after[:, :4]),
                "scores": (before[:, 4:end], after[:, 4:end]),
                **beside,
            }
        sure, rows = _boxes.paired_rows(before[0], after[0], self.conf, self.corners)
        if self.decode_as == SUPPRESSED:  # rows below the lowest score are not there to be paired with
            there = rows.any(axis=1) | (sure[:, 4] >= self.conf + BORDER)
            sure, rows = sure[there], rows[there]
        beside = self.extra_parts(sure[:, 6:], rows[:, 6:])
        return {"boxes": (sure[:, :4], rows[:, :4]), "scores": (sure[:, 4], rows[:, 4]), **beside}

    def corners(self, boxes: np.ndarray) -> np.ndarray:
        """Returns x1, y1, x2, y2 of boxes (n, 4) as `end2end` rows hold them."""
        return boxes

    def extra_parts(self, reference: np.ndarray, other: np.ndarray) -> Parts:
        """Pairs the extras of rows, (n, extras), by parts of one unit each."""
        return {}


def _picture(output: np.ndarray, slot: int, shape: tuple[int, ...], name: str) -> np.ndarray:
    """Returns the numbers of one picture of the stack, which have a shape.

    Raises:
        OutputError: they have another, or are no numbers.
    """
    kind = getattr(getattr(output, "dtype", None), "kind", "O")
    actual = tuple(getattr(output, "shape", ()))
    if kind not in "fiu" or not actual or not slot < actual[0] or actual[1:] != shape:
        raise OutputError(f"output '{name}' of the model is {list(actual)}; expected numbers {['n', *shape]}")
    part: np.ndarray = output[slot]
    return part
