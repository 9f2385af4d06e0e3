"""Counting on the device: how many objects of each class there are on a picture."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from edgecompile.runtime import tasks
from edgecompile.runtime.tasks import Agreement, Parts, Setting, detect
from edgecompile.text import escape


@dataclass(frozen=True)
class Counts:
    """How many objects of each class were found, in the order of `names`."""

    numbers: tuple[int, ...]
    names: tuple[str, ...]

    def __len__(self) -> int:
        return sum(self.numbers)

    def to_dict(self) -> dict[str, int]:
        return dict(zip(self.names, self.numbers, strict=True))


class Task(tasks.Task[Counts]):
    """Counts what a detector finds."""

    noun: ClassVar[str] = "counts"
    settings: ClassVar[tuple[Setting, ...]] = (Setting("conf", float, "lowest score, 0..1 (default: the bundle's)"),)

    def __init__(self, document: Mapping[str, Any], names: tuple[str, ...]) -> None:
        self.names = names
        self._detection = detect.Task(document, names)
        self.outputs = self._detection.outputs

    def decode(self, outputs: Sequence[Any], geometry: Any, slot: int, given: Mapping[str, Any]) -> Counts:
        found = self._detection.decode(outputs, geometry, slot, given).classes.tolist()
        return Counts(tuple(found.count(number) for number in range(len(self.names))), self.names)

    def parts(self, reference: Sequence[Any], other: Sequence[Any]) -> Parts:
        return self._detection.parts(reference, other)

    def draw(self, image: Any, result: Counts) -> Any:
        import cv2

        return cv2.putText(image.copy(), str(len(result)), (4, 24), cv2.FONT_HERSHEY_SIMPLEX, 0.8, (0, 0, 255), 2)

    def lines(self, result: Counts) -> Iterable[str]:
        yield f"{len(result)} counted"
        for name, number in result.to_dict().items():
            yield f"{escape(name)} {number}"

    def fields(self, result: Counts) -> dict[str, Any]:
        return {"counts": result.to_dict()}

    def golden(self, result: Counts) -> dict[str, Any]:
        return {"numbers": list(result.numbers)}

    def agreement(self, result: Counts, golden: Any) -> Agreement:
        return Agreement(list(result.numbers) == golden["numbers"], f"{list(result.numbers)}")
