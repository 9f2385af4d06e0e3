"""The key of a step: the digest of all that its result depends on."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePosixPath

from edgecompile.errors import PlanError
from edgecompile.execute import hardware, tools
from edgecompile.execute.canonical_json import canonical_json, digest_of
from edgecompile.execute.entry import Entry, Ingredients, InputDigest
from edgecompile.execute.source_digests import Sources
from edgecompile.plan.step import Input, Source, Step

SCHEMA = 1
"""Raised when the meaning of the ingredients changes, which makes all older results misses."""


def ingredients(step: Step, sources: Sources, entries: Mapping[str, Entry]) -> Ingredients:
    """Returns all that the result of `step` depends on, as plain JSON values. Its digest is the step's key.

    The step's name is not among them: equal work has one key whatever a plan calls it. Neither is any path, but the
    base names of inputs are, because a step function sees them.

    Args:
        step: the step.
        sources: where digests of sources come from.
        entries: results of the steps it needs, by step name.

    Raises:
        MissingToolError: when a tool of the step is not installed.
        PlanError: when a parameter is no plain JSON value.
        RecipeError: when a source cannot be read.
        StepError: when a step it needs did not put out what it reads.
    """
    tools.require_tools([step])
    values: Ingredients = {
        "schema": SCHEMA,
        "function": step.function,
        "version": step.version,
        "params": dict(step.params),
        "inputs": {name: _describe(value, sources, entries) for name, value in sorted(step.inputs.items())},
        "tools": {tool: tools.version_of(tool) for tool in sorted(step.tools)},
    }
    if step.isa:
        values["isa"] = hardware.isa_class()
    if step.measured:
        values["machine"] = hardware.fingerprint()
    try:
        canonical_json(values)
    except (TypeError, ValueError) as error:
        raise PlanError(f"a parameter of step '{step.name}' is no plain JSON value: {error}") from error
    return values


def key_of(values: Ingredients) -> str:
    """Returns the key, 64 hex digits, of a step's ingredients."""
    return digest_of(values)


def _describe(value: Input, sources: Sources, entries: Mapping[str, Entry]) -> InputDigest:
    if isinstance(value, Source):
        return {"source": sources.of(value).digest}
    return {"output": entries[value.step].content(value.path), "name": PurePosixPath(value.path).name}
