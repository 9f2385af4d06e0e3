"""What pictures prove about a drop of accuracy. Pure, standard library only: recipes are checked without numpy."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, floor, log, log1p, log10

from edgecompile.runtime.figures import DropError
from edgecompile.runtime.student import quantile

USUAL_CONFIDENCE = 0.95
"""Where a recipe does not say how sure a proof has to be."""


@dataclass(frozen=True)
class DropProof:
    """What pictures prove about a drop and its limit.

    Attributes:
        drop: on these pictures.
        bound: that the drop on all pictures of the kind does not exceed, at the confidence asked for (one-sided).
        proven: whether the bound, too, is within the limit.
        pictures: that the drop was found on.
        enough: about how many would do, were the drop the same on them; None where no number would, or it is proven.
    """

    drop: float
    bound: float
    proven: bool
    pictures: int
    enough: int | None

    @property
    def words(self) -> str:
        """What is proven of a drop within its limit."""
        if self.proven:
            return f"met and proven on {self.pictures} pictures"
        return f"met, not proven on {self.pictures} pictures ({self.remedy})"

    @property
    def why_not(self) -> str:
        """Why a drop within its limit is not proven."""
        return f"up to {self.bound:.4f} on {self.pictures} pictures ({self.remedy})"

    @property
    def remedy(self) -> str:
        """How many pictures would do."""
        return f"about {self.enough} would do" if self.enough else "no number would do: the drop is the limit itself"


def prove(drop: float, limit: float, error: DropError, pictures: int, confidence: float | None = None) -> DropProof:
    """Returns what is proven of `drop` <= `limit`.

    The bound is the drop and as many standard errors as Student's distribution asks for. Where no group of pictures
    changes the drop, there is no standard error to go by: then so many pictures without a change bound the share of
    those with one (3 / pictures at 0.95), unless both models did the same on each, which needs no proof.

    Args:
        drop: of the main metric.
        limit: largest drop allowed.
        pictures: it was found on.
        confidence: 0.5 to 1; None for the usual one.
    """
    level = USUAL_CONFIDENCE if confidence is None else confidence
    if error["same"]:
        return DropProof(drop, drop, drop <= limit, pictures, None)
    room = limit - drop
    if error["standard_error"] == 0:
        bound = drop + 1 - (1 - level) ** (1 / pictures)
        enough = log(1 - level) / log1p(-room) if 0 < room < 1 else None
    else:
        margin = quantile(level, error["groups"] - 1) * error["standard_error"]
        bound = drop + margin
        enough = pictures * (margin / room) ** 2 if room > 0 else None
    proven = bound <= limit
    return DropProof(drop, bound, proven, pictures, None if proven or enough is None else _about(enough))


def _about(count: float) -> int:
    """Returns a number rounded up to two digits."""
    unit = 10 ** max(floor(log10(count)) - 1, 0)
    return ceil(count / unit) * unit


def spread(error: DropError) -> str:
    """Returns the standard error as it stands behind a figure."""
    return f"± {error['standard_error']:.4f}"
