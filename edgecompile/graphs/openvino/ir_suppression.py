"""Post-processing behind an OpenVINO model: that of `edgecompile.graphs.onnx.suppression`, converted and joined."""

from __future__ import annotations

from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from edgecompile.graphs.onnx.row_choice import RAW

if TYPE_CHECKING:
    import onnx

OPERATOR_SET = 18
"""ONNX operator set of the graph that is converted."""


def append(model: Any, output: str, behind: onnx.ModelProto) -> Any:
    """Returns a model in which the graph of `graph_behind` reads an output of `model`: its outputs come first, then the
    model's other outputs.

    Args:
        output: its name; the only output may have another.
    """
    import openvino

    results = model.get_results()
    (read,) = [result for result in results if len(results) == 1 or output in result.output(0).get_names()]
    model_behind = converted(behind)
    entry = next(parameter for parameter in model_behind.get_parameters() if RAW in parameter.output(0).get_names())
    source = read.input_value(0)
    own_names = set(source.get_names())
    entry.output(0).replace(source)
    source.get_tensor().set_names(own_names)  # an output of a model goes by its names: RAW is none
    others = [result for result in results if result is not read]
    inputs = [parameter for parameter in model_behind.get_parameters() if parameter is not entry]
    return openvino.Model([*model_behind.get_results(), *others], [*model.get_parameters(), *inputs], "model")


def converted(graph: onnx.ModelProto) -> Any:
    """Returns a graph of `graph_behind` as an OpenVINO model."""
    from edgecompile.graphs.openvino import import_openvino

    openvino = import_openvino()
    with TemporaryDirectory() as folder:
        path = f"{folder}/behind.onnx"  # the name of the file would stand in the model, and is always this
        with open(path, "wb") as stream:
            stream.write(graph.SerializeToString(deterministic=True))
        model = openvino.convert_model(path)
    _keep_ties_in_order(model)
    return model


def _keep_ties_in_order(model: Any) -> None:
    """Lets equal values keep their order where the largest are chosen, as ONNX demands and conversion does not."""
    from openvino import opset11

    for node in model.get_ordered_ops():
        if node.get_type_name() == "TopK":
            stated = node.get_attributes()
            words = (stated["axis"], stated["mode"], stated["sort"], stated["index_element_type"])
            stable = opset11.topk(node.input_value(0), node.input_value(1), *words, stable=True)
            for number in range(2):
                node.output(number).replace(stable.output(number))
