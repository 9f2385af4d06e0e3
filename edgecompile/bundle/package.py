"""Step: packs the artifact, its documents and its golden vectors into one sealed zip, and reads it back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict, cast

from edgecompile.bundle.assemble import NOT_ARTIFACT, bundle_name
from edgecompile.bundle.documents import canonical_json
from edgecompile.bundle.lock import lock_from
from edgecompile.bundle.manifest import Golden, read_draft
from edgecompile.bundle.sbom import artifact_files, sbom_of
from edgecompile.bundle.writer import write_bundle
from edgecompile.errors import StepError
from edgecompile.json_types import JsonObject
from edgecompile.runtime.archive import Archive
from edgecompile.runtime.bundle_summary import SBOM
from edgecompile.runtime.golden import RESULT

if TYPE_CHECKING:
    from edgecompile.report.document import Report


class PackageFacts(TypedDict):
    """What the step reports: file name of the bundle, sha256 of the whole file, its bytes."""

    bundle: str
    sha256: str
    size_bytes: int


def package(
    out: Path,
    *,
    artifact: Path,
    spec: Path,
    golden: Path,
    manifest: JsonObject,
    lock: JsonObject,
    report: JsonObject,
) -> PackageFacts:
    """Writes `<name>.bundle.zip`.

    Args:
        artifact: the file or the folder that ships.
        spec: its spec.json.
        golden: folder of `input.png`, `output_<i>.npy` and `result.json`.
        manifest: without `files`.
        lock: everything the build resolved.
        report: what equal inputs find again; nothing measured.

    Raises:
        StepError: a file that the bundle needs is missing, or the disk refuses.
        BundleError: the manifest does not have its form, or the bundle cannot be read back.
    """
    from edgecompile.report.html import render_html

    draft = read_draft(manifest)
    result = json.loads((golden / RESULT).read_text(encoding="utf-8"))
    page = render_html(cast("Report", report), picture=(golden / "input.png").read_bytes(), result=result)
    shipped = artifact_members(artifact)
    locked = lock_from(lock)
    members: dict[str, bytes | Path] = {
        **shipped,
        **golden_members(golden, draft.golden),
        "spec.json": spec,
        "recipe.lock.yaml": locked.to_bytes(),
        "report.json": canonical_json(report),
        SBOM: canonical_json(sbom_of(draft, locked, artifact_files(shipped))),
        "report.html": page.encode("utf-8"),
    }
    bundle = out / bundle_name(draft.name)
    digest = write_bundle(bundle, members, manifest)
    with Archive(bundle, trusting=True) as written:  # what the device will do first
        written.check_members()
    return {"bundle": bundle.name, "sha256": digest, "size_bytes": bundle.stat().st_size}


def artifact_members(artifact: Path) -> dict[str, Path]:
    """Returns name in the bundle to file, for an artifact that is one file or a folder of files.

    Raises:
        StepError: there is no such file, or the folder holds no file.
    """
    if artifact.is_file():
        return {f"artifact/{artifact.name}": artifact}
    inside = {path.relative_to(artifact).as_posix(): path for path in artifact.rglob("*") if path.is_file()}
    members = {f"artifact/{name}": path for name, path in inside.items() if name not in NOT_ARTIFACT}
    if not members:
        raise StepError(f"there is no artifact at '{artifact.name}'")
    return members


def golden_members(golden: Path, named: Golden) -> dict[str, Path]:
    """Returns name in the bundle to file, for the golden vectors that a manifest names.

    Raises:
        StepError: a golden vector is missing.
    """
    vectors = (named, *named.limits.values())
    names = [name for shape in vectors for name in (shape.input, *shape.outputs, shape.result)]
    members = {name: golden / Path(name).relative_to("golden") for name in names}
    for name, path in members.items():
        if not path.is_file():
            raise StepError(f"the golden vectors lack '{name}'")
    return members
