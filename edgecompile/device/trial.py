"""Runs a bundle on the device that a recipe names, before the build decides whether to publish it."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from edgecompile.device.address import parse
from edgecompile.device.connection import Connection, Listener
from edgecompile.device.remote import Place, Remote, connect, opened, wheels_of
from edgecompile.device.remote_bench import DeviceSection, bench, section_of_bench, verdicts_of
from edgecompile.errors import BundleError, EdgecompileError, RecipeError
from edgecompile.evaluate.latency import PICTURES
from edgecompile.recipe.schema import Recipe
from edgecompile.runtime.confinement import limit_words
from edgecompile.runtime.measurement import Measurement
from edgecompile.runtime.trust import NOT_SIGNED


@dataclass(frozen=True)
class Trial:
    """The findings on the device.

    Attributes:
        measurement: of the bundle on the device.
        section: the section `device` of the report.
    """

    measurement: Measurement
    section: DeviceSection


def place_of(recipe: Recipe) -> Place | None:
    """Returns the device that a recipe names; None where it names none.

    Raises:
        RecipeError: its address has an unknown form.
    """
    device = recipe.device
    if not device.host:
        return None
    address = parse(device.host, str(recipe.origins.of("device", "host")))
    wheels = recipe.origins.of("device", "wheels").folder / Path(device.wheels).expanduser() if device.wheels else None
    address = replace(address, path=device.path or address.path)
    return Place(address, wheels, device.python, limit_words(None, None))


def require_device(recipe: Recipe) -> None:
    """Makes sure, before any step runs, that the device of a recipe is there and is of its target's architecture.

    Raises:
        RecipeError: it is of another architecture, or the folder of wheels that the recipe names holds no wheel.
        MissingToolError: there is no ssh here, or no Python there.
        StepError: it cannot be reached.
    """
    place = place_of(recipe)
    if place is None:
        return
    if place.wheels:
        wheels_of(place.wheels)
    with Connection(place.address) as connection:
        arch = connection.facts["arch"]
    if arch != recipe.target.arch:
        where = str(recipe.origins.of("device", "host"))
        message = f"{place.address} is {arch}, the target {recipe.target.device} is {recipe.target.arch}"
        raise RecipeError(message, where=where, fix="choose the target of that device, or another device")


def run_on_device(
    bundle: Path, recipe: Recipe, pictures: Sequence[Path], progress: Listener, against: Path | None = None
) -> Trial:
    """Copies a bundle to the device that a recipe names, proves that it runs there as here, measures and removes it.

    Args:
        bundle: provisional: it may never be published.
        pictures: those of the validation; as many as a measurement on this machine takes are predicted.
        against: a bundle of the float model, which takes turns with it; None for no speed-up.

    Raises:
        BundleError: it does not run there as here.
        EdgecompileError: the device cannot be reached, or lacks something.
    """
    place = place_of(recipe)
    assert place is not None, "the recipe names a device"
    verified_bundle = opened(bundle, trusting=True)
    chosen = list(pictures[:PICTURES])
    with connect(place, verified_bundle.target, progress) as remote:
        progress(f"copying {bundle.name}, {bundle.stat().st_size / 1e6:.1f} MB")
        path = remote.put(verified_bundle)
        copied = [path]
        try:
            verb = "finalize" if verified_bundle.target.finalize else "verify"
            progress({"finalize": "building the model", "verify": "verifying"}[verb])
            verified = _run_unsigned(remote, verb, path).splitlines()
            progress("measuring")
            rounds = -(-recipe.evaluate.latency_images // len(chosen))
            asked = recipe.asks_for("stream_fps")
            other = remote.put(opened(against, trusting=True)) if against else None
            copied += [other] if other else []
            result, evidence = bench(remote, path, pictures=chosen, rounds=rounds, stream=asked, against=other)
        finally:
            for one in copied:
                with suppress(EdgecompileError):  # where the connection is gone, it cannot be removed
                    remote.remove(one.parent)
        limits = [(name, limit) for name, limit in recipe.gates if limit is not None]
        measurement = result.measurement
        section = section_of_bench(remote, result, evidence, verdicts_of(limits, measurement), verified)
    return Trial(measurement, section)


def _run_unsigned(remote: Remote, verb: str, bundle: PurePosixPath) -> str:
    """Runs a verb on a bundle that nobody has signed: it is signed when its gates are known to be met.

    Raises:
        BundleError: the trust policy of the device refuses it, or it does not run there as here.
    """
    try:
        return remote.run(verb, bundle)
    except BundleError as error:
        if not any(NOT_SIGNED in problem.message for problem in error.problems):
            raise
        message = (
            "the trust policy of the device refuses what is not signed, and a build measures before anybody can sign"
        )
        fix = (
            'set unsigned = "allow" in that policy while it is measured, or build without device.host, sign the '
            "bundle, and measure it by `edgecompile deploy BUNDLE HOST`"
        )
        raise BundleError(message, where=str(remote.connection.address), fix=fix) from error
