"""Gates: conditions of a recipe on the figures of a build. Pure. An unmet gate ends the build."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from edgecompile.evaluate.drop_proof import DropProof, prove, spread
from edgecompile.evaluate.tasks import Task, all_drops, all_metrics, find_task, task_names
from edgecompile.runtime.figures import ACCURACY_DROP, RELATIVE_DROP, SCORE_SHIFT, Figures
from edgecompile.runtime.measured_gates import (
    MEASURED,
    Gate,
    GateDocument,
    Numbers,
    Verdict,
    compared,
    judge_one,
    left_to_soak,
    named,
    raise_unmet,
)
from edgecompile.runtime.measurement import Measurement

__all__ = ["GATES", "Gate", "Verdict", "judge", "raise_unmet"]

NOTHING_FOUND = 0.01
"""Main metric of the float model under which a comparison with it proves nothing."""

SHOWN_CLASSES = 3
COLLAPSED = 0.5
"""Share of the float model's main metric under which an artifact is broken. It fails the build of a recipe that has no
gate on accuracy too: nothing broken ships unasked. It also fails a build whose drop is within a limit in points: where
a float model reaches 0.03, a drop of 0.02 is most of it."""
REMARKED_SHARE = 0.1
"""Share of the float model's main metric from which a drop is remarked on that a gate in points lets pass."""
CONFIDENCE = "confidence"
"""Key beside the gates: how sure it has to be that a drop is within its limit."""
CONFIDENCE_ABOUT = (
    "how sure it has to be that a drop is within its limit on all pictures of the kind, such as 0.95: its one-sided "
    "confidence bound then decides instead of the drop; null for the drop"
)


AFTER_SIZE = ("fps_per_watt", "energy_per_picture_j", "temperature_c", "throttled", "memory_growth_mb_per_hour")
"""Gates on measurements that are listed last: not every machine can tell their figures."""


def _megabytes(figures: Numbers) -> float | None:
    size = figures.get("size_bytes")
    return None if size is None else size / 1e6


def _accuracy_drop() -> Gate:
    """Returns the gate on the drop of whatever metric is the main metric of a model's task."""
    mains = ", ".join(dict.fromkeys(find_task(name).main.title for name in task_names()))
    about = f"largest loss of the task's main metric ({mains}) against the float model, 0..1"
    return Gate(named(ACCURACY_DROP), title="accuracy drop", about=about, digits=4, share=True)


def _of_tasks() -> dict[str, Gate]:
    """Returns a gate for the drop of each task, and a gate for each of its metrics."""
    drops = all_drops()
    return {
        name: Gate(
            named(name),
            title=metric.title,
            about=f"largest loss of {drops[name].title} against the float model, 0..1"
            if name in drops
            else f"smallest {metric.title}, 0..1",
            floor=name not in drops,
            digits=4,
            share=True,
        )
        for name, metric in all_metrics().items()
    }


GATES = {
    ACCURACY_DROP: _accuracy_drop(),
    **_of_tasks(),
    RELATIVE_DROP: Gate(
        named(RELATIVE_DROP),
        title="relative accuracy drop",
        about="largest loss of the task's main metric as a share of the float model's, 0..1; null for half of it, "
        "unless another gate lets more pass",
        digits=4,
        share=True,
    ),
    SCORE_SHIFT: Gate(
        named(SCORE_SHIFT),
        title="score shift",
        about="largest median shift, up or down, of the scores of what the float model shows too, 0..1",
        digits=4,
        share=True,
    ),
    **{name: gate for name, gate in MEASURED.items() if name not in AFTER_SIZE},
    "size_mb": Gate(
        _megabytes, title="artifact size", about="largest size of the artifact, in MB", unit=" MB", digits=3
    ),
    **{name: MEASURED[name] for name in AFTER_SIZE},
}
"""Every gate by its name in a recipe. A megabyte is 10^6 bytes."""


Limits = Mapping[str, float | None] | Iterable[tuple[str, float | None]]
"""Name to limit or None; a mapping or pairs (iterating a pydantic model gives pairs), one of which may be the
confidence."""


