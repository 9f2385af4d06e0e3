"""Labels that are the name of a picture's class, for classification: one line of one field.

Names, not numbers: as in Ultralytics, folders of classes meet the model's classes by their names.
"""

from __future__ import annotations

from dataclasses import dataclass

from edgecompile.data.label_lines import CheckedLabels, Fault, LabelFacts, LabelLines
from edgecompile.errors import RecipeError


@dataclass(frozen=True)
class ClassNameLabel:
    """The class of one picture, by its name; None for a picture without a label."""

    name: str | None


def check_labels(lines: LabelLines, facts: LabelFacts) -> CheckedLabels:
    """Returns what the line holds and what is wrong with it."""
    problems = [lines.problem(place, _fault(len(fields))) for place, fields in lines.lines if len(fields) != 1]
    if len(lines.lines) > 1:
        problems.append(lines.problem(lines.lines[1][0], _fault(len(lines.lines))))
    return CheckedLabels(0 if problems else len(lines.lines), tuple(problems))


def read_labels(lines: LabelLines, facts: LabelFacts) -> ClassNameLabel:
    """Reads the label of one picture.

    Raises:
        RecipeError: there is more than one class.
    """
    if problems := check_labels(lines, facts).problems:
        raise RecipeError(problems)
    return ClassNameLabel(str(lines.lines[0][1][0]) if lines.lines else None)


def _fault(count: int) -> Fault:
    return Fault(f"found {count} values, expected the name of one class")
