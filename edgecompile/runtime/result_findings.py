"""Whether results are abnormal: they drift, are not finite, or were another machine's from the beginning. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from edgecompile.runtime.finding import Finding
from edgecompile.runtime.timeline import Timeline


def judge_results(timeline: Timeline) -> list[Finding]:
    """Returns what is wrong with results, if anything is."""
    return list(_findings(timeline))


def _findings(timeline: Timeline) -> Iterator[Finding]:
    words = [look.detail for look in timeline.looks if not look.met]
    infinite = sum("not finite" in text for text in words) + timeline.not_finite
    if infinite:
        fix = "build it without FP16 where it overflows (passes.fp16), or see which layer: --layers"
        evidence = f"in {infinite} looks at raw outputs"
        yield Finding("results", "not_finite", "numbers that are not finite", evidence, fix)
    if drifts := [look for look in timeline.looks if not look.met and "not finite" not in look.detail]:
        evidence = f"after {drifts[0].at_s:.0f} s, in {len(drifts)} of {len(timeline.looks)} looks: {drifts[0].detail}"
        fix = "the same input gives other outputs: look for failing memory, and for threads that write into its buffers"
        yield Finding("results", "drift", "outputs on the golden picture drift", evidence, fix)
    if differs := [look.detail for look in timeline.built if not look.met]:
        fix = "install the runtime's version that the bundle needs, or build it on such a device: `edgecompile verify`"
        yield Finding("results", "differs_from_build", "outputs are not those of the build", differs[0], fix)
    if timeline.refused:
        evidence = f"{timeline.refused} predictions ended in an error: {timeline.refusal}"
        fix = "see which layer leaves the float model: --layers"
        yield Finding("results", "refused", "results that mean nothing", evidence, fix)
