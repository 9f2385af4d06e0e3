"""Numbers for the channels of a graph's activations: which are one channel, which may not be scaled, and why not."""

from __future__ import annotations

import numpy as np

UNSCALED = 0
"""Number of what no learned layer made: the picture, what an operator put out that passes no factor on."""
NOT_LEARNED = "no layer with weights before it"


class Channels:
    """Numbers of channels, some of which are one channel: a forest of joined numbers.

    Attributes:
        reasons: root of joined numbers -> why they may not be scaled; absent where they may.
    """

    def __init__(self) -> None:
        self.parents = [UNSCALED]
        self.reasons = {UNSCALED: NOT_LEARNED}

    def new(self, count: int) -> np.ndarray:
        """Returns numbers of channels that nothing is known of."""
        first = len(self.parents)
        self.parents.extend(range(first, first + count))
        return np.arange(first, first + count)

    def root(self, number: int) -> int:
        """Returns the number that stands for all joined with this one."""
        while self.parents[number] != number:
            self.parents[number] = self.parents[self.parents[number]]
            number = self.parents[number]
        return number

    def roots(self, numbers: np.ndarray) -> np.ndarray:
        """Returns the same of an array."""
        unique, inverse = np.unique(numbers, return_inverse=True)
        return np.array([self.root(int(number)) for number in unique])[inverse].reshape(numbers.shape)

    def join(self, one: np.ndarray, other: np.ndarray) -> np.ndarray:
        """Makes one channel of each two numbers that meet where both arrays are broadcast; returns the numbers."""
        one, other = np.broadcast_arrays(one, other)
        for a, b in np.unique(np.stack([one.ravel(), other.ravel()]), axis=1).T.tolist():
            a, b = sorted((self.root(a), self.root(b)))
            if a != b:
                self.parents[b] = a
                if reason := self.reasons.get(a) or self.reasons.get(b):
                    self.reasons[a] = reason
        return one

    def forbid(self, numbers: np.ndarray, reason: str) -> None:
        """Notes that channels may not be scaled; a reason that is known already stays."""
        for number in np.unique(numbers).tolist():
            self.reasons.setdefault(self.root(number), reason)

    def reason(self, number: int) -> str:
        """Returns why a channel may not be scaled; "" where it may."""
        return self.reasons.get(self.root(number), "")

    def none_scaled(self, numbers: np.ndarray) -> bool:
        """Whether no channel of these may be scaled."""
        return all(self.root(number) in self.reasons for number in np.unique(numbers).tolist())


def compact(numbers: np.ndarray) -> np.ndarray:
    """Returns numbers with one entry for each axis along which all are the same."""
    for axis in range(numbers.ndim):
        first = numbers.take([0], axis=axis)
        if numbers.shape[axis] > 1 and (numbers == first).all():
            numbers = first
    return np.ascontiguousarray(numbers)


def same_rank(one: np.ndarray, other: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns both arrays with as many axes: what broadcasting adds in front."""
    rank = max(one.ndim, other.ndim)
    first, second = (part.reshape(*[1] * (rank - part.ndim), *part.shape) for part in (one, other))
    return first, second


def varies_only_along(numbers: np.ndarray, axis: int) -> bool:
    """Whether numbers are the same along every other axis."""
    return all(size == 1 for place, size in enumerate(numbers.shape) if place != axis)
