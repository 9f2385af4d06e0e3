"""Which mixes of INT8 and float are tried, in which order, and what is said where none is worth it."""

from __future__ import annotations

import json
from dataclasses import replace

from pydantic import TypeAdapter

from edgecompile.quantization import mixed_precision
from edgecompile.quantization.mixed_precision import Candidate, Repair
from edgecompile.quantization.sensitivity_document import (
    BlockLoss,
    Proposal,
    Sensitivity,
    read_sensitivity,
    write_sensitivity,
)

BLOCKS = (
    BlockLoss("/a", 0.05, 0.1, ("/a/Conv", "/a/c/Conv"), cause="activations; 1 channel stands out"),
    BlockLoss("/b", 0.02, 0.5, ("/b/Conv",)),
)
PROPOSALS = tuple(
    Proposal((f"/{name}/Conv",), (f"/{name}",), (f"/{name}",), loss, cost)
    for name, loss, cost in (("a", 0.05, 0.1), ("b", 0.02, 0.3), ("c", 0.01, 0.5), ("d", 0.001, 0.9))
)
FOUND = Sensitivity(0.1, ("one.jpg",), BLOCKS, PROPOSALS)


def tried(drop: float, allowed: float, most: int = 3, max_slowdown: float = 10.0) -> list[tuple[str, ...]]:
    chosen = mixed_precision.choices(FOUND, drop, allowed, 2.0, most, max_slowdown)
    return [candidate.blocks for candidate in chosen]


def test_the_first_mix_is_as_good_as_the_gate_needs():
    assert tried(0.01, 0.009)[0] == ("/a",)  # 0.1 * 0.8 * 0.9 may be left
    assert tried(0.01, 0.004)[0] == ("/b",)
    assert tried(0.1, 0.001)[0] == ("/d",)


def test_a_mix_that_fails_is_followed_by_a_better_one_and_there_is_an_end():
    assert tried(0.01, 0.009) == [("/a",), ("/b",), ("/c",)]
    assert tried(0.01, 0.009, most=1) == [("/a",)]
    assert tried(0.1, 0.001) == [("/d",)], "there is none better, nor one that is not much worse"


def test_where_no_better_mix_is_left_one_nearly_as_good_is_tried():
    """What is simulated is not what is judged."""
    assert tried(0.1, 0.013) == [("/c",), ("/d",), ("/b",)]
    assert tried(0.1, 0.013, most=2) == [("/c",), ("/d",)]
    assert tried(0.1, 0.001, max_slowdown=1.5) == [("/c",), ("/b",)]


def test_a_mix_that_takes_too_long_is_not_built():
    assert ("/d",) not in tried(0.1, 0.001, max_slowdown=1.5)
    assert tried(0.1, 0.001, max_slowdown=1.05) == []
    why = mixed_precision.why_not(FOUND, [], 2.0, 1.05)
    assert "ship float" in why
    assert "/a (activations; 1 channel stands out)" in why
    built = [
        Candidate(("/b",), ("/b",), 0.02, 0.3, 1.3, accuracy=0.48),
        Candidate((), (), 0.0, 0.0, 1.0, accuracy=0.47),
    ]
    why = mixed_precision.why_not(FOUND, built, 2.0, 1.5)
    assert "of 2 mixes that were built, the best, with 1 blocks in float, reaches 0.4800; more would take over" in why


def test_a_gate_that_allows_nothing_takes_the_best_mix():
    assert tried(0.01, 0.0) == [("/d",)]
    assert tried(0.01, -0.01) == [("/d",)]


def test_blocks_of_which_a_part_is_in_float_are_mixed():
    candidate = Candidate(("/a",), ("/a",), 0.05, 0.1, 1.1)
    assert [block.precision for block in mixed_precision.precisions(FOUND, candidate)] == ["mixed", "int8"]
    assert [block.precision for block in mixed_precision.precisions(FOUND, None)] == ["int8", "int8"]


def test_documents_survive_their_files(tmp_path):
    write_sensitivity(tmp_path, FOUND)
    assert read_sensitivity(tmp_path / "sensitivity.json") == FOUND
    met = Candidate(("/a",), ("/a",), 0.05, 0.1, 1.1, accuracy=0.5, met=True)
    blocks = mixed_precision.precisions(FOUND, met)
    repair = Repair("map_drop", 0.005, 0.49, 0.01, 0.1, (met,), blocks)
    assert TypeAdapter(Repair).validate_json(json.dumps(repair.to_json())) == repair
    assert "1 of 2 blocks in float (/a)" in repair.line
    assert repair.statement == 'passes.int8_static: {keep_float: ["/a"]}'


def test_a_near_miss_tries_other_ranges_first():
    def first(drop, allowed, method="minmax"):
        chosen = list(mixed_precision.choices(FOUND, drop, allowed, 2.0, 3, 10.0, method))
        assert len(chosen) <= 3
        return chosen[0]

    assert first(0.006, 0.005).method == "percentile"
    assert first(0.006, 0.005).changes == {"method": "percentile", "percentile": 99.99}
    assert first(0.02, 0.005).blocks == ("/b",), "far off: ranges alone do not suffice"
    assert first(0.006, 0.005, "percentile").blocks, "the recipe has such ranges already"
    met = Candidate((), (), 0.0, 0.0, 1.0, accuracy=0.5, met=True, method="percentile")
    line = Repair("map_drop", 0.005, 0.49, 0.006, 0.1, (met,), ()).line
    assert "other ranges: percentile 99.99" in line
    statement = Repair("map_drop", 0.005, 0.49, 0.006, 0.1, (met,), ()).statement
    assert statement == "passes.int8_static: {method: percentile, percentile: 99.99}"


def test_the_line_names_the_precision_that_blocks_are_left_in():
    mix = Candidate(("/a",), ("/a",), 0.05, 0.1, 1.1, accuracy=0.5, met=True)
    found = Repair("accuracy_drop", 0.01, 0.4, 0.02, 0.1, (mix,), (), float_precision="fp16")
    assert "blocks in FP16 (/a)" in found.line
    assert "blocks in float (/a)" in replace(found, float_precision="").line, "locks of before there was this"


def test_a_limit_below_zero_is_told_by_its_reason_alone():
    lines = {
        allowed: Repair("accuracy_drop", allowed, 0.77, 0.02, 0.1, (), (), "validate on more pictures").line
        for allowed in (-0.008, 0.01)
    }
    assert lines[-0.008] == "INT8 misses gates.accuracy_drop and is not repaired: validate on more pictures"
    assert "(0.0200 > 0.0100)" in lines[0.01], "that limit is stated by the recipe"
