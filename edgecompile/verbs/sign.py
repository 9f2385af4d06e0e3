"""The verb `sign`: says who made a bundle, in a file beside it."""

from __future__ import annotations

import argparse
from pathlib import Path

from edgecompile.arguments import WHERE, Parser, uri
from edgecompile.errors import RecipeError
from edgecompile.text import tell
from edgecompile.verbs._bundle import add_bundle

ABOUT = "sign a bundle and state how it was built, in a file beside it"


def add_arguments(parser: Parser) -> None:
    """Adds the arguments that the verb takes."""
    add_bundle(parser)
    key = "private key to sign with: PEM, P-256, P-384 or P-521; the password of an encrypted one stands in"
    parser.add_argument("--key", metavar="KEY", type=Path, help=f"{key} EDGECOMPILE_KEY_PASSWORD")
    parser.add_argument("--certificate", metavar="CERT", type=Path, help="certificate of the key, PEM")
    chain = "certificates between that of the key and its authority, PEM; may be given more than once"
    parser.add_argument("--chain", metavar="CERTS", type=Path, action="append", default=[], help=chain)
    keyless = "sign by an identity instead of a key, with Sigstore's public services; takes network"
    parser.add_argument("--keyless", action="store_true", help=keyless)
    builder = "URI of who built the bundle, for its provenance (default: that of the key or identity)"
    parser.add_argument("--builder", metavar="URI", type=uri, help=builder)


def run(arguments: argparse.Namespace) -> int:
    """Signs, and prints the path of the file of signatures."""
    if bool(arguments.key) == arguments.keyless:
        raise RecipeError("`sign` takes one of --key and --keyless", where=WHERE, fix="--key KEY signs without network")
    if not arguments.certificate and arguments.chain:
        raise RecipeError("--chain goes with --certificate", where=WHERE)
    if arguments.keyless and arguments.certificate:
        raise RecipeError("--certificate goes with --key", where=WHERE)
    from edgecompile.signing import Credentials, sign_with_identity, sign_with_key

    if arguments.keyless:
        done = sign_with_identity(arguments.bundle, builder=arguments.builder)
    else:
        credentials = Credentials(arguments.key, arguments.certificate, tuple(arguments.chain))
        done = sign_with_key(arguments.bundle, credentials, builder=arguments.builder)
    others = f"; beside {done.kept} lines of others" if done.kept else ""
    dropped = f"; {done.dropped} lines about another bundle removed" if done.dropped else ""
    tell(f"signed by {done.signer}{others}{dropped}", done.path)
    return 0
