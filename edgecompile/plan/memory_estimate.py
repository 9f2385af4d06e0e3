"""How much memory a model will take at run time, roughly, before anything is built. Pure.

By peaks of ONNX Runtime 1.32 on x86-64, one picture, random weights of YOLO11: n at 320 and 640 pixels 130 and 188 MB,
s at 320 and 640 pixels 215 and 341 MB, m at 640 pixels 627 MB; the estimate is off by an eighth of these at most.
OpenVINO took 0.6 to 1.3 times as much. INT8 takes a quarter of the weights; for the margin, it is taken to need as much
as float.
"""

from __future__ import annotations

import math

LIBRARY_MB = 77
"""Python, NumPy, OpenCV and the library of the runtime."""
OF_WEIGHTS = 3.3
"""Megabytes for each megabyte of float weights: the file, and what the runtime makes of it."""
OF_PIXELS = 65.0
"""Megabytes for each million pixels of a run and each root of a megabyte of weights: activations grow with the width of
a net, its weights with the square of that."""


def estimated_mb(float_weights_mb: float, pixels: int) -> float:
    """Returns megabytes (10^6) that a process which predicts takes.

    Args:
        float_weights_mb: size of the weights in float, MB.
        pixels: of all pictures of one run.
    """
    return LIBRARY_MB + OF_WEIGHTS * float_weights_mb + OF_PIXELS * math.sqrt(float_weights_mb) * pixels / 1e6


def memory_remarks(estimate_mb: float, memory_mb: int, most_mb: float | None, most_percent: float | None) -> list[str]:
    """Returns what to know of an estimate beyond the memory of the target, or beyond a gate of the recipe.

    Args:
        memory_mb: of the target.
        most_mb, most_percent: limits of the gates on memory; None for none.
    """
    limits = {
        f"target.memory_mb={memory_mb}": float(memory_mb),
        f"gates.peak_memory_mb={most_mb:g}" if most_mb else "": most_mb,
        f"gates.peak_memory_percent={most_percent:g}" if most_percent else "": (most_percent or 0) / 100 * memory_mb,
    }
    return [
        f"about {estimate_mb:.0f} MB of memory at run time, which is more than {name} allows ({limit:.0f} MB): "
        "a smaller model, model.imgsz or batch takes less"
        for name, limit in limits.items()
        if name and limit and estimate_mb > limit
    ]
