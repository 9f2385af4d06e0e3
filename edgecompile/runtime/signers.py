"""Whom one trusts, and whether a signature is theirs: public keys, certificates of an authority, identities.

Keys and certificates are checked with `cryptography`, offline. Identities take the `sigstore` library. Where such a
library is missing, that is an error of its own: a signature that cannot be checked never counts as good.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import date, datetime, timezone
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from edgecompile.errors import BundleError, MissingToolError
from edgecompile.runtime.signatures import Signature

if TYPE_CHECKING:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, EllipticCurvePublicKey

CURVES = ("secp256r1", "secp384r1", "secp521r1")
"""Those that the model-signing library signs with: P-256, P-384, P-521."""
FIX = "pip install 'edgecompile[trust]'"
MOST_BYTES = 64 << 10
"""Of a file that holds a key or certificates."""


class Signer(Protocol):
    """Somebody who is trusted."""

    @property
    def name(self) -> str:
        """What people call this signer."""

    @property
    def who(self) -> str:
        """Equal for signers that are one and the same, whatever their names."""

    def judge(self, signature: Signature) -> str | None:
        """Returns "" for a good signature of this signer, None for one of somebody else, and else why it does not
        count.

        Raises:
            MissingToolError: the library that can tell is not installed.
        """


@dataclass(frozen=True)
class KeySigner:
    """Whoever holds the private key of a public key.

    Attributes:
        pem: the public key.
        where: its file, for messages.
        expires: last day on which its signatures count.
    """

    name: str
    pem: bytes
    where: str
    expires: date | None = None

    @cached_property
    def key(self) -> EllipticCurvePublicKey:
        """Raises:
        BundleError: it is no public key on one of the curves.
        MissingToolError: `cryptography` is not installed.
        """
        return public_key(self.pem, self.where)

    @property
    def who(self) -> str:
        return f"key {fingerprint(self.key)}"

    def judge(self, signature: Signature) -> str | None:
        if signature.logged or not is_signed_by(self.key, signature):
            return None
        if self.expires and today() > self.expires:
            return f"the key of '{self.name}' expired on {self.expires}"
        return ""


@dataclass(frozen=True)
class CertificateSigner:
    """Whoever holds a certificate with a name on it, issued below an authority.

    Attributes:
        pem: certificates of the authority.
        where: their file, for messages.
        identity: e-mail address, URI or host name on the certificate; its common name where it has none of these.
    """

    name: str
    pem: bytes
    where: str
    identity: str

    @cached_property
    def roots(self) -> list[x509.Certificate]:
        """Raises:
        BundleError: the file holds no certificates.
        MissingToolError: `cryptography` is not installed.
        """
        _require_cryptography()
        from cryptography import x509

        try:
            return x509.load_pem_x509_certificates(self.pem)
        except ValueError:
            raise BundleError("holds no certificate in PEM form", where=self.where) from None

    @property
    def who(self) -> str:
        return f"identity {self.identity} by {hashlib.sha256(self.pem).hexdigest()[:16]}"

    def judge(self, signature: Signature) -> str | None:
        roots = self.roots
        if signature.logged or not signature.certificates:
            return None
        from cryptography import x509

        try:
            leaf, *between = map(x509.load_der_x509_certificate, signature.certificates)
            key = leaf.public_key()
            if self.identity not in names_on(leaf) or not _may_sign(leaf) or not is_signed_by(key, signature):
                return None
        except (ValueError, TypeError):  # damaged, or of a kind that the library does not read
            return None
        begins, ends = leaf.not_valid_before_utc, leaf.not_valid_after_utc
        if not _is_issued(leaf, between, roots, begins):
            return None
        now = datetime.now(timezone.utc)
        if not begins <= now <= ends or not _is_issued(leaf, between, roots, now):
            return f"the certificate of '{self.name}' is valid from {begins:%F} to {ends:%F}, here it is {now:%F}"
        return ""


@dataclass(frozen=True)
class IdentitySigner:
    """Whoever proved an identity to Sigstore's certificate authority when signing (keyless).

    Attributes:
        identity: e-mail address or URI.
        issuer: URL of the identity provider.
    """

    name: str
    identity: str
    issuer: str

    @property
    def who(self) -> str:
        return f"identity {self.identity} by {self.issuer}"

    def judge(self, signature: Signature) -> str | None:
        if not signature.logged:
            return None
        try:
            from sigstore.errors import Error
            from sigstore.models import Bundle
            from sigstore.verify import Verifier, policy
        except ImportError:
            message = f"the identity '{self.identity}' can be checked by the sigstore library alone"
            raise MissingToolError(message, fix="pip install 'edgecompile[sign]'") from None
        try:
            demanded: Any = policy.Identity(identity=self.identity, issuer=self.issuer)
            _, payload = Verifier.production().verify_dsse(Bundle.from_json(signature.text), demanded)
        except (Error, ValueError, OSError):
            return None
        return "" if payload == signature.payload else None


def today() -> date:
    """Returns the day in universal time."""
    return datetime.now(timezone.utc).date()


def public_key(pem: bytes, where: str) -> EllipticCurvePublicKey:
    """Returns the public key of a file's content.

    Raises:
        BundleError: it is none, or on a curve that bundles are not signed with.
        MissingToolError: `cryptography` is not installed.
    """
    _require_cryptography()
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    if b"PRIVATE KEY-----" in pem:
        fix = f"openssl ec -in {Path(where).name} -pubout -out {Path(where).stem}.pub"
        raise BundleError("is a private key, expected its public key", where=where, fix=fix)
    if b"-----BEGIN CERTIFICATE-----" in pem:
        raise BundleError("holds a certificate, expected a public key", where=where, fix="--certificate, --identity")
    try:
        key = load_pem_public_key(pem)
    except (ValueError, UnsupportedAlgorithm):
        raise BundleError("holds no public key in PEM form", where=where) from None
    if not isinstance(key, EllipticCurvePublicKey) or key.curve.name not in CURVES:
        raise BundleError("holds a key of another kind, expected one of P-256, P-384 or P-521", where=where)
    return key


def fingerprint(key: EllipticCurvePublicKey) -> str:
    """Returns the first 16 hexadecimal digits of the SHA-256 of a public key."""
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    return hashlib.sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).hexdigest()[:16]


def names_on(certificate: x509.Certificate) -> list[str]:
    """Returns whom a certificate names: e-mail addresses, URIs and host names; its common names where it has none."""
    from cryptography import x509
    from cryptography.x509.oid import NameOID

    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        kinds = (x509.RFC822Name, x509.UniformResourceIdentifier, x509.DNSName)
        return [str(name) for kind in kinds for name in names.get_values_for_type(kind)]
    except x509.ExtensionNotFound:
        return [str(name.value) for name in certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]


def _require_cryptography() -> None:
    try:
        import cryptography.hazmat.primitives.asymmetric.ec
        import cryptography.x509.verification  # noqa: F401
    except ImportError as error:
        missing = getattr(error, "name", None) or "cryptography"
        raise MissingToolError(f"signatures cannot be checked here without '{missing}'", fix=FIX) from None


def signature_hash(key: EllipticCurvePublicKey) -> ECDSA:
    """Returns the scheme by which a key on one of `CURVES` signs: with the hash of the curve's size."""
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric.ec import ECDSA

    return ECDSA({256: hashes.SHA256(), 384: hashes.SHA384(), 521: hashes.SHA512()}[key.curve.key_size])


