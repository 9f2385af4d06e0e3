"""One comparison of this device with the machine that built a bundle."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Check:
    """One comparison: its name, whether it agrees, its figures, and whether it is of the decoded golden outputs, which
    involves no model."""

    name: str
    met: bool
    detail: str
    decoded: bool = False
