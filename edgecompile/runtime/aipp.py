"""AIPP, the preprocessing that Ascend chips build into a model: its configuration, and the same arithmetic in numpy.

Static AIPP takes uint8 (n, h, w, 3), may swap red and blue, and gives (n, 3, h, w) of
(v - mean_chn_c - min_chn_c) * var_reci_chn_c. Source: hiascend.com, CANN 8.0.0, ATC, "AIPP configuration".
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

from edgecompile.errors import BundleError
from edgecompile.runtime.options import show_value
from edgecompile.runtime.spec_document import SpecDocument

if TYPE_CHECKING:
    import numpy as np

LINE = re.compile(r"[ \t]*([a-z0-9_]+)[ \t]*:[ \t]*(\S+)[ \t]*")
NUMBER = re.compile(r"-?[0-9]{1,9}(\.[0-9]{1,20})?")
MODE, FORMAT = "static", "RGB888_U8"
NEVER = re.compile("(?!)")
SETTINGS = {
    "aipp_mode": re.compile(MODE),
    "related_input_rank": re.compile("0"),
    "input_format": re.compile(FORMAT),
    "src_image_size_w": re.compile("[0-9]{1,5}"),
    "src_image_size_h": re.compile("[0-9]{1,5}"),
    "crop": re.compile("false"),
    "csc_switch": re.compile("false"),
    "rbuv_swap_switch": re.compile("true|false"),
    **{f"{name}_{channel}": NUMBER for channel in range(3) for name in ("mean_chn", "min_chn", "var_reci_chn")},
}
"""Settings of an `aipp.cfg`: key to the form of its value. ATC reads the file too, so nothing else may stand there."""


def config_of(spec: SpecDocument, pixels: SpecDocument) -> str:
    """Returns `aipp.cfg`: it brings pictures of the form `pixels` to the numbers that the model takes.

    Args:
        spec: the document of the model's spec.json, before preprocessing is built in.
        pixels: that of the spec after it: uint8, NHWC.
    """
    entry, after = spec["input"], pixels["input"]
    height, width = spec["letterbox"]["size"]
    lines = {
        "aipp_mode": MODE,
        "related_input_rank": 0,
        "input_format": FORMAT,
        "src_image_size_w": width,
        "src_image_size_h": height,
        "crop": "false",
        "csc_switch": "false",
        "rbuv_swap_switch": str(entry["color"] != after["color"]).lower(),
    }
    for channel, (mean, std) in enumerate(zip(entry["mean"], entry["std"], strict=True)):
        lines[f"mean_chn_{channel}"] = 0  # whole numbers only; min_chn takes any, and means the same
        lines[f"min_chn_{channel}"] = _number(mean / entry["scale"])
        lines[f"var_reci_chn_{channel}"] = _number(entry["scale"] / std)
    return "aipp_op {\n" + "".join(f"    {key}: {value}\n" for key, value in lines.items()) + "}\n"


def _number(value: float) -> str:
    return f"{value:.12f}".rstrip("0").rstrip(".")


def read_config(text: str) -> dict[str, str]:
    """Returns the settings of an `aipp.cfg`.

    Raises:
        BundleError: it holds other settings than those of `config_of`, or asks for other operations than those of
            `preprocess`.
    """
    settings: dict[str, str] = {}
    lines = [line for line in text.split("\n") if line.strip()]
    if len(lines) > 2 + len(SETTINGS) or lines[:1] != ["aipp_op {"] or lines[-1:] != ["}"]:
        raise BundleError("aipp.cfg: expected one block 'aipp_op { ... }'")
    for line in lines[1:-1]:
        match = LINE.fullmatch(line)
        if not match or match[1] in settings or not SETTINGS.get(match[1], NEVER).fullmatch(match[2]):
            raise BundleError(f"aipp.cfg: found {show_value(line.strip())}, expected settings of {', '.join(SETTINGS)}")
        settings[match[1]] = match[2]
    if absent := [key for key in SETTINGS if key not in settings]:
        raise BundleError(f"aipp.cfg: lacks {', '.join(absent)}")
    return settings


def preprocess(pixels: np.ndarray, config: Mapping[str, str]) -> np.ndarray:
    """Returns the output of AIPP for uint8 (n, h, w, 3), as float32 (n, 3, h, w).

    Raises:
        BundleError: the pictures are not of the size that the configuration states.
    """
    import numpy as np

    size = (int(config["src_image_size_h"]), int(config["src_image_size_w"]))
    if pixels.dtype != np.uint8 or pixels.shape[1:] != (*size, 3):
        raise BundleError(f"AIPP takes bytes of {size[0]}x{size[1]}x3, not {pixels.dtype} {list(pixels.shape[1:])}")
    ordered = pixels[..., ::-1] if config["rbuv_swap_switch"] == "true" else pixels
    offsets, factors = (
        np.array([sum(float(config[f"{name}_{channel}"]) for name in names) for channel in range(3)], np.float32)
        for names in (("mean_chn", "min_chn"), ("var_reci_chn",))
    )
    return np.ascontiguousarray(((ordered.astype(np.float32) - offsets) * factors).transpose(0, 3, 1, 2))
