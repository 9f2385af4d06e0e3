"""What stands in for torchvision while a classifier is loaded: checkpoints hold the transforms of their validation.

The exported model needs none of them (the spec says how pictures are prepared), and a torchvision that was built for
another torch cannot be imported at all.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum
from importlib.machinery import ModuleSpec
from types import ModuleType

TRANSFORMS, FUNCTIONAL = "torchvision.transforms.transforms", "torchvision.transforms.functional"
RESTORED = ("Compose", "Normalize", "Resize", "CenterCrop", "ToTensor")
"""Classes of torchvision whose objects are restored."""
INTERPOLATIONS = ("nearest", "nearest-exact", "bilinear", "bicubic", "box", "hamming", "lanczos")


@contextmanager
def substituted() -> Iterator[None]:
    """Puts modules of torchvision in place that have what checkpoints of classifiers refer to, and no more."""
    modules = {name: ModuleType(name) for name in ("torchvision", "torchvision.transforms", TRANSFORMS, FUNCTIONAL)}
    for name, module in modules.items():
        module.__spec__ = ModuleSpec(name, None)
        parent, _, child = name.rpartition(".")
        if parent:
            setattr(modules[parent], child, module)
    for name in RESTORED:
        setattr(modules[TRANSFORMS], name, type(name, (), {"__module__": TRANSFORMS}))
    members = {name.upper().replace("-", "_"): name for name in INTERPOLATIONS}
    modes = Enum("InterpolationMode", members, module=FUNCTIONAL)  # type: ignore[misc]
    modules[FUNCTIONAL].InterpolationMode = modes  # type: ignore[attr-defined]
    kept = {name: module for name, module in sys.modules.items() if name.partition(".")[0] == "torchvision"}
    for name in kept:
        del sys.modules[name]
    sys.modules.update(modules)
    try:
        yield
    finally:
        for name in modules:
            sys.modules.pop(name, None)
        sys.modules.update(kept)
