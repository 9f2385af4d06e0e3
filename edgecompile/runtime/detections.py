"""What a prediction returns."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np


class Detection(NamedTuple):
    """One object: the name and number of its class, its score 0..1, its box (x1, y1, x2, y2) in pixels."""

    name: str
    score: float
    box: tuple[float, float, float, float]
    class_id: int


@dataclass(frozen=True, eq=False)
class Detections:
    """The objects found on one picture, best first.

    Attributes:
        boxes: float32 (n, 4): x1, y1, x2, y2 in pixels of the original picture.
        scores: float32 (n,), 0..1.
        classes: int64 (n,): numbers of classes.
        names: names of all classes the model knows, in the order of their numbers.
    """

    boxes: np.ndarray
    scores: np.ndarray
    classes: np.ndarray
    names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.scores)

    def __iter__(self) -> Iterator[Detection]:
        for box, score, number in zip(self.boxes.tolist(), self.scores.tolist(), self.classes.tolist(), strict=True):
            yield Detection(self._name(number), score, tuple(box), number)

    def __getitem__(self, index: int) -> Detection:
        number = int(self.classes[index])
        return Detection(self._name(number), float(self.scores[index]), tuple(self.boxes[index].tolist()), number)

    def __repr__(self) -> str:
        counts: dict[str, int] = {}
        for number in self.classes.tolist():
            counts[self._name(number)] = counts.get(self._name(number), 0) + 1
        return f"Detections({', '.join(f'{count} {name}' for name, count in counts.items()) or 'none'})"

    def to_dict(self) -> dict[str, Any]:
        """Returns plain JSON values: boxes to a thousandth of a pixel, scores to five digits, numbers and names of
        classes."""
        classes = self.classes.tolist()
        return {
            "boxes": [[round(value, 3) for value in box] for box in self.boxes.tolist()],
            "scores": [round(score, 5) for score in self.scores.tolist()],
            "classes": classes,
            "names": [self._name(number) for number in classes],
        }

    def _name(self, number: int) -> str:
        return self.names[number] if 0 <= number < len(self.names) else str(number)
