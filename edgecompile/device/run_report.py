"""Adds what was found of a bundle later, on a device or here, to the report of the run that made it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from edgecompile.bundle.documents import canonical_json
from edgecompile.device.remote import Bundle
from edgecompile.device.remote_bench import DeviceSection
from edgecompile.errors import StepError
from edgecompile.files import write_atomically
from edgecompile.report.html import render_html
from edgecompile.run_dir import PAGE, REPORT
from edgecompile.runtime.archive import Archive
from edgecompile.runtime.bench import Bench
from edgecompile.runtime.golden import result_member


def add_to_run(bundle: Bundle, device: DeviceSection) -> Path | None:
    """Writes the section `device` into report.json and report.html beside a bundle, and returns the page's path.

    Returns:
        None where the bundle does not lie in the directory of the run that made it.

    Raises:
        StepError: the report cannot be written.
    """
    return _add(bundle.path, bundle.sha256, {"device": device})


def add_layers(bundle: Path, result: Bench) -> Path | None:
    """Writes the section `layers` into the report beside a bundle; as `add_to_run`.

    Args:
        bundle: path of the bundle.
        result: of `bench` on this machine, with the times of layers.
    """
    assert result.layers is not None
    machine = asdict(result.measurement.machine)
    return _add(bundle, result.sha256, {"layers": {"profile": result.layers.to_json(), "machine": machine}})


def _add(bundle: Path, sha256: str, sections: Mapping[str, object]) -> Path | None:
    folder = bundle.parent
    try:
        report = json.loads((folder / REPORT).read_bytes())
        made = report["run"]["bundle"]["sha256"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    if made != sha256:
        return None
    report |= sections
    with Archive(bundle) as archive:
        golden = archive.manifest["golden"]
        picture, result = archive.read(golden["input"]), archive.read_json(result_member(golden))
    page = folder / PAGE
    earlier = page.read_text(encoding="utf-8", errors="replace") if page.is_file() else ""
    _write(page, render_html(report, picture=picture, result=result, earlier=earlier).encode("utf-8"))
    _write(folder / REPORT, canonical_json(report))
    return page


def _write(path: Path, content: bytes) -> None:
    try:
        write_atomically(path, content, sync=False)
    except OSError as error:
        raise StepError(f"the report cannot be written: {error.strerror}", where=str(path)) from error
