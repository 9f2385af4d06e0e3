"""A plan as a Mermaid flowchart, which code hosts and editors draw: steps in the boxes of their stages. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from edgecompile.plan.graph import Plan
from edgecompile.plan.step import Step
from edgecompile.text import escape

ESCAPES = {'"': "#quot;", "#": "#35;", "<": "#lt;", ">": "#gt;", "`": "#96;"}
"""Entity codes of Mermaid, for what its quoted labels would otherwise interpret."""


def mermaid_of(plan: Plan | Sequence[Step]) -> str:
    """Returns the text of the flowchart, ending in a newline. Equal plans give equal text."""
    numbers = {step.name: f"s{number}" for number, step in enumerate(plan)}
    lines = ["flowchart TD"]
    for number, (stage, steps) in enumerate(groupby(plan, key=lambda step: step.stage)):
        lines.append(f'  subgraph g{number}["{stage.value}"]')
        lines += [f'    {numbers[step.name]}["{_label(step)}"]' for step in steps]
        lines.append("  end")
    lines += [f"  {numbers[need]} --> {numbers[step.name]}" for step in plan for need in step.needs if need in numbers]
    measured = [numbers[step.name] for step in plan if step.measured]
    if measured:
        lines += ["  classDef measured stroke-dasharray: 4 3", f"  class {','.join(measured)} measured"]
    return "\n".join(lines) + "\n"


def _label(step: Step) -> str:
    about = f"<br/><small>{_escaped(step.about)}</small>" if step.about else ""
    return f"{_escaped(step.name)}{about}"


def _escaped(text: str) -> str:
    return "".join(ESCAPES.get(character, character) for character in escape(" ".join(text.split())))
