"""Loss by layer: what the page shows, what it says where nothing is known, and that it stays with the page."""

from __future__ import annotations

from typing import Any

import pytest
from built import Built, build

from edgecompile.report.html import render_html
from edgecompile.report.layer_loss_view import layer_loss_view


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    return build(tmp_path_factory.mktemp("built"))


def layer(name: str, error: float | None, before: float | None = 0.0, precision: str = "int8") -> dict[str, Any]:
    return {"layer": name, "precision": precision, "error": error, "before": before}


def test_layers_are_listed_by_the_error_that_enters(built: Built) -> None:
    layers = [
        layer("first", 0.02),
        layer("culprit", 0.6, 0.02),
        layer("heir", 0.61, 0.6),
        layer("float", 0.3, 0.61, "fp32"),
    ]
    report = {**built.report(whole=True), "layer_loss": {"layers": layers, "why": ""}}
    view = layer_loss_view(report)
    assert view is not None
    assert [row.layer["layer"] for row in view.rows] == ["culprit", "first", "heir", "float"]
    assert [row.number for row in view.rows] == [2, 1, 3, 4]
    assert view.plot is not None
    assert [bar.kind for bar in view.plot.bars] == ["main", "main", "main", "peak"]
    page = render_html(report)
    assert "Loss by layer" in page
    assert page.index("culprit") < page.index("heir")


def test_what_is_not_finite_is_named_and_drawn_nowhere(built: Built) -> None:
    layers = [layer("sound", 0.02), layer("<broken>", None, 0.02), layer("behind", None, None)]
    page = render_html({**built.report(whole=True), "layer_loss": {"layers": layers, "why": ""}})
    assert "&lt;broken&gt; puts out numbers that are not finite" in page
    assert page.count('<rect class="main"') == 1


@pytest.mark.parametrize(("precision", "command"), [("int8", "sensitivity my-recipe"), ("fp16", "--layers FLOAT")])
def test_where_nothing_is_known_the_page_says_why_and_what_tells_more(
    built: Built, precision: str, command: str
) -> None:
    report = {**built.report(whole=True), "precision": precision, "layer_loss": {"layers": [], "why": "<it is so>"}}
    page = render_html(report)
    assert "Not known: &lt;it is so&gt;." in page
    assert command in page


def test_a_run_of_an_earlier_version_says_so_and_a_bundle_nothing(built: Built) -> None:
    assert "earlier version, which did not compare" in render_html(built.report(whole=True))
    assert "Loss by layer" not in render_html(built.report())
