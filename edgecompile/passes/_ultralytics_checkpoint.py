"""Loads Ultralytics checkpoints through torch's restricted unpickler. With `_ultralytics_heads`, the only module that
imports ultralytics."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from edgecompile.errors import MissingToolError, StepError
from edgecompile.evaluate.tasks import find_task, unfit
from edgecompile.passes._torchvision_substitute import substituted
from edgecompile.weights.guard import nothing_constructed

OLD_YOLOV5 = "comes from the old yolov5 repository; ultralytics reads YOLOv5u checkpoints only"

WOULD_CALL = "would call '{}' when loaded; refusing to load it"

CHANNELS = (1, 3, 4)
"""Numbers of channels of pictures that OpenCV reads: grey, colour, colour with alpha."""


def foreign_head(head: str, task: str) -> str:
    """Returns why a task cannot read what a head puts out, or ""."""
    heads = find_task(task).heads
    if head in heads:
        return ""
    return f"has the head '{head[:60]}'; the heads that can be compiled: {', '.join(heads)}"


def foreign_channels(channels: int) -> str:
    """Returns why pictures of so many channels cannot be read, or ""."""
    if channels in CHANNELS:
        return ""
    return f"takes pictures of {channels} channels; those of {', '.join(map(str, CHANNELS))} can be compiled"


def channels_of(model: Any) -> int:
    """Returns how many channels the pictures of a loaded model have."""
    return int(model.yaml.get("channels", 3))


def load_checkpoint(weights: Path, task: str = "detect") -> Any:
    """Returns the fused float model of a checkpoint, without running code that the file may carry.

    Raises:
        StepError: when the file is missing, damaged, unsafe or no Ultralytics checkpoint of the task.
        MissingToolError: when torch is too old to load it safely.
    """
    import torch

    if not weights.is_file():
        raise StepError(f"checkpoint '{weights.name}' does not exist")
    if weights.suffix != ".pt":
        raise StepError(f"'{weights.name}' is no .pt checkpoint", fix="import ONNX files with the pass 'onnx_import'")
    if tuple(int(part) for part in re.findall(r"\d+", torch.__version__)[:2]) < (2, 10):
        raise MissingToolError(
            f"torch {torch.__version__} cannot load checkpoints safely", fix="pip install 'torch>=2.10'"
        )
    tasks = _import_safely()
    with TemporaryDirectory() as folder:
        # ultralytics looks at the name: it takes 'yolov5n.pt' for 'yolov5nu.pt' and downloads that, offline or not
        neutral = Path(shutil.copyfile(weights, Path(folder) / "checkpoint.pt"))

        def refuse(kind: type) -> StepError:
            return StepError(f"'{weights.name}' {WOULD_CALL.format(f'{kind.__module__}.{kind.__name__}')}")

        try:
            with nothing_constructed(torch.nn.Module, refuse), substituted():
                model, _ = tasks.load_checkpoint(str(neutral))
        except (TypeError, RuntimeError, ModuleNotFoundError, AttributeError, KeyError, EOFError, ValueError) as error:
            raise StepError(_reason(weights.name, error)) from error
    if not isinstance(model, tasks.BaseModel):
        raise StepError(f"'{weights.name}' holds a '{type(model).__name__}', not an Ultralytics model")
    if unfit_task := unfit(str(getattr(model, "task", None)), task, weights.name):
        raise StepError(unfit_task)
    if reason := foreign_head(type(model.model[-1]).__name__, task):
        raise StepError(f"'{weights.name}' {reason}")
    if reason := foreign_channels(channels_of(model)):
        raise StepError(f"'{weights.name}' {reason}")
    return model.float().eval()


def _import_safely() -> Any:
    """Imports `ultralytics.nn.tasks` so that it neither unpickles code nor installs or downloads anything.

    The flags are read once, at import: a process that imported ultralytics without them is refused.
    """
    os.environ.update(ULTRALYTICS_SAFE_LOAD="1", YOLO_AUTOINSTALL="false", YOLO_OFFLINE="true", YOLO_VERBOSE="false")
    try:
        from ultralytics.nn import tasks
        from ultralytics.utils import SAFE_LOAD
    except ImportError as error:
        fix = "pip install 'edgecompile[ultralytics]'"
        raise MissingToolError(f"exporting a checkpoint needs ultralytics ({error})", fix=fix) from error
    if not SAFE_LOAD:
        raise StepError(
            "ultralytics was imported in this process without ULTRALYTICS_SAFE_LOAD=1; refusing to unpickle"
        )
    tasks.restore_qat = _refuse_quantized
    return tasks


def _refuse_quantized(*_: Any) -> None:
    """Stands in for what hands a part of the checkpoint to modelopt, whose own loading nobody restricts."""
    raise StepError("the checkpoint is a model that modelopt quantized", fix="compile the float model it was made from")


def _reason(name: str, error: Exception) -> str:
    """Returns one line on why the checkpoint `name` did not load."""
    chain = f"{error} {error.__cause__ or ''}"
    if isinstance(error, ModuleNotFoundError):
        refused = str(error.name)
    else:
        match = re.search(r"GLOBAL `?([\w.]+)", chain)
        refused = match.group(1) if match else ""
    if "old YOLOv5" in chain or "ultralytics/yolov5" in chain:
        return f"'{name}' {OLD_YOLOV5}"
    if "TorchScript" in chain:
        return f"'{name}' is a TorchScript archive, not a checkpoint"
    if refused:
        return f"'{name}' refers to '{refused}', which is no part of a model; refusing to load it"
    if "blocked during restricted" in chain:
        return f"'{name}' would run code when loaded; refusing to load it"
    return f"'{name}' is damaged or is no Ultralytics checkpoint"
