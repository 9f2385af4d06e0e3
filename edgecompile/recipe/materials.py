"""Finds on disk what a recipe names: the weights, the pictures to calibrate with and to validate on, and their labels.

Reads no picture and imports no array library: `plan` must be quick.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from edgecompile.data.published import EXAMPLES, is_published
from edgecompile.data.search import file_digest
from edgecompile.data.yolo_dataset import DataFile, pictures_of, read_data, shortened
from edgecompile.data.yolo_labels import check_labels, label_path
from edgecompile.errors import Problem, RecipeError
from edgecompile.places import SAMPLE_SCHEME, fetched_folder, sample_folder, shown
from edgecompile.plan.graph import Materials
from edgecompile.plan.step import Source
from edgecompile.recipe.locate import Origin
from edgecompile.recipe.rules import calibrates
from edgecompile.yaml_text import line_of

if TYPE_CHECKING:
    from edgecompile.recipe.schema import Recipe

WEIGHTS = (".onnx", ".pt")
T = TypeVar("T")


class Files:
    """What was found in files, each looked at once: the points of a sweep name the same ones again and again.

    Attributes:
        size: of a path, in bytes.
        digest: sha256 of a path's content.
        faults: of a file of labels and a number of classes, what is wrong with its lines.
    """

    def __init__(self) -> None:
        self.size = cache(os.path.getsize)
        self.digest = cache(file_digest)
        self.faults = cache(lambda label, classes: tuple(check_labels(Path(label), classes)))


def find_materials(recipe: Recipe, files: Files | None = None) -> Materials:
    """Returns the sources of a recipe's plan.

    Args:
        recipe: what was asked for.
        files: what is known of files already; by default all are looked at.

    Raises:
        RecipeError: with one problem for each thing that is missing, empty, malformed or used twice.
    """
    files = files or Files()
    problems: list[Problem] = []
    weights = data = None
    try:
        weights = find_file(recipe.model.weights, recipe.origins.of("model", "weights"), "weights")
        problems += _weights(weights, recipe)
    except RecipeError as error:
        problems += error.problems
    try:
        data = read_data(find_file(recipe.data.path, recipe.origins.of("data", "path"), "data set"))
    except RecipeError as error:
        problems += error.problems
    if data is None:
        raise RecipeError(problems)
    validation, faults = _validation(recipe, data, files)
    problems += faults
    calibration, notes, faults = _calibration(recipe, data, files)
    problems += faults
    problems += _shared(calibration or [], validation, files, recipe)
    if weights is None or problems:
        raise RecipeError(shortened(problems))
    data_files = external_data(weights)
    return Materials(
        weights=Source("weights", (str(weights), *data_files), many=bool(data_files)),
        calibration=Source("calibration pictures", tuple(calibration), many=True) if calibration else None,
        validation=Source("validation pictures", tuple(validation), many=True),
        labels=Source("labels", tuple(map(label_path, validation)), many=True),
        names=data.names,
        notes=tuple(notes),
    )


def external_data(weights: Path) -> list[str]:
    """Returns the files beside an ONNX file that hold its weights, by the names that exporters give such files."""
    if weights.suffix != ".onnx":
        return []
    names = (f"{weights.name}.data", f"{weights.name}_data", f"{weights.stem}.data")
    return [str(path) for name in names if (path := weights.with_name(name)).is_file()]


def missing_files(weights: Any, data: Any, origin_of: Callable[..., Origin]) -> list[Problem]:
    """Returns the problems of files that a recipe names and that are not there, where the rest of it is wrong too."""
    problems: list[Problem] = []
    for value, keys, what in ((weights, ("model", "weights"), "weights"), (data, ("data", "path"), "data set")):
        if isinstance(value, str) and value:
            try:
                find_file(value, origin_of(*keys), what)
            except RecipeError as error:
                problems += error.problems
    return problems


def find_file(name: str, origin: Origin, what: str) -> Path:
    """Returns the absolute path of a file that a recipe names.

    Looked for in the folder of the file that names it, then in the working directory, then among what was fetched.
    `sample://parts.pt` lies in the embedded sample.

    Raises:
        RecipeError: it is in none of them.
    """
    if name.startswith(SAMPLE_SCHEME):
        folders = [sample_folder()]
        name = name.removeprefix(SAMPLE_SCHEME)
        if ".." in Path(name).parts or Path(name).is_absolute():
            raise RecipeError(f"'{SAMPLE_SCHEME}{name}' leaves the embedded sample", where=str(origin))
    else:
        folders = [origin.folder, Path.cwd(), fetched_folder()]
        name = os.path.expanduser(name)
    for folder in folders:
        path = folder / name
        if path.is_file() and path != origin.file:  # data/coco128.yaml names a coco128.yaml that is not itself
            return Path(os.path.abspath(path))
    if is_published(name):
        raise RecipeError(f"{what} '{name}' not at hand", where=str(origin), fix=f"run `edgecompile fetch {name}`")
    beside = [path for path in folders[0].glob(f"*{Path(name).suffix}") if Path(name).suffix]
    close = get_close_matches(name, [*(path.name for path in beside), *EXAMPLES], n=1, cutoff=0.75)
    looked = "" if Path(name).is_absolute() else f" (looked in {' and '.join(_folders(folders))})"
    fix = f"did you mean '{close[0]}'?" if close else ""
    folder = (folders[0] / name).is_dir()
    raise RecipeError(
        f"{what} '{name}' is a folder; expected a file" if folder else f"{what} '{name}' not found{looked}",
        where=str(origin),
        fix=fix,
    )


def _folders(folders: Iterable[Path]) -> list[str]:
    return list(dict.fromkeys(str(folder) for folder in folders))


def _weights(path: Path, recipe: Recipe) -> list[Problem]:
    """Returns what is wrong with the weights, as far as their name and size tell."""
    where = str(recipe.origins.of("model", "weights"))
    if path.stat().st_size == 0:
        return [Problem(f"weights '{path.name}' are empty", where)]
    if path.suffix not in WEIGHTS:
        return [Problem(f"weights '{path.name}' are neither a checkpoint nor a model", where, "expected .pt or .onnx")]
    return []


def _validation(recipe: Recipe, data: DataFile, files: Files) -> tuple[list[str], list[Problem]]:
    """Returns the pictures to validate on, and what is wrong with them or their labels."""
    wanted = recipe.data.validation
    try:
        pictures = pictures_of(data, wanted.split, str(recipe.origins.of("data", "validation", "split")))
    except RecipeError as error:
        return [], list(error.problems)
    pictures = spread(pictures, wanted.images) if wanted.images else pictures
    problems = _empty(pictures, files)
    labels = [label_path(picture) for picture in pictures]
    if not any(os.path.isfile(label) for label in labels):
        where = f"{shown(data.file)}:{line_of(data.file, (wanted.split,))}:{wanted.split}"
        fix = "labels lie beside them, in a folder named labels where theirs is named images"
        problems.append(Problem(f"none of {len(pictures)} pictures has labels; expected {labels[0]}", where, fix))
    for label in labels:
        problems += files.faults(label, len(data.names))
    return pictures, problems


def _calibration(recipe: Recipe, data: DataFile, files: Files) -> tuple[list[str] | None, list[str], list[Problem]]:
    """Returns the pictures to calibrate with (None where no pass does), remarks, and what is wrong with them."""
    wanted = recipe.data.calibration
    if wanted is None or not any(calibrates(one) for one in recipe.passes.values()):
        return None, [], []
    try:
        pictures = pictures_of(data, wanted.split, str(recipe.origins.of("data", "calibration", "split")))
    except RecipeError as error:
        return None, [], list(error.problems)
    if len(pictures) < wanted.minimum:
        problem = Problem(
            f"split '{wanted.split}' has {len(pictures)} pictures to calibrate with, fewer than {wanted.minimum}",
            str(recipe.origins.of("data", "calibration")),
            "use a larger split, or lower data.calibration.minimum knowingly",
        )
        return pictures, [], [problem]
    chosen = spread(pictures, wanted.images)
    return chosen, remarks(recipe, len(chosen)), _empty(chosen, files)


def remarks(recipe: Recipe, count: int) -> list[str]:
    """Returns what a person should know of calibrating with `count` pictures."""
    wanted = recipe.data.calibration
    if wanted is None or count >= wanted.images:
        return []
    return [f"calibrating with all {count} pictures of '{wanted.split}'; {wanted.images} were asked for"]


def _empty(pictures: Sequence[str], files: Files) -> list[Problem]:
    return [Problem("the picture is an empty file", shown(one)) for one in pictures if files.size(one) == 0]


def spread(items: Sequence[T], count: int) -> list[T]:
    """Returns `count` items evenly spaced over `items`, or all of them where there are fewer."""
    if count >= len(items):
        return list(items)
    return [items[index * len(items) // count] for index in range(count)]


def _shared(calibration: Sequence[str], validation: Sequence[str], files: Files, recipe: Recipe) -> list[Problem]:
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
