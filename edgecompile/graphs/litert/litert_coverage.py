"""The layers with weights of a LiteRT model: in which precision each is stored, and how much it multiplies."""

from __future__ import annotations

import math
from typing import Any

from ai_edge_litert import schema_py_generated as schema

from edgecompile.evaluate.layer_coverage import Layer

KINDS = {
    schema.BuiltinOperator.CONV_2D: 0,
    schema.BuiltinOperator.DEPTHWISE_CONV_2D: 0,
    schema.BuiltinOperator.FULLY_CONNECTED: 0,
    schema.BuiltinOperator.TRANSPOSE_CONV: 2,
}
"""Operators with weights, which are the second input: which input is the picture."""
MOVES = frozenset(
    {
        schema.BuiltinOperator.DEQUANTIZE,
        schema.BuiltinOperator.QUANTIZE,
        schema.BuiltinOperator.RESHAPE,
        schema.BuiltinOperator.TRANSPOSE,
    }
)
"""Operators that pass on what their first input holds."""
PRECISIONS = {
    schema.TensorType.FLOAT32: "fp32",
    schema.TensorType.FLOAT16: "fp16",
    schema.TensorType.INT8: "int8",
}


def layers(content: bytes) -> list[Layer]:
    """Returns the layers with weights of a `.tflite` file, in its order. What takes the mean of a distribution has
    weights that nobody learned."""
    model = schema.Model.GetRootAs(content)
    graph = model.Subgraphs(0)
    codes = [model.OperatorCodes(number).BuiltinCode() for number in range(model.OperatorCodesLength())]
    operators = [graph.Operators(number) for number in range(graph.OperatorsLength())]
    makers = {operator.Outputs(0): operator for operator in operators}

    def kind(operator: Any) -> int:
        return int(codes[operator.OpcodeIndex()])

    def origin(tensor: int) -> Any:
        """Returns what makes the numbers of a tensor; None for an input or a constant."""
        maker = makers.get(tensor)
        while maker is not None and kind(maker) in MOVES:
            maker = makers.get(maker.Inputs(0))
        return maker

    found = []
    for operator in operators:
        if kind(operator) not in KINDS:
            continue
        picture, weights, result = operator.Inputs(KINDS[kind(operator)]), operator.Inputs(1), operator.Outputs(0)
        source = origin(picture)
        if source is not None and kind(source) == schema.BuiltinOperator.SOFTMAX:
            continue
        stored = makers[weights].Inputs(0) if weights in makers else weights
        name = graph.Tensors(result).Name().decode()
        precision = PRECISIONS.get(graph.Tensors(stored).Type(), "unknown")
        found.append(Layer(name, precision, _products(graph, kind(operator), picture, stored, result)))
    return found


def _products(graph: Any, kind: int, picture: int, weights: int, result: int) -> int:
    """Returns how many products a layer adds for one picture."""
    sides = [int(side) for side in graph.Tensors(weights).ShapeAsNumpy()]
    counted = picture if kind == schema.BuiltinOperator.TRANSPOSE_CONV else result
    places = math.prod(int(side) for side in graph.Tensors(counted).ShapeAsNumpy())
    if kind == schema.BuiltinOperator.DEPTHWISE_CONV_2D:
        return places * sides[1] * sides[2]
    return places * (math.prod(sides[:3]) if kind == schema.BuiltinOperator.TRANSPOSE_CONV else math.prod(sides[1:]))
