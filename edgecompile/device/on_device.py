"""The work of `deploy`, and the verbs of the runtime that run on a device: `--on ssh://...`."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import PurePosixPath

from edgecompile.device.address import parse
from edgecompile.device.connection import Listener
from edgecompile.device.measurement_signature import Evidence
from edgecompile.device.remote import Bundle, Place, Remote, connect, opened
from edgecompile.device.remote_bench import bench, copied_pictures, section_of_bench, section_of_record, verdicts_of
from edgecompile.device.remote_progress import show_lines
from edgecompile.device.run_report import add_to_run
from edgecompile.errors import GateError
from edgecompile.runtime.bench import Bench, summarize
from edgecompile.runtime.confinement import limit_words
from edgecompile.runtime.diagnosis import Diagnosis
from edgecompile.runtime.finalize import Record
from edgecompile.runtime.layer_lines import SLOWEST
from edgecompile.runtime.pictures import find_pictures
from edgecompile.runtime.trust_flags import demanded
from edgecompile.text import escape, tell, to_json

MET = {True: "met", False: "NOT met", None: "open"}


def deploy(arguments: argparse.Namespace) -> int:
    """Copies, builds the model where that is done on the device, verifies, measures; prints the path there."""
    with _opened_device(arguments) as (bundle, remote, path, progress):
        if bundle.target.finalize:
            progress("building the model")
            _, record, evidence = _finished(remote, path)
            verified = _summary(record)
            tell(evidence["signed_by"], file=sys.stderr)
        else:
            progress("verifying")
            verified = remote.run("verify", path, *_trust(arguments, remote), unfinished=_print).splitlines()
        if not arguments.json:
            tell(*verified)
        if arguments.tune:
            progress("tuning")
            tuned = remote.run("tune", path, "--quiet", unfinished=_print)
            if not arguments.json:
                _print(tuned)
        result = None
        if not arguments.no_bench:
            progress("measuring")
            result, evidence = bench(
                remote, path, stream=_asks_for_streams(bundle), against=_put_other(arguments, remote)
            )
            if arguments.json:
                tell(evidence["signed_by"], file=sys.stderr)
            else:
                _tell(bundle, remote, result, evidence, verified)
        published = remote.publish(path)
        if arguments.json:
            device = str(remote.connection.address)
            found = {"device": device, "path": str(published), "sha256": bundle.sha256, "verified": verified}
            print(to_json({**found, "bench": result.to_json() if result else None}, indent=2))
        else:
            tell(published)
    return 0


def verify(arguments: argparse.Namespace) -> int:
    """Verifies a bundle on the device and prints the output of `verify` there."""
    with _opened_device(arguments) as (_, remote, path, progress):
        progress("verifying")
        words = [*_trust(arguments, remote), *_threads(arguments), *(["--json"] if arguments.json else [])]
        _print(remote.run("verify", path, *words, unfinished=_print))
    return 0


def finalize(arguments: argparse.Namespace) -> int:
    """Builds a bundle's model on the device, prints the record, and adds it to the report of the run."""
    with _opened_device(arguments) as (bundle, remote, path, progress):
        progress("building the model")
        words = [*_threads(arguments), *(["--rebuild"] if arguments.rebuild else [])]
        output, record, evidence = _finished(remote, path, *words, as_json=arguments.json)
        _print(output if arguments.json else "".join(f"{escape(line)}\n" for line in _summary(record)))
        tell(evidence["signed_by"], file=sys.stderr)
        if page := add_to_run(bundle, section_of_record(remote, record, evidence)):
            tell(f"report: {page}", file=sys.stderr)
        if arguments.tune:
            progress("tuning")
            print(escape(remote.run("tune", path, "--quiet"), keep="\n"), end="", file=sys.stderr)
    return 0


def tune(arguments: argparse.Namespace) -> int:
    """Tunes a bundle on the device and prints the output of `tune` there."""
    pictures = find_pictures(arguments.images) if arguments.images else []
    words = ["--minutes", f"{arguments.minutes:g}"] if arguments.minutes else []
    words += [f"--{name}" for name in ("json", "reset") if getattr(arguments, name)]
    with _opened_device(arguments) as (_, remote, path, progress):
        progress("tuning")
        folder = remote.put_pictures(pictures) if pictures else None
        words += ["--images", str(folder)] if folder else []
        _print(remote.run("tune", path, "--quiet", *words, unfinished=_print))
        if folder:
            remote.remove(folder)
    return 0


def _finished(remote: Remote, path: PurePosixPath, *words: str, as_json: bool = False) -> tuple[str, Record, Evidence]:
    """Runs `finalize` on the device; returns its record, as text and parsed, and who vouches for it.
    Prints that of a refused model too."""

    def unfinished(output: str) -> None:
        if output.startswith("{") and not as_json:
            output = "".join(f"{line}\n" for line in _summary(json.loads(output)))
        _print(output)

    output = remote.run("finalize", path, "--json", *words, unfinished=unfinished)
    document = json.loads(output)
    return output, document, remote.evidence_of(document)


