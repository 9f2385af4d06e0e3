"""Student's distribution, by which means of few numbers are judged. Standard library only."""

from __future__ import annotations

from statistics import NormalDist


def quantile(confidence: float, freedom: int) -> float:
    """Returns the quantile of Student's distribution: by the expansion around the normal distribution, which is off by
    less than 0.01 from 5 degrees of freedom on at 0.95."""
    z = NormalDist().inv_cdf(confidence)
    terms = (
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
    )
    return z + sum(term / max(freedom, 1) ** power for power, term in enumerate(terms, 1))
