"""Finds and reads pictures, each after a look at its header: small files can hold gigabytes, or take hours."""

from __future__ import annotations

import glob
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from edgecompile.errors import BundleError, InputError
from edgecompile.runtime.picture_headers import MOST_BYTES, avif_properties, is_avif, is_tiff, measure_picture

if TYPE_CHECKING:
    import numpy as np

    from edgecompile.runtime.archive import Archive

PICTURES = (".avif", ".bmp", ".jp2", ".jpeg", ".jpg", ".mpo", ".png", ".tif", ".tiff", ".webp")
"""Suffixes of files that are read: those that Ultralytics reads (its `IMG_FORMATS`), as far as OpenCV decodes them.

Not HEIC, which OpenCV does not decode, nor DNG, of which it decodes the preview at most.
"""


def read_picture(path: str | Path, channels: int = 3) -> np.ndarray:
    """Reads a picture as `cv2.imread` does, turned as its EXIF says, after a look at its header.

    Args:
        channels: 3 for colour; 1 for grey (IMREAD_GRAYSCALE); 4 for what stands in the file (IMREAD_UNCHANGED, which
            turns nothing), as Ultralytics reads pictures for models of that many channels.

    Returns:
        uint8 (height, width, channels), blue green red (alpha).

    Raises:
        InputError: there is no such file, it is no picture of a kind that is read, truncated, damaged or too
            large, or it has not four channels where these are asked for.
    """
    path = Path(path)
    try:
        if not path.is_file():
            raise InputError("is a folder, not a picture" if path.is_dir() else "no such picture", where=str(path))
        if path.stat().st_size > MOST_BYTES:
            raise InputError(f"picture file larger than {MOST_BYTES >> 20} MiB", where=str(path))
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"picture cannot be read: {error.strerror or error}", where=str(path)) from error
    return decode_picture(content, str(path), channels)


def decode_picture(content: bytes, where: str, channels: int = 3) -> np.ndarray:
    """Decodes the bytes of a picture's file; as `read_picture`. `where` names it in errors."""
    width, height = measure_picture(content, where)
    import cv2

    try:
        image = _decoded_tiff(content) if is_tiff(content) and channels == 3 else _decoded(content, channels)
    except cv2.error:
        image = None
    if image is None or sorted(image.shape[:2]) != sorted((height, width)):
        fix = f"OpenCV {cv2.__version__} reads no {'AVIF' if is_avif(content) else 'such picture'}, or it is truncated"
        raise InputError("picture is damaged: it cannot be decoded", where=where, fix=fix if image is None else "")
    if image.dtype == "uint16":
        image = (image >> 8).astype("uint8")
    if image.dtype != "uint8":
        raise InputError(f"picture holds numbers of kind {image.dtype}, expected 8 or 16 bits a channel", where=where)
    image = image if image.ndim == 3 else image[..., None]
    if image.shape[2] != channels:
        fix = "give it an alpha channel, or take a model of colour pictures" if channels == 4 else ""
        raise InputError(f"the picture has {image.shape[2]} channels, the model takes {channels}", where=where, fix=fix)
    return _upright(image, content) if is_avif(content) else image


def decode_member(archive: Archive, name: str, channels: int = 3) -> np.ndarray:
    """Returns the picture in a member of a bundle; `channels` as for `read_picture`.

    Raises:
        BundleError: there is no such member, or it is no picture.
    """
    try:
        return decode_picture(archive.read(name), f"{archive.path}:{name}", channels)
    except InputError as error:
        raise BundleError(error.problems) from error


def _decoded(content: bytes, channels: int = 3) -> np.ndarray | None:
    """Returns the picture that OpenCV reads; None where it reads nothing."""
    import cv2
    import numpy as np

    flag = {1: cv2.IMREAD_GRAYSCALE, 3: cv2.IMREAD_COLOR}.get(channels, cv2.IMREAD_UNCHANGED)
    return cv2.imdecode(np.frombuffer(content, np.uint8), flag)


def _decoded_tiff(content: bytes) -> np.ndarray | None:
    """Returns the first page of a TIFF, as Ultralytics reads it: the colours as they stand there, alpha dropped."""
    import cv2
    import numpy as np

    image = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
    if image is None or image.ndim != 3 or image.shape[2] < 3:
        return _decoded(content)
    return np.ascontiguousarray(image[..., :3])


def _upright(image: np.ndarray, content: bytes) -> np.ndarray:
    """Returns an AVIF turned, then mirrored, as its properties say; OpenCV passes them over."""
    import cv2

    turns = next((content[at] & 3 for at, _ in avif_properties(content, b"irot")), 0)
    axis = next((content[at] & 1 for at, _ in avif_properties(content, b"imir")), None)
    rotations = (0, cv2.ROTATE_90_COUNTERCLOCKWISE, cv2.ROTATE_180, cv2.ROTATE_90_CLOCKWISE)
    if turns:
        image = cv2.rotate(image, rotations[turns])
    image = image if axis is None else cv2.flip(image, axis)
    return image if image.ndim == 3 else image[..., None]


def find_pictures(sources: Iterable[str | Path], suffixes: Sequence[str] = PICTURES) -> list[Path]:
    """Returns the pictures that `sources` name, in their order, each once: files, folders (the pictures right in them,
    by name) and patterns with `*`, `?` or `**`.

    Args:
        suffixes: of the files that folders and patterns stand for.

    Raises:
        InputError: with one problem for each source that names no picture.
    """
    from edgecompile.errors import Problem

    paths: dict[Path, None] = {}
    problems = []
    for source in sources:
        if not str(source):
            problems.append(Problem("names no picture: it is empty", "''"))
            continue
        path = Path(source)
        if path.is_dir():
            matches = sorted(child for child in path.iterdir() if _has(child, suffixes))
            complaint = f"the folder holds no picture ({' '.join(PICTURES)})"
        elif path.exists() or not glob.has_magic(str(source)):
            matches = [path] if path.exists() else []
            complaint = "no such picture or folder"
        else:
            matches = sorted(
                Path(match) for match in glob.glob(str(source), recursive=True) if _has(Path(match), suffixes)
            )
            complaint = "no picture matches"
        if not matches:
            problems.append(Problem(complaint, str(source)))
        paths.update(dict.fromkeys(matches))
    if problems:
        raise InputError(problems)
    return list(paths)


def passed_over(sources: Iterable[str | Path], suffixes: Sequence[str] = PICTURES) -> Counter[str]:
    """Returns how many files of each suffix the folders among `sources` hold that `find_pictures` does not name."""
    folders = [Path(source) for source in sources if str(source) and Path(source).is_dir()]
    files = (child for folder in dict.fromkeys(folders) for child in folder.iterdir() if child.is_file())
    return Counter(file.suffix.lower() for file in files if not _has(file, suffixes) and not file.name.startswith("."))


def _has(path: Path, suffixes: Sequence[str]) -> bool:
    return path.suffix.lower() in suffixes and path.is_file()
