"""Chooses by measurement what a runtime leaves open, on the machine where the model runs.

Knob by knob, each alternative takes turns with the best setting so far. It is adopted where its gain is proven and its
outputs stay within the tolerance of the golden vectors. What was adopted is measured once more, from new processes,
against the bundle's own setting: only a gain that shows again is kept. So a bundle is never slower by it.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypedDict

from edgecompile.errors import BundleError, EdgecompileError, StepError
from edgecompile.runtime import device_cache, tuning
from edgecompile.runtime.archive import Archive
from edgecompile.runtime.backends import Setting
from edgecompile.runtime.confinement import BUILDING, doing
from edgecompile.runtime.finalize import finalize
from edgecompile.runtime.finished import find_place
from edgecompile.runtime.knobs import Knob
from edgecompile.runtime.measure import Subject, golden_picture
from edgecompile.runtime.measured_process import MeasuredProcess
from edgecompile.runtime.paired_trial import WORTH, Comparison, compare
from edgecompile.runtime.spec import read_spec
from edgecompile.runtime.speedup import SpeedUp, SpeedUpDocument
from edgecompile.runtime.target import BundleTarget, read_target
from edgecompile.runtime.tuning import Tuning, TuningDocument

MINUTES = 3.0
"""For how long is measured at most, where nobody says otherwise."""
ADOPTED, NO_GAIN, UNPROVEN = "adopted", "gains nothing", "not proven"
REFUSED, UNOPENED, UNTRIED = "refused", "cannot be opened", "not tried"
ORDER = (ADOPTED, NO_GAIN, UNPROVEN, REFUSED, UNOPENED, UNTRIED)
CONFIRMING = 2
"""Shares of the time that the last measurement gets, where each alternative gets one."""


class TrialDocument(TypedDict):
    """`Trial` as JSON."""

    knob: str
    alternative: str
    verdict: str
    detail: str
    speedup: SpeedUpDocument | None


@dataclass(frozen=True)
class Trial:
    """What became of one alternative.

    Attributes:
        knob, alternative: their names.
        verdict: "adopted", "gains nothing", "not proven" (its interval holds both), "refused" (its outputs differ),
            "cannot be opened" or "not tried".
        detail: why, where it was not measured.
        speedup: over the best setting so far; None where it was not measured.
    """

    knob: str
    alternative: str
    verdict: str
    detail: str = ""
    speedup: SpeedUp | None = None

    def to_json(self) -> TrialDocument:
        """Returns the trial as plain JSON."""
        speedup = self.speedup.to_json() if self.speedup else None
        return {
            "knob": self.knob,
            "alternative": self.alternative,
            "verdict": self.verdict,
            "detail": self.detail,
            "speedup": speedup,
        }

    def line(self) -> str:
        """Returns the trial in one line for people."""
        gain = f"{self.speedup.ratio:.3f}x [{self.speedup.low:.3f}-{self.speedup.high:.3f}] " if self.speedup else ""
        return f"{self.knob:<16} {self.alternative}: {gain}{self.verdict}{f': {self.detail}' if self.detail else ''}"


class TunedDocument(TypedDict):
    """`Tuned` as JSON."""

    bundle: str
    sha256: str
    backend: str
    kept: bool
    seconds: float
    trials: list[TrialDocument]
    confirmed: SpeedUpDocument | None
    tuning: TuningDocument


@dataclass(frozen=True)
class Tuned:
    """The result of `tune` for a bundle.

    Attributes:
        bundle, sha256: file name and digest.
        backend: and the version of its library.
        trials: in the order in which they were made.
        confirmed: of all that was adopted over the bundle's own setting; None where nothing was.
        tuning: the choice.
        kept: whether it lies on this device now.
        seconds: for how long was measured.
    """

    bundle: str
    sha256: str
    backend: str
    trials: tuple[Trial, ...]
    confirmed: SpeedUp | None
    tuning: Tuning
    kept: bool
    seconds: float

    def to_json(self) -> TunedDocument:
        """Returns the result as plain JSON."""
        return {
            "bundle": self.bundle,
            "sha256": self.sha256,
            "backend": self.backend,
            "kept": self.kept,
            "seconds": self.seconds,
            "trials": [trial.to_json() for trial in self.trials],
            "confirmed": self.confirmed.to_json() if self.confirmed else None,
            "tuning": self.tuning.to_json(),
        }

    def lines(self) -> list[str]:
        """Returns the result as lines for people."""
        counts = {verdict: sum(trial.verdict == verdict for trial in self.trials) for verdict in ORDER}
        counted = ", ".join(f"{count} {verdict}" for verdict, count in counts.items() if count)
        lines = [f"{'tune':<16} {self.bundle}, {self.backend}: {counted or 'the runtime leaves nothing open here'}"]
        lines += [trial.line() for trial in self.trials]
        if self.confirmed and not self.tuning.chosen:
            low, high = self.confirmed.low, self.confirmed.high
            again = f"{self.confirmed.ratio:.3f}x [{low:.3f}-{high:.3f}]"
            lines.append(
                f"{'not confirmed':<16} {again}: measured anew, what was adopted shows no gain; nothing is changed"
            )
        lines.append(f"{'chosen':<16} {self.tuning.line()}")
        if self.kept:
            lines.append(f"{'kept':<16} for this bundle, library and machine; `edgecompile tune --reset` removes it")
        return lines


@dataclass
class _Search:
    """A search under way: the best setting so far, and its process."""

    archive: Archive
    target: BundleTarget
    pictures: Sequence[Path]
    report: Callable[[str], None]
    end: float
    held: ExitStack
    setting: Setting
    process: MeasuredProcess
    chosen: dict[str, str] = field(default_factory=dict)
    trials: list[Trial] = field(default_factory=list)

    def turn(self, knob: Knob, shares: int) -> None:
        """Tries each alternative of a knob; `shares` is how many measurements the time that is left must do for."""
        for name, alternative in knob.alternatives.items():
            shares -= 1
            setting = alternative.over(self.setting)
            if setting == self.setting:
                continue
            left = self.end - time.monotonic()
            if left <= 0:
                self._note(Trial(knob.name, name, UNTRIED, "the time is over"))
                continue
            self._try(knob.name, name, setting, left / max(shares + CONFIRMING, 1))

    def _try(self, knob: str, name: str, setting: Setting, seconds: float) -> None:
        with ExitStack() as held:
            try:
                process, _ = _opened(self.archive, self.target, self.pictures, setting, held)
                differing = [check for check in process.golden_checks() if not check.met]
            except EdgecompileError as error:
                self._note(Trial(knob, name, UNOPENED, str(error)))
                return
            if differing:
                first = differing[0]
                detail = f"its outputs are beyond the tolerance of the golden vectors: {first.name}: {first.detail}"
                self._note(Trial(knob, name, REFUSED, detail))
                return
            found = compare(process, self.process, seconds)
            verdict = ADOPTED if found.gains else NO_GAIN if found.high < 1 + WORTH else UNPROVEN
            self._note(Trial(knob, name, verdict, "", _speedup(found, "the best setting so far")))
            if found.gains:
                self.setting, self.process = setting, process
                self.chosen[knob] = name
                self.held.close()  # the process of the setting that was best before
                self.held = held.pop_all()

    def _note(self, trial: Trial) -> None:
        self.trials.append(trial)
        self.report(trial.line())


def tune(
    archive: Archive,
    *,
    pictures: Sequence[Path] = (),
    minutes: float = MINUTES,
    report: Callable[[str], None] = lambda line: None,
) -> Tuned:
    """Measures what the backend of a bundle leaves open on this machine, and keeps what gains for the next start.

    Args:
        pictures: to predict; the golden picture where there are none.
        minutes: for how long at most, beside the time in which models are opened.
        report: called with a line for each alternative, as it is done.

    Raises:
        BundleError: the bundle cannot be opened or measured here, or gives other outputs than it should as it is.
        MissingToolError: its backend is not installed.
        StepError: there is no folder of the user's own to keep a choice in.
    """
    target = read_target(archive)
    if device_cache.location() is None:
        fix = f"set {device_cache.VARIABLE} to a folder"
        raise StepError("what is chosen would not be kept: there is no folder of the device's own", fix=fix)
    began = time.monotonic()
    own, knobs = tuning.own_setting(target), tuning.declared(target)
    with tempfile.TemporaryDirectory(prefix="edgecompile-") as folder, ExitStack() as held:
        paths = list(pictures) or [golden_picture(archive, Path(folder))]
        process, version = _opened(archive, target, paths, own, held)
        if failed := [check.name for check in process.golden_checks() if not check.met]:
            differs = f"does not run here as it did where it was built: {', '.join(failed)}"
            raise BundleError(differs, where=str(archive.path))
        search = _Search(archive, target, paths, report, began + 60 * minutes, held.pop_all(), own, process)
        try:
            left = sum(len(knob.alternatives) for knob in knobs)
            for knob in knobs:
                search.turn(knob, left)
                left -= len(knob.alternatives)
        finally:
            search.held.close()
        found = _confirm(search, own) if search.chosen else None
    choice = _choice(search, own, found)
    kept = tuning.keep(archive, target, choice)
    if target.finalize and choice.chosen:
        _finish(archive, target)
    confirmed = _speedup(found, "the bundle's own setting") if found else None
    seconds = round(time.monotonic() - began, 1)
    about = archive.path.name, archive.digest, f"{target.name} {version}"
    return Tuned(*about, tuple(search.trials), confirmed, choice, kept, seconds)


def _finish(archive: Archive, target: BundleTarget) -> None:
    """Builds the model of a bundle as it was chosen; what does not pass then is not chosen either."""
    try:
        finalize(archive, rebuild=True)
    except EdgecompileError:
        tuning.forget(archive, target)
        raise


def _confirm(search: _Search, own: Setting) -> Comparison:
    """Measures what was adopted against the bundle's own setting, from new processes."""
    with ExitStack() as held:
        best, _ = _opened(search.archive, search.target, search.pictures, search.setting, held)
        plain, _ = _opened(search.archive, search.target, search.pictures, own, held)
        return compare(best, plain, max(search.end - time.monotonic(), 0.0))


