"""The bill of materials of a bundle: CycloneDX 1.6 (https://cyclonedx.org/docs/1.6/json/), for machine learning.

It says what the model was made of (weights, pictures and labels by digest, the packages that built) and what the device
adds (the libraries that run it, by version range). No time and no serial number: equal inputs give an equal document.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from edgecompile.bundle.lock import Lock
from edgecompile.bundle.manifest import File, ManifestDraft
from edgecompile.bundle.provenance import data_digests, package_url
from edgecompile.files import hash_file
from edgecompile.json_types import JsonObject, JsonValue
from edgecompile.runtime.requirement import NEEDS, split_requirement

BUNDLE = "bundle"


def sbom_of(draft: ManifestDraft, lock: Lock, artifact: Mapping[str, File]) -> JsonObject:
    """Returns the document.

    Args:
        draft: manifest of the bundle.
        lock: everything that the build resolved.
        artifact: name in the bundle to digest and size, of the files of the model.
    """
    components = [
        *(_file(f"artifact:{name}", "file", name, file.sha256) for name, file in sorted(artifact.items())),
        *(
            _file(f"weights:{file.name}", "machine-learning-model", file.name, file.sha256)
            for file in (lock.weights, *lock.external_data)
        ),
        *(_data(name, count, digest) for name, (count, digest) in data_digests(lock).items()),
        *(_device_library(name, versions) for name, versions in _device_libraries(draft)),
        *(_package(name, version) for name, version in sorted(draft.tools.items())),
    ]
    references = [str(component["bom-ref"]) for component in components]
    running = [ref for ref in references if ref.startswith(("artifact:", "device:"))]
    making = [ref for ref in references if ref not in running]
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"component": _model(draft, making)},
        "components": components,
        "dependencies": [
            {"ref": BUNDLE, "dependsOn": running},
            *({"ref": ref, "dependsOn": making} for ref in references if ref.startswith("artifact:")),
            *({"ref": ref} for ref in references if not ref.startswith("artifact:")),
        ],
    }


def _model(draft: ManifestDraft, making: list[str]) -> JsonObject:
    height, width = draft.model.imgsz
    figures = draft.figures.model_dump(mode="json")
    metrics = [
        {"type": name, "value": f"{figures[name]:.6g}"}
        for name in (figures.get("titles") or {})
        if isinstance(figures.get(name), (int, float))
    ]
    return {
        "bom-ref": BUNDLE,
        "type": "machine-learning-model",
        "name": draft.name,
        "description": draft.description,
        "modelCard": {
            "modelParameters": {
                "task": draft.model.task,
                "datasets": [{"ref": ref} for ref in making if ref.startswith("data:")],
                "inputs": [{"format": f"pictures of {width} x {height} pixels"}],
            },
            "quantitativeAnalysis": {"performanceMetrics": metrics},
        },
        "properties": _properties(
            {
                "created_by": draft.created_by,
                "precision": draft.precision,
                "device": draft.target.device,
                "arch": draft.target.arch,
                "isa_class": draft.isa_class,
            }
        ),
    }


def _device_libraries(draft: ManifestDraft) -> list[tuple[str, str]]:
    """Returns distribution and version range of what the device needs: the backend, and the runtime's own."""
    return [draft.target.runtime, *map(split_requirement, NEEDS)]


def _file(reference: str, kind: str, name: str, sha256: str) -> dict[str, JsonValue]:
    return {"bom-ref": reference, "type": kind, "name": name, "hashes": [{"alg": "SHA-256", "content": sha256}]}


def _data(name: str, count: int, digest: str) -> dict[str, JsonValue]:
    return {
        "bom-ref": f"data:{name}",
        "type": "data",
        "name": name,
        "data": [{"type": "dataset", "name": name}],
        "properties": _properties({"files": str(count), "list_sha256": digest}),
    }


def _device_library(name: str, versions: str) -> dict[str, JsonValue]:
    return {
        "bom-ref": f"device:{name}",
        "type": "library",
        "name": name,
        "scope": "required",
        "properties": _properties({"versions": versions or "any", "place": "device"}),
    }


def _package(name: str, version: str) -> dict[str, JsonValue]:
    return {
        "bom-ref": f"build:{name}",
        "type": "library",
        "name": name,
        "version": version,
        "purl": package_url(name, version),
        "scope": "excluded",
        "properties": _properties({"place": "build"}),
    }


def _properties(values: Mapping[str, str]) -> list[JsonObject]:
    return [{"name": f"edgecompile:{name}", "value": value} for name, value in values.items()]


def artifact_files(members: Mapping[str, Path]) -> dict[str, File]:
    """Returns digest and size of the files of an artifact."""
    found = {name: hash_file(path) for name, path in members.items()}
    return {name: File(sha256=sha256, size=size) for name, (sha256, size) in found.items()}
