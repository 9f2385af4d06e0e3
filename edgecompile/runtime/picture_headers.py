"""Reads the headers of pictures, to refuse undecoded what is too large, truncated or made to take for ever.

31 KB of PNG can hold gigabytes, 300 KB of JPEG hours. Standard library only.
"""

from __future__ import annotations

import os
import re
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from edgecompile.errors import InputError

MOST_PIXELS = 64_000_000
"""Pixels a picture may have: 192 MB decoded."""
MOST_BYTES = 512 << 20
"""Bytes a picture's file may have: that of the largest picture allowed, uncompressed at 16 bits and with alpha."""
MOST_SCANS = 100
"""Scans a JPEG may have. Cameras write 1, encoders that scan for size about 20; each costs a pass over all pixels."""
MOST_SCANNED = 2_000_000_000
"""Pixels of all scans of a JPEG together."""
MOST_TEXTS = 100
"""Packed texts and profiles a PNG may hold; each can unpack to 8 MB, which takes a tenth of a second."""
MOST_BLOCKS = 1_000_000
"""Code blocks and precincts of a JPEG 2000, all components together; OpenJPEG holds 400 bytes of each."""

PIXELS_VARIABLE = "EDGECOMPILE_MOST_PIXELS"
SCANS_VARIABLE = "EDGECOMPILE_MOST_SCANS"

Size = tuple[int, int]
"""Width and height, before turning by EXIF."""

_SCAN_END = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
"""In the data of a scan 0xFF is followed by 0x00, a restart marker or a fill byte; anything else is the next marker."""
_TIFF = {b"II*\0": "<", b"MM\0*": ">", b"II+\0": "<", b"MM\0+": ">"}
_TIFF_VALUES = {1: "B", 3: "H", 4: "I", 16: "Q"}


class _Refused(Exception):
    """A bound is exceeded; the message says which."""


@dataclass(frozen=True)
class _Kind:
    """A kind of picture: its name, how its files begin, and how its size is read."""

    name: str
    begins: Callable[[bytes], bool]
    measure: Callable[[bytes], Size]


def measure_picture(content: bytes, where: str) -> Size:
    """Returns width and height that the header of a picture states, before turning by EXIF.

    Raises:
        InputError: it is of no kind known here, truncated, has no pixels or more than `MOST_PIXELS`, or decoding it
            would take out of all proportion. $EDGECOMPILE_MOST_PIXELS and $EDGECOMPILE_MOST_SCANS set other bounds.
    """
    kind = next((known for known in KINDS if known.begins(content)), None)
    if kind is None:
        unread = next((name for name, begins in UNREAD_KINDS if begins(content)), None)
        if unread:
            raise InputError(f"is a picture of a kind that is not read: {unread}", where=where, fix="convert it to PNG")
        names = [known.name for known in KINDS]
        raise InputError(f"is not a picture ({', '.join(names[:-1])} or {names[-1]})", where=where)
    try:
        width, height = kind.measure(content)
    except (struct.error, IndexError, EOFError):
        raise InputError("picture is truncated or damaged", where=where) from None
    except _Refused as refused:
        raise InputError(f"picture is refused: {refused}", where=where) from None
    if width < 1 or height < 1:
        raise InputError(f"picture has no pixels ({width} x {height})", where=where)
    most = most_pixels()
    if width * height > most:
        raise InputError(
            f"picture is too large: {width} x {height} is {width * height / 1e6:.0f} megapixels, "
            f"at most {most / 1e6:.0f} are read",
            where=where,
            fix=f"{PIXELS_VARIABLE} sets another bound",
        )
    return width, height


def is_tiff(content: bytes) -> bool:
    """Returns whether a file begins as TIFF or BigTIFF does."""
    return content[:4] in _TIFF


def is_avif(content: bytes) -> bool:
    """Returns whether a file begins as AVIF does."""
    return bool(_brands(content) & {b"avif", b"avis"})


