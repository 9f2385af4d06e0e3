"""What a split holds, in numbers: pictures found, used and left out, labels that are missing, empty or there.

A number goes into the manifest and the lock, so nothing here knows a folder of this machine.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from edgecompile.errors import Problem
from edgecompile.json_types import JsonObject


@dataclass(frozen=True)
class SplitCounts:
    """The pictures of one split.

    Attributes:
        split: its name in the data.yaml.
        found: files that are pictures, or may be, and that the split names; each once.
        left_out: why pictures were left out, and how many.
        repeated: how often the split names a picture that it has named already.
        used: pictures that were chosen among those not left out.
    """

    split: str
    found: int
    used: int
    repeated: int = 0
    left_out: Mapping[str, int] = field(default_factory=dict)

    @property
    def omitted(self) -> int:
        """Pictures left out, for whatever reason."""
        return sum(self.left_out.values())


@dataclass(frozen=True)
class LabelCounts:
    """The labels of the pictures that were used.

    Attributes:
        missing: pictures without a label file in its place; they count as pictures without objects.
        empty: pictures whose label file holds no object.
        objects: objects in all files.
        renamed: label files found under a name that is the picture's in another Unicode normalisation.
    """

    missing: int
    empty: int
    objects: int
    renamed: int = 0


@dataclass(frozen=True)
class DataCounts:
    """What a recipe's data set holds: the pictures to calibrate with (None where no pass does) and to validate on."""

    validation: SplitCounts
    labels: LabelCounts
    calibration: SplitCounts | None = None

    def as_json(self) -> JsonObject:
        """Returns the counts as plain JSON, reasons sorted."""
        return _sorted(asdict(self))


def counts_from(document: Mapping[str, Any]) -> DataCounts:
    """Returns the counts that `DataCounts.as_json` wrote."""
    calibration = document["calibration"]
    return DataCounts(
        SplitCounts(**document["validation"]),
        LabelCounts(**document["labels"]),
        SplitCounts(**calibration) if calibration else None,
    )


def split_remarks(counts: SplitCounts, purpose: str, share: float) -> list[str]:
    """Returns what a person should know of a split: pictures left out beyond a share, and those named twice.

    Args:
        purpose: what the pictures are for, such as "validation".
    """
    remarks = []
    if counts.omitted > share * counts.found:
        remarks.append(_left_out(counts, purpose))
    if counts.repeated:
        times = "once more" if counts.repeated == 1 else f"{counts.repeated} times more"
        remarks.append(f"split '{counts.split}' names pictures {times} that it has named already; each is used once")
    return remarks


def split_problems(counts: SplitCounts, purpose: str, share: float, where: str) -> list[Problem]:
    """Returns the problem of a split of which more than a share is left out."""
    if counts.omitted <= share * counts.found:
        return []
    fix = "convert or remove them, or raise data.error_share knowingly"
    return [Problem(_left_out(counts, purpose), where, fix)]


def _left_out(counts: SplitCounts, purpose: str) -> str:
    head = f"{counts.omitted} of {counts.found} {purpose} pictures of '{counts.split}' are left out"
    return f"{head}: {listed(counts.left_out)}"


def listed(left_out: Mapping[str, int]) -> str:
    """Returns why pictures were left out, most first: "6 .heic, which OpenCV does not decode, 1 without a suffix"."""
    return ", ".join(
        f"{number} {why}" for why, number in sorted(left_out.items(), key=lambda item: (-item[1], item[0]))
    )


def describe(counts: DataCounts) -> list[tuple[str, str]]:
    """Returns what the data set holds, as lines for people: what the pictures are for, and their numbers."""
    lines = [("validation pictures", "; ".join([_split(counts.validation), *_labels(counts.labels)]))]
    return [*lines, ("calibration pictures", _split(counts.calibration))] if counts.calibration else lines


def _split(counts: SplitCounts) -> str:
    left_out = f"; left out: {listed(counts.left_out)}" if counts.left_out else ""
    return f"{counts.found} found in '{counts.split}', {counts.used} used{left_out}"


def _labels(labels: LabelCounts) -> list[str]:
    """Returns the numbers of objects, and of pictures without any, where there are such pictures."""
    missing = [f"{labels.missing} without a label file"] if labels.missing else []
    empty = [f"{labels.empty} with an empty label file"] if labels.empty else []
    return [f"{labels.objects} objects", *missing, *empty]


def _sorted(value: Any) -> Any:
    return {key: _sorted(value[key]) for key in sorted(value)} if isinstance(value, dict) else value
