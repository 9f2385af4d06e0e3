"""Signs bundles: the model-signing library of Sigstore makes the signature, and the provenance of the build is signed
by the same signer. Both lie in one file beside the bundle, whose bytes stay as they are.
"""

from __future__ import annotations

import base64
import json
import os
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgecompile.bundle.documents import canonical_json
from edgecompile.bundle.provenance import How, provenance_of
from edgecompile.errors import BundleError, MissingToolError, StepError
from edgecompile.files import write_atomically
from edgecompile.runtime.archive import Archive
from edgecompile.runtime.guarded_files import read_whole
from edgecompile.runtime.signatures import PAYLOAD, Signature, beside, pre_authentication, read_signatures
from edgecompile.runtime.signers import CURVES, MOST_BYTES, fingerprint, is_signed_by, signature_hash

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

PASSWORD = "EDGECOMPILE_KEY_PASSWORD"
"""Environment variable with the password of an encrypted key."""
FIX = "pip install 'edgecompile[sign]'"


@dataclass(frozen=True)
class Credentials:
    """What a person signs with.

    Attributes:
        key: file of the private key, PEM.
        certificate: file of the certificate of the key; None for a bare key.
        chain: files of the certificates between it and its authority.
    """

    key: Path
    certificate: Path | None = None
    chain: tuple[Path, ...] = ()


@dataclass(frozen=True)
class SignedFile:
    """What was written.

    Attributes:
        path: of the file of signatures.
        signer: key or identity, for people.
        kept: lines of others that lay there before.
        dropped: lines that were about another bundle.
    """

    path: Path
    signer: str
    kept: int
    dropped: int


def require_key(credentials: Credentials) -> None:
    """Makes sure, before hours of work, that a bundle can be signed in the end.

    Raises:
        BundleError, MissingToolError: as `sign_with_key`.
    """
    _library()
    _private_key(credentials, _password())


def sign_with_key(
    bundle: Path, credentials: Credentials, *, builder: str | None = None, how: How = "built"
) -> SignedFile:
    """Signs a bundle and its provenance with a key of one's own. No network is needed.

    Args:
        builder: URI of who built it; names the key where None.
        how: the builder came to these bytes.

    Raises:
        RecipeError: there is no such bundle.
        BundleError: it is damaged, or a file holds no private key that bundles are signed with, or what lies beside the
            bundle is no file of signatures.
        MissingToolError: the libraries that sign are not installed.
        StepError: the signatures cannot be written.
    """
    library = _library()
    password = _password()
    key = _private_key(credentials, password)
    name = fingerprint(key.public_key())
    config = library.Config()
    try:
        if credentials.certificate:
            config.use_certificate_signer(
                private_key=credentials.key,
                signing_certificate=credentials.certificate,
                certificate_chain=credentials.chain,
            )
        else:
            config.use_elliptic_key_signer(private_key=credentials.key, password=password)
    except (ValueError, TypeError, OSError) as error:
        raise BundleError(f"cannot be signed with: {error}", where=str(credentials.certificate)) from error
    with Archive(bundle, trusting=True) as archive:
        archive.check_members()
        signature = _signed_by_library(config, archive)
        payload = canonical_json(provenance_of(archive, builder or f"urn:edgecompile:key:{name}", how))
        value = key.sign(pre_authentication(payload), signature_hash(key.public_key()))
        envelope = {
            "payload": base64.b64encode(payload).decode(),
            "payloadType": PAYLOAD,
            "signatures": [{"sig": base64.b64encode(value).decode(), "keyid": ""}],
        }
        lines = [_line(signature), _line({**signature, "dsseEnvelope": envelope})]
        return _add(archive, lines, f"key {name}", lambda other: is_signed_by(key.public_key(), other))


