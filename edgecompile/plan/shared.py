"""One graph of the plans of many points: a step of several plans stands in the graph once. Pure."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass, field

from edgecompile.plan.graph import Plan
from edgecompile.plan.step import Output, Source, Step


@dataclass
class SharedSteps:
    """Collects plans and numbers their different steps.

    Two steps are the same where function, version, parameters, tools and all that they read are equal, sources by
    their digest and outputs by the steps that put them out: their keys will be equal whatever comes out. What a plan
    calls them does not matter.

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
    _digests: dict[int, tuple[Source, str]] = field(default_factory=dict)

    def add(self, plan: Plan) -> tuple[int, ...]:
        """Takes the steps of a plan and returns the number of each, in the order of the plan."""
        numbers: dict[str, int] = {}
        for step in plan.steps:
            read = [
                (name, self._digest(value)) if type(value) is Source else (name, numbers[value.step], value.path)  # type: ignore[union-attr]
                for name, value in step.inputs.items()
            ]
            identity = (
                step.function,
                step.version,
                repr(dict(step.params)),  # plain JSON values: equal text, equal parameters
                tuple(read),
                step.tools,
                step.isa,
                step.measured,
            )
            number = numbers[step.name] = self._numbers.setdefault(identity, len(self.steps))
            if number == len(self.steps):
                self.steps.append(self._renamed(step, numbers))
                self.uses.append(0)
        return tuple(numbers.values())

    def _digest(self, source: Source) -> str:
        """Returns the digest of a source. Many points share a source, and comparing its paths takes long."""
        entry = self._digests.get(id(source))
        if entry is None:
            entry = self._digests[id(source)] = source, self.digest_of(source)
        return entry[1]

    def _renamed(self, step: Step, numbers: Mapping[str, int]) -> Step:
        """Returns a step under a name that is unique here, reading outputs by their names here."""
        count = self._named[step.name] = self._named.get(step.name, 0) + 1
        inputs = {
            name: value if isinstance(value, Source) else Output(self.steps[numbers[value.step]].name, value.path)
            for name, value in step.inputs.items()
        }
        return step.renamed(step.name if count == 1 else f"{step.name}#{count}", inputs)


def by_stage(steps: Iterable[Step]) -> tuple[Step, ...]:
    """Returns steps in the order of stages, those of one stage as they stood."""
    return tuple(sorted(steps, key=lambda step: step.stage.place))
