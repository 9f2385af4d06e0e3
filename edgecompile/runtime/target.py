"""The target in the manifest of a bundle, checked before it reaches a library or a package index."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from edgecompile.errors import BundleError, InputError, Problem
from edgecompile.runtime.archive import MANIFEST, Archive
from edgecompile.runtime.backends import Backend, find_backend
from edgecompile.runtime.options import MOST_THREADS, Fault, Options, Whole, check_options, show_value
from edgecompile.runtime.requirement import satisfies

THREADS = Whole(1, MOST_THREADS)
MEMORY_MB = Whole(1, 10**9)
DISTRIBUTION = re.compile("[A-Za-z0-9][A-Za-z0-9._-]{0,98}")
LONGEST_TEXT = 500
"""Characters of a text of the manifest that names a device or a version range."""


@dataclass(frozen=True)
class BundleTarget:
    """The device that a bundle is for, and how its model is opened there.

    Attributes:
        name: of the backend.
        options: that it is opened with.
        threads: of the target.
        memory_mb: of the device; None in bundles of older versions.
        runtime: distribution that the device needs, and its version range.
        system_runtime: whether the device's system brings that distribution.
        device: name of the device for people.
        arch: its machine architecture.
        finalize: whether the model is built on the device.
        constraints: fact of the device to a version range or to the values that it may have.
    """

    name: str
    options: Options
    threads: int
    memory_mb: int | None
    runtime: tuple[str, str]
    system_runtime: bool
    device: str
    arch: str
    finalize: bool
    constraints: Mapping[str, str | list[str]]

    @property
    def backend(self) -> type[Backend]:
        """The backend's class. Raises as `find_backend`."""
        return find_backend(self.name)


def read_target(archive: Archive) -> BundleTarget:
    """Returns the target in the manifest, after checking that this machine's backend takes it.

    Raises:
        BundleError: as `read_target_facts`; there is no such backend here; one problem for each option that it does not
            take.
    """
    try:
        backend = find_backend(_section(archive)["backend"])
    except BundleError as error:
        raise error.located(archive.path) from None
    target = read_target_facts(archive)
    _raise_faults(archive, _backend_faults(target, backend))
    return target


def read_target_facts(archive: Archive) -> BundleTarget:
    """Returns the target in the manifest, whose backend may be on another machine only.

    Raises:
        BundleError: one problem for each thing that is missing or of another form.
    """
    target = _section(archive)
    _raise_faults(archive, _form_faults(target))
    return BundleTarget(
        name=target["backend"],
        options=target["options"],
        threads=target["threads"],
        memory_mb=target.get("memory_mb"),
        runtime=(target["runtime"][0], target["runtime"][1]),
        system_runtime=target.get("system_runtime", False),
        device=target["device"],
        arch=target["arch"],
        finalize=target.get("finalize", False),
        constraints=target.get("constraints", {}),
    )


def stand_in_of(archive: Archive) -> BundleTarget:
    """Returns the target in the manifest as the runtime opens it that stood in for the device when it was judged.

    Raises:
        InputError: none did: the device's own runtime runs wherever it is installed.
        BundleError: as `read_target_facts`; this runtime has no such backend.
    """
    target, name = read_target_facts(archive), archive.manifest["target"].get("stand_in")
    if name is None:
        fix = f"leave --stand-in out: {target.runtime[0]} runs it"
        message = "the bundle was judged by its own runtime: nothing stands in for it"
        raise InputError(message, where=str(archive.path), fix=fix)
    if not isinstance(name, str):
        raise BundleError(
            f"found {show_value(name)}, expected the name of a backend", where=f"{archive.path}:{MANIFEST}"
        )
    backend = find_backend(name)
    options = getattr(backend, "stand_in_options", {})
    return replace(target, name=name, options=options, finalize=False, constraints={})


def _section(archive: Archive) -> dict[str, Any]:
    target = archive.manifest.get("target")
    if not isinstance(target, dict) or not isinstance(target.get("backend"), str):
        raise BundleError("the manifest does not say how to open the model", where=str(archive.path))
    return target


def _raise_faults(archive: Archive, faults: Iterable[Fault]) -> None:
    where = f"{archive.path}:{MANIFEST}:target"
    problems = [Problem(fault.message, f"{where}.{fault.key}", fault.fix) for fault in faults]
    if problems:
        raise BundleError(problems)


def _backend_faults(target: BundleTarget, backend: type[Backend]) -> Iterator[Fault]:
    for fault in check_options(backend.options, target.options):
        yield fault.below("options") if fault.key else Fault("options", f"{target.name} {fault.message}", fault.fix)
    if target.runtime[0] not in backend.distributions:
        known = " or ".join(backend.distributions)
        yield Fault("runtime", f"found {show_value(target.runtime[0])}, and the backend '{target.name}' is of {known}")


def _form_faults(target: Mapping[str, Any]) -> Iterator[Fault]:
    if not isinstance(target.get("options"), dict):
        yield Fault("options", f"found {show_value(target.get('options'))}, expected a mapping of options")
    yield from (fault.below("threads") for fault in THREADS.faults(target.get("threads")))
    if target.get("memory_mb") is not None:
        yield from (fault.below("memory_mb") for fault in MEMORY_MB.faults(target["memory_mb"]))
    for key in ("device", "arch"):
        if not isinstance(target.get(key), str) or not 0 < len(target[key]) <= LONGEST_TEXT:
            yield Fault(key, f"found {show_value(target.get(key))}, expected a name")
    for key in ("finalize", "system_runtime"):
        if type(target.get(key, False)) is not bool:
            yield Fault(key, f"found {show_value(target[key])}, expected true or false")
    runtime: Any = target.get("runtime")
    pair = isinstance(runtime, list) and len(runtime) == 2 and all(isinstance(text, str) for text in runtime)
    if not pair or not DISTRIBUTION.fullmatch(runtime[0]) or not _is_range(runtime[1]):
        expected = "expected a distribution and its version range, such as ['onnxruntime', '>=1.19,<2']"
        yield Fault("runtime", f"found {show_value(runtime)}, {expected}")
    yield from _constraint_faults(target.get("constraints", {}))


def _constraint_faults(constraints: Any) -> Iterator[Fault]:
    if not isinstance(constraints, Mapping):
        yield Fault("constraints", f"found {show_value(constraints)}, expected a mapping")
        return
    for name, constraint in constraints.items():
        listed = isinstance(constraint, list) and all(
            isinstance(value, str) and len(value) <= LONGEST_TEXT for value in constraint
        )
        if not re.fullmatch("[a-z_]{1,40}", name) or not (listed or _is_range(constraint)):
            pair = f"found {show_value(name)}: {show_value(constraint)}"
            yield Fault("constraints", f"{pair}, expected a fact's name with a version range or a list of values")


def _is_range(versions: Any) -> bool:
    if not isinstance(versions, str) or len(versions) > LONGEST_TEXT:
        return False
    try:
        satisfies("0", versions)
    except ValueError:
        return False
    return True
