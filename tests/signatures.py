"""Keys, certificates and signatures for tests, made with `cryptography`: good ones, and those of an attacker."""

from __future__ import annotations

import base64
import hashlib
import json
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from edgecompile.runtime.signatures import PAYLOAD, PROVENANCE, SIGNED, STATEMENT, SUFFIX, pre_authentication
from edgecompile.runtime.signers import signature_hash

MEDIA = "application/vnd.dev.sigstore.bundle.v0.3+json"
Key = ec.EllipticCurvePrivateKey


def make_key(folder: Path, name: str, curve: ec.EllipticCurve | None = None) -> Key:
    """Writes NAME.pem and NAME.pub into a folder."""
    key = ec.generate_private_key(curve or ec.SECP256R1())
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (folder / f"{name}.pem").write_bytes(private)
    (folder / f"{name}.pub").write_bytes(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    return key


def signature_statement(digest: str, **changes: Any) -> dict[str, Any]:
    return {
        "_type": STATEMENT,
        "subject": [{"name": "x", "digest": {"sha256": hashlib.sha256(bytes.fromhex(digest)).hexdigest()}}],
        "predicateType": SIGNED,
        "predicate": {
            "serialization": {"method": "files", "hash_type": "sha256", "allow_symlinks": False},
            "resources": [{"name": ".", "algorithm": "sha256", "digest": digest}],
        },
        **changes,
    }


def provenance_statement(digest: str, builder: str = "urn:test:builder", **changes: Any) -> dict[str, Any]:
    return {
        "_type": STATEMENT,
        "subject": [{"name": "x", "digest": {"sha256": digest}}],
        "predicateType": PROVENANCE,
        "predicate": {
            "buildDefinition": {"buildType": "urn:edgecompile:bundle:1", "resolvedDependencies": []},
            "runDetails": {"builder": {"id": builder}},
        },
        **changes,
    }


def line_of(key: Key, statement: dict[str, Any], chain: tuple[x509.Certificate, ...] = (), **changes: Any) -> str:
    """Returns one line of a file of signatures."""
    payload = json.dumps(statement).encode()
    value = key.sign(pre_authentication(payload), signature_hash(key.public_key()))
    certificates = [{"rawBytes": _base64(one.public_bytes(Encoding.DER))} for one in chain]
    material: dict[str, Any] = {"publicKey": {"hint": "any"}}
    if chain:
        material = {"x509CertificateChain": {"certificates": certificates}}
    envelope = {
        "payload": _base64(payload),
        "payloadType": PAYLOAD,
        "signatures": [{"sig": _base64(value), "keyid": ""}],
        **changes,
    }
    return json.dumps(
        {"mediaType": MEDIA, "verificationMaterial": {**material, "tlogEntries": []}, "dsseEnvelope": envelope}
    )


def sign(bundle: Path, *lines: str) -> Path:
    """Writes lines beside a bundle."""
    place = bundle.with_name(bundle.name + SUFFIX)
    place.write_text("".join(f"{line}\n" for line in lines))
    return place


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def make_certificate(
    key: Key,
    name: str,
    issuer: tuple[Key, x509.Certificate] | None = None,
    *,
    authority: bool = False,
    begins: int = -10,
    ends: int = 300,
    may_sign: bool = True,
) -> x509.Certificate:
    """Returns a certificate; self-signed where there is no issuer. `begins` and `ends` are days from today."""
    now = datetime.now(timezone.utc)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    parent = issuer[1] if issuer else None
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(parent.subject if parent else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + timedelta(days=begins))
        .not_valid_after(now + timedelta(days=ends))
        .add_extension(x509.BasicConstraints(authority, None), critical=True)
        .add_extension(_usage(sign=may_sign and not authority, authority=authority), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )
    signer = issuer[0] if issuer else key
    identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key())
    builder = builder.add_extension(identifier, critical=False)
    if not authority:
        builder = builder.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CODE_SIGNING]), critical=False)
        builder = builder.add_extension(x509.SubjectAlternativeName([x509.RFC822Name(name)]), critical=False)
    return builder.sign(signer, hashes.SHA256())


def pem_of(*certificates: x509.Certificate) -> bytes:
    return b"".join(certificate.public_bytes(Encoding.PEM) for certificate in certificates)


def _usage(*, sign: bool, authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=sign,
        content_commitment=False,
        key_encipherment=not sign and not authority,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=authority,
        crl_sign=authority,
        encipher_only=False,
        decipher_only=False,
    )


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode()
