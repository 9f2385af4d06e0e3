"""Flags that say whose signature a bundle must carry."""

from __future__ import annotations

import argparse
from pathlib import Path

from edgecompile.arguments import WHERE, Parser, whole_number
from edgecompile.errors import InputError
from edgecompile.runtime.guarded_files import read_whole
from edgecompile.runtime.signers import MOST_BYTES, CertificateSigner, IdentitySigner, Signer
from edgecompile.runtime.trust import Trust, key_signer


def add_trust(parser: Parser) -> None:
    """Adds the arguments that demand a signature, beside what the machine's trust policy demands."""
    key = "demand a signature by this public key (PEM); may be given more than once: one of them must have signed"
    parser.add_argument("--key", metavar="PUB", type=Path, action="append", default=[], help=key)
    identity = "demand a signature by this e-mail address, URI or name; goes with --certificate or --issuer"
    parser.add_argument("--identity", metavar="NAME", help=identity)
    certificate = "certificates (PEM) of the authority that vouches for --identity; checked offline"
    parser.add_argument("--certificate", metavar="ROOT", type=Path, help=certificate)
    issuer = "identity provider of --identity, which signed without a key of its own; takes network"
    parser.add_argument("--issuer", metavar="URL", help=issuer)
    builders = "demand that so many of them state how they built these bytes"
    parser.add_argument("--builders", metavar="N", type=whole_number, default=0, help=builders)


def demanded(arguments: argparse.Namespace) -> Trust | None:
    """Returns what the flags demand; None where they demand nothing.

    Raises:
        InputError: a flag is given without the one that it goes with.
        BundleError: a file holds no public key.
        MissingToolError: the library that reads keys is not installed.
    """
    if bool(arguments.identity) != bool(arguments.certificate or arguments.issuer):
        raise InputError("--identity goes with --certificate or --issuer, and they with it", where=WHERE)
    if arguments.certificate and arguments.issuer:
        raise InputError("--certificate and --issuer exclude each other", where=WHERE)
    if not arguments.key and not arguments.identity:
        if arguments.builders:
            raise InputError("--builders goes with --key or --identity", where=WHERE)
        return None
    signers: list[Signer] = [key_signer(path) for path in arguments.key]
    if arguments.certificate:
        pem = read_whole(arguments.certificate, MOST_BYTES, "certificates")
        signers.append(CertificateSigner(arguments.identity, pem, str(arguments.certificate), arguments.identity))
    elif arguments.identity:
        signers.append(IdentitySigner(arguments.identity, arguments.identity, arguments.issuer))
    return Trust("the command line", tuple(signers), builders=arguments.builders)