def judge_measured(gates: Limits, measured: Measurement) -> list[Verdict]:
    """Judges those gates of a recipe that are on measurements, in the order of `GATES`."""
    limits = _limits(gates)
    return [judge_one(name, limits[name], measured) for name, gate in GATES.items() if name in limits and gate.measured]


def judge(
    gates: Limits, figures: Figures, measured: Measurement | None = None, *, on_device: bool = False
) -> list[Verdict]:
    """Judges every gate that has a limit, in the order of `GATES`.

    Args:
        gates: those of the recipe.
        figures: of the artifact.
        measured: None where nothing was measured.
        on_device: whether gates on what is measured are left to the device, where the model is finished.
    """
    gates = dict(gates)
    limits, confidence = _without_repeated_drop(_limits(gates), figures.drop), gates.get(CONFIDENCE)
    verdicts = []
    for name, gate in GATES.items():
        if name not in limits:
            continue
        if not gate.measured:
            verdicts.append(_verdict(name, limits[name], figures, confidence))
        elif gate.soak:
            verdicts.append(left_to_soak(name, limits[name]))
        elif on_device:
            verdicts.append(_left_to_device(name, limits[name]))
        else:
            verdicts.append(
                judge_one(name, limits[name], measured) if measured else compared(name, gate, limits[name], {})
            )
    unmet_drop = any(verdict.met is False for verdict in verdicts if verdict.gate in _drops(figures))
    return verdicts if unmet_drop or _excuses_collapse(limits, figures) else [*_collapse(limits, figures), *verdicts]


def remarks(gates: Limits, figures: Figures) -> list[str]:
    """Returns what to know of the figures of a recipe that has no gate on accuracy, or one that means little."""
    limits = _limits(gates)
    if limits.keys() & _on_accuracy(figures):
        return _large_share(limits, figures)
    if figures.float_accuracy < NOTHING_FOUND:
        return [f"nothing is proven: {_blind(figures)}"]
    return [
        f"no gate is on accuracy, which may fall by half before a build ends: for example gates.{figures.drop}=0.02"
    ]


def doubled_drop(gates: Limits, drop: str) -> bool:
    """Whether a recipe limits the drop by both of its names: that of the task, `drop`, then counts alone."""
    return {ACCURACY_DROP, drop} <= _limits(gates).keys()


def limits_accuracy(gates: Limits, task: Task[Any, Any, Any]) -> bool:
    """Whether a recipe limits the accuracy of a model of a task: its drop, the share of it, or a metric."""
    return bool(_limits(gates).keys() & accuracy_gates(task))


def accuracy_gates(task: Task[Any, Any, Any]) -> set[str]:
    """Returns the names of the gates on the accuracy of a model of a task."""
    return {ACCURACY_DROP, RELATIVE_DROP, task.drop.name, *(metric.name for metric in task.metrics)}


def accuracy_room(gates: Limits, figures: Figures) -> tuple[str, float]:
    """Returns the tightest of the gates on the main metric, and the largest drop that it allows, in points.

    Where a recipe asks for a confidence, the drop has to stay below the limit by what its standard error asks for.
    """
    limits = _without_repeated_drop(_limits(gates), figures.drop)
    rooms = {name: limits[name] for name in (figures.drop, ACCURACY_DROP) if name in limits}
    if RELATIVE_DROP in limits:
        rooms[RELATIVE_DROP] = limits[RELATIVE_DROP] * figures.float_accuracy
    if figures.main in limits:
        rooms[figures.main] = figures.float_accuracy - limits[figures.main]
    if not rooms:
        return next(iter(limits), ""), 0.0
    name = min(rooms, key=lambda gate: rooms[gate])
    confidence = dict(gates).get(CONFIDENCE)
    if confidence is None or figures.drop_error is None or name == figures.main:
        return name, rooms[name]
    proof = prove(figures.lost, rooms[name], figures.drop_error, figures.pictures, confidence)
    return name, rooms[name] - (proof.bound - proof.drop)


