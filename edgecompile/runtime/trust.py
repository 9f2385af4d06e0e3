"""The trust policy of this machine: whose bundles are opened here.

`~/.config/edgecompile/trust.toml`, or the file that `EDGECOMPILE_TRUST` names. Where there is none, every bundle is
opened, signed or not. Where there is one, `Archive` opens no bundle that it does not allow, so that `load` and every
verb keep to it. A policy that cannot be read or understood opens nothing.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from pathlib import Path
from typing import Any

from edgecompile.errors import BundleError, MissingToolError, nearest
from edgecompile.runtime.guarded_files import read_guarded, read_whole
from edgecompile.runtime.signatures import Signature, beside, read_signatures
from edgecompile.runtime.signers import FIX, MOST_BYTES, CertificateSigner, IdentitySigner, KeySigner, Signer

VARIABLE = "EDGECOMPILE_TRUST"
LARGEST = 256 << 10
"""Bytes of a policy."""
NOT_SIGNED = "is not signed, and"
"""Words by which a machine that sent a bundle knows why another refused it."""
KEYS = ("unsigned", "builders", "signer")
SIGNER_KEYS = ("name", "key", "expires", "certificate", "identity", "issuer")
MOST_BUILDERS = 16


@dataclass(frozen=True)
class Signed:
    """What the signatures of a bundle prove.

    Attributes:
        by: names of the trusted who signed it.
        builders: names of the trusted who state how they built it.
        provenance: name of a builder, and the predicate of its statement.
        strangers: number of further signatures, by nobody who is trusted.
    """

    by: tuple[str, ...] = ()
    builders: tuple[str, ...] = ()
    provenance: tuple[tuple[str, Mapping[str, Any]], ...] = ()
    strangers: int = 0


@dataclass(frozen=True)
class Trust:
    """Whose bundles are opened.

    Attributes:
        where: the file that says so, or the flags.
        signers: who may sign.
        unsigned: whether a bundle without any signature is opened too.
        builders: how many of them must state that they built these bytes.
    """

    where: str
    signers: tuple[Signer, ...]
    unsigned: bool = False
    builders: int = 0

    def check(self, bundle: Path, digest: str) -> Signed:
        """Returns what the signatures beside a bundle prove.

        Args:
            bundle: its path.
            digest: sha256 of the bytes that were read from it.

        Raises:
            BundleError: it is not signed as demanded, or what lies there is no signature of these bytes.
            MissingToolError: a library that checks signatures is not installed.
        """
        signatures = signatures_of(bundle, digest)
        if not any(signature.kind == "signature" for signature in signatures):
            return self._unsigned(bundle, signatures)
        found = _Findings()
        for signature in signatures:
            if signature.kind != "other":
                found.add(signature, self.signers)
        if not found.by:
            why = found.refused[0] if found.refused else f"is signed by nobody whom {self.where} trusts"
            raise BundleError(why, where=str(bundle))
        if len(found.provenance) < self.builders:
            raise BundleError(
                f"is proven by {len(found.provenance)} of the {self.builders} builders that {self.where} demands",
                where=str(bundle),
                fix="edgecompile reproduce BUNDLE --key KEY, on another machine",
            )
        return found.result()

    def _unsigned(self, bundle: Path, signatures: Iterable[Signature]) -> Signed:
        if self.unsigned and not any(True for _ in signatures):
            return Signed()
        raise BundleError(
            f"{NOT_SIGNED} {self.where} refuses such bundles",
            where=str(bundle),
            fix=f"copy its signature to {beside(bundle).name} beside it, or sign it: edgecompile sign BUNDLE --key KEY",
        )


@dataclass
class _Findings:
    """Signatures sorted by who made them; each signer counts once."""

    by: dict[str, str] = field(default_factory=dict)
    provenance: dict[str, tuple[str, Mapping[str, Any]]] = field(default_factory=dict)
    refused: list[str] = field(default_factory=list)
    strangers: int = 0

    def add(self, signature: Signature, signers: Iterable[Signer]) -> None:
        for signer in signers:
            judged = signer.judge(signature)
            if judged == "":
                self._accept(signature, signer)
                return
            if judged:
                self.refused.append(judged)
        self.strangers += signature.kind == "signature"

    def _accept(self, signature: Signature, signer: Signer) -> None:
        if signature.kind == "signature":
            self.by.setdefault(signer.who, signer.name)
        else:
            self.provenance.setdefault(signer.who, (signer.name, signature.statement["predicate"]))

    def result(self) -> Signed:
        builders = tuple(name for name, _ in self.provenance.values())
        return Signed(tuple(self.by.values()), builders, tuple(self.provenance.values()), self.strangers)


def signatures_of(bundle: Path, digest: str) -> tuple[Signature, ...]:
    """Returns the signatures beside a bundle, by whomever they are.

    Raises:
        BundleError: what lies there is no signature, or that of another bundle.
    """
    place = beside(bundle)
    signatures = read_signatures(place)
    for number, signature in enumerate(signatures, 1):
        if signature.digest and signature.digest != digest:
            raise BundleError(
                f"is the {signature.kind} of another bundle: of sha256 {signature.digest[:12]}, not {digest[:12]}",
                where=f"{place}:{number}",
                fix="remove it, or take the bundle that it belongs to",
            )
    return signatures


def key_signer(path: Path) -> KeySigner:
    """Returns the holder of the key in a file, who is called by the name of the file.

    Raises:
        BundleError: it holds no public key that bundles are signed with.
        MissingToolError: `cryptography` is not installed.
    """
    signer = KeySigner(path.name, read_whole(path, MOST_BYTES, "a public key"), str(path))
    assert signer.key is not None
    return signer


def policy() -> Trust | None:
    """Returns the trust policy of this machine; None where there is none.

    Raises:
        BundleError: it cannot be read, others may change it, or it is not a policy.
        MissingToolError: Python 3.10 lacks the reader of TOML.
    """
    chosen = os.environ.get(VARIABLE)
    if chosen:
        path = Path(chosen).expanduser()
        return read_policy(path)
    try:
        path = Path.home() / ".config" / "edgecompile" / "trust.toml"
    except RuntimeError:  # no home
        return None
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise BundleError(f"cannot be read: {error.strerror}", where=str(path)) from None
    return read_policy(path)


def read_policy(path: Path) -> Trust:
    """Returns the policy of a file.

    Raises:
        BundleError, MissingToolError: as `policy`.
    """
    document = _toml(read_guarded(path, LARGEST, "a trust policy"), path)
    _require_known(document, KEYS, path, "")
    unsigned = document.get("unsigned", "refuse")
    if unsigned not in ("refuse", "allow"):
        raise _wrong(path, "unsigned", unsigned, '"refuse" or "allow"')
    builders = document.get("builders", 0)
    if type(builders) is not int or not 0 <= builders <= MOST_BUILDERS:
        raise _wrong(path, "builders", builders, f"a whole number from 0 to {MOST_BUILDERS}")
    tables = document.get("signer", [])
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        raise _wrong(path, "signer", tables, "tables [[signer]]")
    if not tables:
        fix = 'add a table: [[signer]], name = "...", key = "NAME.pub"'
        raise BundleError("names nobody who may sign, so that no bundle could be trusted", where=str(path), fix=fix)
    signers = tuple(_signer(table, path, f"signer.{number}") for number, table in enumerate(tables))
    if builders > len({signer.who for signer in signers}):
        raise _wrong(path, "builders", builders, "no more than there are different signers")
    return Trust(str(path), signers, unsigned == "allow", builders)


def _signer(table: Mapping[str, Any], path: Path, where: str) -> Signer:
    _require_known(table, SIGNER_KEYS, path, f"{where}.")
    for key in SIGNER_KEYS:
        if key != "expires" and key in table and (not isinstance(table[key], str) or not table[key]):
            raise _wrong(path, f"{where}.{key}", table[key], "text")
    given = {key for key in SIGNER_KEYS[1:] if key in table}
    name = table.get("name", table.get("identity", table.get("key", "")))
    if given in ({"key"}, {"key", "expires"}):
        return _key(table, name, path, where)
    if given == {"certificate", "identity"}:
        place = path.parent / Path(table["certificate"]).expanduser()
        signer = CertificateSigner(name, read_guarded(place, MOST_BYTES, "certificates"), str(place), table["identity"])
        assert signer.roots
        return signer
    if given == {"identity", "issuer"}:
        return IdentitySigner(name, table["identity"], table["issuer"])
    raise _wrong(
        path, where, ", ".join(sorted(given)), "`key`, or `certificate` and `identity`, or `identity` and `issuer`"
    )


def _key(table: Mapping[str, Any], name: str, path: Path, where: str) -> Signer:
    expires = table.get("expires")
    if isinstance(expires, datetime) or (expires is not None and not isinstance(expires, date)):
        raise _wrong(path, f"{where}.expires", expires, "a day, such as 2027-12-31, without quotes")
    place = path.parent / Path(table["key"]).expanduser()
    signer = KeySigner(name, read_guarded(place, MOST_BYTES, "a public key"), str(place), expires)
    assert signer.key is not None
    return signer


def _toml(content: bytes, path: Path) -> Mapping[str, Any]:
    try:
        if sys.version_info >= (3, 11):
            import tomllib
        else:
            import tomli as tomllib
    except ImportError:
        message = "a trust policy is TOML, which this Python reads with the package 'tomli'"
        raise MissingToolError(message, where=str(path), fix=FIX) from None
    try:
        return tomllib.loads(content.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise BundleError(f"is no TOML: {error}", where=str(path)) from None


def _require_known(table: Mapping[str, Any], known: tuple[str, ...], path: Path, prefix: str) -> None:
    for key in table:
        if key not in known:
            raise BundleError(f"unknown key '{prefix}{key}'", where=str(path), fix=nearest(key, known))


def _wrong(path: Path, key: str, found: object, expected: str) -> BundleError:
    return BundleError(f"found {str(found)[:60]!r}, expected {expected}", where=f"{path}:{key}")
