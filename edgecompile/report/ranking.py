"""How a ranking of blocks and layers by their loss in INT8 is printed and drawn."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from html import escape as escape_html
from typing import TextIO

from edgecompile.quantization.sensitivity_document import BlockLoss, LayerLoss, Sensitivity
from edgecompile.report import number_format
from edgecompile.report.terminal import write
from edgecompile.text import escape

BAR = 24
"""Characters of the longest bar."""
LAYERS_SHOWN = 20
ROW, LEFT, TRACK, RIGHT, TOP = 18, 260, 420, 150, 46
"""Of the drawing, in pixels: height of a row, width of names, of bars and of figures, height of the heading."""


def print_ranking(found: Sensitivity, *, stream: TextIO) -> None:
    """Prints the blocks, the worst first, then the worst layers of all."""
    from rich.table import Table
    from rich.text import Text

    most = max((block.loss for block in found.blocks), default=0.0)
    blocks = Table(box=None, pad_edge=False, header_style="dim")
    for title in ("block", "loss", "", "activations", "weights", "operations", "layers", "cause"):
        right = title in ("loss", "activations", "weights", "operations", "layers")
        blocks.add_column(title, justify="right" if right else "left", overflow="fold")
    for block in found.worst():
        blocks.add_row(*map(Text, (block.name, *_figures(block, most), str(len(block.layers)), block.cause)))
    layers = Table(box=None, pad_edge=False, header_style="dim")
    for title in ("layer", "loss", "", "activations", "weights", "operations"):
        layers.add_column(title, justify="left" if title in ("layer", "") else "right", overflow="fold")
    ranked = sorted((layer for block in found.blocks for layer in block.detail), key=lambda layer: -layer.loss)
    for layer in ranked[:LAYERS_SHOWN]:
        layers.add_row(*map(Text, (layer.name, *_figures(layer, most))))
    head = (
        f"all in INT8: {found.loss:.4f} of what the float model finds is lost, simulated on {len(found.pictures)} "
        "calibration pictures; each part alone in INT8:"
    )
    more = (
        [Text(f"and {len(ranked) - LAYERS_SHOWN} more layers: --json lists them")] if len(ranked) > LAYERS_SHOWN else []
    )
    write([Text(head), blocks, Text(""), *([layers] if ranked else []), *more], stream)


def _figures(part: BlockLoss | LayerLoss, most: float) -> Iterator[str]:
    yield f"{part.loss:.4f}"
    yield "█" * round(BAR * part.loss / most) if most else ""
    for side in (part.activations, part.weights):
        yield number_format.NONE if side is None else f"{side:.4f}"
    yield f"{part.cost:.1%}"


@dataclass(frozen=True)
class _Bar:
    """A row of the drawing."""

    name: str
    part: BlockLoss | LayerLoss
    inner: bool


def drawing(found: Sensitivity, name: str) -> str:
    """Returns the ranking as SVG: a bar for each block in the order of the network, with those of its layers below."""
    bars = list(_bars(found))
    most = max((bar.part.loss for bar in bars), default=0.0) or 1.0
    width, height = LEFT + TRACK + RIGHT, TOP + ROW * len(bars) + 10
    title = escape_html(f"{escape(name)}: loss of each part alone in INT8, of {found.loss:.4f} of all together")
    rows = "".join(_row(bar, TOP + ROW * number, most) for number, bar in enumerate(bars))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" '
        f'font-family="sans-serif" font-size="12"><rect width="100%" height="100%" fill="#fff"/>'
        f'<text x="12" y="20" font-size="14">{title}</text>'
        f'<text x="{LEFT}" y="38" fill="#666">■ both   <tspan fill="#c2571a">■ activations</tspan>   '
        f'<tspan fill="#2c6fbb">■ weights</tspan></text>{rows}</svg>\n'
    )


def _bars(found: Sensitivity) -> Iterable[_Bar]:
    for block in found.blocks:
        yield _Bar(block.name, block, inner=False)
        if len(block.detail) > 1:
            yield from (_Bar(layer.name, layer, inner=True) for layer in block.detail)


def _row(bar: _Bar, top: int, most: float) -> str:
    part, indent = bar.part, 24 if bar.inner else 12
    thickness = ROW - (10 if bar.inner else 5)
    pieces = [_rect(part.loss, most, top, thickness, "#999" if bar.inner else "#555")]
    if part.activations is not None and part.weights is not None:
        half = thickness / 2
        pieces += [
            _rect(part.activations, most, top, half / 1.5, "#c2571a"),
            _rect(part.weights, most, top + half, half / 1.5, "#2c6fbb"),
        ]
    name = escape(bar.name)
    shown = escape_html(name if len(name) <= 40 else f"…{name[-39:]}")
    figures = f"{part.loss:.4f}, {part.cost:.1%} of operations"
    colour = "#666" if bar.inner else "#000"
    size = 10 if bar.inner else 12
    return (
        f'<text x="{indent}" y="{top + 11}" fill="{colour}" font-size="{size}">{shown}</text>{"".join(pieces)}'
        f'<text x="{LEFT + TRACK + 6}" y="{top + 11}" fill="{colour}" font-size="10">{figures}</text>'
    )


def _rect(value: float, most: float, top: float, height: float, colour: str) -> str:
    width = TRACK * min(value / most, 1.0)
    return f'<rect x="{LEFT}" y="{top}" width="{width:.1f}" height="{height:.1f}" fill="{colour}"/>'