def strange_gates(gates: Limits, task: Task[Any, Any, Any]) -> list[str]:
    """Returns the gates with a limit that are on metrics of other tasks."""
    own = {task.drop.name, *(metric.name for metric in task.metrics)}
    return [name for name in _limits(gates) if name in all_metrics() and name not in own]


def no_drop_limited(gates: Limits, drop: str) -> bool:
    """Whether a recipe asks for a confidence, and limits no drop that it is about."""
    limits = dict(gates)
    return limits.get(CONFIDENCE) is not None and not _limits(limits).keys() & {ACCURACY_DROP, RELATIVE_DROP, drop}


def _on_accuracy(figures: Figures) -> set[str]:
    return {*_drops(figures), *figures.metrics}


def _drops(figures: Figures) -> set[str]:
    return {figures.drop, ACCURACY_DROP, RELATIVE_DROP}


def _excuses_collapse(limits: Mapping[str, float], figures: Figures) -> bool:
    """Whether a recipe says by itself how much of the float model's main metric has to be left: as a share, as the
    smallest metric, or by letting any drop pass."""
    drops = (limits.get(name, 0.0) for name in (figures.drop, ACCURACY_DROP))
    return bool(limits.keys() & {RELATIVE_DROP, *figures.metrics}) or max(drops) >= 1


def _large_share(limits: Mapping[str, float], figures: Figures) -> list[str]:
    """Returns the remark that a drop within its limit in points is a large share of the float model's metric."""
    share, title = figures.relative_drop, figures.title(figures.main)
    if share is None or share <= REMARKED_SHARE or figures.float_accuracy < NOTHING_FOUND:
        return []
    if _excuses_collapse(limits, figures):
        return []
    return [
        f"the drop of {figures.lost:.4f} is {share:.0%} of the float model's {title}: "
        f"gates.{RELATIVE_DROP}=0.05 limits the share"
    ]


def _without_repeated_drop(limits: dict[str, float], drop: str) -> dict[str, float]:
    """Returns the limits; of two on the drop, that under the task's name alone, which is the more specific."""
    return {name: limit for name, limit in limits.items() if name != ACCURACY_DROP or not doubled_drop(limits, drop)}


def _limits(gates: Limits) -> dict[str, float]:
    return {name: float(limit) for name, limit in dict(gates).items() if limit is not None and name != CONFIDENCE}


def _collapse(limits: Mapping[str, float], figures: Figures) -> list[Verdict]:
    """Returns an unmet gate where an artifact has lost most of what the float model finds; else none."""
    before, after = figures.float_accuracy, figures.accuracy
    if before < NOTHING_FOUND or after >= COLLAPSED * before:
        return []
    limit = round(before * (1 - COLLAPSED), 6)
    fall = _fall(before - after, limit, figures, met=False)
    if limits.keys() & _drops(figures):
        text = f"{fall}; within the limit in points, but half of it is gone: gates.{RELATIVE_DROP}=1 lets it pass"
        return [Verdict(RELATIVE_DROP, 1 - COLLAPSED, figures.relative_drop, False, False, text)]
    text = f"{fall}; the recipe has no gate on accuracy, and half of it is gone: gates.{figures.drop}=1 lets it pass"
    return [Verdict(figures.drop, limit, round(before - after, 6), False, False, text)]


def _left_to_device(name: str, limit: float) -> Verdict:
    return Verdict(name, limit, None, None, True, f"judged on the device; limit {limit:g}{GATES[name].unit}")


def _verdict(name: str, limit: float, figures: Figures, confidence: float | None) -> Verdict:
    verdict = compared(name, GATES[name], limit, figures.by_name())
    if name in _drops(figures):
        if figures.float_accuracy < NOTHING_FOUND:
            return replace(verdict, met=False, text=_blind(figures))
        return _drop_verdict(verdict, figures, confidence)
    if name == SCORE_SHIFT:
        return replace(verdict, text=_shift(verdict, figures))
    if verdict.figure is None:
        return verdict
    if name in figures.metrics and not verdict.met:
        return replace(verdict, text=verdict.text + _lowest(figures))
    return verdict


