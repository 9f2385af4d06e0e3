"""What the signatures of a bundle prove, as lines for a person."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from edgecompile.runtime.signatures import beside
from edgecompile.runtime.trust import Signed, signatures_of

SHOWN = 8
"""Inputs of a build that are shown; digests are shown by their first digits."""
PACKAGE = "pkg:"


def signature_lines(bundle: Path, digest: str, signed: Signed | None) -> Iterator[str]:
    """Yields who signed a bundle, and how they state that it was built.

    Args:
        bundle: its path.
        digest: its sha256.
        signed: what was proven; None where nobody said whom to trust.

    Raises:
        BundleError: nobody said whom to trust, and what lies beside the bundle is not its signature.
    """
    if signed is None:
        found = [signature for signature in signatures_of(bundle, digest) if signature.kind == "signature"]
        said = f"not checked: {len(found)} in {beside(bundle).name}, and neither --key nor a trust policy says by whom"
        yield f"{'signature':<12} {said if found else 'unsigned: nothing says who made this bundle'}"
        return
    if not signed.by:
        yield f"{'signature':<12} unsigned: nothing says who made this bundle; the trust policy allows it"
        return
    more = f"; {signed.strangers} more by others" if signed.strangers else ""
    yield f"{'signature':<12} ok: by {', '.join(signed.by)}{more}"
    count = len(signed.builders)
    if count:
        yield f"{'builders':<12} {count} got these bytes: {', '.join(signed.builders)}"
    for name, predicate in signed.provenance:
        yield from provenance_lines(name, predicate)


def provenance_lines(name: str, predicate: Mapping[str, Any]) -> Iterator[str]:
    """Yields what a builder states: how it got the bytes, where, and from which inputs."""
    definition, run = predicate["buildDefinition"], predicate["runDetails"]
    stated = definition.get("internalParameters") or {}
    how = stated.get("how", "built") if isinstance(stated, Mapping) else "built"
    yield f"{'provenance':<12} {name}: {how} by {run['builder']['id']} ({definition['buildType']})"
    dependencies = definition.get("resolvedDependencies", [])
    packages = [part for part in dependencies if str(part.get("uri", "")).startswith(PACKAGE)]
    files = [part for part in dependencies if part not in packages]
    for part in files[:SHOWN]:
        digest = str(part.get("digest", {}).get("sha256", ""))[:12]
        yield f"{'':<12}   {part.get('name', part.get('uri', 'unnamed'))}, sha256 {digest or 'not stated'}"
    rest = f"{len(files) - SHOWN} more inputs, " if len(files) > SHOWN else ""
    yield f"{'':<12}   {rest}{len(packages)} packages"
