"""Patterns of nodes that stay in float."""

from __future__ import annotations

import pytest

from edgecompile.errors import StepError
from edgecompile.quantization.exclusion import excluded

NODES = ["/model.1/conv/Conv", "/model.10/attn/MatMul", "/model.10/attn/MatMul_1", "/head/Concat", "/head/Sigmoid"]


def decode():
    return ["/head/Concat", "/head/Sigmoid"]


def test_auto_alone_and_among_patterns():
    assert excluded("auto", NODES, decode) == ["/head/Concat", "/head/Sigmoid"]
    assert excluded(["auto", "/model.1/conv/Conv"], NODES, decode) == sorted([*decode(), "/model.1/conv/Conv"])
    assert excluded([], NODES, decode) == []


@pytest.mark.parametrize("pattern", ["/model.10/*", "*/MatMul*", r"/model\.10/.*", r".*/MatMul(_\d)?"])
def test_globs_and_regular_expressions(pattern):
    assert excluded([pattern], NODES, decode) == ["/model.10/attn/MatMul", "/model.10/attn/MatMul_1"]


def test_an_expression_matches_whole_names():
    """Not the beginnings of others: /model.1 is not /model.10."""
    assert excluded([r"/model\.1/.*"], NODES, decode) == ["/model.1/conv/Conv"]


def test_each_pattern_without_a_match_is_one_problem():
    with pytest.raises(StepError) as raised:
        excluded(["/model.1/conv/Cnv", "/model.10/*", "*none*"], NODES, decode)
    first, second = raised.value.problems
    assert "did you mean '/model.1/conv/Conv'" in str(first)
    assert "'*none*' matches no node" in str(second)


def test_the_decode_part_is_not_looked_for_when_nobody_asks():
    assert excluded(["/head/*"], NODES, lambda: pytest.fail("asked")) == sorted(decode())


def test_a_pattern_without_a_match_names_no_more_nodes_than_a_person_reads():
    names = [f"/model.{number}/conv/Conv" for number in range(400)]
    with pytest.raises(StepError) as raised:
        excluded(["zzz"], names, decode)
    (problem,) = raised.value.problems
    assert str(problem).endswith(" and 340 more")
