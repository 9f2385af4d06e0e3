"""A callback of Hydra that logs a sweep to MLflow when it ends: `hydra/callbacks=mlflow`."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from edgecompile.errors import EdgecompileError
from edgecompile.text import tell


class MlflowRuns(Callback):
    """Logs each point as a run.

    Args:
        tracking_uri: of MLflow; null for $MLFLOW_TRACKING_URI, else the folder `mlruns` here.
        experiment: that the runs belong to; made where it is missing.
    """

    def __init__(self, tracking_uri: str | None = None, experiment: str = "edgecompile") -> None:
        self.tracking_uri = tracking_uri or os.environ.get("MLFLOW_TRACKING_URI") or Path("mlruns").absolute().as_uri()
        self.experiment = experiment

    def on_multirun_end(self, config: DictConfig, **_: Any) -> None:
        """Logs the sweep. What goes wrong is told in a line, and costs no point: they are built by now."""
        from edgecompile.sweep.mlflow_runs import log_sweep
        from edgecompile.sweep.report_files import read

        folder = Path(os.path.abspath(config.hydra.sweep.dir))
        try:
            count = log_sweep(read(folder), folder, self.tracking_uri, self.experiment)
        except EdgecompileError as error:
            tell(*(f"edgecompile: warning: {problem}" for problem in error.problems), file=sys.stderr)
        else:
            tell(f"edgecompile: {count} runs logged to {self.tracking_uri}", file=sys.stderr)
