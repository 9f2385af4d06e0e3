"""The verb `reproduce`: builds again from a lock alone, and reports whether the results are the same."""

from __future__ import annotations

import argparse
import signal
import sys
import time
from pathlib import Path

from edgecompile.arguments import WHERE, Parser, uri, whole_number
from edgecompile.errors import RecipeError, StepError
from edgecompile.text import tell, to_json

ABOUT = "build a bundle again from its lock, and say whether the same came out"


def add_arguments(parser: Parser) -> None:
    """Adds the arguments that the verb takes."""
    parser.add_argument("source", metavar="BUNDLE|LOCK", type=Path, help="a .bundle.zip or a .lock.yaml")
    cache = "store to use; `empty` for a new store that is removed after this run: every step runs"
    parser.add_argument("--cache", metavar="DIR|empty", help=f"{cache} (default: the store of builds)")
    search = "folder in which weights and data are looked for, by digest; may be given more than once"
    parser.add_argument("--search", metavar="DIR", type=Path, action="append", default=[], help=search)
    parser.add_argument("--out", metavar="DIR", type=Path, help="where the bundle goes (default: below outputs)")
    parser.add_argument("--jobs", metavar="N", type=whole_number, help="at most N steps side by side")
    parser.add_argument("--json", action="store_true", help="print JSON, with all differences")
    key = "sign the bundle with this private key where the same came out: a second builder vouches for it"
    parser.add_argument("--key", metavar="KEY", type=Path, help=f"{key}; goes with --cache empty")
    parser.add_argument("--builder", metavar="URI", type=uri, help="who built again (default: that of the key)")
    parser.add_argument("--quiet", action="store_true", help="no progress")


def run(arguments: argparse.Namespace) -> int:
    """Returns 0 where the results are the same.

    Raises:
        StepError: the results differ; the differences stand on stdout.
        GateError: the results are the same, but a gate that is measured is not met on this machine.
        EdgecompileError: a subclass for each way in which a build can end.
    """
    from edgecompile.bundle.lock import open_locked
    from edgecompile.data.search import Finder
    from edgecompile.evaluate.gates import raise_unmet
    from edgecompile.recipe import data_roots
    from edgecompile.reproduction import EMPTY, as_document, cause_of, reproduce, store_for, verdict
    from edgecompile.signing import Credentials, require_key, sign_with_key

    if arguments.builder and not arguments.key:
        raise RecipeError("--builder goes with --key", where=WHERE)
    if arguments.key:
        if arguments.cache != EMPTY:
            raise RecipeError("--key goes with --cache empty: who signs has run every step", where=WHERE)
        require_key(Credentials(arguments.key))

    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends as by Ctrl-C: the folders made for this run go
    was = open_locked(arguments.source)
    name = str(was.lock.recipe.get("name", "lock"))
    out = arguments.out or Path("outputs", name, time.strftime("reproduced_%F_%H-%M-%S"))
    finder = Finder(arguments.search, data_roots.folders())
    with store_for(arguments.cache) as store:
        quiet, differences_to = arguments.quiet, sys.stderr if arguments.json else None
        rebuilt = reproduce(was, store, finder, out, jobs=arguments.jobs, quiet=quiet, differences_to=differences_to)
    if arguments.json:
        print(to_json(as_document(rebuilt), indent=2))
    else:
        tell(*verdict(rebuilt))
    if not rebuilt.same:
        near = {True: "; within tolerance", False: "; not within tolerance", None: ""}[rebuilt.near]
        raise StepError(f"not reproduced: {cause_of(rebuilt)}{near}", where=str(was.path))
    raise_unmet(rebuilt.verdicts)
    if arguments.key and (bundle := was.path if was.digest else rebuilt.bundle):
        done = sign_with_key(bundle, Credentials(arguments.key), builder=arguments.builder, how="reproduced")
        tell(f"signed by {done.signer}: {done.path}", file=sys.stderr if arguments.json else None)
    return 0
