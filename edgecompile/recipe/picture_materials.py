"""Chooses the pictures of a recipe's data set to calibrate with and to validate on, and counts what is left out."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from edgecompile.data.counts import LabelCounts, SplitCounts, split_problems, split_remarks
from edgecompile.data.label_search import FoundLabels, find_labels
from edgecompile.data.search import file_digest
from edgecompile.data.split_listing import Folders, Listing
from edgecompile.data.yolo_dataset import DataFile, list_split, split_line
from edgecompile.data.yolo_labels import CheckedLabels
from edgecompile.errors import Problem, RecipeError
from edgecompile.evaluate.tasks import find_task
from edgecompile.places import shown
from edgecompile.recipe.rules import calibrates
from edgecompile.recipe.training_size import training_size
from edgecompile.weights.stated_task import stated_task

if TYPE_CHECKING:
    from edgecompile.recipe.schema import Recipe

T = TypeVar("T")


class Files:
    """What was found in files, each looked at once: the points of a sweep name the same ones again and again.

    Attributes:
        size: of a path, in bytes.
        digest: sha256 of a path's content.
        labels: of a task, a file of labels and a number of classes, what it holds and what is wrong with its lines.
        folders: names of the files of folders.
        training_size: of a file of weights and the key that names it.
        stated_task: of a file of weights, what it says it is for.
    """

    def __init__(self) -> None:
        self.size = cache(os.path.getsize)
        self.digest = cache(file_digest)
        self.labels = cache(_checked)
        self.folders = Folders()
        self.training_size = cache(training_size)
        self.stated_task = cache(stated_task)


def _checked(task: str, file: str, classes: int) -> CheckedLabels:
    return find_task(task).check_labels(file, classes)


@dataclass(frozen=True)
class ChosenPictures:
    """Pictures of one split.

    Attributes:
        pictures: absolute paths, in a fixed order.
        counts: what the split holds; None where it cannot be listed.
        labels: the label file of each picture that is validated on; it need not exist.
        notes: remarks for a person.
        problems: what is wrong with the pictures or their labels.
    """

    pictures: Sequence[str] = ()
    counts: SplitCounts | None = None
    labels: Sequence[str] = ()
    label_counts: LabelCounts | None = None
    notes: list[str] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)


def choose_validation(recipe: Recipe, data: DataFile, files: Files, task: str) -> ChosenPictures:
    """Chooses the pictures to validate on, and finds their labels, which are those of a task."""
    wanted = recipe.data.validation
    try:
        listing = list_split(data, wanted.split, str(recipe.origins.of("data", "validation", "split")), files.folders)
    except RecipeError as error:
        return ChosenPictures(problems=list(error.problems))
    pictures = spread(listing.pictures, wanted.images) if wanted.images else listing.pictures
    chosen = _chosen(recipe, data, wanted.split, "validation", listing, pictures, files)
    if len(pictures) < wanted.minimum:
        return ChosenPictures(pictures, problems=[_too_few(recipe, len(pictures)), *chosen.problems])
    found = find_labels(pictures, listing.resolved, files.folders, str(data.root))
    checked = [files.labels(task, one.path, len(data.names)) for one in found.files if one.exists]
    label_counts = LabelCounts(
        missing=len(found.missing),
        empty=sum(not one.objects and not one.problems for one in checked),
        objects=sum(one.objects for one in checked),
        renamed=found.renamed,
    )
    problems = [*chosen.problems, *_missing_labels(recipe, data, found)]
    return ChosenPictures(
        pictures=pictures,
        counts=chosen.counts,
        labels=[one.path for one in found.files],
        label_counts=label_counts,
        notes=[
            *_few(recipe, len(pictures)),
            *chosen.notes,
            *_label_remarks(recipe, found),
            *find_task(task).label_remarks(checked),
        ],
        problems=[*problems, *(problem for one in checked for problem in one.problems)],
    )


def _too_few(recipe: Recipe, count: int) -> Problem:
    """Returns the problem of pictures too few to validate on."""
    wanted = recipe.data.validation
    usual = type(wanted).model_fields["minimum"].default
    keys = ("data", "validation", "minimum") if wanted.minimum != usual else ("data", "validation")
    return Problem(
        f"split '{wanted.split}' has {count} pictures to validate on, fewer than {wanted.minimum}",
        str(recipe.origins.of(*keys)),
        "use a larger split, or lower data.validation.minimum knowingly",
    )


def _few(recipe: Recipe, count: int) -> list[str]:
    """Returns the remark that figures of so few pictures are uncertain."""
    wanted = recipe.data.validation
    if count >= wanted.warn_below:
        return []
    return [
        f"validating on {count} pictures of '{wanted.split}', fewer than {wanted.warn_below}: "
        "a difference in accuracy may be chance"
    ]


def choose_calibration(recipe: Recipe, data: DataFile, files: Files) -> ChosenPictures | None:
    """Chooses the pictures to calibrate with; returns None where no pass does."""
    wanted = recipe.data.calibration
    if wanted is None or not any(calibrates(one) for one in recipe.passes.values()):
        return None
    try:
        listing = list_split(data, wanted.split, str(recipe.origins.of("data", "calibration", "split")), files.folders)
    except RecipeError as error:
        return ChosenPictures(problems=list(error.problems))
    pictures = spread(listing.pictures, wanted.images)
    chosen = _chosen(recipe, data, wanted.split, "calibration", listing, pictures, files)
    if len(listing.pictures) < wanted.minimum:
        problem = Problem(
            f"split '{wanted.split}' has {len(listing.pictures)} pictures to calibrate with, "
            f"fewer than {wanted.minimum}",
            str(recipe.origins.of("data", "calibration")),
            "use a larger split, or lower data.calibration.minimum knowingly",
        )
        return ChosenPictures(pictures, problems=[problem, *chosen.problems])
    return ChosenPictures(
        pictures, chosen.counts, notes=[*remarks(recipe, len(pictures)), *chosen.notes], problems=chosen.problems
    )


def _chosen(
    recipe: Recipe,
    data: DataFile,
    split: str,
    purpose: str,
    listing: Listing,
    pictures: Sequence[str],
    files: Files,
) -> ChosenPictures:
    """Returns pictures with what is to be said of the split, whatever they are for."""
    left_out = dict(sorted(listing.left_out.items()))
    counts = SplitCounts(split, listing.found, len(pictures), listing.repeated, left_out)
    where = split_line(data, split)
    problems = [
        *split_problems(counts, purpose, recipe.data.error_share, where),
        *(Problem("the picture is an empty file", shown(one)) for one in pictures if files.size(one) == 0),
    ]
    return ChosenPictures(
        pictures, counts, notes=split_remarks(counts, purpose, recipe.data.remark_share), problems=problems
    )


def _missing_labels(recipe: Recipe, data: DataFile, found: FoundLabels) -> list[Problem]:
    """Returns the problem of pictures without a label file: of all of them, or of more than `data.error_share`."""
    count, share = len(found.missing), recipe.data.error_share
    where = split_line(data, recipe.data.validation.split)
    if count == len(found.pictures):
        fix = "labels lie beside them, in a folder named labels where theirs is named images"
        told = found.none_line(data.names)
        return [Problem(told, where, fix)]
    if count > share * len(found.pictures):
        fix = "write an empty file for each picture without objects, or raise data.error_share knowingly"
        return [Problem(found.missing_line(), where, fix)]
    return []


def _label_remarks(recipe: Recipe, found: FoundLabels) -> list[str]:
    """Returns what a person should know of the labels that were found and of those that were not."""
    notes = []
    misplaced = found.elsewhere()
    if len(found.missing) > recipe.data.remark_share * len(found.pictures) or misplaced:
        notes.append(f"{found.missing_line()}; they count as pictures without objects")
    notes += found.bare_folders()
    if found.renamed:
        files = "1 label file is" if found.renamed == 1 else f"{found.renamed} label files are"
        notes.append(f"{files} named as the picture in another Unicode normalisation; Ultralytics does not find them")
    return notes


def remarks(recipe: Recipe, count: int) -> list[str]:
    """Returns what a person should know of calibrating with `count` pictures."""
    wanted = recipe.data.calibration
    if wanted is None or count >= wanted.images:
        return []
    return [f"calibrating with all {count} pictures of '{wanted.split}'; {wanted.images} were asked for"]


def spread(items: Sequence[T], count: int) -> list[T]:
    """Returns `count` items evenly spaced over `items`, or all of them where there are fewer."""
    if count >= len(items):
        return list(items)
    return [items[index * len(items) // count] for index in range(count)]


def shared_pictures(
    calibration: Sequence[str], validation: Sequence[str], files: Files, recipe: Recipe
) -> list[Problem]:
    """Returns the problem of pictures that are both calibrated with and validated on, by content, whatever their name.

    Only pictures of equal size are read.
    """
    by_size = _by(calibration, files.size)
    suspects = [picture for picture in validation if files.size(picture) in by_size]
    alike = [one for size in {files.size(one) for one in suspects} for one in by_size[size]]
    by_content = _by(alike, files.digest)
    twins = ((picture, by_content.get(files.digest(picture))) for picture in suspects)
    pairs = [(picture, found[0]) for picture, found in twins if found]
    if not pairs:
        return []
    first = f"{Path(pairs[0][0]).name}" + (f" is {Path(pairs[0][1]).name}" if pairs[0][0] != pairs[0][1] else "")
    return [
        Problem(
            f"{len(pairs)} of {len(validation)} validation pictures are calibration pictures too (the first: {first})",
            str(recipe.origins.of("data", "validation", "split")),
            "validate on pictures that the quantizer has not seen",
        )
    ]


def _by(paths: Iterable[str], key: Callable[[str], T]) -> dict[T, list[str]]:
    groups: dict[T, list[str]] = {}
    for path in paths:
        groups.setdefault(key(path), []).append(path)
    return groups
