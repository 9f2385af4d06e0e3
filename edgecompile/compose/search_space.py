"""Sets, for a sweeper that searches, which way each objective of the recipe is better."""

from __future__ import annotations

from omegaconf import DictConfig, OmegaConf, open_dict

from edgecompile.evaluate.gates import GATES
from edgecompile.sweep.objectives import directions

DIRECTION = "direction"
"""What a sweeper of Optuna calls which way an objective is better."""
RESOLVER = "edgecompile.directions"


def prepare(config: DictConfig) -> None:
    """Makes a sweeper that takes directions take those of the recipe's objectives, before it is made.

    What is wrong with the objectives is raised when the sweeper reads them: Hydra swallows what a callback raises.
    """
    sweeper = config.hydra.sweeper
    if searches(config):
        with open_dict(sweeper):
            sweeper[DIRECTION] = f"${{{RESOLVER}:${{objectives}}}}"


def searches(config: DictConfig) -> bool:
    """Returns whether the sweeper chooses points by the figures of those before."""
    return DIRECTION in config.hydra.sweeper


def register() -> None:
    """Makes OmegaConf know how directions follow from objectives."""
    OmegaConf.register_new_resolver(RESOLVER, directions, replace=True)


def objectives_of(config: DictConfig) -> list[str]:
    """Returns the objectives of a composed config. Leaves out what is no figure: the strict models report it."""
    return [name for name in config.get("objectives") or () if name in GATES]
