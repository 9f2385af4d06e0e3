"""Whether a machine gets too hot. Pure."""

from __future__ import annotations

import statistics

from edgecompile.runtime.finding import Finding
from edgecompile.runtime.timeline import Timeline

HOT_C = 80.0
"""From about here processors of single-board computers and laptops slow themselves: 80 °C on a Raspberry Pi."""
RISES_C = 5.0
FALLS = 0.1
"""Share by which a clock falls where it counts as lowered."""


def judge_heat(timeline: Timeline) -> list[Finding]:
    """Returns what heat does, if it does anything."""
    moments = timeline.moments
    slowed = [moment for moment in moments if moment.throttled]
    known = [moment.temperature_c for moment in moments if moment.temperature_c is not None]
    hottest = max(known, default=None)
    clocks = [moment.mhz for moment in moments if moment.mhz]
    shown = f"{known[0]:.0f} to {known[-1]:.0f} °C, {hottest:.0f} °C at most" if hottest is not None else "no sensor"
    if slowed:
        evidence = f"slowed in {len(slowed)} of {len(moments)} moments, first after {slowed[0].at_s:.0f} s; {shown}"
        if clocks and min(clocks) < (1 - FALLS) * max(clocks):
            evidence += f"; the clock fell from {max(clocks)} to {min(clocks)} MHz"
        fix = "cool it (heat sink, fan), feed it by a stronger supply, or give it fewer pictures a second"
        return [Finding("heat", "throttling", "slowed by heat or low voltage", evidence, fix)]
    quarter = max(len(known) // 4, 1)
    if hottest is None or hottest < HOT_C:
        return []
    rise = statistics.median(known[-quarter:]) - statistics.median(known[:quarter])
    if rise < RISES_C:
        return []
    fix = "cool it before it is slowed, and run longer: --minutes 30 shows where it settles"
    return [Finding("heat", "rising", "temperature rises", f"by {rise:.0f} °C: {shown}", fix)]
