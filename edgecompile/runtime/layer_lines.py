"""A profile of layers as lines for people."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from edgecompile.runtime.layer_profile import LayerProfile

SLOWEST = 15
"""Layers that are listed one by one, where nothing else is asked for."""
LONGEST_NAME = 60
"""Characters of a layer's name; of a longer name the end is shown, which tells layers apart."""
FUSIONS = 8


def layer_lines(profile: LayerProfile, count: int = SLOWEST) -> Iterator[str]:
    """Yields the time by operator, the `count` slowest layers, and what the runtime fused and folded."""
    if profile.unknown:
        yield f"layers: {profile.unknown}"
        return
    yield (
        f"layers: {len(profile.layers)}, {profile.layers_ms:.2f} ms in all, median of {profile.runs} runs, "
        f"{profile.threads} threads; a run takes {profile.inference_ms:.2f} ms, {profile.profiled_ms:.2f} ms timed so"
    )
    operators = profile.by_operator()
    yield from _table(
        ("operator", "precision", "layers", "ms", "share"),
        [(one.operator, _known(one.precision), str(one.layers), _ms(one.ms), _share(one.share)) for one in operators],
    )
    slowest = profile.slowest(count)
    if slowest:
        yield from _table(
            ("slowest layers", "operator", "precision", "ms", "share"),
            [
                (_short(one.name), one.operator, _known(one.precision), _ms(one.ms), _share(one.share))
                for one in slowest
            ],
        )
    fusions = profile.fusions()
    for operator, parts, times in fusions[:FUSIONS]:
        yield f"fused: {times} {operator} of {' + '.join(parts)}"
    if len(fusions) > FUSIONS:
        rest = fusions[FUSIONS:]
        yield f"fused: {sum(times for *_, times in rest)} more layers in {len(rest)} more ways (--json lists them)"
    if profile.folded:
        counts = ", ".join(f"{times} {operator}" for operator, times in profile.folded.items())
        yield f"folded or without work: {counts}"
    for remark in profile.remarks:
        yield f"note: {remark}"


def _table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterable[str]:
    """Returns lines whose columns are as wide as their longest cell; words stand left, numbers right."""
    widths = [max(map(len, column)) for column in zip(titles, *rows, strict=True)]
    numbers = [title in ("layers", "ms", "share") for title in titles]
    for row in (titles, *rows):
        cells = (
            cell.rjust(width) if number else cell.ljust(width)
            for cell, width, number in zip(row, widths, numbers, strict=True)
        )
        yield "  ".join(cells).rstrip()


def _short(name: str) -> str:
    return name if len(name) <= LONGEST_NAME else f"...{name[3 - LONGEST_NAME :]}"


def _known(precision: str | None) -> str:
    return precision or "-"


def _ms(value: float) -> str:
    return f"{value:.3f}"


def _share(value: float) -> str:
    return f"{100 * value:.1f} %"
