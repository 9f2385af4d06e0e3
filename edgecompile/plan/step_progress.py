"""How a step that takes minutes says how far it is: a note in a file, which the process that started it shows."""

from __future__ import annotations

import json
import os
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

NOTE = "EDGECOMPILE_STEP_PROGRESS"
"""Environment variable that names the file of the note; without it nobody looks."""
INTERVAL_S = 0.5


@dataclass(frozen=True)
class StepProgress:
    """How far a step is.

    Attributes:
        done, total: rounds of its work.
        words: a figure that tells how it goes, such as "loss 0.31".
        seconds_left: by the time that the rounds so far took; None before the first.
    """

    done: int
    total: int
    words: str = ""
    seconds_left: int | None = None


class ProgressNote:
    """Notes the progress of the step that runs in this process, at most twice a second."""

    def __init__(self, total: int) -> None:
        self._total = total
        self._began = time.monotonic()
        self._next = 0.0
        self._file = os.environ.get(NOTE)

    def tell(self, done: int, words: str = "") -> None:
        """Notes that so many rounds are done. A note that cannot be written is left out."""
        now = time.monotonic()
        if self._file is None or (now < self._next and done < self._total):
            return
        self._next = now + INTERVAL_S
        left = round((now - self._began) / done * (self._total - done)) if done else None
        note = json.dumps(asdict(StepProgress(done, self._total, words, left)))
        with suppress(OSError):
            beside = Path(f"{self._file}.new")
            beside.write_text(note, encoding="utf-8")
            beside.replace(self._file)


def read_note(file: Path) -> StepProgress | None:
    """Returns what a step noted; None where there is no note, or one that means nothing."""
    try:
        noted = json.loads(file.read_text(encoding="utf-8"))
        left = noted["seconds_left"]
        return StepProgress(
            int(noted["done"]), max(1, int(noted["total"])), str(noted["words"]), None if left is None else int(left)
        )
    except (OSError, ValueError, OverflowError, TypeError, KeyError):
        return None
