"""Soaks a bundle on this machine, on pictures from their files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from edgecompile.runtime.archive import Archive
from edgecompile.runtime.diagnosis import Subject, subject_of
from edgecompile.runtime.machine import available_cores
from edgecompile.runtime.pictures import decode_member, find_pictures, read_picture
from edgecompile.runtime.predictor import chosen_size, open_bundle
from edgecompile.runtime.soak import Conditions, soak
from edgecompile.runtime.target import read_target
from edgecompile.runtime.timeline import Timeline


class FilePictures:
    """Pictures that are read from their files again each time they are gone through."""

    def __init__(self, paths: Sequence[Path], channels: int) -> None:
        self._paths, self._channels = paths, channels

    def __iter__(self) -> Iterator[np.ndarray]:
        return (read_picture(path, self._channels) for path in self._paths)


class RepeatedPicture:
    """Copies of one picture, again and again."""

    def __init__(self, picture: np.ndarray) -> None:
        self._picture = picture

    def __iter__(self) -> Iterator[np.ndarray]:
        return (self._picture.copy() for _ in range(1))


def soak_bundle(
    archive: Archive,
    images: Sequence[str],
    *,
    seconds: float,
    pause_s: float = 0.0,
    sizes: Sequence[tuple[int, int]] = (),
    threads: int | None = None,
) -> tuple[Subject, Timeline]:
    """Has the model of a bundle predict for a while, and returns what it was and what happened.

    Args:
        images: pictures, or folders of them; the golden picture where there are none.
        seconds, pause_s, sizes: see `edgecompile.runtime.soak.Conditions`.
        threads: that the backend may use; the target's, but no more than there are cores, where None.

    Raises:
        InputError: a picture cannot be read, or the bundle does not take a size.
        BundleError: it cannot be opened or run here.
        MissingToolError: its backend is not installed.
    """
    target = read_target(archive)
    threads = threads or min(target.threads, available_cores())
    model = open_bundle(archive, threads=threads)
    known = [chosen_size(model.layout, size) for size in sizes]
    channels = model.layout.input.channels
    pictures: FilePictures | RepeatedPicture = (
        FilePictures(find_pictures(images), channels)
        if images
        else RepeatedPicture(decode_member(archive, archive.manifest["golden"]["input"], channels))
    )
    conditions = Conditions(seconds, threads, pause_s, known)
    timeline = soak(model, pictures, conditions, archive)
    return subject_of(model), timeline
