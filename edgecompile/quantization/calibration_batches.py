"""Calibration pictures as the model will see them: read and prepared by the very code that runs on the device."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from edgecompile.runtime.letterbox import Preprocessor
from edgecompile.runtime.pictures import read_picture
from edgecompile.runtime.spec import read_spec
from edgecompile.runtime.spec_document import SpecDocument


def input_reader(spec: Path | SpecDocument) -> Callable[[Path], np.ndarray]:
    """Returns a function that reads a picture and returns the model's input tensor, overwritten by the next picture.

    The picture stands in every place of the batch, which is the smallest where it may change; so may the size, then it
    is the usual one. The function raises RecipeError for a file that is no picture.
    """
    read = read_spec(spec)
    batch = read.input.batches[0]
    preprocessor = Preprocessor(read, batch)

    def input_tensor(path: Path) -> np.ndarray:
        picture = read_picture(path, read.input.channels)
        for slot in range(batch):
            preprocessor.place(slot, picture)
        return preprocessor.tensor

    return input_tensor