def _choice(search: _Search, own: Setting, found: Comparison | None) -> Tuning:
    library = tuning.library_of(search.target)
    taken = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    if found is None or not found.gains:
        return Tuning(library, {}, own, None, (), taken)
    speedup = _speedup(found, "the bundle's own setting")
    return Tuning(library, search.chosen, search.setting, speedup, found.quality.noise, taken)


def _opened(
    archive: Archive, target: BundleTarget, pictures: Sequence[Path], setting: Setting, held: ExitStack
) -> tuple[MeasuredProcess, str]:
    """Returns a new process that has the bundle open in a setting, and the version of the library. A model that is
    built on its device is built for it."""
    engine = None
    if target.finalize:
        engine = Path(held.enter_context(tempfile.TemporaryDirectory(prefix="edgecompile-")))
        _build(archive, target, setting, engine)
    subject = Subject(
        pictures, setting.threads, archive.path, engine, backend=target.name, options=setting.options, as_is=True
    )
    process = held.enter_context(MeasuredProcess(subject.request(), keeps=False))
    return process, str(process.ask()["backend"])


def _build(archive: Archive, target: BundleTarget, setting: Setting, out: Path) -> None:
    """Builds the model in a setting, with the timings that earlier builds of it took."""
    builder: Any = target.backend
    cache = find_place(archive, target).folder / "cache"
    cache.mkdir(parents=True, exist_ok=True)
    spec = read_spec(archive.read_json("spec.json")).document
    doing(BUILDING)
    builder.build(archive.folder("artifact/"), spec, setting.options, out, cache)


def _speedup(found: Comparison, against: str) -> SpeedUp:
    low, high = round(found.low, 4), round(found.high, 4)
    return SpeedUp(round(found.ratio, 4), low, high, found.pairs, against, round(found.second_ms, 3))
