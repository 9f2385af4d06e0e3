"""ncnn's two files as data: layers of the text, and the weights of each layer as they follow each other in the binary.

The form is ncnn's own (docs/developer-guide/param-and-model-file-structure.md of Tencent/ncnn): a magic number, the
counts of layers and blobs, then one line a layer: type, name, counts of inputs and outputs, their names, and numbered
parameters. Weights stand in the order of the layers; those that may be stored in a shorter type begin with a flag.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from edgecompile.errors import StepError

MAGIC = "7767517"
FLOAT32, FLOAT16, INT8 = 0, 0x01306B47, 0x000D4B38
"""Flags before weights: how the numbers behind them are stored. All are padded to four bytes."""

CONVOLUTIONS = ("Convolution", "ConvolutionDepthWise")
DECONVOLUTIONS = ("Deconvolution", "DeconvolutionDepthWise")
PRODUCT = "InnerProduct"
LAYOUT = frozenset({"Permute", "Reshape", "Slice", "Split", "Squeeze", "ExpandDims", "Crop"})
LINEAR = LAYOUT | {"BinaryOp", "Concat", "Eltwise", "Flatten"}
"""Kinds of layers that move numbers, add to them and multiply them."""
OUTPUTS, BIAS, WEIGHTS, GROUP, SCALES = "0", "5", "6", "7", "8"
"""Parameters of a convolution: output channels, whether it has a bias, weights, groups, kind of INT8 scales."""
PRODUCT_BIAS, PRODUCT_WEIGHTS = "1", "2"
"""Parameters of an inner product that stand elsewhere than those of a convolution."""


@dataclass(frozen=True)
class Layer:
    """One line of the text.

    Attributes:
        params: by number, as written.
    """

    kind: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    params: dict[str, str] = field(default_factory=dict)

    def number(self, key: str, default: int = 0) -> int:
        """Returns a parameter that is a whole number."""
        return int(self.params.get(key, default))

    def line(self) -> str:
        counts = (str(len(self.inputs)), str(len(self.outputs)))
        params = (f"{key}={value}" for key, value in self.params.items())
        return " ".join((self.kind, self.name, *counts, *self.inputs, *self.outputs, *params))


def read_layers(text: str) -> list[Layer]:
    """Returns the layers of a text.

    Raises:
        StepError: it does not begin as ncnn's texts do.
    """
    lines = [line.split() for line in text.splitlines() if line.strip()]
    if not lines or lines[0] != [MAGIC]:
        raise StepError("the text of layers is not ncnn's")
    layers = []
    for kind, name, count, results, *rest in lines[2:]:
        split = int(count) + int(results)
        params = dict(word.split("=", 1) for word in rest[split:])
        layers.append(Layer(kind, name, tuple(rest[: int(count)]), tuple(rest[int(count) : split]), params))
    return layers


def means(layers: list[Layer]) -> list[str]:
    """Returns the names of convolutions that only take the mean of a softmax: the decode part has no other."""
    makers = {blob: layer for layer in layers for blob in layer.outputs}

    def follows_softmax(layer: Layer) -> bool:
        source = makers.get(layer.inputs[0])
        while source is not None and source.kind in LAYOUT:
            source = makers.get(source.inputs[0])
        return source is not None and source.kind == "Softmax"

    return [layer.name for layer in layers if layer.kind in CONVOLUTIONS and follows_softmax(layer)]


def unfit(layers: list[Layer]) -> list[str]:
    """Returns the names of convolutions that stay in float, sorted: those of the decode part; those whose numbers it
    only moves, adds to and multiplies on their way to an output; and those that read the picture.

    Numbers that are only multiplied become pixels and radians (key points, distances without a distribution, angles): a
    step of eight bits is times the stride there, where a softmax or sigmoid holds the others to 0..1. Of a picture with
    its 255 steps, a scale that is symmetric about zero has 127.
    """
    makers = {blob: layer for layer in layers for blob in layer.outputs}
    read = {blob for layer in layers for blob in layer.inputs}
    pictures = {blob for layer in layers if layer.kind == "Input" for blob in layer.outputs}
    first = {layer.name for layer in layers if layer.kind in CONVOLUTIONS and pictures.intersection(layer.inputs)}
    names, seen = {*means(layers), *first}, set[str]()
    frontier = [blob for blob in makers if blob not in read]
    while frontier:
        layer = makers.get(frontier.pop())
        if layer is None or layer.name in seen:
            continue
        seen.add(layer.name)
        if layer.kind in CONVOLUTIONS:
            names.add(layer.name)
        elif layer.kind in LINEAR:
            frontier.extend(layer.inputs)
    return sorted(names)


def write_layers(layers: list[Layer]) -> str:
    """Returns the text of layers."""
    blobs = sum(len(layer.outputs) for layer in layers)
    return "\n".join((MAGIC, f"{len(layers)} {blobs}", *(layer.line() for layer in layers))) + "\n"


def weight_sizes(layer: Layer) -> tuple[int, int]:
    """Returns how many float weights of a layer stand behind a flag, and how many follow without a flag.

    Raises:
        StepError: for a layer whose weights are not known here.
    """
    if layer.kind in (*CONVOLUTIONS, *DECONVOLUTIONS):
        return layer.number(WEIGHTS), layer.number(OUTPUTS) if layer.number(BIAS) else 0
    if layer.kind == PRODUCT:
        return layer.number(PRODUCT_WEIGHTS), layer.number(OUTPUTS) if layer.number(PRODUCT_BIAS) else 0
    if layer.kind == "MemoryData":
        sides = [layer.number(key) for key in ("0", "1", "11", "2")]
        total = 1
        for side in sides:
            total *= side or 1
        return 0, total
    if layer.kind in WEIGHTLESS:
        return 0, 0
    raise StepError(f"ncnn layers of the kind '{layer.kind}' cannot be quantized yet", fix="build in fp16")


WEIGHTLESS = frozenset(
    {
        "BinaryOp", "Concat", "Crop", "Dropout", "Eltwise", "ExpandDims", "Flatten", "GELU", "HardSigmoid", "HardSwish",
        "Input", "Interp", "MatMul", "Mish", "Noop", "Padding", "Permute", "Pooling", "ReLU", "Reduction", "Reshape",
        "ShuffleChannel", "Sigmoid", "Slice", "Softmax", "Split", "Squeeze", "Swish", "TanH", "UnaryOp",
    }
)  # fmt: skip
"""Kinds of layers that hold no weights."""


def stored_as(layers: list[Layer], content: bytes) -> Iterator[tuple[Layer, int]]:
    """Yields each layer that has flagged weights with their flag: FLOAT32, FLOAT16 or INT8; as far as the sizes of the
    weights of all layers before it are known.

    Raises:
        StepError: the binary ends before the weights.
    """
    at = 0
    for layer in layers:
        try:
            flagged, plain = weight_sizes(layer)
        except StepError:
            return
        if flagged:
            flag = int.from_bytes(content[at : at + 4], "little")
            size = flagged * {FLOAT16: 2, INT8: 1}.get(flag, 4)
            at += 4 + size + -size % 4
            if flag == INT8:
                at += 4 * (scale_rows(layer) + 1)
            yield layer, flag
        at += 4 * plain
        if at > len(content):
            raise StepError(f"the weights of layer '{layer.name}' end at byte {at}, the file has {len(content)}")


def scale_rows(layer: Layer) -> int:
    """Returns how many scales the INT8 weights of a layer have: a depthwise convolution one for each group, any other
    layer one for each output channel."""
    return layer.number(GROUP, 1) if layer.kind == "ConvolutionDepthWise" else layer.number(OUTPUTS)


def weights(layers: list[Layer], content: bytes) -> Iterator[tuple[Layer, memoryview, memoryview]]:
    """Yields each layer with the bytes of its flagged weights (without the flag) and of its weights without a flag.

    Raises:
        StepError: the binary does not hold what the text says, or not in float32.
    """
    at, view = 0, memoryview(content)
    for layer in layers:
        flagged, plain = weight_sizes(layer)
        if flagged:
            if int.from_bytes(view[at : at + 4], "little") != FLOAT32:
                raise StepError(f"the weights of layer '{layer.name}' are not float32")
            at += 4
        middle, end = at + 4 * flagged, at + 4 * (flagged + plain)
        yield layer, view[at:middle], view[middle:end]
        at = end
    if at != len(content):
        raise StepError(f"the layers need {at} bytes of weights, the file has {len(content)}")
