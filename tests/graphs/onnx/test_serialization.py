"""Files that hold the graph and nothing else, with their nodes in order."""

from __future__ import annotations

import pytest
from exported import simplified

onnx = pytest.importorskip("onnx")

from edgecompile.graphs.onnx.serialization import IR_VERSION, load, operator_counts, save, sort_nodes, strip  # noqa: E402


def test_traces_of_tools_are_removed(tmp_path):
    model = load(simplified().model)
    save(model, tmp_path / "clean.onnx")
    model.producer_name, model.producer_version, model.doc_string = "tool", "1.2.3", "made in /home/somebody"
    onnx.helper.set_model_props(model, {"date": "today", "description": "/home/somebody"})
    model.graph.doc_string = model.graph.node[0].doc_string = "a line of source"
    entry = model.graph.node[1].metadata_props.add()
    entry.key, entry.value = "stack", "/usr/lib/python"
    save(model, tmp_path / "again.onnx")
    assert (tmp_path / "again.onnx").read_bytes() == (tmp_path / "clean.onnx").read_bytes()


def test_newer_files_are_written_for_older_runtimes(tmp_path):
    model = load(simplified().model)
    model.ir_version = IR_VERSION + 1
    save(model, tmp_path / "model.onnx")
    assert load(tmp_path / "model.onnx").ir_version == IR_VERSION


def test_subgraphs_are_cleaned_and_kept():
    inner = onnx.helper.make_graph([onnx.helper.make_node("Identity", ["x"], ["y"], doc_string="inside")], "i", [], [])
    node = onnx.helper.make_node("If", ["c"], ["y"], then_branch=inner, else_branch=inner)
    model = onnx.helper.make_model(onnx.helper.make_graph([node], "g", [], []))
    strip(model)
    assert b"inside" not in model.SerializeToString()
    assert len(model.graph.node[0].attribute) == 2


def test_nodes_are_sorted_and_otherwise_left_as_they_stand():
    model = load(simplified().model)
    names = [node.name for node in model.graph.node]
    assert [node.name for node in sort_nodes(model).graph.node] == names
    nodes = [onnx.NodeProto.FromString(node.SerializeToString()) for node in reversed(model.graph.node)]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    with pytest.raises(onnx.checker.ValidationError, match="topologically sorted"):
        onnx.checker.check_model(model)
    onnx.checker.check_model(sort_nodes(model))
    assert sorted(node.name for node in model.graph.node) == sorted(names)


def test_operators_are_counted():
    assert operator_counts(load(simplified().model))["Conv"] == 88
