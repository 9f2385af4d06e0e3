"""Keeps a loading checkpoint from calling classes to make objects: sound checkpoints restore the state of objects.

A restricted unpickler takes known classes only, but calls them with whatever arguments the file names: a model's class
then reads an architecture from any path or address, a layer downloads weights.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

CALLED = frozenset(
    {
        "__builtin__.bytearray",
        "__builtin__.complex",
        "__builtin__.getattr",
        "__builtin__.set",
        "_codecs.encode",
        "builtins.bytearray",
        "builtins.complex",
        "builtins.getattr",
        "builtins.set",
        "collections.Counter",
        "collections.OrderedDict",
        "copy_reg._reconstructor",
        "copyreg._reconstructor",
    }
)
"""Functions outside of torch, numpy and pathlib that a sound checkpoint may call."""

CALLED_PACKAGES = ("torch", "numpy", "pathlib", "torchvision")
MODULES = ("torch.nn.", "ultralytics.")
"""Packages whose classes are restored, not called."""


def may_be_called(name: str) -> bool:
    """Whether a sound checkpoint may call a function or class, by its name; the unpickler is stricter still."""
    package = name.partition(".")[0]
    return name in CALLED or (package in CALLED_PACKAGES and not name.startswith(MODULES))


@contextmanager
def nothing_constructed(base: type, refuse: Callable[[type], Exception]) -> Iterator[None]:
    """Makes the constructors of a class and of all classes derived from it raise an error.

    Args:
        refuse: returns the error.
    """

    def raising(self: object, *_: Any, **__: Any) -> None:
        raise refuse(type(self))

    kept = {cls: vars(cls)["__init__"] for cls in _family(base) if "__init__" in vars(cls)}
    try:
        for cls in kept:
            cls.__init__ = raising  # type: ignore[misc]
        yield
    finally:
        for cls, constructor in kept.items():
            cls.__init__ = constructor  # type: ignore[misc]


def _family(base: type) -> set[type]:
    family: set[type] = {base}
    waiting: list[type] = [base]
    while waiting:
        derived: set[type] = set(waiting.pop().__subclasses__()) - family
        family |= derived
        waiting += derived
    return family
