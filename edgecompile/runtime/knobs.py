"""What a runtime leaves open: the knobs that a backend declares, for `edgecompile tune` to try where the model runs.

A knob has alternatives by name. What is kept on a device names alternatives, never options of its own: nothing that was
read from a file reaches a library, except by the backend's own declaration.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from edgecompile.runtime.backends import Setting
from edgecompile.runtime.options import Options, OptionValue


@dataclass(frozen=True)
class Site:
    """The machine, as far as it decides what can be chosen.

    Attributes:
        cores: that this process may use.
        isa: instruction sets of its processor, as /proc/cpuinfo names them.
        smt: whether cores run several threads each.
        hybrid: whether it has cores of two kinds.
    """

    cores: int
    isa: frozenset[str]
    smt: bool = False
    hybrid: bool = False


@dataclass(frozen=True)
class Alternative:
    """Another way to open a model.

    Attributes:
        options: laid over those of the bundle; a value of None takes the option away, so that the library decides.
        threads: of the backend; None for as many as before.
    """

    options: Options = field(default_factory=dict)
    threads: int | None = None

    def over(self, setting: Setting) -> Setting:
        """Returns a setting with this alternative in it."""
        options = {key: value for key, value in {**setting.options, **self.options}.items() if value is not None}
        return Setting(setting.threads if self.threads is None else self.threads, options)


@dataclass(frozen=True)
class Knob:
    """Something that is left open.

    Attributes:
        name: such as "spinning".
        alternatives: name to what it means, besides what the bundle asks for: "off".
    """

    name: str
    alternatives: Mapping[str, Alternative]


class Tunable(Protocol):
    """A further method of a backend that leaves something open."""

    @staticmethod
    def knobs(setting: Setting, site: Site) -> Sequence[Knob]:
        """Returns what may be chosen where the model runs; alternatives equal to the setting are left out.

        Args:
            setting: in which the bundle would be opened.
            site: the machine.
        """


def knobs_of(backend: type, setting: Setting, site: Site) -> list[Knob]:
    """Returns the knobs that a backend declares, each with the alternatives that change something."""
    declare = getattr(backend, "knobs", None)
    if declare is None:
        return []
    found = []
    for knob in declare(setting, site):
        other = {name: one for name, one in knob.alternatives.items() if one.over(setting) != setting}
        if other:
            found.append(Knob(knob.name, other))
    return found


def of_option(name: str, option: str, values: Options, setting: Setting, usual: OptionValue) -> Knob:
    """Returns the knob of one option.

    Args:
        name: of the knob.
        option: of the backend.
        values: name of an alternative to the value of the option.
        setting: in which the bundle would be opened; the alternative that this has is left out.
        usual: value where the setting has none; None where it is another, or unknown.
    """
    now = setting.options.get(option, usual)
    return Knob(name, {word: Alternative({option: value}) for word, value in values.items() if value != now})


def thread_counts(site: Site) -> Knob:
    """Returns the knob of how many threads run the model: one, half the cores, all."""
    counts = sorted({1, max(site.cores // 2, 1), site.cores}, reverse=True)
    return Knob("threads", {str(count): Alternative(threads=count) for count in counts})


def resolve(knobs: Sequence[Knob], chosen: Mapping[str, str], setting: Setting) -> Setting:
    """Returns the setting with the chosen alternatives, by name of the knob.

    Raises:
        KeyError: there is no such knob or alternative.
    """
    known = {knob.name: knob.alternatives for knob in knobs}
    for name, alternative in chosen.items():
        setting = known[name][alternative].over(setting)
    return setting
