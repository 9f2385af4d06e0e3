"""The verb `verify`, which devices have too."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from edgecompile.arguments import Parser
from edgecompile.errors import BundleError, MissingToolError
from edgecompile.runtime.trust_flags import add_trust, demanded
from edgecompile.text import tell, to_json
from edgecompile.verbs._bundle import add_bundle, add_execution, add_json
from edgecompile.verbs._remote import add_on, require_on

if TYPE_CHECKING:
    from edgecompile.runtime.archive import Archive

ABOUT = "check a bundle: digests, signatures, golden vectors, the runtime it needs"


def add_arguments(parser: Parser) -> None:
    """Adds the arguments that the verb takes."""
    add_bundle(parser)
    add_trust(parser)
    add_execution(parser)
    add_json(parser)
    add_on(parser)


def run(arguments: argparse.Namespace) -> int:
    """Runs the verb, on a device where one is named."""
    require_on(arguments)
    if arguments.device:
        from edgecompile.device.on_device import verify

        return verify(arguments)
    from edgecompile.runtime.supervisor import run_confined

    return run_confined(verify_bundle, arguments)


def verify_bundle(arguments: argparse.Namespace) -> int:
    """Checks a bundle from the seal to the golden vectors, and prints a line for each check."""
    from edgecompile.runtime.archive import Archive
    from edgecompile.runtime.signature_lines import signature_lines

    with Archive(arguments.bundle) as archive:
        lines = _Lines(arguments.json)
        lines.add("seal", True, "every byte is as it was sealed")
        lines.add("members", True, f"{archive.check_members()} files, as the manifest lists them")
        wanted = demanded(arguments)
        signed = wanted.check(archive.path, archive.digest) if wanted else archive.signed
        signatures = list(signature_lines(archive.path, archive.digest, signed))
        if not arguments.json:
            tell(*signatures)
        from edgecompile.runtime.golden import check_golden
        from edgecompile.runtime.predictor import open_bundle
        from edgecompile.runtime.tuning import remark_on, tuning_lines

        predictor = open_bundle(archive, threads=arguments.threads)
        lines.add("runtime", True, _check_runtime(archive, predictor.backend.version))
        if (remark := remark_on(archive)) and not arguments.json:
            tell(f"{'note':<12} {remark}")
        if not arguments.json:
            tell(*(f"{'tuned here':<12} {line}" for line in tuning_lines(predictor)))
        checks = check_golden(archive, predictor)
        for check in checks:
            lines.add(check.name, check.met, check.detail)
        if arguments.json:
            document = {"bundle": str(archive.path), "sha256": archive.digest}
            print(to_json({**document, "signatures": signatures, "checks": lines.checks}, indent=2), flush=True)
        failed = [check.name for check in checks if not check.met]
        if failed:
            differs = f"does not run here as it did where it was built: {', '.join(failed)}"
            raise BundleError(differs, where=str(archive.path))
        if not arguments.json:
            tell(f"{'sha256':<12} {archive.digest}")
    return 0


class _Lines:
    """The checks as they are made: printed, a line each, or kept for one document."""

    def __init__(self, keep: bool) -> None:
        self._keep = keep
        self.checks: list[dict[str, str | bool]] = []

    def add(self, name: str, met: bool, detail: str) -> None:
        self.checks.append({"name": name, "met": met, "detail": detail})
        if not self._keep:
            tell(f"{name:<12} {'ok' if met else 'DIFFERS'}: {detail}")


def _check_runtime(archive: Archive, version: str) -> str:
    """Compares the version of the backend's library with the range in the manifest; returns a sentence.

    Raises:
        MissingToolError: the version is outside of the range.
    """
    from edgecompile.runtime.requirement import satisfies
    from edgecompile.runtime.target import read_target

    distribution, versions = read_target(archive).runtime
    if not satisfies(version, versions):
        needed = f"{distribution}{versions}"
        raise MissingToolError(f"the bundle needs {needed}, here is {version}", fix=f"pip install '{needed}'")
    return f"{distribution} {version} (the bundle needs {versions})"
