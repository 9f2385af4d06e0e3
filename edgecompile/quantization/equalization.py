"""Step: even out the ranges of channels between layers by powers of two, which changes no bit of what a model computes.

One scale serves all channels of an activation in INT8, so a channel that reaches 64 times as far as others leaves them
two bits. Where layer and layer touch directly, or through operators that pass a factor on, the first can make such
a channel smaller and the second take it as much larger. By powers of two, every sum and product is the same number with
another exponent.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

import numpy as np
import onnx
from onnx import numpy_helper

from edgecompile.errors import StepError
from edgecompile.graphs.onnx.channel_flow import ChannelFlow, Constant, Layer
from edgecompile.graphs.onnx.channels import UNSCALED
from edgecompile.graphs.onnx.structure import Structure
from edgecompile.graphs.onnx.walk import nodes_within

LARGEST_EXPONENT = 16
"""No channel is scaled by more than two to this power: what needs more is dead, and no channel worth evening out."""
SHARES = (0.25, 0.5, 0.75, 1.0)
"""How much of the difference between channels goes into the weights that read them: all with 1."""
LEAST_REACH = 2.0**-6
"""Least reach of a channel, as a share of the middle one's: what hardly moved on a few pictures may on others."""
GAIN = 0.8
"""Share of the estimated squared error that must be left at most for a set of tensors to be scaled."""
SETTLED = 0.01
"""Share of the error by which a further candidate must be better."""
CUTTING = frozenset({"Clip", "Relu"})
SHOWN = 4


class EqualizationFacts(TypedDict):
    """What the step returns.

    changes: what was done, or why nothing, in the words of the report.
    pairs: of each two layers between which channels were scaled: names, how many channels, largest exponent.
    reasons: why layers have no channel that may be scaled, each to how many.
    proven_on: inputs on which the outputs are equal to the last bit; 0 where nothing was scaled.
    """

    changes: list[str]
    pairs: list[tuple[str, str, int, int]]
    reasons: dict[str, int]
    proven_on: int


@dataclass(frozen=True)
class Scaling:
    """Whole exponents of two for the channels of a graph.

    Attributes:
        flow: the channels.
        exponents: of each number of `flow.channels`: the channel is divided by two to this power.
        parts: of each number, which set of tensors it belongs to that can be scaled alone; -1 for those not scaled.
    """

    flow: ChannelFlow
    exponents: np.ndarray
    parts: np.ndarray

    def without(self, parts: Iterable[int]) -> Scaling:
        """Returns the same with some sets of tensors left as they are."""
        left = np.isin(self.parts, list(parts))
        return Scaling(self.flow, np.where(left, 0, self.exponents), np.where(left, -1, self.parts))

    def pairs(self) -> list[tuple[str, str, int, int]]:
        """Returns both layers of each pair between which channels are scaled, how many, and the largest exponent."""
        makers: dict[int, list[str]] = {}
        roots = self.flow.channels.roots
        for layer in self.flow.layers:
            for number in np.unique(roots(layer.outputs)).tolist():
                makers.setdefault(number, []).append(layer.name)
        found: dict[tuple[str, str], list[int]] = {}
        for layer in self.flow.layers:
            for number in np.unique(roots(layer.inputs)).tolist():
                if exponent := int(self.exponents[number]):
                    for maker in makers.get(number, []):
                        found.setdefault((maker, layer.name), []).append(abs(exponent))
        return [(*pair, len(exponents), max(exponents)) for pair, exponents in found.items()]


def equalize(out: Path, *, model: Path, spec: Path, pictures: Sequence[Path] = ()) -> EqualizationFacts:
    """Writes the equalized `model.onnx`, proven equal to the last bit on ONNX Runtime.

    Args:
        pictures: to measure ranges of channels and to prove on; a made-up one serves where there are none.

    Raises:
        StepError: the outputs differ even with every part left out that differs alone.
    """
    from edgecompile.graphs.onnx.agreement import fixed_input
    from edgecompile.graphs.onnx.model_spec import read_spec, shapes_of
    from edgecompile.graphs.onnx.serialization import load, save
    from edgecompile.graphs.onnx.structure import name_nodes
    from edgecompile.quantization.calibration_batches import input_reader

    graph = load(model)
    name_nodes(graph.graph.node)
    read = read_spec(spec)
    shapes = shapes_of(read)
    flow = ChannelFlow(sized(graph, shapes[0]))
    prepare = input_reader(spec)
    inputs = [fixed_input(shape, shape[2:]) for shape in shapes] + [prepare(picture).copy() for picture in pictures]
    reach = reaches(graph, flow, inputs[len(shapes) :] or inputs)
    equalized, scaling, left_out = proven(graph, choose(flow, reach), inputs)
    save(equalized, out / "model.onnx")
    pairs, reasons = scaling.pairs(), reasons_of(flow)
    return {
        "changes": _changes(flow, scaling, pairs, reasons, left_out, len(inputs)),
        "pairs": pairs,
        "reasons": reasons,
        "proven_on": len(inputs) if pairs else 0,
    }


