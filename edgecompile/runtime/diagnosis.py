"""`Diagnosis`: the symptoms of a soak run and their causes, judged from its timeline, and gates that need a soak."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from edgecompile.runtime.finding import SYMPTOMS, Finding
from edgecompile.runtime.heat_findings import judge_heat
from edgecompile.runtime.latency_findings import FROM_OUTSIDE, judge_latency
from edgecompile.runtime.machine import Machine, describe
from edgecompile.runtime.measured_gates import MEASURED, Verdict, compared
from edgecompile.runtime.measurement import Percentiles
from edgecompile.runtime.memory_findings import Growth, growth_of, judge_memory
from edgecompile.runtime.result_findings import judge_results
from edgecompile.runtime.sensors import NO_TEMPERATURE, NO_THROTTLING
from edgecompile.runtime.timeline import Timeline

if TYPE_CHECKING:
    from edgecompile.runtime.predictor import Predictor

JUDGED = ("jitter_ms", "temperature_c", "throttled", "memory_growth_mb_per_hour")
"""Gates of a bundle that a soak judges; all others are `bench`'s."""
TOO_SHORT = "the run was too short to tell: --minutes 5"


@dataclass(frozen=True)
class Subject:
    """What was soaked.

    Attributes:
        bundle, sha256: file name and digest.
        backend: and the version of its library.
        machine: on which.
        limits: gates of the bundle, name and limit.
    """

    bundle: str
    sha256: str
    backend: str
    machine: Machine
    limits: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True)
