"""Finds on disk what a recipe names: the weights, the pictures to calibrate with and to validate on, and their labels.

Reads no picture and imports no array library: `plan` must be quick.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgecompile.data.counts import DataCounts
from edgecompile.data.layouts import YOLO, layout_of
from edgecompile.data.published import EXAMPLES, is_published
from edgecompile.data.split_listing import shortened
from edgecompile.errors import Problem, RecipeError
from edgecompile.evaluate.gates import CONFIDENCE, doubled_drop, no_drop_limited, strange_gates
from edgecompile.evaluate.tasks import all_drops, chosen_task, find_task
from edgecompile.places import SAMPLE_SCHEME, fetched_folder, sample_folder, shown
from edgecompile.plan.graph import Materials
from edgecompile.plan.step import Source
from edgecompile.recipe.locate import Origin
from edgecompile.recipe.model_and_data import unlike
from edgecompile.recipe.picture_materials import (
    ChosenPictures,
    Files,
    choose_calibration,
    choose_validation,
    shared_pictures,
)
from edgecompile.recipe.training_size import TrainingSize
from edgecompile.runtime.figures import ACCURACY_DROP

if TYPE_CHECKING:
    from edgecompile.recipe.schema import Recipe

WEIGHTS = (".onnx", ".pt")
ODD = {
    "a pipe": Path.is_fifo,
    "a socket": Path.is_socket,
    "a device": Path.is_char_device,
    "a disk": Path.is_block_device,
}
"""What a path may be beside a file and a folder, in words."""


def find_materials(recipe: Recipe, files: Files | None = None) -> Materials:
    """Returns the sources of a recipe's plan.

    Args:
        recipe: what was asked for.
        files: what is known of files already; by default nothing, and all are read.

    Raises:
        RecipeError: with one problem for each thing that is missing, empty, malformed or used twice.
    """
    files = files or Files()
    problems: list[Problem] = []
    weights = data = size = None
    try:
        weights = find_file(recipe.model.weights, recipe.origins.of("model", "weights"), "weights")
        problems += _weights(weights, recipe)
        size = _size(weights, recipe, files) if not problems else None
    except RecipeError as error:
        problems += error.problems
    try:
        path = find_file(recipe.data.path, recipe.origins.of("data", "path"), "data set")
        data = layout_of(path).read_data(path, lambda: files.stated_names(weights) if weights else None)
    except RecipeError as error:
        problems += error.problems
    if data is None:
        raise RecipeError(problems)
    task = chosen_task(recipe.model.task, files.stated_task(weights) if weights else None)
    problems += _gates_of_others(recipe, task)
    validation = choose_validation(recipe, data, files, task)
    calibration = choose_calibration(recipe, data, files) or ChosenPictures()
    problems += [*validation.problems, *calibration.problems]
    if weights is not None:
        problems += unlike(weights, task, data, validation, calibration, recipe)
    problems += shared_pictures(calibration.pictures, validation.pictures, files, recipe)
    if weights is None or problems:
        raise RecipeError(shortened(problems))
    data_files = [*external_data(weights), *_named_beside(weights, recipe)]
    pictures = tuple(calibration.pictures)
    assert validation.counts is not None
    assert validation.label_counts is not None
    return Materials(
        weights=Source("weights", (str(weights), *data_files), many=bool(data_files)),
        calibration=Source("calibration pictures", pictures, many=True) if pictures else None,
        validation=Source("validation pictures", tuple(validation.pictures), many=True),
        labels=Source("labels", tuple(validation.labels), many=True),
        names=data.names,
        reading=validation.reading,
        notes=(
            *((size.note,) if size else ()),
            *_gate_notes(recipe, task),
            *calibration.notes,
            *validation.notes,
        ),
        counts=DataCounts(validation.counts, validation.label_counts, calibration.counts),
        imgsz=size.imgsz if size else None,
        task=task,
    )


def _gates_of_others(recipe: Recipe, task: str) -> list[Problem]:
    """Returns the problems of gates and objectives on metrics that a task does not have."""
    own = find_task(task)
    names = ", ".join([own.drop.name, *(metric.name for metric in own.metrics)])

    def problem(name: str, *keys: str) -> Problem:
        dropped = f"write {own.drop.name}, or {ACCURACY_DROP} for any task" if name in all_drops() else ""
        fix = dropped or f"those of '{task}': {names}"
        return Problem(f"'{name}' is not on a metric of the task '{task}'", str(recipe.origins.of(*keys)), fix)

    return [
        *(problem(name, "gates", name) for name in strange_gates(recipe.gates, own)),
        *(problem(name, "objectives") for name in strange_gates(dict.fromkeys(recipe.objectives, 0.0), own)),
    ]


def _gate_notes(recipe: Recipe, task: str) -> list[str]:
    """Returns the remarks on what has no effect: one of two gates on the same figure, a confidence in no drop."""
    drop = find_task(task).drop.name
    notes = []
    if doubled_drop(recipe.gates, drop):
        notes.append(f"gates.{drop} and gates.{ACCURACY_DROP} limit the same figure: gates.{drop} alone counts")
    if no_drop_limited(recipe.gates, drop):
        notes.append(f"gates.{CONFIDENCE} has no effect: no gate is on a drop, such as gates.{ACCURACY_DROP}=0.01")
    return notes


def _size(weights: Path, recipe: Recipe, files: Files) -> TrainingSize | None:
    """Returns the size that the weights take; None where the recipe names a size.

    Raises:
        RecipeError: the weights state no size that can be used.
    """
    if recipe.model.imgsz is not None:
        return None
    task = chosen_task(recipe.model.task, files.stated_task(weights))
    return files.training_size(weights, str(recipe.origins.of("model", "weights")), task)


def external_data(weights: Path) -> list[str]:
    """Returns the files beside an ONNX file that hold its weights, by the names that exporters give such files.

    Links are none: whoever made the model would choose which file of this machine is read.
    """
    if weights.suffix != ".onnx":
        return []
    names = (f"{weights.name}.data", f"{weights.name}_data", f"{weights.stem}.data")
    return [str(weights.with_name(name)) for name in names if _is_plain(weights.with_name(name))]


def _named_beside(weights: Path, recipe: Recipe) -> list[str]:
    """Returns the files beside the weights that a pass names."""
    return [str(weights.with_name(name)) for pass_ in recipe.passes.values() for name in pass_.files_beside()]


def _is_plain(path: Path) -> bool:
    return path.is_file() and not path.is_symlink()


def missing_files(weights: Any, data: Any, origin_of: Callable[..., Origin]) -> list[Problem]:
    """Returns the problems of files that a recipe names and that are not there, where the rest of it is wrong too."""
    problems: list[Problem] = []
    for value, keys, role in ((weights, ("model", "weights"), "weights"), (data, ("data", "path"), "data set")):
        if isinstance(value, str) and value:
            try:
                find_file(value, origin_of(*keys), role)
            except RecipeError as error:
                problems += error.problems
    return problems


def find_file(name: str, origin: Origin, role: str) -> Path:
    """Returns the absolute path of a file that a recipe names.

    Looks in the folder of the file that names it, then in the working directory, then among what was fetched.
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
        known = path.is_file() or (role == "data set" and layout_of(path).name != YOLO)
        if known and path != origin.file:  # data/coco128.yaml names a coco128.yaml that is not itself
            return Path(os.path.abspath(path))
    if is_published(name):
        raise RecipeError(f"{role} '{name}' not at hand", where=str(origin), fix=f"run `edgecompile fetch {name}`")
    existing = next((folder / name for folder in folders if os.path.lexists(folder / name)), None)
    if existing is not None and existing != origin.file and not existing.is_dir():
        raise RecipeError(f"{role} '{name}' is {_kind(existing)}; expected a file", where=str(origin))
    beside = [path for path in folders[0].glob(f"*{Path(name).suffix}") if Path(name).suffix]
    close = get_close_matches(name, [*(path.name for path in beside), *EXAMPLES], n=1, cutoff=0.75)
    looked = "" if Path(name).is_absolute() else f" (looked in {' and '.join(_folders(folders))})"
    is_folder = (folders[0] / name).is_dir()
    fix = f"did you mean '{close[0]}'?" if close and close[0] != name else ""
    if is_folder and role == "data set":
        fix = _folder_fix(folders[0] / name)
    raise RecipeError(
        f"{role} '{name}' is a folder; expected a file" if is_folder else f"{role} '{name}' not found{looked}",
        where=str(origin),
        fix=fix,
    )


