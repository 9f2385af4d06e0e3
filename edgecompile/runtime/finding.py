"""`Finding`: a cause that a diagnosis names, by what it is known, and what helps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypedDict

SYMPTOMS = {
    "latency": "latency jumps",
    "memory": "memory grows",
    "heat": "heat",
    "results": "results are abnormal",
}


class FindingDocument(TypedDict):
    """`Finding` as JSON."""

    symptom: str
    cause: str
    title: str
    evidence: str
    fix: str
    share: float


@dataclass(frozen=True)
class Finding:
    """A cause, named.

    Attributes:
        symptom: one of `SYMPTOMS`.
        cause: its name for programs, such as "other_processes".
        title: for people.
        evidence: by what it is known, with figures.
        fix: what helps.
        share: of latency the share of the time of all predictions that it cost, 0..1; else 1. The largest comes first.
    """

    symptom: str
    cause: str
    title: str
    evidence: str
    fix: str
    share: float = 1.0

    def to_json(self) -> FindingDocument:
        """Returns the finding as plain JSON."""
        return {
            "symptom": self.symptom,
            "cause": self.cause,
            "title": self.title,
            "evidence": self.evidence,
            "fix": self.fix,
            "share": round(self.share, 4),
        }
