"""What an evaluation keeps of each picture, so that two models can be compared picture by picture."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

EVIDENCE = "evidence.npz"
"""File of an evaluation. It is not compressed, for what zlib puts out depends on its version."""
_ROWS = "rows of "


@dataclass(frozen=True)
class Evidence:
    """Arrays of all pictures, by name.

    Attributes:
        arrays: the rows of the first picture, then those of the second, and so on.
        rows: under the same names, int64 (pictures,): how many rows each picture has.
    """

    arrays: Mapping[str, np.ndarray]
    rows: Mapping[str, np.ndarray]

    def __getitem__(self, name: str) -> np.ndarray:
        return self.arrays[name]

    def __contains__(self, name: str) -> bool:
        return name in self.arrays

    @cached_property
    def pictures(self) -> int:
        return max((len(counts) for counts in self.rows.values()), default=0)

    def picture_of(self, name: str) -> np.ndarray:
        """Returns the number of the picture of each row of an array, int64 (rows,)."""
        return np.repeat(np.arange(len(self.rows[name])), self.rows[name])

    def by_picture(self, name: str) -> Iterator[np.ndarray]:
        """Yields the rows of one picture after another."""
        ends = self.rows[name].cumsum()
        yield from np.split(self.arrays[name], ends[:-1])


def gathered(pictures: Sequence[Mapping[str, np.ndarray]]) -> Evidence:
    """Returns the evidence of all pictures. All pictures have the same names."""
    names = list(pictures[0]) if pictures else []
    return Evidence(
        {name: np.concatenate([picture[name] for picture in pictures]) for name in names},
        {name: np.array([len(picture[name]) for picture in pictures], np.int64) for name in names},
    )


def save_evidence(folder: Path, evidence: Evidence) -> None:
    """Writes the file into the folder of an evaluation."""
    rows = {f"{_ROWS}{name}": counts for name, counts in evidence.rows.items()}
    with (folder / EVIDENCE).open("wb") as file:
        np.savez(file, allow_pickle=False, **dict(evidence.arrays), **rows)


def load_evidence(folder: Path) -> Evidence:
    """Reads the file in the folder of an evaluation."""
    with np.load(folder / EVIDENCE, allow_pickle=False) as file:
        names = [name for name in file.files if not name.startswith(_ROWS)]
        return Evidence({name: file[name] for name in names}, {name: file[f"{_ROWS}{name}"] for name in names})
