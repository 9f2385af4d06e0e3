"""A ranking of blocks, printed and drawn: names come from a model of unknown origin."""

from __future__ import annotations

import io
from xml.etree import ElementTree

from edgecompile.quantization.sensitivity_document import BlockLoss, LayerLoss, Sensitivity
from edgecompile.report.ranking import drawing, print_ranking

HOSTILE = "/a\x1b[2J<script>&[red]"
LAYERS = (LayerLoss(f"{HOSTILE}/Conv", 0.04, 0.1, 0.04, 0.0), LayerLoss("/a/c", 0.01, 0.1, 0.0, 0.01))
FOUND = Sensitivity(
    0.1,
    ("one.jpg",),
    (
        BlockLoss(HOSTILE, 0.05, 0.2, ("/a/Conv", "/a/c"), 0.04, 0.01, "activations; no channel stands out", LAYERS),
        BlockLoss("/b", 0.02, 0.8, ("/b/Conv",)),
    ),
)


def test_the_drawing_is_well_formed_and_holds_every_part():
    drawn = drawing(FOUND, "my<recipe>\x07")
    texts = ["".join(one.itertext()) for one in ElementTree.fromstring(drawn).iter("{http://www.w3.org/2000/svg}text")]
    assert "\x1b" not in drawn
    assert "<script>" not in drawn
    assert any("<script>&" in text for text in texts), "shown as text"
    assert any("/b" in text for text in texts)


def test_the_table_shows_names_as_text():
    stream = io.StringIO()
    print_ranking(FOUND, stream=stream)
    told = stream.getvalue()
    assert "\x1b" not in told
    assert "[red]" in told, "rich takes no markup from a name"
    assert "0.0500" in told
    assert "no channel stands out" in told