def _summary(record: Record) -> list[str]:
    from edgecompile.runtime.bundle_summary import summarize_record

    return list(summarize_record(record))


def _print(text: str) -> None:
    print(escape(text, keep="\n"), end="", flush=True)


def measure(arguments: argparse.Namespace) -> int:
    """Measures a bundle on the device, prints the figures, and adds them to the report of the run."""
    pictures = find_pictures(arguments.images) if arguments.images else []
    with _opened_device(arguments) as (bundle, remote, path, progress):
        progress("measuring")
        result, evidence = bench(
            remote,
            path,
            pictures=pictures,
            rounds=arguments.rounds,
            threads=arguments.threads,
            layers=arguments.layers,
            stream=arguments.stream or _asks_for_streams(bundle),
            against=_put_other(arguments, remote),
        )
        _tell(bundle, remote, result, evidence, as_json=arguments.json, slowest=arguments.top or SLOWEST)
    return 0


def diagnose(arguments: argparse.Namespace) -> Diagnosis:
    """Soaks a bundle on the device, and returns what was found there."""
    pictures = find_pictures(arguments.images) if arguments.images else []
    words = ["--json", "--minutes", f"{arguments.minutes:g}", "--pause", f"{arguments.pause:g}", *_threads(arguments)]
    words += ["--imgsz", *(f"{height}x{width}" for height, width in arguments.imgsz)] if arguments.imgsz else []
    seen: list[str] = []
    with _opened_device(arguments) as (_, remote, path, progress):
        progress(f"predicting for {arguments.minutes:g} minutes")
        with copied_pictures(remote, pictures) as images, suppress(GateError):  # judged here again, with its text
            seen.append(remote.run("diagnose", path, *words, *images, unfinished=seen.append))
    return Diagnosis.from_json(json.loads(seen[-1]))


def _put_other(arguments: argparse.Namespace, remote: Remote) -> PurePosixPath | None:
    """Copies the bundle that takes turns, where one is named, and returns its path on the device."""
    return remote.put(opened(arguments.against)) if arguments.against else None


def _asks_for_streams(bundle: Bundle) -> bool:
    return any(gate["gate"] == "stream_fps" for gate in bundle.manifest["gates"])


@contextmanager
def _opened_device(arguments: argparse.Namespace) -> Iterator[tuple[Bundle, Remote, PurePosixPath, Listener]]:
    """Yields the bundle, the device with the runtime on it, the bundle's path there, and a listener to progress."""
    limits = limit_words(arguments.timeout, arguments.memory)
    place = Place(parse(arguments.device), arguments.wheels, arguments.python, limits)
    bundle = opened(arguments.bundle)
    if hasattr(arguments, "key") and (wanted := demanded(arguments)):
        wanted.check(arguments.bundle, bundle.sha256)
    with show_lines(quiet=arguments.quiet) as progress, connect(place, bundle.target, progress) as remote:
        progress(f"copying {bundle.path.name}, {bundle.path.stat().st_size / 1e6:.1f} MB")
        yield bundle, remote, remote.put(bundle), progress


def _threads(arguments: argparse.Namespace) -> list[str]:
    return ["--threads", str(arguments.threads)] if arguments.threads else []


def _trust(arguments: argparse.Namespace, remote: Remote) -> list[str]:
    """Returns the flags that demand a signature, with files that are on the device."""
    words = [word for key in arguments.key for word in ("--key", str(remote.put_key(key)))]
    for flag in ("identity", "issuer", "builders"):
        if value := getattr(arguments, flag):
            words += [f"--{flag}", str(value)]
    return [*words, *(["--certificate", str(remote.put_key(arguments.certificate))] if arguments.certificate else [])]


def _tell(
    bundle: Bundle,
    remote: Remote,
    result: Bench,
    evidence: Evidence,
    verified: Sequence[str] = (),
    *,
    as_json: bool = False,
    slowest: int = SLOWEST,
) -> None:
    """Prints the figures of the device and the verdicts of the gates, and adds them to the run's report."""
    limits = [(gate["gate"], gate["limit"]) for gate in bundle.manifest["gates"]]
    verdicts = verdicts_of(limits, result.measurement)
    _print(
        to_json(result.to_json(), indent=2) + "\n"
        if as_json
        else "".join(f"{escape(line)}\n" for line in summarize(result, slowest))
    )
    tell(evidence["signed_by"], file=sys.stderr)
    for verdict in verdicts:
        tell(f"{MET[verdict.met]}: {verdict}", file=sys.stderr)
    if page := add_to_run(bundle, section_of_bench(remote, result, evidence, verdicts, verified)):
        tell(f"report: {page}", file=sys.stderr)
