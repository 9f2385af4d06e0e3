"""Chooses the pictures of a recipe's data set to calibrate with and to validate on, and counts what is left out."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from edgecompile.data.counts import LabelCounts, SplitCounts, split_problems, split_remarks
from edgecompile.data.data_file import DataFile
from edgecompile.data.label_lines import CheckedLabels, LabelFacts, LabelLines
from edgecompile.data.label_reading import LabelReading
from edgecompile.data.layouts import Reader, layout_of_split
from edgecompile.data.search import file_digest
from edgecompile.data.split_listing import Folders, Listing
from edgecompile.data.yolo_labels import read_lines
from edgecompile.errors import Problem, RecipeError
from edgecompile.evaluate.tasks import find_task
from edgecompile.places import shown
from edgecompile.recipe.rules import calibrates
from edgecompile.recipe.training_size import training_size
from edgecompile.weights.stated_task import stated_names, stated_task

if TYPE_CHECKING:
    from edgecompile.recipe.schema import Recipe

T = TypeVar("T")


class Files:
    """What was found in files, each looked at once: the points of a sweep name the same files again and again.

    Attributes:
        size: of a path, in bytes.
        digest: sha256 of a path's content.
        labels: of a task, a file of labels and the facts of its data set, what it holds and what is wrong with it.
        check_lines: of a task and the facts of a data set, what checks the lines of a picture.
        folders: names of the files of folders.
        training_size: of a file of weights and the key that names it.
        stated_task, stated_names: of a file of weights, the task and the names of classes that it states.
    """

    def __init__(self) -> None:
        self.size = cache(os.path.getsize)
        self.digest = cache(file_digest)
        self.labels = cache(_checked)
        self.check_lines = cache(_line_check)
        self.folders = Folders()
        self.training_size = cache(training_size)
        self.stated_task = cache(stated_task)
        self.stated_names = cache(stated_names)


def _checked(task: str, file: str, facts: LabelFacts) -> CheckedLabels:
    try:
        lines = read_lines(file)
    except RecipeError as error:
        return CheckedLabels(0, error.problems)
    return find_task(task).check_labels(lines, facts)


def _line_check(task: str, facts: LabelFacts) -> Callable[[LabelLines], CheckedLabels]:
    return lambda lines: find_task(task).check_labels(lines, facts)


@dataclass(frozen=True)
class ChosenPictures:
    """Pictures of one split.

    Attributes:
        pictures: absolute paths, in a fixed order.
        counts: what the split holds; None where it cannot be listed.
        labels: files of the labels of pictures that are validated on; see `edgecompile.data.layouts.FoundLabels`.
        reading: how those are read.
        notes: remarks for a person.
        problems: what is wrong with the pictures or their labels.
    """

    pictures: Sequence[str] = ()
    counts: SplitCounts | None = None
    labels: Sequence[str] = ()
    reading: LabelReading = field(default_factory=LabelReading)
    label_counts: LabelCounts | None = None
    notes: list[str] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)


def choose_validation(recipe: Recipe, data: DataFile, files: Files, task: str) -> ChosenPictures:
    """Chooses the pictures to validate on, and finds their labels, which are those of a task."""
    settings = recipe.data.validation
    try:
        layout = layout_of_split(data, settings.split)
        where = str(recipe.origins.of("data", "validation", "split"))
        listing = layout.list_split(data, settings.split, where, files.folders)
    except RecipeError as error:
        return ChosenPictures(problems=list(error.problems))
    pictures = spread(listing.pictures, settings.images) if settings.images else listing.pictures
    chosen = _chosen(recipe, data, settings.split, "validation", listing, pictures, files)
    if len(pictures) < settings.minimum:
        return ChosenPictures(pictures, problems=[_too_few(recipe, len(pictures)), *chosen.problems])
    reader = _reader(recipe, data, files, task)
    labels = layout.find_labels(data, settings.split, listing, pictures, reader, files.folders)
    checked = labels.checked
    label_counts = LabelCounts(
        missing=labels.missing,
        empty=sum(not content.objects and not content.problems for content in checked),
        objects=sum(content.objects for content in checked),
        renamed=labels.renamed,
    )
    unstated = find_task(task).fact_problems(data.facts)
    return ChosenPictures(
        pictures=pictures,
        counts=chosen.counts,
        labels=labels.files,
        reading=labels.reading,
        label_counts=label_counts,
        notes=[
            *_few(recipe, len(pictures)),
            *chosen.notes,
            *labels.notes,
            *find_task(task).label_remarks(checked),
        ],
        problems=[
            *chosen.problems,
            *(Problem(problem, shown(data.file)) for problem in unstated),
            *labels.problems,
            *(problem for content in checked for problem in content.problems),
        ],
    )


def _reader(recipe: Recipe, data: DataFile, files: Files, task: str) -> Reader:
    """Returns how a task reads the labels of a data set."""
    return Reader(
        task=task,
        form=find_task(task).label_form,
        check_lines=files.check_lines(task, data.facts),
        check_file=lambda file: files.labels(task, file, data.facts),
        remark_share=recipe.data.remark_share,
        error_share=recipe.data.error_share,
    )


def _too_few(recipe: Recipe, count: int) -> Problem:
    """Returns the problem of pictures too few to validate on."""
    settings = recipe.data.validation
    usual = type(settings).model_fields["minimum"].default
    keys = ("data", "validation", "minimum") if settings.minimum != usual else ("data", "validation")
    return Problem(
        f"split '{settings.split}' has {count} pictures to validate on, fewer than {settings.minimum}",
        str(recipe.origins.of(*keys)),
        "use a larger split, or lower data.validation.minimum knowingly",
    )


def _few(recipe: Recipe, count: int) -> list[str]:
    """Returns the remark that figures of so few pictures are uncertain."""
    settings = recipe.data.validation
    if count >= settings.warn_below:
        return []
    return [
        f"validating on {count} pictures of '{settings.split}', fewer than {settings.warn_below}: "
        "a difference in accuracy may be chance"
    ]


def choose_calibration(recipe: Recipe, data: DataFile, files: Files) -> ChosenPictures | None:
    """Chooses the pictures to calibrate with; returns None where no pass does."""
    settings = recipe.data.calibration
    if settings is None or not any(calibrates(pass_) for pass_ in recipe.passes.values()):
        return None
    try:
        where = str(recipe.origins.of("data", "calibration", "split"))
        listing = layout_of_split(data, settings.split).list_split(data, settings.split, where, files.folders)
    except RecipeError as error:
        return ChosenPictures(problems=list(error.problems))
    pictures = spread(listing.pictures, settings.images)
    chosen = _chosen(recipe, data, settings.split, "calibration", listing, pictures, files)
    if len(listing.pictures) < settings.minimum:
        problem = Problem(
            f"split '{settings.split}' has {len(listing.pictures)} pictures to calibrate with, "
            f"fewer than {settings.minimum}",
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
    """Returns pictures with the counts, remarks and problems of their split."""
    left_out = dict(sorted(listing.left_out.items()))
    counts = SplitCounts(split, listing.found, len(pictures), listing.repeated, left_out)
    where = layout_of_split(data, split).split_line(data, split)
    problems = [
        *split_problems(counts, purpose, recipe.data.error_share, where),
        *(Problem("the picture is an empty file", shown(path)) for path in pictures if files.size(path) == 0),
    ]
    return ChosenPictures(
        pictures, counts, notes=split_remarks(counts, purpose, recipe.data.remark_share), problems=problems
    )


def remarks(recipe: Recipe, count: int) -> list[str]:
    """Returns what a person should know of calibrating with `count` pictures."""
    settings = recipe.data.calibration
    if settings is None or count >= settings.images:
        return []
    return [f"calibrating with all {count} pictures of '{settings.split}'; {settings.images} were asked for"]


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
    alike = [path for size in {files.size(path) for path in suspects} for path in by_size[size]]
    by_content = _by(alike, files.digest)
    twins = ((picture, by_content.get(files.digest(picture))) for picture in suspects)
    pairs = [(picture, originals[0]) for picture, originals in twins if originals]
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
