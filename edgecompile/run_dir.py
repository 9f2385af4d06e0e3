"""Names and files of a run directory: what a build leaves there and a sweep reads there. Standard library only."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, TypedDict

from edgecompile.files import replaced

REPORT = "report.json"
PAGE = "report.html"
DIAGNOSIS = "diagnosis.html"
"""The page of `diagnose` on the bundle that lies there."""
LOCK = "recipe.lock.yaml"
"""The lock, in a bundle or, where a build ends without one, beside the report."""
STATUS = "status.json"
"""How a job of a sweep ended."""
PROGRESS = "progress.json"
"""How far a job of a sweep is; removed when the job ends."""


class JobStatus(TypedDict, total=False):
    """How a job ended: the content of `STATUS`.

    exit_code: see `edgecompile.errors`.
    overrides: as they were typed.
    job: number of the point in its sweep.
    name: of the recipe.
    bundle: path of the bundle, None where none was published.
    problems: what went wrong, a line each.
    steps: how many there are, ran and were reused, and the seconds that this saved.
    """

    exit_code: int
    overrides: list[str]
    job: int
    name: str
    bundle: str | None
    problems: list[str]
    steps: dict[str, float]


def job_folders(sweep: Path) -> list[Path]:
    """Returns the run directories of jobs below the folder of a sweep, by name. `hydra.sweep.subdir` may nest them."""
    folders_of_jobs = []
    for place, folders, files in os.walk(sweep):
        if place != str(sweep) and {STATUS, PROGRESS} & {*files}:
            folders_of_jobs.append(Path(place))
            folders.clear()
    return sorted(folders_of_jobs)


def write_json(file: Path, content: Mapping[str, object]) -> None:
    """Writes a file that others may read at any time: they see what was there before, or all of it.

    Raises:
        OSError: it cannot be written.
    """
    text = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
    with replaced(file, sync=False) as stream:
        stream.write(text.encode())


def read_json(file: Path) -> dict[str, Any] | None:
    """Returns the mapping in a file; None where there is no file, or not all of it."""
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None


def remove_earlier_results(run_dir: Path) -> None:
    """Removes what an earlier build left in a run directory that is used again: its figures are not those of this
    build, which may end without any, or without a bundle. Files that no report there names stay."""
    with suppress(OSError, KeyError, TypeError, AttributeError):  # no report, or none of ours
        earlier = read_json(run_dir / REPORT) or {}
        bundle = (earlier["run"].get("bundle") or {}).get("name")
        for name in (REPORT, PAGE, bundle or LOCK):
            if Path(name).name == name:
                (run_dir / name).unlink(missing_ok=True)