def _drop_verdict(verdict: Verdict, figures: Figures, confidence: float | None) -> Verdict:
    """Returns a verdict on the drop with what the pictures prove of it. The drop itself decides, or the bound of a
    recipe that asks for a confidence."""
    shown = f"{verdict.limit:g}" + (" of the float model's" if verdict.gate == RELATIVE_DROP else "")
    proof = _proof(verdict.gate, verdict.limit, figures, confidence)
    proven = proof.proven if proof else None
    decided = verdict.met and (proven is True or confidence is None)
    text = _fall(figures.lost, shown, figures, met=bool(decided))
    if decided and proof:
        text += f": {proof.words}"
    if confidence is not None and verdict.met and not decided:
        text += f"; {_unproven(proof, confidence)}"
    return replace(verdict, met=bool(decided), proven=proven, text=text)


def proof_words(gate: GateDocument, figures: Figures, confidence: float | None) -> str:
    """Returns what the pictures prove of a gate, for people; "" of a gate that is not on a drop, or a drop beyond it.

    Args:
        confidence: that the recipe asks for.
    """
    proof = _proof(gate["gate"], gate["limit"], figures, confidence)
    if proof is None or gate["figure"] is None or gate["figure"] > gate["limit"]:
        return ""
    return proof.words if gate["met"] else f"not proven: {proof.why_not}"


def _proof(gate: str, limit: float, figures: Figures, confidence: float | None) -> DropProof | None:
    """Returns what the pictures prove of a gate on the drop; None of other gates, and where the error is not known."""
    if gate not in _drops(figures) or figures.drop_error is None:
        return None
    in_points = limit * figures.float_accuracy if gate == RELATIVE_DROP else limit
    return prove(figures.lost, in_points, figures.drop_error, figures.pictures, confidence)


def _unproven(proof: DropProof | None, confidence: float) -> str:
    """Returns why a drop within its limit is not enough for a recipe that asks for a confidence."""
    asked = f"gates.{CONFIDENCE}={confidence:g}"
    if proof is None:
        return f"not met at {asked}: how sure the drop is, is not known"
    return f"not met at {asked}: {proof.why_not}"


def _shift(verdict: Verdict, figures: Figures) -> str:
    """Returns the line of the shift of scores, with its direction."""
    scores = figures.scores
    if scores is None:
        return f"not known for this task; limit {verdict.limit:g}"
    if scores["median_shift"] is None:
        return f"both models found nothing in common; limit {verdict.limit:g}"
    return f"median {scores['median_shift']:+.4f} of {scores['matched']} matched, limit {verdict.limit:g} up or down"


def _fall(drop: float, limit: float | str, figures: Figures, met: bool) -> str:
    """Returns the line of the accuracy drop; where it is too deep, with the classes that fell most."""
    error = f" {spread(figures.drop_error)}" if figures.drop_error else ""
    shown = limit if isinstance(limit, str) else f"{limit:g}"
    text = f"{figures.float_accuracy:.4f} → {figures.accuracy:.4f} (drop {drop:.4f}{error}, limit {shown})"
    deepest = [f"{name} {old:.2f} → {new:.2f}" for name, old, new in figures.falls()[:SHOWN_CLASSES] if new < old]
    return f"{text}; fell most: {', '.join(deepest)}" if deepest and not met else text


def _blind(figures: Figures) -> str:
    """Returns the line for a float model that finds nothing, with which nothing can be compared."""
    if not figures.objects:
        return "the validation pictures carry no labelled object, so accuracy cannot be judged"
    reached = figures.float_accuracy
    return (
        f"the float model reaches only {reached:.4f} on these pictures: do weights, classes and data belong together?"
    )


def _lowest(figures: Figures) -> str:
    """Returns the classes that are found worst."""
    ranked = sorted((metrics[figures.main] or 0.0, name) for name, metrics in figures.per_class.items())
    shown = [f"{name} {figure:.2f}" for figure, name in ranked[:SHOWN_CLASSES]]
    return f"; lowest: {', '.join(shown)}" if shown else ""
