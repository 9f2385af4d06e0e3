"""Builds again what a lock says, from the lock alone, and reports whether the result is the same."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TextIO

from edgecompile import __version__
from edgecompile.build import Built, evaluate_gates, publish, summarize, write_run
from edgecompile.bundle.assemble import portable
from edgecompile.bundle.diff import Difference, differences, first_apart, flat, mappings, states_outputs
from edgecompile.bundle.lock import Lock, Locked, NamedDigest
from edgecompile.data.counts import counts_from
from edgecompile.data.label_reading import reading_from
from edgecompile.data.search import Finder
from edgecompile.data.yolo_labels import label_path
from edgecompile.errors import Problem, RecipeError
from edgecompile.evaluate.gates import Verdict
from edgecompile.execute.progress import show_progress
from edgecompile.execute.runner import execute
from edgecompile.execute.source_digests import Sources
from edgecompile.execute.store import Store
from edgecompile.json_types import JsonValue
from edgecompile.plan.graph import Materials
from edgecompile.plan.resolve import resolve
from edgecompile.plan.step import Source
from edgecompile.recipe.picture_materials import remarks
from edgecompile.recipe.schema import Recipe
from edgecompile.recipe.validate import recipe_from
from edgecompile.recipe_lock import resolve_lock
from edgecompile.repair import resolve_repaired
from edgecompile.runtime import open_artifact
from edgecompile.runtime.archive import Archive
from edgecompile.runtime.check import Check
from edgecompile.runtime.figures import Figures
from edgecompile.runtime.golden import check_golden
from edgecompile.text import tell

TOLERANCE = 0.005
"""Difference of the main metric up to which another result counts as near the result of the lock."""
EMPTY = "empty"
MOST_LINES = 8


@dataclass(frozen=True)
class Rebuilt:
    """What came out of building again.

    Attributes:
        was: the lock that was given.
        lock, figures: what this build resolved and found.
        digest: of the bundle; None where a gate that is measured here was not met, so that no bundle was made.
        ran, reused: number of steps, but for those that measure.
        verdicts: the gates, judged here.
        checks: the outputs of the artifact built here, compared with the golden outputs of the bundle that was
            given, where the bundles differ.
    """

    was: Locked
    lock: Lock
    figures: Figures
    digest: str | None
    ran: int
    reused: int
    verdicts: list[Verdict]
    bundle: Path | None
    checks: tuple[Check, ...] = ()

    @property
    def apart(self) -> list[Difference]:
        return differences(self.was.lock, self.lock)

    @property
    def same(self) -> bool:
        """Whether both bundles have the same digest or, where a digest is missing, nothing in the locks differs."""
        if self.was.digest and self.digest:
            return self.was.digest == self.digest
        return not self.apart

    @property
    def near(self) -> bool | None:
        """Whether outputs and the main metric are within tolerance of the bundle that was given; None for a lock
        alone."""
        if not self.was.figures:
            return None
        return abs(self.drop) <= TOLERANCE and all(check.met for check in self.checks)

    @property
    def drop(self) -> float:
        """By how much the main metric differs from that of the bundle that was given."""
        return self.figures.accuracy - self.was.figures.accuracy if self.was.figures else 0.0


@contextmanager
def store_for(choice: str | None) -> Iterator[Store]:
    """Yields the store that was asked for. What `empty` made is removed in the end."""
    if choice != EMPTY:
        yield Store(choice) if choice else Store.default()
        return
    with tempfile.TemporaryDirectory(prefix="edgecompile-reproduce-") as folder:
        store = Store(folder)
        try:
            yield store
        finally:
            store.close()


def reproduce(
    was: Locked,
    store: Store,
    finder: Finder,
    out: Path,
    *,
    jobs: int | None = None,
    quiet: bool = False,
    differences_to: TextIO | None = None,
) -> Rebuilt:
    """Builds again what `was` says. Prints the differences known beforehand before any step runs.

    Args:
        differences_to: where they are printed; stdout where None.

    Raises:
        RecipeError: this version does not read the lock's recipe word for word, or a file is nowhere.
        EdgecompileError: a subclass for each way in which a build can end.
    """
    began = time.time()
    recipe = recipe_of(was)
    with tempfile.TemporaryDirectory(prefix="edgecompile-inputs-") as place:
        inputs = Inputs(was.lock, finder, Path(place))
        materials = inputs.materials(recipe)
        found_repair = was.lock.repair
        plan = resolve_repaired(recipe, materials, found_repair) if found_repair else resolve(recipe, materials)
        sources = Sources(store.root / "stat")
        changes = differences(was.lock, resolve_lock(recipe, plan, materials, sources, found_repair))
        for line in [*inputs.changed, *(change for change in changes if change.section not in ("weights", "data"))]:
            tell(f"differs: {line}", file=differences_to)
        with show_progress(plan, quiet=quiet) as progress:
            entries = execute(plan, store, jobs=jobs, progress=progress)
        built = evaluate_gates(recipe, plan, materials, entries, sources, found_repair)
        met = all(gate.met is not False for gate in built.verdicts)
        bundle = publish(built, store, out) if met else None
        summarize(write_run(built, store, out, began, bundle=bundle), out)
    content = [entries[step.name] for step in plan if not step.measured]
    ran = sum(entry.fresh for entry in content)
    rebuilt = Rebuilt(
        was=was,
        lock=built.lock,
        figures=built.figures,
        digest=bundle.sha256 if bundle else None,
        ran=ran,
        reused=len(content) - ran,
        verdicts=built.verdicts,
        bundle=out / bundle.name if bundle else None,
    )
    return rebuilt if rebuilt.same or not was.digest else replace(rebuilt, checks=compared_outputs(was, built))


def compared_outputs(was: Locked, built: Built) -> tuple[Check, ...]:
    """Runs the artifact that was built here on the golden picture of a bundle, and compares with its golden outputs."""
    golden, entries = built.plan["golden"], built.entries
    shipped = built.plan.result
    artifact, spec = (entries[output.step].path(output.path) for output in (shipped.artifact, shipped.spec))
    ran = {key: golden.params[key] for key in ("backend", "options", "threads")}
    with Archive(was.path) as archive:
        checks = check_golden(archive, open_artifact(artifact, spec, **ran))
    return tuple(check for check in checks if not check.decoded)  # those were decoded from the golden outputs


def recipe_of(was: Locked) -> Recipe:
    """Returns the typed recipe of a lock, exactly as it stands there.

    Raises:
        RecipeError: this version does not read it, or would fill in a default that the lock does not state.
    """
    try:
        recipe = recipe_from(json.loads(json.dumps(was.lock.recipe)))
    except RecipeError as error:
        raise RecipeError(
            [replace(problem, where=f"{was.path}:recipe.{problem.where}") for problem in error.problems]
        ) from error
    strange = mappings("recipe", flat(was.lock.recipe), flat(portable(recipe)))
    if strange:
        fix = f"reproduce it with edgecompile {was.lock.tools.get('edgecompile')}; this is {__version__}"
        raise RecipeError(
            [Problem("this version reads the lock otherwise", f"{was.path}:recipe.{change}", fix) for change in strange]
        )
    return recipe


@dataclass
class Inputs:
    """The files of a lock, found again. A file that has another name here is linked under its name in the lock.

    Attributes:
        changed: one line for each file of the right name that holds something else, and is used for want of better.
        missing: by role, the names of files that are nowhere.
    """

    lock: Lock
    finder: Finder
    place: Path
    changed: list[str] = field(default_factory=list)
    missing: dict[str, list[NamedDigest]] = field(default_factory=dict)

    def materials(self, recipe: Recipe) -> Materials:
        """Raises:
        RecipeError: a problem for each role that lacks files.
        """
        data = self.lock.data
        weights = self.weights()
        calibration = self.files("calibration picture", data.calibration or ())
        validation = self.files("validation picture", data.validation)
        labels = self.labels()
        if self.missing:
            raise RecipeError(list(map(self._nowhere, self.missing.items())))
        return Materials(
            weights=Source("weights", weights, many=len(weights) > 1),
            calibration=Source("calibration pictures", tuple(calibration), many=True) if data.calibration else None,
            validation=Source("validation pictures", tuple(validation), many=True),
            labels=Source("labels", tuple(labels), many=True),
            names=tuple(data.names),
            notes=tuple(self.notes(recipe, len(calibration))),
            reading=reading_from(data.reading.as_json() if data.reading else {}),
            counts=counts_from(data.counts.model_dump(mode="json")) if data.counts else None,
            task=recipe.model.task or "detect",
        )

    def labels(self) -> list[str]:
        """Returns the files of the labels: one for all pictures, where the lock says so, else one a picture."""
        reading = self.lock.data.reading
        if reading and reading.layout:
            return self.files("label file", reading.files)
        return [
            self.file("label file", picture.label)
            if picture.label
            else str(self.place / "none" / label_path(picture.name))
            for picture in self.lock.data.validation
        ]

    def notes(self, recipe: Recipe, calibrated: int) -> list[str]:
        """Returns the remarks on the data set: those of the lock, or those that can be made without it."""
        if self.lock.data.notes is not None:
            return self.lock.data.notes
        return remarks(recipe, calibrated) if calibrated else []

    def weights(self) -> tuple[str, ...]:
        """Returns the weights, then their external data, beside them under its own name.

        A model whose external data is a link is not read, so files that lie elsewhere are copied.
        """
        first, *beside = paths = [
            self.file(role, file)
            for role, file in (
                ("weights", self.lock.weights),
                *(("external data", file) for file in self.lock.external_data),
            )
        ]
        if "" in paths or all(os.path.dirname(path) == os.path.dirname(first) for path in beside):
            return tuple(paths)
        folder = self.place / "weights"
        folder.mkdir()
        return tuple(shutil.copyfile(path, folder / os.path.basename(path)).as_posix() for path in paths)

    def files(self, role: str, locked: Iterable[NamedDigest]) -> list[str]:
        return [self.file(role, file) for file in locked]

    def file(self, role: str, locked: NamedDigest) -> str:
        """Returns where a file of the lock lies; notes it where it is changed or missing."""
        path = self.finder.find(locked.name, locked.sha256)
        if path is None:
            path = self.finder.namesake(locked.name)
            if path is None:
                self.missing.setdefault(role, []).append(locked)
                return ""
            self.changed.append(
                f"{role} {locked.name}: not what the lock says (sha256 {locked.sha256[:12]}); using {path}"
            )
        if path.name == locked.name:
            return str(path)
        link = self.place / locked.sha256 / locked.name
        link.parent.mkdir(exist_ok=True)
        if not link.exists():
            os.symlink(path, link)
        return str(link)

    def _nowhere(self, missing: tuple[str, list[NamedDigest]]) -> Problem:
        role, files = missing
        first = f"{role} '{files[0].name}' (sha256 {files[0].sha256[:12]})"
        rest = f" and {len(files) - 1} more like it" if len(files) > 1 else ""
        message = f"{first}{rest} not found, neither by digest nor by name (looked in {self.finder.looked_in()})"
        return Problem(message, fix="name the folder that holds it: --search DIR")


def as_document(rebuilt: Rebuilt) -> dict[str, JsonValue]:
    """Returns the result as plain JSON."""
    return {
        "same": rebuilt.same,
        "near": rebuilt.near,
        "sha256": {"was": rebuilt.was.digest, "now": rebuilt.digest},
        "bundle": str(rebuilt.bundle) if rebuilt.bundle else None,
        "steps": {"run": rebuilt.ran, "reused": rebuilt.reused},
        "metric": {"name": rebuilt.figures.main, "now": rebuilt.figures.accuracy, "change": rebuilt.drop},
        "differences": [str(difference) for difference in rebuilt.apart],
        "checks": [{"name": check.name, "met": check.met, "detail": check.detail} for check in rebuilt.checks],
    }


def verdict(rebuilt: Rebuilt) -> Iterator[str]:
    """Yields the lines on the result."""
    steps = f"{rebuilt.ran} steps ran, {rebuilt.reused} reused"
    if rebuilt.same:
        yield f"reproduced: {_same(rebuilt)} ({steps})"
    else:
        yield f"not reproduced ({steps})"
        yield from _format_differences(rebuilt)
    if rebuilt.same and not rebuilt.ran:
        yield "every result was in the store already; `--cache empty` runs every step again"
    if rebuilt.bundle:
        yield f"bundle: {rebuilt.bundle}"


def _same(rebuilt: Rebuilt) -> str:
    """Returns what is the same."""
    if rebuilt.was.digest and rebuilt.digest:
        return f"sha256 {rebuilt.digest}"
    if states_outputs(rebuilt.was.lock):
        return "every step's output is the lock's"
    return "all that the lock states; it states no outputs, which the recipe.lock.yaml of a bundle does"


def _format_differences(rebuilt: Rebuilt) -> Iterator[str]:
    """Yields what differs: inputs, versions, instruction set, steps, and how far the result is off."""
    for section in ("recipe", "weights", "data", "tools", "isa", "steps"):
        changes = [change for change in rebuilt.apart if change.section == section]
        yield from (f"  {change}" for change in changes[:MOST_LINES])
        if len(changes) > MOST_LINES:
            yield f"  and {len(changes) - MOST_LINES} more of {section}"
    if first := first_apart(rebuilt.was.lock, rebuilt.lock):
        yield f"  first step with another output: {first}"
    elif states_outputs(rebuilt.was.lock):
        yield "  every step's output is the lock's"
    title = rebuilt.figures.title(rebuilt.figures.main)
    if not rebuilt.was.figures:
        yield f"  {title} {rebuilt.figures.accuracy:.4f}; whether that is near is not known: a lock holds no figures"
        return
    for check in rebuilt.checks:
        yield f"  {check.name}: {'within' if check.met else 'not within'} tolerance, {check.detail}"
    near = "within" if abs(rebuilt.drop) <= TOLERANCE else "not within"
    was, now = rebuilt.was.figures.accuracy, rebuilt.figures.accuracy
    yield f"  {title} {was:.4f} → {now:.4f} ({rebuilt.drop:+.4f}, {near} {TOLERANCE:g})"
    yield f"  {'within' if rebuilt.near else 'not within'} tolerance of the bundle"


def cause_of(rebuilt: Rebuilt) -> str:
    """Returns in one line why the bundle differs."""
    inputs = [change.what for change in rebuilt.apart if change.section != "outputs"]
    if not inputs:
        return "inputs, tools and instruction set are those of the lock, and yet the result is another"
    more = f" and {len(inputs) - 1} more" if len(inputs) > 1 else ""
    return f"{inputs[0]}{more} {'differs' if len(inputs) == 1 else 'differ'} from the lock"