def sized(model: onnx.ModelProto, shape: Sequence[int]) -> onnx.ModelProto:
    """Returns a copy whose first input has the given shape; what its nodes put out has no stated shape."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    for side, size in zip(copy.graph.input[0].type.tensor_type.shape.dim, shape, strict=True):
        side.dim_value = max(int(size), 1)
    del copy.graph.value_info[:]
    for output in copy.graph.output:
        output.type.tensor_type.ClearField("shape")
    return copy


def reaches(model: onnx.ModelProto, flow: ChannelFlow, inputs: Iterable[np.ndarray]) -> dict[str, np.ndarray]:
    """Returns how far the channels of tensors reach on some inputs: the largest magnitude of each, in the order and
    shape of `flow.numbers`, for each tensor that a layer reads and that other operators than a ReLU do: what a ReLU
    cuts off has no part in the range that INT8 needs.
    """
    from edgecompile.graphs.onnx.agreement import single_thread_session

    structure = Structure(model)
    reads = {layer.reads for layer in flow.layers}
    reads |= {name for node in structure.nodes for name in structure.inputs(node) if node.op_type not in CUTTING}
    names = sorted(name for name in reads if not flow.channels.none_scaled(flow.numbers(name)))
    if not names:
        return {}
    observed = onnx.ModelProto()
    observed.CopyFrom(model)
    del observed.graph.output[:]
    observed.graph.output.extend(onnx.helper.make_tensor_value_info(name, 1, None) for name in names)
    session = single_thread_session(observed.SerializeToString())
    found: dict[str, np.ndarray] = {}
    for tensor in inputs:
        for name, values in zip(names, session.run(None, {session.get_inputs()[0].name: tensor}), strict=True):
            same = tuple(axis for axis, size in enumerate(flow.numbers(name).shape) if size == 1)
            largest = np.abs(values).max(axis=same, keepdims=True)
            found[name] = np.maximum(found.get(name, 0), largest)
    return found


@dataclass(frozen=True)
class _Reader:
    """A layer that reads channels to be scaled, as its error in INT8 is estimated: arrays of (outputs, inputs)."""

    weights: np.ndarray
    numbers: np.ndarray
    reach: np.ndarray

    def errors(self, exponents: np.ndarray) -> np.ndarray:
        """Returns the squared error of each output in INT8, as a share of its square, up to a factor.

        An activation's error is the same for all channels, and follows from the channel that reaches furthest; that of
        a weight is the same for all of an output, and follows from its largest. Weights have half as many steps as
        activations that are not negative.
        """
        factor = np.exp2(exponents[self.numbers])
        weights, reach = self.weights * factor, self.reach / factor
        of_activations = reach.max() ** 2 * (weights**2).sum(axis=1)
        of_weights = 4 * weights.max(axis=1) ** 2 * (reach**2).sum(axis=1)
        return (of_activations + of_weights) / (self.weights**2 * self.reach**2).sum(axis=1)


def choose(flow: ChannelFlow, reach: Mapping[str, np.ndarray]) -> Scaling:
    """Chooses the exponents by which the error in INT8 is smallest, for each set of tensors that share channels or a
    reader by itself.

    Candidates shift the burden from activations to the weights that read them, in shares. The median exponent is taken
    off where nothing is lost by that: a factor for all channels changes nothing in INT8, and numbers stay near where
    FP16 holds them. What does not promise `GAIN` stays as it is: the estimate is rough.

    Args:
        flow: the channels of a graph.
        reach: what `reaches` returns.
    """
    roots = flow.channels.roots(np.arange(len(flow.channels.parents)))
    furthest = np.zeros(len(roots))
    for name, values in reach.items():
        np.maximum.at(furthest, roots[flow.numbers(name)], values)
    parts = _parts(flow, roots, _scalable(flow, roots, furthest))
    for part in range(parts.max(initial=-1) + 1):
        own = parts == part
        furthest[own] = np.maximum(furthest[own], LEAST_REACH * np.median(furthest[own]))
    readers = [_reader(layer, roots, furthest, reach[layer.reads]) for layer in flow.layers if layer.reads in reach]
    exponents = np.zeros(len(roots), int)
    for part in range(parts.max(initial=-1) + 1):
        _lighten(exponents, np.flatnonzero(parts == part), readers, furthest)
    return Scaling(flow, exponents[roots], parts[roots])


def _reader(layer: Layer, roots: np.ndarray, furthest: np.ndarray, reach: np.ndarray) -> _Reader:
    """Returns a layer with outputs that some channel reaches, one a row."""
    numbers, values = roots[layer.inputs], reach.reshape(-1)
    own = values[layer.places] if values.size > 1 else np.full(numbers.shape, values[0])
    reached = np.maximum(own, np.where(numbers == UNSCALED, 0, furthest[numbers]))
    arrays = [layer.weights, numbers, reached]
    if layer.outputs.shape[0] > 1 and (layer.outputs[0] == layer.outputs[-1]).all():  # stored as (inputs, outputs)
        arrays = [array.T for array in arrays]
    alive = (arrays[0] * arrays[2]).any(axis=1)
    return _Reader(*(array[alive] for array in arrays))


def _scalable(flow: ChannelFlow, roots: np.ndarray, furthest: np.ndarray) -> np.ndarray:
    """Returns which numbers may be scaled, and have layers on both sides, with values and with weights for them."""
    made, read = (np.zeros(len(roots), bool) for _ in range(2))
    for layer in flow.layers:
        made[roots[layer.outputs]] = True
        read[roots[layer.inputs[layer.weights > 0]]] = True
    allowed = np.ones(len(roots), bool)
    allowed[list(flow.channels.reasons)] = False
    return made & read & allowed & (furthest > 0)


def _parts(flow: ChannelFlow, roots: np.ndarray, free: np.ndarray) -> np.ndarray:
    """Returns, by number, which set of tensors it belongs to: those that one layer reads, or puts out, are one."""
    parts = np.where(free, np.arange(len(free)), -1)
    sides = [np.unique(roots[side]) for layer in flow.layers for side in (layer.inputs, layer.outputs)]
    sides = [own[free[own]] for own in sides]
    changed = True
    while changed:
        changed = False
        for own in sides:
            if own.size and (parts[own] != (smallest := parts[own].min())).any():
                parts[np.isin(parts, parts[own])], changed = smallest, True
    _, numbered = np.unique(np.append(parts, -1), return_inverse=True)
    return numbered[:-1] - 1


def _lighten(exponents: np.ndarray, own: np.ndarray, readers: Sequence[_Reader], furthest: np.ndarray) -> None:
    """Chooses the exponents of one set of tensors, in place."""
    readers = [reader for reader in readers if reader.weights.size and np.isin(reader.numbers, own).any()]
    if not readers:
        return
    heaviest = np.zeros(len(exponents))
    for reader in readers:
        signal = np.sqrt((reader.weights**2 * reader.reach**2).sum(axis=1, keepdims=True))
        np.maximum.at(heaviest, reader.numbers, reader.weights / signal)
    own = own[heaviest[own] > 0]
    far, heavy = np.log2(furthest[own]), np.log2(heaviest[own])
    best, chosen = GAIN * _error(readers, exponents), exponents[own]
    for share in SHARES:
        raw = share * far - (1 - share) * heavy
        for middle in (np.median(raw), 0.0):
            candidate = exponents.copy()
            candidate[own] = np.clip(np.round(raw - middle), -LARGEST_EXPONENT, LARGEST_EXPONENT)
            if (error := _error(readers, candidate)) < best:
                best, chosen = error * (1 - SETTLED), candidate[own]
    exponents[own] = chosen


def _error(readers: Sequence[_Reader], exponents: np.ndarray) -> float:
    return float(np.concatenate([reader.errors(exponents) for reader in readers]).mean())


def scaled(model: onnx.ModelProto, scaling: Scaling) -> onnx.ModelProto:
    """Returns a copy whose constants hold the factors. A constant that other nodes read too is copied first.

    Raises:
        StepError: a factor would take digits of a constant: it would be infinite, or too small for a normal number.
    """
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    structure = Structure(copy)
    replaced = set()
    for constant in scaling.flow.constants:
        factor = scaling.exponents[constant.times] - scaling.exponents[constant.over]
        if factor.any():
            replaced.add(_write(structure, constant, factor))
    replaced -= {name for node in nodes_within(copy) for name in node.input}
    for tensor in [tensor for tensor in copy.graph.initializer if tensor.name in replaced]:
        copy.graph.initializer.remove(tensor)
    return copy


def _write(structure: Structure, constant: Constant, exponents: np.ndarray) -> str:
    """Writes a scaled constant beside the one that a node reads, and has it read that; returns the name of the old."""
    node = structure.nodes[constant.node]
    name = node.input[constant.position]
    value = structure.value(name)
    written = np.ldexp(value, exponents).astype(np.float32)
    digits = np.frexp(value)[0] * np.ones_like(written) == np.frexp(written)[0]
    if not (digits & ((written == 0) | (np.abs(written) >= np.finfo(np.float32).tiny))).all():
        raise StepError(f"a constant of {node.name} does not hold the factor 2^{int(np.abs(exponents).max())}")
    tensor = numpy_helper.from_array(np.ascontiguousarray(written), f"{name}.equalized.{constant.node}")
    structure.graph.initializer.append(tensor)
    node.input[constant.position] = tensor.name
    return name


def proven(
    model: onnx.ModelProto, scaling: Scaling, inputs: Sequence[np.ndarray]
) -> tuple[onnx.ModelProto, Scaling, int]:
    """Returns the scaled model with what it was scaled by, and how many sets of tensors were left out because the
    outputs would differ, if only in their last bit, or constants would lose digits.

    Raises:
        StepError: the outputs differ still.
    """
    if not scaling.exponents.any():
        return model, scaling, 0
    try:
        return _equal(model, scaling, inputs), scaling, 0
    except StepError:
        parts = [int(part) for part in np.unique(scaling.parts[scaling.exponents != 0])]
    unfit = []
    for part in parts:
        try:
            _equal(model, scaling.without(other for other in parts if other != part), inputs)
        except StepError:
            unfit.append(part)
    kept = scaling.without(unfit)
    return _equal(model, kept, inputs), kept, len(unfit)


def _equal(model: onnx.ModelProto, scaling: Scaling, inputs: Sequence[np.ndarray]) -> onnx.ModelProto:
    changed = scaled(model, scaling)
    require_equal(model, changed, inputs)
    return changed


def require_equal(before: onnx.ModelProto, after: onnx.ModelProto, inputs: Iterable[np.ndarray]) -> None:
    """Makes sure that two models put out the same on ONNX Runtime, bit for bit.

    Raises:
        StepError: they do not.
    """
    from edgecompile.graphs.onnx.agreement import single_thread_session

    sessions = [
        single_thread_session(model.SerializeToString(), optimize="ORT_ENABLE_ALL") for model in (before, after)
    ]
    for tensor in inputs:
        outputs = [session.run(None, {session.get_inputs()[0].name: tensor}) for session in sessions]
        for entry, one, other in zip(sessions[0].get_outputs(), *outputs, strict=True):
            if one.tobytes() != other.tobytes():
                gap = float(np.abs(one.astype(np.float64) - other).max()) if one.shape == other.shape else np.inf
                raise StepError(
                    f"equalizing changed what the model computes: '{entry.name}' differs by {gap:.3g}",
                    fix="leave the pass out: passes.equalize=null",
                )


def reasons_of(flow: ChannelFlow) -> dict[str, int]:
    """Returns why layers put out nothing that may be scaled, each reason to how many, the most frequent first."""
    counted: Counter[str] = Counter()
    for layer in flow.layers:
        reasons = Counter(flow.channels.reason(int(number)) for number in np.unique(layer.outputs))
        if not reasons[""]:
            counted[reasons.most_common(1)[0][0]] += 1
    return dict(sorted(counted.items(), key=lambda item: (-item[1], item[0])))


def _changes(
    flow: ChannelFlow,
    scaling: Scaling,
    pairs: Sequence[tuple[str, str, int, int]],
    reasons: dict[str, int],
    left_out: int,
    inputs: int,
) -> list[str]:
    """Returns what the report says."""
    between = ", ".join(f"{reason} between {count}" for reason, count in [*reasons.items()][:SHOWN])
    if len(reasons) > SHOWN:
        between += f", {len(reasons) - SHOWN} more reasons between {sum([*reasons.values()][SHOWN:])}"
    layers = len(flow.layers)
    left = [f"{left_out} sets of tensors left as they were: their outputs would differ in the last bit"] * bool(
        left_out
    )
    if not pairs:
        even = layers - sum(reasons.values())
        why = [*([between] if between else []), *([f"nothing to gain behind {even}"] if even else [])]
        return [f"0 pairs: {'; '.join(why) or 'no layers with weights'} ({layers} layers)", *left]
    scaled_channels = np.unique(flow.channels.roots(np.flatnonzero(scaling.exponents)))
    largest = max(exponent for *_, exponent in pairs)
    done = f"{len(pairs)} pairs of layers equalized: {len(scaled_channels)} channels scaled by up to 2^{largest}"
    proof = f"outputs equal to the last bit on {inputs} inputs"
    rest = [f"{sum(reasons.values())} of {layers} layers left: {between}"] if reasons else []
    return [done, proof, *rest, *left]
