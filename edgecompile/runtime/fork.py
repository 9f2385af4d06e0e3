"""A loaded model belongs to the process that loaded it: a fork copies its memory, but none of the threads that run it.

Without them OpenVINO and ncnn wait for ever, and so do destructors of all libraries. Hence one rule for every backend:
a model that was loaded before a fork is refused in the child, and is never destroyed there.
"""

from __future__ import annotations

import os
from weakref import WeakSet

from edgecompile.errors import InputError

FIX = "load the bundle in the process that predicts, or start processes with multiprocessing's 'spawn'"

_owners: WeakSet[object] = WeakSet()
_first_use: dict[str, int] = {}
"""Library to the process that used it first."""


def own(owner: object) -> int:
    """Notes an object that holds a loaded model, and returns the number of this process."""
    _owners.add(owner)
    return os.getpid()


def require_owner(process: int) -> None:
    """Demands that this is the process that loaded a model, and not a fork of it.

    Raises:
        InputError: it is not.
    """
    current = os.getpid()
    if current != process:
        forked = f"the model was loaded in process {process} and cannot run in its fork, process {current}"
        raise InputError(forked, fix=FIX)


def require_first_use(library: str) -> None:
    """Demands that a library which keeps threads or a device for good was not used before this process was forked.

    Raises:
        InputError: it was.
    """
    first, current = _first_use.setdefault(library, os.getpid()), os.getpid()
    if first != current:
        fix = "start processes with multiprocessing's 'spawn', or load nothing before they are forked"
        forked = f"{library} was used in process {first} and cannot be in its fork, process {current}"
        raise InputError(forked, fix=fix)


def _keep_in_child() -> None:
    """Keeps each owner alive for good: its destructor would join threads that this process does not have."""
    import ctypes

    for owner in list(_owners):
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(owner))


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_keep_in_child)
