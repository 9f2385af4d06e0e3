"""The verbs of the device: finalize, predict, verify, bench, inspect. They need numpy, OpenCV and one backend."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgecompile.arguments import Parser, fraction, picture_size, whole_number
from edgecompile.errors import BundleError, MissingToolError, RecipeError
from edgecompile.runtime.confinement import add_flags, choose_limits
from edgecompile.runtime.options import MOST_THREADS
from edgecompile.runtime.supervisor import run_confined
from edgecompile.text import tell, to_json

if TYPE_CHECKING:
    from edgecompile.runtime.archive import Archive
    from edgecompile.runtime.bench import Bench

CONFINED = ("finalize", "predict", "verify", "bench")
"""Verbs that run the model."""


def run(verb: str, arguments: argparse.Namespace) -> int:
    """Runs a verb, in a process of its own where it runs the model; returns the exit code.

    Raises:
        EdgecompileError: for whoever called to print.
    """
    if verb not in CONFINED:
        return run_here(verb, arguments)
    return run_confined(verb, arguments, choose_limits(arguments.timeout, arguments.memory))


def run_here(verb: str, arguments: argparse.Namespace) -> int:
    """Runs a verb in this process; as `run`."""
    verbs = {"finalize": finalize, "predict": predict, "verify": verify, "bench": bench, "inspect": inspect}
    try:
        return verbs[verb](arguments)
    except BundleError as error:
        raise error.located(arguments.bundle) from error


def add_arguments(verb: str, parser: Parser) -> None:
    """Adds the arguments that a verb takes."""
    parser.add_argument("bundle", metavar="BUNDLE", type=Path, help="a .bundle.zip")
    if verb == "predict":
        from edgecompile.runtime.results import FORMATS

        parser.add_argument("sources", metavar="SOURCE", nargs="+", help="picture, folder of pictures, or pattern")
        parser.add_argument("--conf", type=fraction, help="lowest score, 0..1 (default: the bundle's)")
        parser.add_argument("--iou", type=fraction, help="largest overlap of two boxes of a class, 0..1")
        parser.add_argument("--max-det", type=whole_number, help="most boxes on a picture")
        parser.add_argument("--save", metavar="DIR", type=Path, help="also write the pictures with boxes drawn there")
        parser.add_argument("--format", choices=FORMATS, default="table")
        parser.add_argument("--out", metavar="FILE", type=Path, help="write the results there instead of stdout")
    if verb == "bench":
        images = "pictures to predict, or folders of them (default: the golden one)"
        parser.add_argument("--images", metavar="DIR", nargs="+", default=[], help=images)
        parser.add_argument("--rounds", type=whole_number, help="how often each picture is predicted")
    if verb in ("predict", "bench"):
        size = "size that pictures are scaled to, pixels: N or HxW, of those the bundle was built for"
        parser.add_argument("--imgsz", type=picture_size, metavar="SIZE", help=size)
    if verb == "bench":
        parser.add_argument("--batch", type=whole_number, help="pictures of one run (default: 1)", default=1)
    if verb == "finalize":
        parser.add_argument("--rebuild", action="store_true", help="build again what was built here before")
    if verb in ("finalize", "predict", "verify", "bench"):
        parser.add_argument("--threads", type=thread_count, help="threads (default: the target's)")
    if verb in CONFINED:
        add_flags(parser, building=verb == "finalize")
    if verb in ("finalize", "bench", "inspect"):
        parser.add_argument("--json", action="store_true", help="print JSON")


def thread_count(text: str) -> int:
    """Returns a number of threads that a backend may be opened with."""
    if (count := whole_number(text)) > MOST_THREADS:
        raise argparse.ArgumentTypeError(f"found '{text}', expected a whole number from 1 to {MOST_THREADS}")
    return count


def finalize(arguments: argparse.Namespace) -> int:
    """Builds, verifies and judges a bundle's model on its device, and says what was found, good or bad."""
    from edgecompile.runtime.archive import Archive
    from edgecompile.runtime.bundle_summary import summarize_record
    from edgecompile.runtime.finalize import finalize as finish

    def show(record: dict[str, Any]) -> None:
        if arguments.json:
            print(to_json(record, indent=2), flush=True)
        else:
            tell(*summarize_record(record))

    with Archive(arguments.bundle) as archive:
        finish(archive, threads=arguments.threads, rebuild=arguments.rebuild, tell=show)
    return 0


def predict(arguments: argparse.Namespace) -> int:
    """Predicts pictures and writes the results; with --save the annotated pictures too."""
    from edgecompile.runtime.detector import load
    from edgecompile.runtime.pictures import find_pictures, read_picture
    from edgecompile.runtime.results import WRITERS, opened

    pictures = find_pictures(arguments.sources)
    saved = _saved_paths(pictures, arguments.save) if arguments.save else {}
    if arguments.out:
        _require_writable(arguments.out, [*pictures, arguments.bundle])
    model = load(arguments.bundle, threads=arguments.threads)
    if arguments.save:
        _make_folder(arguments.save)
    settings = {name: getattr(arguments, name) for name in ("conf", "iou", "max_det", "imgsz")}
    with opened(arguments.out, whole=arguments.format != "table") as stream:
        writer = WRITERS[arguments.format](stream, pictures)
        for number, path in enumerate(pictures, 1):
            image = read_picture(path)
            found = model.predict(image, **settings)
            writer.add(path, image.shape[:2], found)
            if path in saved:
                _save(saved[path], image, found)
            _progress(number, len(pictures))
        writer.finish()
    return 0


