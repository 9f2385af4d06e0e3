"""From facts to sentences."""

from __future__ import annotations

import pytest

from edgecompile.report.sentences import sentences


@pytest.mark.parametrize(
    ("facts", "lines"),
    [
        ({"changes": ["0 of 88 convolutions fused: no BatchNormalization left"]}, None),
        ({"why": "nothing to do"}, ["nothing to do"]),
        ({"operators": {"Conv": 88, "Mul": 2, "Add": 2}}, ["92 operators: 88 Conv, 2 Add, 2 Mul"]),
        ({"operators": {"before": {"Conv": 3, "Add": 1}, "after": {"Conv": 3}}}, ["4 → 3 operators"]),
        ({"operators": {"before": {"Conv": 3}, "after": {"Conv": 3}}}, ["3 operators, as before"]),
        ({"operations": dict.fromkeys("abcdefg", 1)}, ["7 operations: 1 a, 1 b, 1 c, 1 d, 1 e, …"]),
        ({"in_float": ["a", "b"]}, ["left in float: a, b"]),
        ({"in_float": list("abcdefghij")}, ["left in float: a, b, c, d, e, f, g, h and 2 more"]),
        (
            {"parameters": 2590425, "end2end": False, "gap": 1.25e-6},
            ["end2end: no · gap: 1.25e-06 · parameters: 2,590,425"],
        ),
        ({"per_picture": [1, 2], "in_float": []}, ["says nothing about what it did"]),
        ({}, ["says nothing about what it did"]),
    ],
)
def test_facts_become_sentences(facts, lines):
    assert sentences(facts) == (lines or facts["changes"])


def test_long_stories_are_cut_and_say_so():
    told = sentences({"changes": [f"change {number}" for number in range(100)]})
    assert len(told) == 41
    assert told[-1] == "… and 60 more in the facts of the step"