def _kind(path: Path) -> str:
    """Returns what a path is that is neither a file nor a folder."""
    if path.is_symlink() and not path.exists():
        return "a link that leads nowhere"
    return next((kind for kind, test in ODD.items() if test(path)), "no plain file")


def _folder_fix(folder: Path) -> str:
    """Returns what to name in the stead of the folder of a data set."""
    if documents := sorted(folder.glob("*.yaml")):
        return f"name {shown(documents[0])}"
    if documents := sorted(folder.glob("**/*.json"))[:1]:
        return f"name {shown(documents[0])}"
    return "name a YOLO data.yaml, COCO's JSON, or a folder with train/ and val/ and folders of classes in them"


def _folders(folders: Iterable[Path]) -> list[str]:
    return list(dict.fromkeys(str(folder) for folder in folders))


def _weights(path: Path, recipe: Recipe) -> list[Problem]:
    """Returns what is wrong with the weights, as far as their name and a first look show."""
    where = str(recipe.origins.of("model", "weights"))
    if path.stat().st_size == 0:
        return [Problem(f"weights '{path.name}' are empty", where)]
    if path.suffix not in WEIGHTS:
        return [Problem(f"weights '{path.name}' are neither a checkpoint nor a model", where, "expected .pt or .onnx")]
    problems = [problem for pass_ in recipe.passes.values() for problem in pass_.check_weights(path, recipe)]
    problems += [
        Problem(f"'{Path(name).name}' is no plain file beside '{path.name}'", fix="put it there, as no link")
        for name in _named_beside(path, recipe)
        if not _is_plain(Path(name))
    ]
    return [replace(problem, where=where) for problem in problems]