class Diagnosis:
    """The result of `diagnose`.

    Attributes:
        subject: what was soaked.
        timeline: what was seen.
        latency_ms: of whole predictions; None where there was none.
        jumps, unexplained: predictions that took far longer than usual; those of them without a cause that was seen.
        growth: of memory; None where the run was too short to tell.
        findings: the causes that are named: latency first, then memory, heat and results.
        gates: those that a soak judges.
    """

    subject: Subject
    timeline: Timeline
    latency_ms: Percentiles | None
    jumps: int
    unexplained: int
    growth: Growth | None
    findings: tuple[Finding, ...]
    gates: tuple[Verdict, ...]

    def with_findings(self, more: Sequence[Finding]) -> Diagnosis:
        """Returns the diagnosis with further findings."""
        return replace(self, findings=(*self.findings, *more))

    def to_json(self) -> dict[str, Any]:
        """Returns the diagnosis as plain JSON."""
        return {
            "subject": {**asdict(self.subject), "limits": [list(one) for one in self.subject.limits]},
            "latency_ms": asdict(self.latency_ms) if self.latency_ms else None,
            "jumps": self.jumps,
            "unexplained": self.unexplained,
            "growth": self.growth.to_json() if self.growth else None,
            "findings": [finding.to_json() for finding in self.findings],
            "gates": [verdict.for_report() for verdict in self.gates],
            "timeline": self.timeline.to_json(),
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Diagnosis:
        """Returns the diagnosis that `to_json` wrote: judged anew from its timeline, with the further findings.

        Raises:
            KeyError, TypeError, ValueError: it is no diagnosis.
        """
        known = document["subject"]
        limits = tuple((str(name), float(limit)) for name, limit in known["limits"])
        subject = Subject(**{**known, "machine": Machine(**known["machine"]), "limits": limits})
        judged = diagnosis_of(subject, Timeline.from_json(document["timeline"]))
        named = {(one.symptom, one.cause) for one in judged.findings}
        more = [Finding(**one) for one in document["findings"] if (one["symptom"], one["cause"]) not in named]
        return judged.with_findings(more)


def subject_of(model: Predictor) -> Subject:
    """Returns what a loaded bundle is, as `soak` runs it; its gates too."""
    manifest = model.manifest or {}
    backend = f"{manifest.get('target', {}).get('backend', '')} {model.backend.version}".strip()
    limits = tuple((str(gate["gate"]), float(gate["limit"])) for gate in manifest.get("gates") or ())
    return Subject(model.name, model.digest or "", backend, describe(), limits)


def diagnosis_of(subject: Subject, timeline: Timeline) -> Diagnosis:
    """Judges a timeline."""
    latency, growth = judge_latency(timeline), growth_of(timeline)
    findings = (*latency.findings, *judge_memory(timeline), *judge_heat(timeline), *judge_results(timeline))
    totals = [one.total_ms for one in timeline.predictions]
    percentiles = Percentiles.of(totals) if totals else None
    diagnosis = Diagnosis(
        subject, timeline, percentiles, len(latency.jumps), latency.unexplained, growth, findings, gates=()
    )
    limits = [(name, limit) for name, limit in subject.limits if name in JUDGED]
    return replace(diagnosis, gates=tuple(_verdict(name, limit, diagnosis) for name, limit in limits))


def _verdict(name: str, limit: float, diagnosis: Diagnosis) -> Verdict:
    """Judges one gate by a soak."""
    moments, ranks, growth = diagnosis.timeline.moments, diagnosis.latency_ms, diagnosis.growth
    slowed = [moment.throttled for moment in moments if moment.throttled is not None]
    numbers = {
        "jitter_ms": ranks.p95 - ranks.p50 if ranks else None,
        "temperature_c": max((one.temperature_c for one in moments if one.temperature_c is not None), default=None),
        "throttled": float(any(slowed)) if slowed else None,
        "memory_growth_mb_per_hour": growth.mb_per_hour if growth else None,
    }
    why = {"temperature_c": NO_TEMPERATURE, "throttled": NO_THROTTLING}
    verdict = compared(name, MEASURED[name], limit, numbers, why)
    if name == "memory_growth_mb_per_hour":
        return _growth_verdict(verdict, growth)
    noise = [one.title for one in diagnosis.findings if one.cause in FROM_OUTSIDE]
    if name == "jitter_ms" and noise and verdict.met is False:
        text = f"not judged: {verdict.text}, but {' and '.join(noise)} disturbed"
        return replace(verdict, met=None, noisy=True, text=text)
    return verdict


def _growth_verdict(verdict: Verdict, growth: Growth | None) -> Verdict:
    """Returns the verdict on growth, left open where the interval holds the limit."""
    if growth is None:
        return replace(verdict, met=None, text=f"not judged: {TOO_SHORT}")
    interval = f"[{growth.low:.1f} to {growth.high:.1f}]"
    if growth.low <= verdict.limit < growth.high:
        text = f"not judged: {growth.mb_per_hour:.1f} MB/h {interval}, limit {verdict.limit:g}; run longer: --minutes"
        return replace(verdict, met=None, text=text)
    return replace(verdict, text=f"{verdict.text} {interval}")


def lines(diagnosis: Diagnosis) -> Iterator[str]:
    """Yields a diagnosis as lines for people."""
    subject, timeline, ranks = diagnosis.subject, diagnosis.timeline, diagnosis.latency_ms
    yield (
        f"{subject.bundle}, {subject.backend}, {timeline.threads} threads, {timeline.predicted} predictions in "
        f"{timeline.seconds:.0f} s"
    )
    if ranks:
        jitter = ranks.p95 - ranks.p50
        yield f"latency p50 {ranks.p50:.2f} ms, p95 {ranks.p95:.2f}, p99 {ranks.p99:.2f}, jitter {jitter:.2f}"
    without = f", {diagnosis.unexplained} of them without a cause that was seen" if diagnosis.unexplained else ""
    yield f"jumps {diagnosis.jumps} of {len(timeline.predictions)}{without}"
    yield f"memory {growth_words(diagnosis.growth)}"
    for symptom, title in SYMPTOMS.items():
        found = [finding for finding in diagnosis.findings if finding.symptom == symptom]
        if not found:
            yield f"{title}: {unnamed_words(diagnosis, symptom)}"
        for finding in found:
            yield f"{title}: {finding.title} ({finding.evidence})"
            yield f"  fix: {finding.fix}"
    for line in timeline.unseen:
        yield f"not seen here: {line}"
    for gate in diagnosis.gates:
        yield f"{ {True: 'met', False: 'NOT met', None: 'open'}[gate.met] }: {gate}"


def unnamed_words(diagnosis: Diagnosis, symptom: str) -> str:
    """Returns what is said of a symptom for which nothing is named: "no" only where it could have been seen."""
    if symptom == "memory" and diagnosis.growth is None:
        return f"not known: {TOO_SHORT}"
    if symptom == "heat":
        moments = diagnosis.timeline.moments
        if all(one.temperature_c is None and one.throttled is None for one in moments):
            return "not known: this machine shows neither temperature nor throttling"
    return "no"


def growth_words(growth: Growth | None) -> str:
    """Returns the growth of memory for people."""
    if growth is None:
        return f"growth is not known: {TOO_SHORT}"
    return f"grows by {growth.mb_per_hour:.1f} MB an hour [{growth.low:.1f} to {growth.high:.1f}]"
