"""How a bundle was built, as an in-toto statement of SLSA provenance (https://slsa.dev/spec/v1.0/provenance).

It states what the manifest and the lock of the bundle state, in the words that other tools read: the recipe, what went
in by digest, the packages by version, and who built. It is signed beside the bundle, and so names it by its digest.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from typing import Literal
from urllib.parse import quote

from edgecompile.bundle.documents import canonical_json
from edgecompile.bundle.lock import Lock, read_lock
from edgecompile.bundle.manifest import NamedDigest
from edgecompile.json_types import JsonObject
from edgecompile.run_dir import LOCK
from edgecompile.runtime.archive import Archive
from edgecompile.runtime.signatures import PROVENANCE, STATEMENT

BUILD_TYPE = "urn:edgecompile:bundle:1"
How = Literal["built", "reproduced"]
"""`reproduced`: built again from the lock, and found equal to the last byte."""


def provenance_of(archive: Archive, builder: str, how: How) -> JsonObject:
    """Returns the statement on a bundle.

    Args:
        archive: the bundle.
        builder: URI of who built it.
        how: the builder came to these bytes.

    Raises:
        RecipeError: the lock in it is none that this version reads.
    """
    lock = read_lock(archive.read(LOCK))
    return {
        "_type": STATEMENT,
        "subject": [{"name": archive.path.name, "digest": {"sha256": archive.digest}}],
        "predicateType": PROVENANCE,
        "predicate": {
            "buildDefinition": {
                "buildType": BUILD_TYPE,
                "externalParameters": {"recipe": lock.recipe},
                "internalParameters": {"how": how, "isa_class": lock.isa_class},
                "resolvedDependencies": [*_files(archive, lock), *_packages(lock)],
            },
            "runDetails": {
                "builder": {"id": builder, "version": {"edgecompile": lock.tools["edgecompile"]}},
            },
        },
    }


def list_digest(files: Iterable[NamedDigest]) -> str:
    """Returns one digest of many files: the sha256 of the canonical JSON (RFC 8785) of their [name, sha256], in
    order, and a newline."""
    return hashlib.sha256(canonical_json([[file.name, file.sha256] for file in files])).hexdigest()


def data_digests(lock: Lock) -> dict[str, tuple[int, str]]:
    """Returns what of the data set went in, to how many files and their `list_digest`."""
    data = lock.data
    labels = [picture.label for picture in data.validation if picture.label] + (
        data.reading.files if data.reading else []
    )
    lists: dict[str, list[NamedDigest]] = {
        "validation pictures": list(data.validation),
        "labels": labels,
        "calibration pictures": data.calibration or [],
    }
    return {name: (len(files), list_digest(files)) for name, files in lists.items() if files}


def package_url(name: str, version: str) -> str:
    """Returns the package URL (purl) of a distribution of the Python package index."""
    return f"pkg:pypi/{re.sub(r'[-_.]+', '-', name).lower()}@{quote(version, safe='.')}"


def _files(archive: Archive, lock: Lock) -> list[JsonObject]:
    digests = {
        **{file.name: file.sha256 for file in (lock.weights, *lock.external_data)},
        **{f"{count} {name}": digest for name, (count, digest) in data_digests(lock).items()},
        LOCK: archive.manifest["files"][LOCK]["sha256"],
    }
    return [{"name": name, "digest": {"sha256": digest}} for name, digest in digests.items()]


def _packages(lock: Lock) -> list[JsonObject]:
    return [{"name": name, "uri": package_url(name, version)} for name, version in sorted(lock.tools.items())]
