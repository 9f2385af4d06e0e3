"""Which figures this machine has no sensor for, so that gates on them cannot be judged here. Standard library only."""

from __future__ import annotations

from pathlib import Path

from edgecompile.runtime.machine import temperature
from edgecompile.runtime.machine_load import observe
from edgecompile.runtime.power import find_meter

NO_TEMPERATURE = "this machine shows no temperature"
NO_THROTTLING = "this machine does not show whether it is slowed by heat or low voltage"


def missing_sensors(root: Path = Path("/")) -> dict[str, str]:
    """Returns the figures that gates read and this machine cannot tell, with the reason.

    Args:
        root: where /proc and /sys stand (another folder in tests).
    """
    meter, no_meter = find_meter(sysfs=root / "sys")
    watts = {} if meter else dict.fromkeys(("fps_per_watt", "energy_per_picture_j"), no_meter)
    seen = observe(root=root)
    hides_heat = seen.throttled is None and seen.throttles is None
    return {
        **watts,
        **({"temperature_c": NO_TEMPERATURE} if temperature(root) is None else {}),
        **({"throttled": NO_THROTTLING} if hides_heat else {}),
    }
