"""One graph of the plans of many points: a step that stands in several of them stands in it once. Pure."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass, field, replace

from edgecompile.plan.graph import Plan
from edgecompile.plan.step import Output, Source, Stage, Step


@dataclass
class SharedSteps:
    """Collects plans and numbers their different steps.

    Two steps are one where function, version, parameters, tools and all that they read are equal, sources by their
    digest and outputs by the steps that put them out: their keys will be equal whatever comes out. What a plan calls
    them does not matter.

    Attributes:
        digest_of: returns the digest of a source.
        steps: the different steps, each after all that it needs, under names that are unique here: a second step named
            `compile` is `compile#2`.
        uses: how many points each stands in, counted by whoever adds plans.
    """

    digest_of: Callable[[Source], str]
    steps: list[Step] = field(default_factory=list)
    uses: list[int] = field(default_factory=list)
    _numbers: dict[Hashable, int] = field(default_factory=dict)
    _named: dict[str, int] = field(default_factory=dict)

    def add(self, plan: Plan) -> tuple[int, ...]:
        """Takes the steps of a plan and returns the number of each, in the order of the plan."""
        numbers: dict[str, int] = {}
        for step in plan.steps:
            identity = (
                step.function,
                step.version,
                repr(dict(step.params)),  # plain JSON values: equal text, equal parameters
                tuple([(name, self._describe(value, numbers)) for name, value in step.inputs.items()]),
                step.tools,
                step.isa,
                step.measured,
            )
            if identity not in self._numbers:
                self._numbers[identity] = len(self.steps)
                self.steps.append(self._renamed(step, numbers))
                self.uses.append(0)
            numbers[step.name] = self._numbers[identity]
        return tuple(numbers.values())

    def _describe(self, value: Source | Output, numbers: Mapping[str, int]) -> tuple[Hashable, ...]:
        if isinstance(value, Source):
            return (self.digest_of(value),)
        return numbers[value.step], value.path

    def _renamed(self, step: Step, numbers: Mapping[str, int]) -> Step:
        """Returns a step under a name that is unique here, reading outputs by their names here."""
        count = self._named[step.name] = self._named.get(step.name, 0) + 1
        inputs = {
            name: value if isinstance(value, Source) else Output(self.steps[numbers[value.step]].name, value.path)
            for name, value in step.inputs.items()
        }
        return replace(step, name=step.name if count == 1 else f"{step.name}#{count}", inputs=inputs)


def by_stage(steps: Iterable[Step]) -> tuple[Step, ...]:
    """Returns steps in the order of stages, those of one stage as they stood."""
    stages = list(Stage)
    return tuple(sorted(steps, key=lambda step: stages.index(step.stage)))