def most_pixels() -> int:
    """Returns how many pixels a picture may have."""
    return _bound(PIXELS_VARIABLE, MOST_PIXELS)


def _bound(variable: str, default: int) -> int:
    """Returns the bound that the environment sets, or `default`."""
    given = os.environ.get(variable, "")
    if not given:
        return default
    if not given.isascii() or not given.isdigit() or not 0 < int(given) < 1 << 30:  # OpenCV's own bound
        raise InputError(f"found '{given}', expected a whole number from 1 to {(1 << 30) - 1}", where=variable)
    return int(given)


def _measure_png(content: bytes) -> Size:
    """PNG (ISO/IEC 15948): the first chunk is IHDR, the last IEND; counts the texts that are unpacked on the way."""
    if content[12:16] != b"IHDR":
        raise EOFError
    position, texts, kind = 8, 0, b""
    while kind != b"IEND":
        length, kind = struct.unpack_from(">I4s", content, position)
        texts += kind in (b"zTXt", b"iTXt", b"iCCP")
        position += 12 + length
    if texts > MOST_TEXTS:
        raise _Refused(f"a PNG of {texts:,} packed texts, at most {MOST_TEXTS} are read")
    return struct.unpack_from(">II", content, 16)


def _measure_jpeg(content: bytes) -> Size:
    """JPEG (ITU-T T.81): walks all segments and scans to the end marker, the way libjpeg does, and counts the scans."""
    position, size, scans = 2, None, 0
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
            break
        (length,) = struct.unpack_from(">H", content, position)
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            height, width = struct.unpack_from(">HH", content, position + 3)
            size = size or (width, height)
        position += max(length, 2)
        if marker == 0xDA:
            scans += 1
            end_of_scan = _SCAN_END.search(content, position)
            if end_of_scan is None:
                raise EOFError
            position = end_of_scan.start()
    if size is None or not scans:
        raise EOFError
    most = _bound(SCANS_VARIABLE, MOST_SCANS)
    if scans > most:
        raise _Refused(f"a JPEG of {scans:,} scans, at most {most} are read; {SCANS_VARIABLE} sets another bound")
    if scans > 1 and scans * size[0] * size[1] > max(MOST_SCANNED, most_pixels()):
        passes = f"{scans} scans of {size[0] * size[1] / 1e6:.0f} megapixels"
        raise _Refused(f"a JPEG of {passes}, at most {MOST_SCANNED / 1e6:,.0f} megapixels in all are read")
    return size


def _measure_bmp(content: bytes) -> Size:
    """BMP: file header of 14 bytes, then a header that begins with its own length; negative heights run downwards."""
    (offset,) = struct.unpack_from("<I", content, 10)
    (header,) = struct.unpack_from("<I", content, 14)
    width, height = struct.unpack_from("<HH" if header == 12 else "<ii", content, 18)
    height = abs(height)
    if header != 12:
        (bits,) = struct.unpack_from("<H", content, 28)
        (compression,) = struct.unpack_from("<I", content, 30)
        whole = offset + (width * bits + 31) // 32 * 4 * height
        if compression in (0, 3) and len(content) < whole and width * height <= most_pixels():
            raise EOFError
    return width, height


def _measure_webp(content: bytes) -> Size:
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
    if len(content) < int.from_bytes(content[4:8], "little") + 8 and size[0] * size[1] <= most_pixels():
        raise EOFError
    return size


def _measure_tiff(content: bytes) -> Size:
    """TIFF 6.0 and BigTIFF: the first image file directory; of several pages the first is read."""
    tags = _tiff_tags(content)
    width, height = tags.get(256, 0), tags.get(257, 0)
    samples, bits = tags.get(277, 1), tags.get(258, 1)
    tile = tags.get(322, 0) * tags.get(323, 0)
    if tile > most_pixels():
        raise _Refused(f"a TIFF with tiles of {tile / 1e6:.0f} megapixels")
    decoded = width * height * samples * bits // 8
    if width * height <= most_pixels() and decoded > MOST_BYTES:
        most = f"at most {MOST_BYTES >> 20} are read"
        raise _Refused(f"a TIFF of {samples} x {bits} bits a pixel, {decoded >> 20} MiB, {most}")
    return width, height


