"""Reads the run directories of a sweep, and writes beside them: results.csv, results.json, report.html."""

from __future__ import annotations

import csv
import io
import json
import re
import sys
from pathlib import Path
from typing import Any

from edgecompile.errors import RecipeError, StepError
from edgecompile.run_dir import PAGE, PROGRESS, REPORT, STATUS, job_folders
from edgecompile.sweep.report_page import render_sweep
from edgecompile.sweep.sweep_point import Sweep, SweepPoint
from edgecompile.sweep.sweep_results import columns, point_of, row_of, sweep_of
from edgecompile.sweep.sweep_table import print_sweep
from edgecompile.text import csv_cell, to_json

JOB = re.compile(r"\d+_")
"""How the name of a job's run directory begins, also of a job that never ended."""


def report(folder: Path, *, stream: Any) -> Path:
    """Writes the report of the sweep in `folder`, prints its table to `stream`, and returns the page's path.

    Raises:
        RecipeError: there is no such folder, or no point in it.
        StepError: it cannot be written.
    """
    sweep = read(folder)
    page = write(sweep, folder)
    print_sweep(sweep, page, stream=stream)
    return page


def read(folder: Path) -> Sweep:
    """Returns the sweep in `folder`; see `edgecompile.sweep.sweep_results.sweep_of`."""
    if not folder.is_dir():
        raise RecipeError(f"no folder '{folder}'", where="command line", fix="see `edgecompile report --help`")
    begun = job_folders(folder)
    holding = {*begun, *(parent for point in begun for parent in point.parents)}
    never = [child for child in folder.iterdir() if child.is_dir() and JOB.match(child.name) and child not in holding]
    names = [path.relative_to(folder).as_posix() for path in (*begun, *never)]
    if not names:
        raise RecipeError(f"no point of a sweep in '{folder}'", where="command line", fix="`build -m` makes a sweep")
    return sweep_of(folder.resolve().name, [_point(folder, name) for name in sorted(names, key=_number)])


def _number(name: str) -> tuple[int, str]:
    """Returns by what the points are ordered: the number of their job, not its first digit."""
    digits = re.match(r"\d+", name)
    return (int(digits[0]) if digits else sys.maxsize, name)


def _point(sweep: Path, name: str) -> SweepPoint:
    """Returns one point. A point whose files cannot be read, or hold something else, says so and hides no other."""
    folder = sweep / name
    try:
        status = _json(folder / STATUS)
        if status is None:
            status = _unfinished(_json(folder / PROGRESS))
        return point_of(name, status, _json(folder / REPORT))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        text = f"its {STATUS} or {REPORT} cannot be read ({type(error).__name__}: {error})"
        return point_of(name, {"exit_code": 1, "problems": [text]}, None)


def _unfinished(progress: Any) -> dict[str, Any] | None:
    """Returns the status of a job that noted how far it is, and has not ended; None where it noted nothing."""
    if not progress:
        return None
    far = f", {progress['run'] + progress['reused']} of {progress['total']} steps done" if "total" in progress else ""
    problems = [f"it was interrupted, or is still running{far}"]
    return {"exit_code": None, "overrides": progress["overrides"], "problems": problems, "steps": progress}


def _json(file: Path) -> Any:
    """Returns what a file holds; None where there is none."""
    return json.loads(file.read_text(encoding="utf-8")) if file.exists() else None


def write(sweep: Sweep, folder: Path) -> Path:
    """Writes the three files and returns the path of the page.

    Raises:
        StepError: the folder cannot be written.
    """
    table, names = io.StringIO(), columns(sweep)
    writer = csv.DictWriter(table, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows({key: csv_cell(value) for key, value in row_of(point, names).items()} for point in sweep.points)
    pages = frozenset(point.point for point in sweep.points if (folder / point.point / PAGE).exists())
    texts = {
        "results.csv": table.getvalue(),
        "results.json": to_json(sweep.to_json(), indent=2) + "\n",
        PAGE: render_sweep(sweep, pages=pages),
    }
    try:
        for name, text in texts.items():
            (folder / name).write_text(text, encoding="utf-8", errors="backslashreplace")
    except OSError as error:
        raise StepError(f"the report cannot be written to {folder}: {error.strerror}") from error
    return folder / PAGE
