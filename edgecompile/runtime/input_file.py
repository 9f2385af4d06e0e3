"""Reads the input tensor that a program wrote into a file, and judges it by a bundle."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from edgecompile.errors import RecipeError
from edgecompile.runtime.archive import Archive
from edgecompile.runtime.finding import Finding
from edgecompile.runtime.input_findings import judge_input
from edgecompile.runtime.pictures import decode_member, find_pictures, read_picture
from edgecompile.runtime.spec import read_spec

LARGEST = 256 << 20
"""Bytes of a tensor that is still read."""


def judge_input_file(bundle: Path, file: Path, images: Sequence[str]) -> list[Finding]:
    """Returns how the tensor in a .npy file differs from what a bundle makes of a picture.

    Args:
        images: the picture; the golden one where there is none.

    Raises:
        RecipeError: there is no such tensor, or there are several pictures.
        BundleError: the bundle is damaged.
    """
    try:
        if file.stat().st_size > LARGEST:
            raise RecipeError(f"is larger than {LARGEST >> 20} MiB", where=str(file))
        tensor = np.load(file, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        reason = getattr(error, "strerror", None) or "expected an array as numpy.save writes it"
        raise RecipeError(f"cannot be read: {reason}", where=str(file)) from error
    if not isinstance(tensor, np.ndarray):
        raise RecipeError("holds several arrays, expected one: numpy.save", where=str(file))
    paths = find_pictures(images) if images else []
    if len(paths) > 1:
        raise RecipeError(f"--input is of one picture, and --images names {len(paths)}", where="command line")
    with Archive(bundle) as archive:
        spec = read_spec(archive.read_json("spec.json"))
        picture = (
            read_picture(paths[0], spec.input.channels)
            if paths
            else decode_member(archive, archive.manifest["golden"]["input"], spec.input.channels)
        )
    return judge_input(tensor, picture, spec)