def _tiff_tags(content: bytes) -> dict[int, int]:
    """Returns the first value of each tag of the first directory, as far as it is a whole number."""
    order, big = _TIFF[content[:4]], content[2:4] in (b"+\0", b"\0+")
    (start,) = struct.unpack_from(f"{order}Q" if big else f"{order}I", content, 8 if big else 4)
    (count,) = struct.unpack_from(f"{order}Q" if big else f"{order}H", content, start)
    entry, first, room = (20, start + 8, 8) if big else (12, start + 2, 4)
    if first + count * entry > len(content):
        raise EOFError
    tags = {}
    for position in range(first, first + min(count, 1 << 16) * entry, entry):
        tag, kind = struct.unpack_from(f"{order}HH", content, position)
        (values,) = struct.unpack_from(f"{order}Q" if big else f"{order}I", content, position + 4)
        form = _TIFF_VALUES.get(kind)
        if form is None or not values:
            continue
        at = position + entry - room
        if values * struct.calcsize(form) > room:
            (at,) = struct.unpack_from(f"{order}Q" if big else f"{order}I", content, at)
        (tags[tag],) = struct.unpack_from(order + form, content, at)
    return tags


def _measure_jp2(content: bytes) -> Size:
    """JPEG 2000 (ISO/IEC 15444-1): the SIZ and COD segments of the code stream, which the decoder goes by."""
    start = next((begin for kind, begin, _ in _boxes(content, 0, len(content)) if kind == b"jp2c"), None)
    if start is None or content[start : start + 4] != b"\xff\x4f\xff\x51" or content.rfind(b"\xff\xd9") < start:
        raise EOFError
    right, lower, left, upper = struct.unpack_from(">4I", content, start + 8)
    (components,) = struct.unpack_from(">H", content, start + 40)
    width, height = right - left, lower - upper
    if not 0 < width * height <= most_pixels():
        return width, height
    if width * height * components * 4 > 2 * MOST_BYTES:
        raise _Refused(f"a JPEG 2000 of {components} components, {width} x {height}")
    blocks = max(
        (_jp2_blocks(coding, width, height) for coding in _jp2_codings(content, start + 2, components)), default=0
    )
    if blocks * components > MOST_BLOCKS:
        most = f"at most {MOST_BLOCKS:,} are read"
        raise _Refused(f"a JPEG 2000 of {blocks * components:,} code blocks and precincts, {most}")
    return width, height


def _jp2_codings(content: bytes, position: int, components: int) -> Iterator[bytes]:
    """Yields the levels, code blocks and precincts that each COD and COC segment states, in whatever tile it stands."""
    tile_ends = 0
    while (marker := struct.unpack_from(">H", content, position)[0]) != 0xFFD9:
        if marker == 0xFF93:  # the data of a tile-part follow
            if not tile_ends:
                return  # they reach to the end
            if tile_ends <= position:
                raise EOFError
            position = tile_ends
            continue
        (length,) = struct.unpack_from(">H", content, position + 2)
        if marker == 0xFF90:
            (whole,) = struct.unpack_from(">I", content, position + 6)
            tile_ends = position + whole if whole else 0
        if marker in (0xFF52, 0xFF53):
            at = position + (4 if marker == 0xFF52 else 5 + (components > 256))
            custom = content[at] & 1
            yield bytes([custom]) + content[at + (5 if marker == 0xFF52 else 1) : position + 2 + length]
        position += 2 + max(length, 2)