def is_signed_by(key: object, signature: Signature) -> bool:
    """Says whether a signature is by the holder of a public key."""
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey

    if not isinstance(key, EllipticCurvePublicKey) or key.curve.name not in CURVES:
        return False
    try:
        key.verify(signature.value, signature.signed_bytes, signature_hash(key))
    except InvalidSignature:
        return False
    return True


def _may_sign(certificate: x509.Certificate) -> bool:
    """Says whether a certificate is for signatures: its key usage, and its extended key usage where it states one."""
    from cryptography import x509
    from cryptography.x509.oid import ExtendedKeyUsageOID

    try:
        if not certificate.extensions.get_extension_for_class(x509.KeyUsage).value.digital_signature:
            return False
    except x509.ExtensionNotFound:
        return False
    try:
        usages = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound:
        return True
    return ExtendedKeyUsageOID.CODE_SIGNING in usages


def _is_issued(
    leaf: x509.Certificate, between: list[x509.Certificate], roots: list[x509.Certificate], when: datetime
) -> bool:
    """Says whether a certificate is issued below one of `roots`, all certificates of the way being valid at `when`."""
    from cryptography.x509.verification import ExtensionPolicy, PolicyBuilder, Store, VerificationError

    builder = PolicyBuilder().store(Store(roots)).time(when)
    builder = builder.extension_policies(
        ca_policy=ExtensionPolicy.webpki_defaults_ca(), ee_policy=ExtensionPolicy.permit_all()
    )
    try:
        builder.build_client_verifier().verify(leaf, between)
    except VerificationError:
        return False
    return True
