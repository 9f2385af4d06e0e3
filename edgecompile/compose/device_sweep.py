"""`device.hosts` of a sweep: each of its points is measured on each device, so the devices are one more swept key."""

from __future__ import annotations

import re

from omegaconf import DictConfig, OmegaConf, open_dict

from edgecompile.compose.command_line import quoted
from edgecompile.errors import RecipeError
from edgecompile.recipe.schema import ADDRESS

HOST, HOSTS = "device.host", "device.hosts"


def names_devices(config: DictConfig) -> bool:
    """Returns whether a composed sweep names more than one device."""
    hosts = OmegaConf.select(config, HOSTS)
    return OmegaConf.is_list(hosts) and len(hosts) > 1


def sweep_devices(config: DictConfig) -> None:
    """Adds the devices that a composed sweep names to what it sweeps: `device.host=A,B`, behind all other keys, so that
    all devices of a point come one after another.

    Raises:
        RecipeError: an address has another form, or `device.host` is given too.
    """
    hosts = OmegaConf.select(config, HOSTS)
    if not hosts:
        return
    addresses = [str(host) for host in hosts] if OmegaConf.is_list(hosts) else [str(hosts)]
    for address in addresses:
        if not re.fullmatch(ADDRESS, address):
            raise RecipeError(f"'{address}' is no address of a device", where=HOSTS, fix="expected ssh://[user@]host")
    typed = [str(word) for word in OmegaConf.to_container(config.hydra.overrides.task, resolve=False) or ()]
    if any(word.lstrip("+").startswith(f"{HOST}=") for word in typed):
        raise RecipeError(f"both {HOST} and {HOSTS} are given", where="command line", fix=f"leave {HOST} out")
    with open_dict(config.hydra.overrides):
        others = [word for word in typed if not word.lstrip("+").startswith(f"{HOSTS}=")]
        config.hydra.overrides.task = [*others, f"++{HOST}={','.join(map(quoted, addresses))}"]
