"""The blocks of a network, by scopes of names or by rows of layers."""

from __future__ import annotations

from nets import detector

from edgecompile.graphs.onnx.blocks import Block, block_by_node, blocks_of, layers_within
from edgecompile.graphs.onnx.structure import Structure


def scoped(*scopes: str) -> Structure:
    """Returns the structure of a detector with seven layers, each in one of the scopes with the nodes that
    follow it."""
    model = detector()
    layer = -1
    for number, node in enumerate(model.graph.node):
        layer += node.op_type == "Conv"
        node.name = f"{scopes[layer]}/{node.op_type}_{number}" if scopes else f"{node.op_type}_{number}"
    return Structure(model)


def test_modules_are_blocks_and_every_node_is_in_one():
    scopes = [f"/model.{number}" for number in range(7)]
    structure = scoped(*scopes)
    blocks = blocks_of(structure)
    assert [block.name for block in blocks] == scopes
    assert sorted(block_by_node(blocks)) == sorted(node.name for node in structure.nodes)
    assert [len(block.learned) for block in blocks] == [1] * 7


def test_a_large_module_is_split_into_its_parts():
    blocks = blocks_of(scoped("/stem", "/stem", "/stem", "/head/cv2/0", "/head/cv2/1", "/head/cv3/0", "/head/cv3/1"))
    parts = {block.name: len(block.learned) for block in blocks}
    assert parts == {"/stem": 3, "/head/cv2/0": 1, "/head/cv2/1": 1, "/head/cv3/0": 1, "/head/cv3/1": 1}


def test_nameless_layers_stand_in_rows():
    blocks = blocks_of(scoped())
    assert [len(block.learned) for block in blocks] == [4, 3]
    assert blocks[0].name == f"{blocks[0].learned[0]}..{blocks[0].learned[-1]}"


def test_layers_of_a_block_share_its_nodes():
    block = Block("b", ("conv_0", "sigmoid_1", "mul_2", "conv_3", "relu_4"), ("conv_0", "conv_3"))
    first, second = layers_within(block)
    assert (first.name, first.nodes) == ("conv_0", ("conv_0", "sigmoid_1", "mul_2"))
    assert (second.name, second.nodes) == ("conv_3", ("conv_3", "relu_4"))