def sign_with_identity(bundle: Path, *, builder: str | None = None, token: str | None = None) -> SignedFile:
    """Signs a bundle and its provenance without a key of one's own: Sigstore's authority gives a certificate for a few
    minutes to whoever proves an identity, and a public log keeps the signature. Takes network.

    Args:
        builder: URI of who built it; names the identity where None.
        token: an identity token (OIDC); where None, that of the surroundings, as in a CI job, or of a browser.

    Raises:
        RecipeError, BundleError, MissingToolError: as `sign_with_key`.
        StepError: the network, the provider of the identity or the log refuses.
    """
    library = _library()
    from sigstore.dsse import Statement
    from sigstore.models import ClientTrustConfig
    from sigstore.oidc import IdentityToken, Issuer, detect_credential
    from sigstore.sign import SigningContext

    with Archive(bundle, trusting=True) as archive:
        archive.check_members()
        try:
            trusted = ClientTrustConfig.production()
            found = token or detect_credential()
            issuer = Issuer(trusted.signing_config.get_oidc_url())
            identity = IdentityToken(found) if found else issuer.identity_token()
            signature = _signed_by_library(library.Config().use_sigstore_signer(identity_token=str(identity)), archive)
            stated = provenance_of(archive, builder or f"urn:edgecompile:identity:{identity.identity}", "built")
            with SigningContext.from_trust_config(trusted).signer(identity) as signer:
                provenance = signer.sign_dsse(Statement(canonical_json(stated))).to_json()
        except BundleError:
            raise
        except Exception as error:  # the libraries let errors of HTTP, TUF and OIDC through, each of its own tree
            fix = "it takes network; sign with a key of your own: --key KEY"
            raise StepError(f"Sigstore did not sign: {error}", where=str(bundle), fix=fix) from error
        lines = [_line(signature), _line(json.loads(provenance))]
        return _add(archive, lines, f"identity {identity.identity}", lambda other: False)


def _password() -> bytes | None:
    return os.environ.get(PASSWORD, "").encode() or None


def _library() -> Any:
    """Returns the module of model-signing that signs."""
    try:
        from model_signing import signing
    except ImportError as error:
        missing = getattr(error, "name", None) or "model_signing"
        raise MissingToolError(f"signing takes the model-signing library: '{missing}' is missing", fix=FIX) from None
    return signing


def _private_key(credentials: Credentials, password: bytes | None) -> EllipticCurvePrivateKey:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    where = str(credentials.key)
    pem = read_whole(credentials.key, MOST_BYTES, "a private key")
    if b"ENCRYPTED" in pem and credentials.certificate:
        fix = f"decrypt it for this run: openssl ec -in {credentials.key.name} -out plain.pem"
        raise BundleError("is encrypted, which model-signing does not read beside a certificate", where=where, fix=fix)
    try:
        key = load_pem_private_key(pem, password)
    except TypeError:
        if password is None:
            raise BundleError("is encrypted", where=where, fix=f"put its password into {PASSWORD}") from None
        raise BundleError("is not encrypted", where=where, fix=f"unset {PASSWORD}") from None
    except (ValueError, UnsupportedAlgorithm):
        fix = "make one: openssl ecparam -name prime256v1 -genkey -noout -out KEY.pem"
        raise BundleError("holds no private key in PEM form, or its password is wrong", where=where, fix=fix) from None
    if not isinstance(key, EllipticCurvePrivateKey) or key.curve.name not in CURVES:
        raise BundleError("holds a key of another kind, expected one of P-256, P-384 or P-521", where=where)
    return key


def _signed_by_library(config: Any, archive: Archive) -> dict[str, Any]:
    """Returns the Sigstore bundle that the library makes, after comparing it with the bytes that were read here."""
    with tempfile.TemporaryDirectory(prefix="edgecompile-") as scratch:
        path = Path(scratch) / "signature"
        config.sign(archive.path, path)
        (signature,) = read_signatures(path)
    if signature.digest != archive.digest:
        raise BundleError("changed while it was signed", where=str(archive.path))
    return json.loads(signature.text)


def _line(document: Mapping[str, Any]) -> str:
    return json.dumps(document, separators=(",", ":"))


def _add(archive: Archive, lines: list[str], signer: str, is_own: Callable[[Signature], bool]) -> SignedFile:
    """Adds lines to the signatures of a bundle. Earlier ones of the same key, and those of another bundle, go."""
    place = beside(archive.path)
    there = read_signatures(place)
    here = [signature for signature in there if signature.digest in ("", archive.digest)]
    kept = [signature.text for signature in here if not is_own(signature)]
    try:
        write_atomically(place, "".join(f"{line}\n" for line in [*kept, *lines]).encode())
    except OSError as error:
        raise StepError(f"the signature cannot be written: {error.strerror}", where=str(place)) from error
    return SignedFile(place, signer, len(kept), len(there) - len(here))
