"""Finds and reads pictures. A picture's header is read before anything is decoded: 31 KB of PNG can hold gigabytes."""

from __future__ import annotations

import glob
import struct
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from edgecompile.errors import RecipeError

if TYPE_CHECKING:
    import numpy as np

PICTURES = (".jpg", ".jpeg", ".png", ".bmp", ".webp")
MOST_PIXELS = 64_000_000
"""Pixels a picture may have: 192 MB decoded."""
MOST_BYTES = 512 << 20
"""Bytes a picture's file may have: that of the largest picture allowed, uncompressed at 16 bits and with alpha."""


def read_picture(path: str | Path) -> np.ndarray:
    """Reads a picture as `cv2.imread` does, turned as its EXIF says, after a look at its header.

    Returns:
        uint8 (height, width, 3), blue green red.

    Raises:
        RecipeError: there is no such file, it is no JPEG, PNG, BMP or WebP, it is truncated, damaged or too large.
    """
    path = Path(path)
    try:
        if not path.is_file():
            raise RecipeError("is a folder, not a picture" if path.is_dir() else "no such picture", where=str(path))
        if path.stat().st_size > MOST_BYTES:
            raise RecipeError(f"picture file larger than {MOST_BYTES >> 20} MiB", where=str(path))
        content = path.read_bytes()
    except OSError as error:
        raise RecipeError(f"picture cannot be read: {error.strerror or error}", where=str(path)) from error
    return decode_picture(content, str(path))


def decode_picture(content: bytes, where: str) -> np.ndarray:
    """Decodes the bytes of a picture's file; as `read_picture`. `where` names it in errors."""
    width, height = measure_picture(content, where)
    import cv2
    import numpy as np

    try:
        image = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
    except cv2.error:
        image = None
    if image is None or sorted(image.shape[:2]) != sorted((height, width)):
        raise RecipeError("picture is damaged: it cannot be decoded", where=where)
    return image


def measure_picture(content: bytes, where: str) -> tuple[int, int]:
    """Returns width and height that the header of a picture tells, before turning by EXIF.

    Raises:
        RecipeError: it is of no kind known here, truncated, or has no pixels or more than `MOST_PIXELS`.
    """
    png, jpeg = b"\x89PNG\r\n\x1a\n", b"\xff\xd8"
    readers = {jpeg: _measure_jpeg, png: _measure_png, b"BM": _measure_bmp, b"RIFF": _measure_webp}
    reader = next((read for magic, read in readers.items() if content.startswith(magic)), None)
    if reader is None:
        raise RecipeError("is not a picture (JPEG, PNG, BMP or WebP)", where=where)
    try:
        width, height = reader(content)
    except (struct.error, IndexError, EOFError):
        raise RecipeError("picture is truncated or damaged", where=where) from None
    if width < 1 or height < 1:
        raise RecipeError(f"picture has no pixels ({width} x {height})", where=where)
    if width * height > MOST_PIXELS:
        megapixels = f"{width * height / 1e6:.0f} megapixels, at most {MOST_PIXELS // 10**6} are read"
        raise RecipeError(f"picture is too large: {width} x {height} is {megapixels}", where=where)
    return width, height


def find_pictures(sources: Iterable[str | Path]) -> list[Path]:
    """Returns the pictures that `sources` name, in their order, each once: files, folders (the pictures right in them,
    by name) and patterns with `*`, `?` or `**`.

    Raises:
        RecipeError: with one problem for each source that names no picture.
    """
    from edgecompile.errors import Problem

    found: dict[Path, None] = {}
    problems = []
    for source in sources:
        if not str(source):
            problems.append(Problem("names no picture: it is empty", "''"))
            continue
        path = Path(source)
        if path.is_dir():
            here = sorted(child for child in path.iterdir() if _is_picture(child))
            complaint = f"the folder holds no picture ({' '.join(PICTURES)})"
        elif path.exists() or not glob.has_magic(str(source)):
            here = [path] if path.exists() else []
            complaint = "no such picture or folder"
        else:
            here = sorted(Path(match) for match in glob.glob(str(source), recursive=True) if _is_picture(Path(match)))
            complaint = "no picture matches"
        if not here:
            problems.append(Problem(complaint, str(source)))
        found.update(dict.fromkeys(here))
    if problems:
        raise RecipeError(problems)
    return list(found)


def _is_picture(path: Path) -> bool:
    return path.suffix.lower() in PICTURES and path.is_file()


def _measure_png(content: bytes) -> tuple[int, int]:
    """PNG (ISO/IEC 15948): the first chunk is IHDR, the last IEND."""
    if content[12:16] != b"IHDR" or content.rfind(b"IEND") < 0:
        raise EOFError
    return struct.unpack_from(">II", content, 16)


def _measure_jpeg(content: bytes) -> tuple[int, int]:
    """JPEG (ITU-T T.81): walks the segments to the frame header, the way libjpeg does, then looks for the end marker.

    In the data of a scan 0xFF is followed by 0x00 or a restart marker, so that `FF D9` can only be the end.
    """
    position, size = 2, None
    while True:
        position = content.find(b"\xff", position)
        if position < 0:
            raise EOFError
        while content[position] == 0xFF:  # any number of fill bytes
            position += 1
        marker = content[position]
        position += 1
        if marker in (0x00, 0x01) or 0xD0 <= marker <= 0xD8:  # no segment follows
            continue
        if marker == 0xD9:
            raise EOFError
        (length,) = struct.unpack_from(">H", content, position)
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            height, width = struct.unpack_from(">HH", content, position + 3)
            size = size or (width, height)
        position += max(length, 2)
        if marker == 0xDA:
            break
    if size is None or content.find(b"\xff\xd9", position) < 0:
        raise EOFError
    return size


def _measure_bmp(content: bytes) -> tuple[int, int]:
    """BMP: file header of 14 bytes, then a header that begins with its own length; negative heights run downwards."""
    (offset,) = struct.unpack_from("<I", content, 10)
    (header,) = struct.unpack_from("<I", content, 14)
    width, height = struct.unpack_from("<HH" if header == 12 else "<ii", content, 18)
    height = abs(height)
    if header != 12:
        (bits,) = struct.unpack_from("<H", content, 28)
        (compression,) = struct.unpack_from("<I", content, 30)
        whole = offset + (width * bits + 31) // 32 * 4 * height
        if compression in (0, 3) and len(content) < whole and width * height <= MOST_PIXELS:
            raise EOFError
    return width, height


def _measure_webp(content: bytes) -> tuple[int, int]:
    """WebP (RFC 9649): the RIFF length, then an extended, a lossless or a lossy first chunk."""
    if content[8:12] != b"WEBP":
        raise EOFError
    kind = content[12:16]
    if kind == b"VP8X":
        size = (int.from_bytes(content[24:27], "little") + 1, int.from_bytes(content[27:30], "little") + 1)
    elif kind == b"VP8L":
        bits = int.from_bytes(content[21:25], "little")
        size = ((bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1)
    else:
        width, height = struct.unpack_from("<HH", content, 26)
        size = (width & 0x3FFF, height & 0x3FFF)
    if len(content) < int.from_bytes(content[4:8], "little") + 8 and size[0] * size[1] <= MOST_PIXELS:
        raise EOFError
    return size
