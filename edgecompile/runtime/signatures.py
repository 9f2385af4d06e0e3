"""The signatures that lie beside a bundle: `NAME.bundle.zip.sigstore.jsonl`, one Sigstore bundle a line.

A line holds a DSSE envelope (https://github.com/secure-systems-lab/dsse, version 1) around an in-toto statement. Two
kinds count: the signature that the model-signing library makes (https://model_signing/signature/v1.0) and the
provenance of the build (https://slsa.dev/provenance/v1). Reading a line says nothing about who signed it: that is
what `signers` finds out. Standard library alone.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from edgecompile.errors import BundleError
from edgecompile.runtime.guarded_files import read_whole
from edgecompile.runtime.strict_json import parse_json

SUFFIX = ".sigstore.jsonl"
MOST_BYTES = 4 << 20
MOST_LINES = 64
MOST_CERTIFICATES = 8
PAYLOAD = "application/vnd.in-toto+json"
STATEMENT = "https://in-toto.io/Statement/v1"
SIGNED = "https://model_signing/signature/v1.0"
PROVENANCE = "https://slsa.dev/provenance/v1"

Kind = Literal["signature", "provenance", "other"]


@dataclass(frozen=True)
class Signature:
    """One line of the file, not checked against any key yet.

    Attributes:
        text: the line.
        payload: bytes of the in-toto statement.
        value: the signature itself.
        certificates: DER, that of the signer first; empty for a signature by a bare key.
        logged: whether it stands in a transparency log, as signatures by identities do.
        kind: of the statement.
        digest: sha256 of the bundle that it is about; empty for other statements.
        statement: the document of `payload`.
    """

    text: str
    payload: bytes
    value: bytes
    certificates: tuple[bytes, ...]
    logged: bool
    kind: Kind
    digest: str
    statement: Mapping[str, Any]

    @property
    def signed_bytes(self) -> bytes:
        """What the signature is over."""
        return pre_authentication(self.payload)


def pre_authentication(payload: bytes) -> bytes:
    """Returns the bytes that are signed for a statement: the pre-authentication encoding (PAE) of DSSE."""
    return b"DSSEv1 %d %s %d %s" % (len(PAYLOAD), PAYLOAD.encode(), len(payload), payload)


def beside(bundle: Path) -> Path:
    """Returns where the signatures of a bundle lie: beside it under the name that it was given by, or beside the file
    that this name is a link to."""
    named = bundle.with_name(bundle.name + SUFFIX)
    target = bundle.resolve()
    linked = target.with_name(target.name + SUFFIX)
    return linked if not named.exists() and not named.is_symlink() and linked.exists() else named


def read_signatures(path: Path) -> tuple[Signature, ...]:
    """Returns the signatures of a file; none where there is no such file.

    Raises:
        BundleError: it is something else, or larger than signatures are.
    """
    if not path.exists() and not path.is_symlink():
        return ()
    content = read_whole(path, MOST_BYTES, "signatures")
    lines = [line for line in content.split(b"\n") if line.strip()]
    if len(lines) > MOST_LINES or not lines:
        raise BundleError(f"holds {len(lines)} signatures, expected 1 to {MOST_LINES}", where=str(path))
    signatures = []
    for number, line in enumerate(lines, 1):
        try:
            signatures.append(_parse(line))
        except BundleError as error:
            raise BundleError(error.problems[0].message, where=f"{path}:{number}") from None
        except (KeyError, TypeError, ValueError, AttributeError, IndexError):
            raise BundleError("is no Sigstore bundle with a DSSE envelope", where=f"{path}:{number}") from None
    return tuple(signatures)


def _parse(line: bytes) -> Signature:
    document = parse_json(line, "a signature")
    envelope, material = document["dsseEnvelope"], document["verificationMaterial"]
    (signature,) = envelope["signatures"]
    if envelope["payloadType"] != PAYLOAD:
        raise BundleError(f"signs {str(envelope['payloadType'])[:60]!r}, expected {PAYLOAD}")
    payload = _decoded(envelope["payload"])
    statement = parse_json(payload, "the signed statement")
    if statement["_type"] != STATEMENT:
        raise BundleError(f"signs {str(statement['_type'])[:60]!r}, expected {STATEMENT}")
    kind, digest = _subject(statement)
    return Signature(
        text=line.decode(),
        payload=payload,
        value=_decoded(signature["sig"]),
        certificates=_certificates(material),
        logged=bool(material.get("tlogEntries")),
        kind=kind,
        digest=digest,
        statement=statement,
    )


def _decoded(text: Any) -> bytes:
    if not isinstance(text, str):
        raise ValueError("no text")
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error:
        raise BundleError("holds what is not base64") from None


def _certificates(material: Mapping[str, Any]) -> tuple[bytes, ...]:
    chain = material.get("x509CertificateChain")
    single = material.get("certificate")
    found = chain["certificates"] if chain else [single] if single else []
    if len(found) > MOST_CERTIFICATES:
        raise BundleError(f"holds {len(found)} certificates, expected at most {MOST_CERTIFICATES}")
    return tuple(_decoded(certificate["rawBytes"]) for certificate in found)


def _subject(statement: Mapping[str, Any]) -> tuple[Kind, str]:
    """Returns the kind of a statement, and the sha256 of the one file that it is about."""
    kind = statement["predicateType"]
    if kind not in (SIGNED, PROVENANCE):
        return "other", ""
    (subject,) = statement["subject"]
    digest = subject["digest"]["sha256"]
    if kind == PROVENANCE:
        _require_provenance(statement["predicate"])
        return "provenance", _sha256(digest)
    # The subject's digest is that of the digests of all files; a bundle is one file.
    resources = statement["predicate"]["resources"]
    if len(resources) != 1 or resources[0]["algorithm"] != "sha256":
        raise BundleError("signs several files, or by another digest than SHA-256: it is not the signature of a bundle")
    resource = _sha256(resources[0]["digest"])
    if hashlib.sha256(bytes.fromhex(resource)).hexdigest() != digest:
        raise BundleError("contradicts itself: the digest of its subject is not that of its file")
    return "signature", resource


def _sha256(text: Any) -> str:
    if not isinstance(text, str) or not re.fullmatch("[0-9a-f]{64}", text):
        raise ValueError("no sha256")
    return text


def _require_provenance(predicate: Mapping[str, Any]) -> None:
    """Demands what `provenance_lines` shows."""
    definition, builder = predicate["buildDefinition"], predicate["runDetails"]["builder"]
    texts = [definition["buildType"], builder["id"]]
    dependencies = definition.get("resolvedDependencies", [])
    if not all(isinstance(text, str) for text in texts) or not all(
        isinstance(part, dict) and isinstance(part.get("digest", {}), dict) for part in dependencies
    ):
        raise BundleError("holds a provenance without build type, builder or inputs")
