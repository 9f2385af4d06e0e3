"""Puts other activations into a loaded Ultralytics network, and weights that were refitted to them."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from edgecompile.errors import StepError

WEIGHTS, SWAP = "weights.npz", "swap.json"
"""Files of a refit: the weights by name, and which activation stands in which modules."""
LEAK = 0.1015625
"""Slope of the leaky ReLU below zero: 13/128, a multiply and a shift on NPUs, near the usual 0.1."""


def activations_of(network: Any) -> Iterator[str]:
    """Yields the names of the modules that are SiLU, each name once though one module may stand in many places."""
    import torch

    for name, module in network.named_modules(remove_duplicate=False):
        if isinstance(module, torch.nn.SiLU):
            yield name


def swap(network: Any, to: str, names: Collection[str]) -> None:
    """Puts an activation in the place of each of the named modules.

    Raises:
        StepError: there is no module of that name.
    """
    for name in names:
        parent, _, own = name.rpartition(".")
        try:
            holder = network.get_submodule(parent)
        except AttributeError as error:
            raise StepError(f"the refitted weights name the module '{name[:80]}', which the network lacks") from error
        setattr(holder, own, activation(to))


def activation(to: str) -> Any:
    """Returns a module by the name that the pass has for it."""
    import torch

    made = {
        "hard_swish": torch.nn.Hardswish,
        "relu": torch.nn.ReLU,
        "relu6": torch.nn.ReLU6,
        "leaky_relu": lambda: torch.nn.LeakyReLU(LEAK),
    }
    return made[to]()


def write_refit(folder: Path, network: Any, to: str, names: Collection[str]) -> None:
    """Writes the weights of a refitted network, and its swapped modules: equal bytes for equal weights."""
    import numpy as np

    weights = {name: value.detach().numpy() for name, value in network.state_dict().items()}
    np.savez(folder / WEIGHTS, **weights)
    (folder / SWAP).write_text(json.dumps({"to": to, "modules": list(names)}), encoding="utf-8")


def apply_refit(network: Any, folder: Path) -> None:
    """Swaps activations of a fused network and gives it its refitted weights, as `write_refit` wrote them.

    Raises:
        StepError: the weights are those of another network.
    """
    import numpy as np
    import torch

    stated = json.loads((folder / SWAP).read_text(encoding="utf-8"))
    swap(network, stated["to"], stated["modules"])
    with np.load(folder / WEIGHTS, allow_pickle=False) as file:
        weights = {name: torch.from_numpy(file[name]) for name in file.files}
    try:
        network.load_state_dict(weights)
    except RuntimeError as error:
        raise StepError("the refitted weights are those of another network") from error
