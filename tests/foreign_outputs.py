"""The sample with its outputs as families of foreign models put them out: its decode undone, so figures are known."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import onnx
from foreign_models import ANCHORS, CLASSES, SHAPE, sample
from onnx import TensorProto, helper, numpy_helper

HEIGHT, WIDTH = SHAPE[2:]
STRIDES = (8, 16, 32)
WHOLE = ("labels", "det_classes", "num_dets")
"""Names of outputs of whole numbers."""


class Rewritten:
    """Adds nodes behind `output0` (1, 4 + classes, anchors) of the sample."""

    def __init__(self) -> None:
        self.model = sample()
        self.count = 0

    def __call__(self, operator: str, *inputs: Any, outputs: int = 1, **attributes: Any) -> Any:
        names = [self.stored(one) if isinstance(one, (np.ndarray, list)) else one for one in inputs]
        self.count += 1
        made = [f"undone_{self.count}_{number}" for number in range(outputs)]
        self.model.graph.node.append(helper.make_node(operator, names, made, **attributes))
        return made[0] if outputs == 1 else made

    def stored(self, value: Any) -> str:
        self.count += 1
        array = np.asarray(value)
        array = array.astype(np.float32) if array.dtype.kind == "f" else array
        self.model.graph.initializer.append(numpy_helper.from_array(array, f"value_{self.count}"))
        return f"value_{self.count}"

    def parts(self) -> tuple[str, str, str]:
        """Centre, size and scores, columns of anchors."""
        return tuple(self("Split", "output0", np.array([2, 2, CLASSES]), outputs=3, axis=1))

    def rows(self, tensor: str) -> str:
        return self("Transpose", tensor, perm=[0, 2, 1])

    def done(self, **outputs: str) -> onnx.ModelProto:
        """Returns the model with outputs of these names, in this order."""
        graph = self.model.graph
        for name, tensor in outputs.items():
            graph.node.append(helper.make_node("Identity", [tensor], [name]))
        del graph.output[:]
        for name in outputs:
            kind = TensorProto.INT64 if name in WHOLE else TensorProto.FLOAT
            graph.output.append(helper.make_tensor_value_info(name, kind, None))
        session_shapes = shapes_of(self.model)
        del graph.output[:]
        for name in outputs:
            kind, shape = session_shapes[name]
            graph.output.append(helper.make_tensor_value_info(name, kind, shape))
        return self.model


def shapes_of(model: onnx.ModelProto) -> dict[str, tuple[int, list[int]]]:
    import onnxruntime

    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    results = session.run(None, {"images": np.zeros(SHAPE, np.float32)})
    names = [output.name for output in session.get_outputs()]
    return {
        name: (helper.np_dtype_to_tensor_dtype(value.dtype), list(value.shape))
        for name, value in zip(names, results, strict=True)
    }


def grid(offset: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Column and row of each cell (1, 2, anchors), and its stride (1, 1, anchors)."""
    places, strides = [], []
    for stride in STRIDES:
        for row in range(HEIGHT // stride):
            for column in range(WIDTH // stride):
                places.append((column + offset, row + offset))
                strides.append(stride)
    return np.array(places, np.float32).T[None], np.array(strides, np.float32)[None, None]


def sqrt_scores(add: Rewritten, scores: str) -> tuple[str, str]:
    """Objectness and class scores whose products are the scores."""
    best = add("Max", add("ReduceMax", scores, np.array([1]), keepdims=1), np.array(1e-30))
    objectness = add("Sqrt", best)
    return objectness, add("Div", scores, objectness)


def logits_of(add: Rewritten, scores: str) -> str:
    safe = add("Max", add("Min", scores, np.array(1 - 1e-6)), np.array(1e-6))
    return add("Log", add("Div", safe, add("Sub", np.array(1.0), safe)))


def yolox() -> onnx.ModelProto:
    add = Rewritten()
    centre, size, scores = add.parts()
    places, strides = grid()
    offsets = add("Sub", add("Div", centre, strides), places)
    logs = add("Log", add("Max", add("Div", size, strides), np.array(1e-6)))
    return add.done(output=add.rows(add("Concat", offsets, logs, *sqrt_scores(add, scores), axis=1)))


def _distances(add: Rewritten, offset: float, bins: int) -> str:
    """Logits (1, anchors, 4 * bins) of distributions whose means are the distances to the sides, in cells."""
    centre, size, _ = add.parts()
    places, strides = grid(offset)
    point = places * strides
    half = add("Mul", size, np.array(0.5))
    before = add("Div", add("Sub", point, add("Sub", centre, half)), strides)
    after = add("Div", add("Sub", add("Add", centre, half), point), strides)
    distances = add("Concat", before, after, axis=1)  # (1, 4, anchors)
    spread = add("Unsqueeze", add.rows(distances), np.array([3]))  # (1, anchors, 4, 1)
    gap = add("Abs", add("Sub", spread, np.arange(bins, dtype=np.float32)))
    share = add("Max", add("Sub", np.array(1.0), gap), np.array(1e-12))  # the two bins beside the mean
    return add("Reshape", add("Log", share), np.array([1, ANCHORS, 4 * bins]))


def nanodet(offset: float = 0.5, bins: int = 16) -> onnx.ModelProto:
    add = Rewritten()
    scores = add.rows(add.parts()[2])
    return add.done(output=add("Concat", scores, _distances(add, offset, bins), axis=2))


def picodet(bins: int = 16, *, batched: bool = True) -> onnx.ModelProto:
    """One output of scores and one of distances for each feature map, not in their order."""
    add = Rewritten()
    counts = np.array([HEIGHT // stride * (WIDTH // stride) for stride in STRIDES])
    scores = add("Split", add.rows(add.parts()[2]), counts, outputs=3, axis=1)
    sides = add("Split", _distances(add, 0.5, bins), counts, outputs=3, axis=1)
    both = [*scores[::-1], *sides]
    if not batched:
        both = [add("Squeeze", one, np.array([0])) for one in both]
    return add.done(**{f"out_{number}": tensor for number, tensor in enumerate(both)})


def yunet() -> onnx.ModelProto:
    """Of the first class alone."""
    add = Rewritten()
    centre, size, scores = add.parts()
    places, strides = grid()
    offsets = add("Sub", add("Div", centre, strides), places)
    logs = add("Log", add("Max", add("Div", size, strides), np.array(1e-6)))
    first = add("Slice", scores, np.array([0]), np.array([1]), np.array([1]))
    counts = np.array([HEIGHT // stride * (WIDTH // stride) for stride in STRIDES])
    outputs = {}
    kinds = {"cls": first, "obj": first, "bbox": add("Concat", offsets, logs, axis=1), "kps": centre}
    for kind, tensor in kinds.items():
        levels = add("Split", add.rows(tensor), counts, outputs=3, axis=1)
        outputs |= {f"{kind}_{stride}": level for stride, level in zip(STRIDES, levels, strict=True)}
    return add.done(**outputs)


def fastestdet(stride: int = 8) -> onnx.ModelProto:
    """The finest feature map alone; the middle of a box lies within one cell of its own."""
    add = Rewritten()
    rows, columns = HEIGHT // stride, WIDTH // stride
    cells = rows * columns
    fine = add("Slice", "output0", np.array([0]), np.array([cells]), np.array([2]))
    centre, size, scores = add("Split", fine, np.array([2, 2, CLASSES]), outputs=3, axis=1)
    places = grid()[0][:, :, :cells]
    offset = add("Sub", add("Div", centre, np.array(float(stride))), places)
    cut = add("Max", add("Min", offset, np.array(0.9999)), np.array(-0.9999))
    whole = np.array([WIDTH, HEIGHT], np.float32)[None, :, None]
    share = add("Max", add("Min", add("Div", size, whole), np.array(0.9999)), np.array(1e-4))
    boxes = add("Concat", add("Atanh", cut), logits_of(add, share), axis=1)
    best = add("Max", add("ReduceMax", scores, np.array([1]), keepdims=1), np.array(1e-9))
    # objectness ** 0.6 * score ** 0.4 of a class: the score where both are it, for the best class
    classes = add("Pow", add("Div", add("Max", scores, np.array(1e-9)), add("Pow", best, np.array(0.6))), np.array(2.5))
    flat = add("Concat", best, boxes, classes, axis=1)
    return add.done(output=add("Reshape", flat, np.array([1, 5 + CLASSES, rows, columns])))


def queries(*, whole: bool = False, softmax: bool = False) -> onnx.ModelProto:
    add = Rewritten()
    centre, size, scores = add.parts()
    fractions = add(
        "Div", add("Concat", centre, size, axis=1), np.array([WIDTH, HEIGHT] * 2, np.float32)[None, :, None]
    )
    if softmax:  # with a last column for no object
        rest = add(
            "Max", add("Sub", np.array(1.0), add("ReduceSum", scores, np.array([1]), keepdims=1)), np.array(1e-6)
        )
        scores = add("Log", add("Max", add("Concat", scores, rest, axis=1), np.array(1e-9)))
    elif not whole:
        scores = logits_of(add, scores)
    if whole:
        return add.done(output=add.rows(add("Concat", fractions, scores, axis=1)))
    return add.done(logits=add.rows(scores), dets=add.rows(fractions))


def boxes_and_scores(*, kind: str = "corners", fractions: bool = False, columns: bool = False) -> onnx.ModelProto:
    add = Rewritten()
    centre, size, scores = add.parts()
    boxes = add("Concat", centre, size, axis=1)
    if kind != "centres":
        half = add("Mul", size, np.array(0.5))
        boxes = add("Concat", add("Sub", centre, half), add("Add", centre, half), axis=1)
    if fractions:
        boxes = add("Div", boxes, np.array([WIDTH, HEIGHT] * 2, np.float32)[None, :, None])
    if kind == "corners_yx":
        boxes = add("Gather", boxes, np.array([1, 0, 3, 2]), axis=1)
    if kind == "background":
        scores = add(
            "Concat", add("Sub", np.array(1.0), add("ReduceMax", scores, np.array([1]), keepdims=1)), scores, axis=1
        )
    return add.done(scores=scores if columns else add.rows(scores), boxes=add.rows(boxes))


def ssd() -> onnx.ModelProto:
    """Softmax with the background first, corners as fractions."""
    add = Rewritten()
    centre, size, scores = add.parts()
    half = add("Mul", size, np.array(0.5))
    corners = add("Concat", add("Sub", centre, half), add("Add", centre, half), axis=1)
    boxes = add("Div", corners, np.array([WIDTH, HEIGHT] * 2, np.float32)[None, :, None])
    background = add("Sub", np.array(1.0), add("ReduceMax", scores, np.array([1]), keepdims=1))
    return add.done(boxes=add.rows(boxes), scores=add.rows(add("Concat", background, scores, axis=1)))


def anchor_offsets(*, ssd_coded: bool = False) -> onnx.ModelProto:
    """Offsets from square anchors: as EfficientDet (y first, pixels) or as SSD (variances, fractions)."""
    add = Rewritten()
    centre, size, scores = add.parts()
    places, strides = grid(0.5)
    middle, side = places * strides, np.repeat(strides * 4, 2, axis=1)
    move = add("Div", add("Sub", centre, middle), side)
    logs = add("Log", add("Max", add("Div", size, side), np.array(1e-6)))
    if ssd_coded:
        move, logs = add("Div", move, np.array(0.1)), add("Div", logs, np.array(0.2))
        offsets = add("Concat", move, logs, axis=1)
        anchors = np.concatenate((middle, side), axis=1) / np.array([WIDTH, HEIGHT] * 2)[None, :, None]
    else:
        offsets = add("Gather", add("Concat", move, logs, axis=1), np.array([1, 0, 3, 2]), axis=1)
        corners = np.concatenate((middle - side / 2, middle + side / 2), axis=1)
        anchors = corners[:, [1, 0, 3, 2]]
    stored = add("Identity", np.ascontiguousarray(anchors.transpose(0, 2, 1), np.float32))
    return add.done(regression=add.rows(offsets), classification=add.rows(scores), anchors=stored)


def detections(form: str, boxes: int = 200) -> onnx.ModelProto:
    """What a suppression in the graph leaves: as "efficient_nms", "mmdeploy", "torchvision" or "dfine" name it."""
    add = Rewritten()
    centre, size, scores = add.parts()
    half = add("Mul", size, np.array(0.5))
    corners = add.rows(add("Concat", add("Sub", centre, half), add("Add", centre, half), axis=1))
    chosen = add("NonMaxSuppression", corners, scores, np.array([boxes]), np.array([0.7]), np.array([0.01]))
    number, anchor = (
        add("Squeeze", add("Slice", chosen, np.array([column]), np.array([column + 1]), np.array([1])), np.array([1]))
        for column in (1, 2)
    )
    kept = add("Gather", add("Squeeze", corners, np.array([0])), anchor, axis=0)
    pairs = add("Concat", *(add("Unsqueeze", one, np.array([1])) for one in (number, anchor)), axis=1)
    score = add("GatherND", add("Squeeze", scores, np.array([0])), pairs)
    if form == "torchvision":
        return add.done(boxes=kept, labels=add("Add", number, np.array(1)), scores=score)
    boxes_, score, number = (add("Unsqueeze", one, np.array([0])) for one in (kept, score, number))
    if form == "mmdeploy":
        return add.done(dets=add("Concat", boxes_, add("Unsqueeze", score, np.array([2])), axis=2), labels=number)
    if form == "dfine":
        return add.done(labels=number, boxes=boxes_, scores=score)
    count = add("Shape", score)
    return add.done(
        num_dets=add("Unsqueeze", count, np.array([0])), det_boxes=boxes_, det_scores=score, det_classes=number
    )


CASES: dict[str, tuple[Callable[[], onnx.ModelProto], dict[str, Any]]] = {
    "yolox": (yolox, {"family": "yolox"}),
    "nanodet": (nanodet, {"outputs": {"layout": "distributions"}}),
    "picodet": (picodet, {"outputs": {"layout": "distributions"}}),
    "levels without a batch": (lambda: picodet(batched=False), {"outputs": {"layout": "distributions"}}),
    "rtdetr": (queries, {"family": "rtdetr"}),
    "queries in one": (lambda: queries(whole=True), {"outputs": {"layout": "queries"}}),
    "detr": (lambda: queries(softmax=True), {"family": "detr"}),
    "corners": (boxes_and_scores, {"outputs": {"layout": "boxes_and_scores"}}),
    "corners_yx": (
        lambda: boxes_and_scores(kind="corners_yx", columns=True),
        {"outputs": {"layout": "boxes_and_scores", "boxes": "corners_yx"}},
    ),
    "centres": (
        lambda: boxes_and_scores(kind="centres", fractions=True),
        {"outputs": {"layout": "boxes_and_scores", "boxes": "centres", "unit": "fractions"}},
    ),
    "ssd": (ssd, {"family": "ssd"}),
    "ssd anchors": (lambda: anchor_offsets(ssd_coded=True), {"outputs": {"layout": "anchor_offsets"}}),
    "efficientdet": (anchor_offsets, {"family": "efficientdet"}),
    "efficient_nms": (lambda: detections("efficient_nms"), {"outputs": {"layout": "detections"}}),
    "mmdeploy": (lambda: detections("mmdeploy"), {"family": "mmdetection"}),
    "torchvision": (lambda: detections("torchvision"), {"family": "torchvision_detection"}),
    "dfine decoded": (lambda: detections("dfine"), {"outputs": {"layout": "detections"}}),
}
"""Name to a model whose detections are those of the sample, and to what is stated of it."""


def cases() -> Iterator[str]:
    yield from CASES
