"""What a search looks for: the figures it weighs, which way each of them is better, and what a failed point returns.

A search is a sweep whose sweeper chooses the next points by the figures of those before. The figures are those that
gates judge, and which way each is better is known, so a person names only the figures.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from edgecompile.errors import RecipeError, nearest
from edgecompile.evaluate.gates import GATES
from edgecompile.run_dir import REPORT
from edgecompile.runtime.figures import figures_from
from edgecompile.runtime.measurement import Measurement

LOSES = {True: 0.0, False: 1e9}
"""What a failed point returns for a figure that is to be large, and for a figure that is to be small. No figure of a
point that was built is worse. Finite, for samplers weigh differences, and the search learns where points fail."""
RESULTS = "optimization_results.yaml"
"""What Optuna's sweeper leaves in the folder of a sweep."""
EXAMPLE = "objectives=[map50_95,latency_p95_ms,size_mb]"


def directions(names: Sequence[str] | None) -> list[str]:
    """Returns "maximize" or "minimize" for each objective.

    Raises:
        RecipeError: there is no objective, or an objective is no figure.
    """
    if not names:
        raise RecipeError("a search needs objectives", where="command line:objectives", fix=f"such as {EXAMPLE}")
    for name in names:
        known = [gate for gate in GATES if GATES[gate].weighable]
        if name not in known:
            raise RecipeError(f"unknown objective '{name}'", where="objectives", fix=nearest(name, known))
    return ["maximize" if GATES[name].floor else "minimize" for name in names]


def returned(names: Sequence[str], run_dir: Path, *, built: bool) -> float | list[float]:
    """Returns what the job of a point returns to a search: a number for one objective, a list for several.

    Args:
        names: the objectives.
        run_dir: holds report.json, where the point came that far.
        built: whether there is a bundle. A point without a bundle loses, also where its figures are known: what
            misses a gate is not to be shipped, however quick it is.
    """
    figures = _figures(run_dir / REPORT) if built else {}
    results = [GATES[name].read(figures) for name in names]
    values = [
        LOSES[GATES[name].floor] if value is None else float(value) for name, value in zip(names, results, strict=True)
    ]
    return values[0] if len(values) == 1 else values


def drop_losers(names: Sequence[str], sweep: Path) -> None:
    """Removes points without a bundle, and points that occur twice, from what a search of Optuna calls its solutions.

    Where no point has a bundle, all of them are equally bad, and Optuna names them all.

    Args:
        names: the objectives.
        sweep: its folder.
    """
    file = sweep / RESULTS
    if not names or not file.is_file():
        return
    results: dict[str, Any] = yaml.safe_load(file.read_text(encoding="utf-8"))
    lost = [LOSES[GATES[name].floor] for name in names]
    if "solutions" in results:
        kept = [solution for solution in results["solutions"] if solution["values"] != lost]
        results["solutions"] = [solution for place, solution in enumerate(kept) if solution not in kept[:place]]
    elif [results.get("best_value")] == lost:
        results |= {"best_params": None, "best_value": None}
    file.write_text(yaml.safe_dump(results, sort_keys=False, allow_unicode=True), encoding="utf-8")


def _figures(report: Path) -> Mapping[str, Any]:
    """Returns the figures that gates read."""
    document = json.loads(report.read_text(encoding="utf-8"))
    measured = Measurement.from_json(document["measured"]).by_name() if document["measured"] else {}
    return {**measured, **figures_from(document["figures"]).by_name()}