def _jp2_blocks(coding: bytes, width: int, height: int) -> int:
    """Returns how many code blocks and precincts one component has if all of it is coded so."""
    if len(coding) < 4:
        raise EOFError
    custom, levels, across, down = coding[:4]
    blocks = (width >> (across & 15) + 2) * (height >> (down & 15) + 2)
    if not custom:
        return blocks
    precincts = coding[6 : 7 + levels]
    return blocks + sum(
        (width >> min(levels - level + (exponents & 15), 63)) * (height >> min(levels - level + (exponents >> 4), 63))
        for level, exponents in enumerate(precincts)
    )


def _measure_avif(content: bytes) -> Size:
    """AVIF (ISO/IEC 23008-12): the largest of the sizes that the properties of its items state."""
    sizes = [struct.unpack_from(">II", content, begin + 4) for begin, _ in avif_properties(content, b"ispe")]
    if not sizes:
        raise EOFError
    for _, _, end in _boxes(content, 0, len(content)):
        if end > len(content):
            raise EOFError
    return max(sizes, key=lambda size: size[0] * size[1])


def avif_properties(content: bytes, kind: bytes) -> Iterator[tuple[int, int]]:
    """Yields where each property of a kind begins and ends in an AVIF: `ispe` (size), `irot`, `imir` (turning)."""
    for box, begin, end in _boxes(content, 0, len(content)):
        if box == b"meta":
            for inner, start, stop in _boxes(content, begin + 4, end):
                if inner == b"iprp":
                    for part, first, last in _boxes(content, start, stop):
                        if part == b"ipco":
                            yield from ((a, b) for name, a, b in _boxes(content, first, last) if name == kind)


def _boxes(content: bytes, position: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Yields kind, begin and end of the content of each box (ISO/IEC 14496-12) in a part of a file."""
    while position + 8 <= end:
        length, kind = struct.unpack_from(">I4s", content, position)
        begin = position + 8
        if length == 1:
            (length,) = struct.unpack_from(">Q", content, begin)
            begin += 8
        stop = end if length == 0 else position + length
        if stop < begin:
            raise EOFError
        yield kind, begin, stop
        position = stop


def _brands(content: bytes) -> set[bytes]:
    """Returns the brands of a file of the ISO base media kind; none of any other."""
    if content[4:8] != b"ftyp":
        return set()
    listed = content[8 : min(int.from_bytes(content[:4], "big"), 256)]
    return {listed[index : index + 4] for index in range(0, len(listed), 4)}


KINDS = (
    _Kind("JPEG", lambda content: content.startswith(b"\xff\xd8"), _measure_jpeg),
    _Kind("PNG", lambda content: content.startswith(b"\x89PNG\r\n\x1a\n"), _measure_png),
    _Kind("BMP", lambda content: content.startswith(b"BM"), _measure_bmp),
    _Kind("WebP", lambda content: content.startswith(b"RIFF"), _measure_webp),
    _Kind("TIFF", is_tiff, _measure_tiff),
    _Kind("JPEG 2000", lambda content: content.startswith(b"\0\0\0\x0cjP  \r\n\x87\n"), _measure_jp2),
    _Kind("AVIF", is_avif, _measure_avif),
)
"""Kinds of pictures that are read. OpenCV decodes more kinds, whose headers this module does not read."""

UNREAD_KINDS: tuple[tuple[str, Callable[[bytes], bool]], ...] = (
    ("GIF", lambda content: content.startswith((b"GIF87a", b"GIF89a"))),
    ("HEIC", lambda content: bool(_brands(content) & {b"heic", b"heix", b"hevc", b"mif1", b"msf1"})),
    ("JPEG XL", lambda content: content.startswith((b"\xff\x0a", b"\0\0\0\x0cJXL "))),
    ("Photoshop", lambda content: content.startswith(b"8BPS")),
    ("OpenEXR", lambda content: content.startswith(b"v/1\x01")),
    ("Radiance HDR", lambda content: content.startswith((b"#?RADIANCE", b"#?RGBE"))),
    ("PNM or PFM", lambda content: re.match(rb"P[1-7fF]\s", content) is not None),
)
"""Common kinds that are not read, so that the message can name the kind of a file."""
