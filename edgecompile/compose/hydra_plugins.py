"""Launchers and sweepers of Hydra that an extra of edgecompile brings: what to install where a plugin is missing."""

from __future__ import annotations

from collections.abc import Iterable

from edgecompile.errors import MissingToolError, Problem

EXTRAS = {
    "hydra/launcher/joblib": "joblib",
    "hydra/launcher/submitit_local": "submitit",
    "hydra/launcher/submitit_slurm": "submitit",
    "hydra/launcher/ray": "ray",
    "hydra/launcher/ray_aws": "ray",
    "hydra/sweeper/optuna": "optuna",
    "hydra/sweeper/list": "sweepers",
    "hydra/sweeper/filter": "sweepers",
}
"""Choice of a plugin to the extra that installs it."""
ALWAYS = ("hydra/launcher/basic", "hydra/sweeper/basic")


def missing_plugin(choice: str, where: str) -> MissingToolError | None:
    """Returns the error for a launcher or sweeper that an extra would bring; None for any other choice.

    Args:
        choice: such as "hydra/launcher/joblib".
        where: the choice was made.
    """
    extra = EXTRAS.get(choice)
    if extra is None:
        return None
    kind, _, name = choice.removeprefix("hydra/").partition("/")
    return MissingToolError(
        Problem(f"the {kind} '{name}' is not installed", where, f"pip install 'edgecompile[{extra}]'")
    )


def no_slurm() -> MissingToolError:
    """Returns the error for a machine that cannot submit jobs to Slurm."""
    fix = "run it where srun is, or take hydra/launcher=submitit_local"
    return MissingToolError("the launcher 'submitit_slurm' finds no srun here", where="command line", fix=fix)


def choices(group: str) -> Iterable[str]:
    """Returns the names that may be chosen of "hydra/launcher" or "hydra/sweeper", installed or not."""
    return (plugin.rpartition("/")[2] for plugin in (*ALWAYS, *EXTRAS) if plugin.startswith(f"{group}/"))