def verify(arguments: argparse.Namespace) -> int:
    """Checks a bundle from the seal to the golden vectors, and says what was checked."""
    from edgecompile.runtime.archive import Archive

    with Archive(arguments.bundle) as archive:
        tell(f"{'seal':<12} ok: every byte is as it was sealed")
        tell(f"{'members':<12} ok: {archive.check_members()} files, as the manifest lists them")
        from edgecompile.runtime.detector import open_bundle
        from edgecompile.runtime.golden import check_golden

        detector = open_bundle(archive, threads=arguments.threads)
        tell(f"{'runtime':<12} ok: {_check_runtime(archive, detector.backend.version)}")
        checks = check_golden(archive, detector)
        for check in checks:
            tell(f"{check.name:<12} {'ok' if check.met else 'DIFFERS'}: {check.detail}")
        failed = [check.name for check in checks if not check.met]
        if failed:
            differs = f"does not run here as it did where it was built: {', '.join(failed)}"
            raise BundleError(differs, where=str(archive.path))
        tell(f"{'sha256':<12} {archive.digest}")
    return 0


def bench(arguments: argparse.Namespace) -> int:
    """Measures a bundle and prints the figures."""
    from edgecompile.runtime import bench as measuring
    from edgecompile.runtime.archive import Archive
    from edgecompile.runtime.pictures import find_pictures

    pictures = find_pictures(arguments.images) if arguments.images else []
    with Archive(arguments.bundle) as archive:
        found = measuring.bench(
            archive,
            pictures,
            threads=arguments.threads,
            rounds=arguments.rounds,
            imgsz=arguments.imgsz,
            batch=arguments.batch,
        )
    if arguments.json:
        print(to_json(found.to_json(), indent=2))
        return 0
    tell(*bench_lines(found))
    return 0


def bench_lines(found: Bench) -> Iterator[str]:
    """Yields the lines that tell a person what `bench` found."""
    figures = found.measurement
    height, width = found.imgsz
    pictures = "a picture" if figures.batch == 1 else f"{figures.batch} pictures"
    yield (
        f"{found.bundle}, {found.backend}, {figures.threads} threads, {figures.predictions} predictions of {pictures} "
        f"at {height}x{width}"
    )
    yield f"{'ms':<12}  {'p50':>8}  {'p95':>8}  {'p99':>8}"
    for part, ranks in figures.latency_ms.items():
        yield f"{part:<12}  {ranks.p50:8.2f}  {ranks.p95:8.2f}  {ranks.p99:8.2f}"
    yield "total: from a picture in memory to its result; read comes before it"
    yield f"frames a second {figures.fps:.1f}, jitter {figures.jitter_ms:.2f} ms (p95 - p50)"
    yield f"start to first result {figures.start_ms:.0f} ms (open {figures.open_ms:.0f} ms)"
    yield f"peak memory {figures.peak_memory_mb:.0f} MB"
    if figures.power_watt:
        yield f"power {figures.power_watt:.1f} W, {figures.fps_per_watt:.2f} FPS/W ({figures.power_meter})"
    else:
        yield f"power unknown: {figures.unmeasured.get('fps_per_watt')}"
    for command, said in found.power_mode.items():
        yield f"{command}: {' '.join(said.split())}"


def inspect(arguments: argparse.Namespace) -> int:
    """Shows the manifest of a bundle."""
    from edgecompile.runtime.archive import Archive
    from edgecompile.runtime.bundle_summary import summarize

    with Archive(arguments.bundle) as archive:
        size = archive.path.stat().st_size
        if arguments.json:
            print(to_json({"sha256": archive.digest, "size_bytes": size, "manifest": archive.manifest}, indent=2))
        else:
            tell(*summarize(archive.manifest, archive.digest, size))
    return 0


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


def _require_writable(out: Path, read: Sequence[Path]) -> None:
    """Raises:
    RecipeError: there is no such folder, or a file that is read would be overwritten.
    """
    if not out.absolute().parent.is_dir():
        raise RecipeError("there is no such folder to write to", where=str(out.parent))
    if out.resolve() in {path.resolve() for path in read}:
        raise RecipeError("would be overwritten, and is read", where=str(out), fix="choose another --out")


def _saved_paths(pictures: Sequence[Path], folder: Path) -> dict[Path, Path]:
    """Returns where each annotated picture goes: its name in `folder`, numbered where names meet.

    Raises:
        RecipeError: a source picture would be overwritten.
    """
    places: dict[Path, Path] = {}
    taken: set[Path] = set()
    sources = {path.resolve() for path in pictures}
    for path in pictures:
        place, number = folder / path.name, 2
        while place in taken:
            place, number = folder / f"{path.stem}-{number}{path.suffix}", number + 1
        if place.resolve() in sources:
            raise RecipeError("would overwrite a source picture", where=str(place), fix="choose another --save folder")
        taken.add(place)
        places[path] = place
    return places


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RecipeError(f"cannot be made: {error.strerror or error}", where=str(folder)) from error


def _save(place: Path, image: Any, found: Any) -> None:
    """Writes a picture with its detections drawn, whole or not at all."""
    import cv2

    from edgecompile.runtime.draw import draw

    temporary = place.with_name(f".{place.name}.{os.getpid()}.part")
    try:
        done, content = cv2.imencode(place.suffix, draw(image, found))
        if not done:
            raise RecipeError("cannot be encoded", where=str(place))
        temporary.write_bytes(content.tobytes())
        os.replace(temporary, place)
    except OSError as error:
        raise RecipeError(f"cannot be written: {error.strerror or error}", where=str(place)) from error
    finally:
        temporary.unlink(missing_ok=True)


def _progress(done: int, of: int) -> None:
    """Shows on a terminal's stderr how far a long prediction is."""
    if of > 20 and sys.stderr.isatty():
        sys.stderr.write(f"\r{done} of {of} pictures" + ("\n" if done == of else ""))
        sys.stderr.flush()
