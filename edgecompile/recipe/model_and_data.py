"""What a model and a data set must have in common, as far as the headers of their files show it."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from edgecompile.data.data_file import DataFile
from edgecompile.errors import Problem
from edgecompile.evaluate.tasks import find_task
from edgecompile.places import shown
from edgecompile.recipe.picture_materials import ChosenPictures, spread
from edgecompile.weights.stated_task import stated_channels, stated_key_points

if TYPE_CHECKING:
    from edgecompile.recipe.schema import Recipe

LOOKED_AT = 16
"""Pictures of a set whose headers are read."""
WITH_ALPHA = 4
"""Channels that a picture has in its file or not; one or three are made of any picture."""
OPAQUE_PNG = {0: 1, 2: 3}
"""Colour type of a PNG (ISO/IEC 15948) that has no alpha to how many channels it has."""


def unlike(
    weights: Path, task: str, data: DataFile, validation: ChosenPictures, calibration: ChosenPictures, recipe: Recipe
) -> Iterator[Problem]:
    """Yields what the weights and the data set have not in common and should."""
    where = str(recipe.origins.of("data", "path"))
    labelled, found = validation.reading.kpt_shape, stated_key_points(weights)
    if labelled is not None and found not in (None, labelled[0]):
        message = f"the model puts out {found} key points of an object, the data set labels {labelled[0]} (kpt_shape)"
        yield Problem(message, where, "name the data set that the model was trained for")
    for source in (pass_ for pass_ in recipe.passes.values() if pass_.is_source):
        names = source.known_classes(weights)
        if names and (message := find_task(task).foreign_classes(data.names, names)):
            yield Problem(message, where, "name the data set that the model was trained for")
    if stated_channels(weights) == WITH_ALPHA:
        pictures = chain(spread(validation.pictures, LOOKED_AT), spread(calibration.pictures, LOOKED_AT))
        yield from _without_alpha(weights, pictures)


def _without_alpha(weights: Path, pictures: Iterator[str]) -> Iterator[Problem]:
    """Yields the problem of the first picture that has no fourth channel."""
    for picture in pictures:
        with Path(picture).open("rb") as stream:
            channels = channels_of(stream.read(26))
        if channels is not None:
            said = (
                f"the picture has {channels} channel{'s' if channels > 1 else ''}, '{weights.name}' takes {WITH_ALPHA}"
            )
            fix = "give pictures an alpha channel (PNG), or take a model of colour pictures"
            yield Problem(said, shown(Path(picture)), fix)
            return


def channels_of(begin: bytes) -> int | None:
    """Returns how many channels a picture without alpha has, by the first 26 bytes of its file; None where it may have
    alpha, or these do not show it."""
    if begin.startswith(b"\xff\xd8\xff"):
        return 3  # JPEG, as OpenCV decodes it
    if begin.startswith(b"\x89PNG\r\n\x1a\n") and begin[12:16] == b"IHDR" and len(begin) == 26:
        return OPAQUE_PNG.get(begin[25])
    return None
