"""What the results of all shipped tasks have in common: they can be drawn, saved, and shown in a notebook.

A result refers to the picture that it was found on, as that was handed over: a path stays a path and is read again
when the result is drawn; an array is not copied. It is no part of the content: pickled and copied results have none.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from edgecompile.errors import InputError
from edgecompile.files import write_atomically

if TYPE_CHECKING:
    import numpy as np

    from edgecompile.runtime.tasks import Task

BANNER = (0, 0, 160)
"""Ground, blue green red, of the line on a picture that a stand-in predicted."""


@dataclass(frozen=True, eq=False)
class Origin:
    """Where a result comes from.

    Attributes:
        task: draws it.
        picture: as it was handed over; None where nothing is known of it.
        channels: that the model takes.
        stand_in: what ran the model instead of its device, in words; "" where nothing did.
    """

    task: Task[Any]
    picture: Any
    channels: int
    stand_in: str = ""


class Shown:
    """A result that can be drawn."""

    elsewhere: ClassVar[Mapping[str, str]] = {}
    """Names that other libraries have for what a result has, and what it is called here."""
    _origin: Origin | None = None

    def found_on(self, origin: Origin) -> None:
        """Notes where the result comes from; for the predictor, which made it."""
        object.__setattr__(self, "_origin", origin)

    @property
    def stand_in(self) -> str:
        """What ran the model instead of its device, in words; "" where nothing did."""
        return self._origin.stand_in if self._origin else ""

    def plot(self, image: Any = None) -> np.ndarray:
        """Returns the picture with the result drawn on it: uint8 (height, width, 3), blue green red.

        Args:
            image: another picture to draw on, of the same size: a path, an array, or what else `predict` takes. None
                for the one that was predicted, as it is now: a path is read again, an array may have been changed.

        Raises:
            InputError: the picture cannot be read, or nothing is known of it: the result was copied or unpickled.
        """
        from edgecompile.runtime.sources import as_picture, with_channels
        from edgecompile.runtime.tasks import _drawing

        origin = self._origin
        if origin is None:
            raise InputError("the result no longer knows its model", fix="model.task.draw(image, result)")
        image = origin.picture if image is None else image
        if image is None:
            raise InputError("the result does not know its picture", fix="give it: result.plot(image)")
        drawn = origin.task.draw(with_channels(as_picture(image, origin.channels), 3), self)
        if origin.stand_in:
            _drawing.draw_text(drawn, origin.stand_in, 0, 0, BANNER, _drawing.scale_of(drawn))
        return drawn

    def save(self, path: str | Path) -> Path:
        """Writes the picture with the result drawn on it, whole or not at all, and returns its path.

        Args:
            path: of a file whose suffix says the format, such as `.jpg` or `.png`.

        Raises:
            InputError: as `plot`; or it cannot be written, or is the picture that was predicted.
        """
        path = Path(path)
        picture = self._origin.picture if self._origin else None
        if isinstance(picture, (str, Path)) and path.exists() and path.samefile(picture):
            raise InputError("is the picture that was predicted", where=str(path), fix="choose another name")
        write_picture(path, self.plot())
        return path

    def _repr_png_(self) -> bytes | None:
        """Returns the drawn picture as PNG, which a notebook shows; None, and the text is shown, where it has none."""
        import cv2

        try:
            done, content = cv2.imencode(".png", self.plot())
        except (InputError, cv2.error):
            return None
        return content.tobytes() if done else None

    def __getattr__(self, name: str) -> Any:
        here = type(self).elsewhere.get(name)
        fix = f"; here it is {here}" if here else ""
        raise AttributeError(f"'{type(self).__name__}' has no attribute '{name}'{fix}")

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_origin"}


def write_picture(path: Path, image: np.ndarray) -> None:
    """Writes a picture in the format of the path's suffix, whole or not at all.

    Raises:
        InputError: there is no such format, or it cannot be written.
    """
    import cv2

    try:
        done, content = cv2.imencode(path.suffix, image)
    except cv2.error:
        done = False
    if not done:
        fix = f"name a format by the suffix, such as {path.stem}.jpg"
        raise InputError("cannot be encoded as a picture", where=str(path), fix=fix)
    try:
        write_atomically(path, content.tobytes(), sync=False)
    except OSError as error:
        raise InputError(f"cannot be written: {error.strerror or error}", where=str(path)) from error
