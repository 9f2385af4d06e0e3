"""What a plan is made of: sources that come from outside, steps, and references to what steps put out.

Everything here is frozen data. A step names its function by `module:function`; only the worker process that runs the
step imports it, so that making a plan never imports torch, onnx or a backend.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from functools import cached_property
from types import MappingProxyType
from typing import Any

FACTS = "facts.json"
"""File of every step's output that holds, as canonical JSON, the mapping that the step's function returned."""

TIMEOUT = "EDGECOMPILE_STEP_TIMEOUT"
"""Environment variable that says how many seconds a step may take."""


class Stage(str, Enum):
    """The kind of a step, in the order in which kinds appear in a plan."""

    EXPORT = "export"
    FUSION = "fusion"
    CALIBRATION = "calibration"
    QUANTIZATION = "quantization"
    COMPILATION = "compilation"
    VALIDATION = "validation"
    PACKAGING = "packaging"

    @property
    def place(self) -> int:
        """The place of this kind among all, from 0."""
        return _PLACES[self]


_PLACES = {stage: place for place, stage in enumerate(Stage)}


@dataclass(frozen=True)
class Source:
    """Files from outside the store, in order. Their digest is of names and contents, never of folders.

    Attributes:
        name: what they are to a person, such as "weights" or "calibration pictures".
        paths: absolute paths. A step function receives one `Path` where `many` is false, else a list of them.
    """

    name: str
    paths: tuple[str, ...]
    many: bool = False


@dataclass(frozen=True)
class Output:
    """A reference to what a step puts out: one file of it, or its whole folder where `path` is empty."""

    step: str
    path: str = ""


Input = Source | Output


def freeze(mapping: Mapping[str, Any]) -> Mapping[str, Any]:
    """Returns a read-only view of a copy of `mapping`, or `mapping` itself where it is such a view already."""
    return mapping if type(mapping) is MappingProxyType else MappingProxyType(dict(mapping))


@dataclass(frozen=True)
class Step:
    """One executable node.

    The function is called in a fresh process as `function(out, **inputs, **params)`: `out` is an empty folder it fills,
    an input is a `Path` (or a list of paths for a `Source` of many). It may return a mapping of plain JSON values, its
    *facts*, which are stored beside its files as `facts.json` and count as part of its output. Equal inputs, parameters
    and tools must give equal bytes, unless `measured`.

    Attributes:
        name: unique in its plan; what a person reads in the plan and in progress.
        function: "package.module:function".
        stage: the kind of step.
        version: raised by hand whenever the function's results change.
        params: plain JSON values.
        inputs: argument name to source or to another step's output.
        tools: distributions (as named on the package index) whose versions change the result.
        isa: whether the result depends on the instruction set of the machine (float summation order, VNNI).
        measured: whether the result is a measurement (latency, memory): no other step of any build runs meanwhile, its
            key holds the fingerprint of the machine, its facts alone are kept, apart from all content, and never enter
            a bundle. No other step reads it.
        max_age_s: for how long a measurement is reused; None for as long as it is there.
        memory_mb: an estimate of the peak memory, by which the runner decides what runs side by side.
        about: one line for the plan: what the step does.
    """

    name: str
    function: str
    stage: Stage
    version: int = 1
    params: Mapping[str, Any] = field(default_factory=dict)
    inputs: Mapping[str, Input] = field(default_factory=dict)
    tools: tuple[str, ...] = ()
    isa: bool = False
    measured: bool = False
    max_age_s: float | None = None
    memory_mb: int = 500
    about: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "params", freeze(self.params))
        object.__setattr__(self, "inputs", freeze(self.inputs))

    @cached_property
    def needs(self) -> tuple[str, ...]:
        """Names of the steps whose output this step reads, sorted, each once."""
        return tuple(sorted({value.step for value in self.inputs.values() if type(value) is Output}))

    def renamed(self, name: str, inputs: Mapping[str, Input]) -> Step:
        """Returns the same step under another name, for which what it reads is named otherwise too.

        `dataclasses.replace` would do the same in three times the time: a second more for a sweep of 10,000 points.
        """
        twin = object.__new__(Step)
        twin.__dict__.update(self.__dict__, name=name, inputs=freeze(inputs))
        twin.__dict__.pop("needs", None)
        return twin
