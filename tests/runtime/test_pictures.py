from __future__ import annotations

import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest

from edgecompile.errors import RecipeError
from edgecompile.runtime.pictures import MOST_PIXELS, find_pictures, measure_picture, read_picture

from .tiny import photo

SUFFIXES = (".jpg", ".png", ".bmp", ".webp")
SIZES = [(48, 64), (1, 1), (37, 251), (300, 7)]


def encoded(suffix: str, image: np.ndarray, *settings: int) -> bytes:
    return cv2.imencode(suffix, image, list(settings))[1].tobytes()


def png(width: int, height: int, rows: bytes = b"") -> bytes:
    """Returns a PNG of one colour whose header claims a size, whatever its data holds."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        body = kind + content
        return struct.pack(">I", len(content)) + body + struct.pack(">I", zlib.crc32(body))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows, 9)) + chunk(b"IEND", b"")


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("size", SIZES)
def test_reads_what_opencv_reads(suffix: str, size: tuple[int, int], tmp_path: Path) -> None:
    path = tmp_path / f"picture{suffix}"
    path.write_bytes(encoded(suffix, photo(*size)))
    assert measure_picture(path.read_bytes(), "") == size[::-1]
    assert np.array_equal(read_picture(path), cv2.imread(str(path)))


@pytest.mark.parametrize(
    "content",
    [
        encoded(".jpg", photo(40, 60), cv2.IMWRITE_JPEG_PROGRESSIVE, 1),
        encoded(".jpg", photo(40, 60), cv2.IMWRITE_JPEG_RST_INTERVAL, 2),
        encoded(".webp", photo(40, 60), cv2.IMWRITE_WEBP_QUALITY, 101),  # lossless
        encoded(
            ".webp", np.dstack((photo(40, 60), photo(40, 60)[..., :1])), cv2.IMWRITE_WEBP_QUALITY, 80
        ),  # with alpha: extended
        encoded(".png", np.dstack((photo(40, 60), photo(40, 60)[..., :1]))),
        encoded(".png", photo(40, 60).astype(np.uint16) * 257),
        encoded(".png", photo(40, 60)[..., 0]),
        encoded(".jpg", photo(40, 60)[..., 0]),
    ],
)
def test_reads_every_kind_as_bgr_of_bytes(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "no-suffix"
    path.write_bytes(content + b"trailing bytes")
    image = read_picture(path)
    assert image.shape == (40, 60, 3)
    assert image.dtype == np.uint8
    assert np.array_equal(image, cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR))


def test_turns_a_picture_as_its_exif_says(tmp_path: Path) -> None:
    plain = encoded(".jpg", photo(40, 60))
    tiff = struct.pack("<2sHIH", b"II", 42, 8, 1) + struct.pack("<HHII", 0x0112, 3, 1, 6) + bytes(4)
    exif = b"Exif\0\0" + tiff
    turned = plain[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + plain[2:]
    (tmp_path / "turned.jpg").write_bytes(turned)
    assert read_picture(tmp_path / "turned.jpg").shape == (60, 40, 3)


def test_a_jpeg_is_measured_past_its_thumbnail(tmp_path: Path) -> None:
    thumbnail = encoded(".jpg", photo(8, 8))
    plain = encoded(".jpg", photo(40, 60))
    filled = plain[:2] + b"\xff\xff\xff\xe1" + struct.pack(">H", len(thumbnail) + 2) + thumbnail + plain[2:]
    assert measure_picture(filled, "") == (60, 40)
    with pytest.raises(RecipeError, match="truncated"):  # the end marker of the thumbnail is not that of the picture
        measure_picture(filled[: len(thumbnail) + 700], "")


def test_a_small_file_of_many_pixels_is_refused_by_its_header(tmp_path: Path) -> None:
    side = 5600
    bomb = png(side, side, bytes((side + 1) * side))
    assert len(bomb) < 40_000
    assert measure_picture(bomb, "") == (side, side)  # 31 megapixels are fine
    for content in (png(8001, 8000), png(2**31 - 1, 2**31 - 1), png(MOST_PIXELS + 1, 1)):
        path = tmp_path / "bomb.png"
        path.write_bytes(content)
        with pytest.raises(RecipeError, match=r"bomb.png: picture is too large: .* at most 64 are read"):
            read_picture(path)
    with pytest.raises(RecipeError, match="no pixels"):
        measure_picture(png(0, 5), "")


@pytest.mark.parametrize(
    ("suffix", "at", "size"),
    [(".bmp", 18, struct.pack("<ii", 40000, -40000)), (".bmp", 18, struct.pack("<ii", -5, 5))],
)
def test_claims_of_other_kinds_are_weighed_too(suffix: str, at: int, size: bytes) -> None:
    content = bytearray(encoded(suffix, photo(30, 40)))
    content[at : at + len(size)] = size
    with pytest.raises(RecipeError, match=r"too large|no pixels"):
        measure_picture(bytes(content), "")


def test_claims_of_jpeg_and_webp_are_weighed_too() -> None:
    jpeg = bytearray(encoded(".jpg", photo(30, 40)))
    frame = jpeg.index(b"\xff\xc0")
    struct.pack_into(">HH", jpeg, frame + 5, 65000, 65000)
    webp = bytearray(encoded(".webp", np.dstack((photo(40, 60), photo(40, 60)[..., :1])), cv2.IMWRITE_WEBP_QUALITY, 80))
    assert webp[12:16] == b"VP8X"
    webp[24:30] = b"\xff" * 6
    for content in (jpeg, webp):
        with pytest.raises(RecipeError, match="too large"):
            measure_picture(bytes(content), "")


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_truncated_picture_is_an_error(suffix: str, tmp_path: Path) -> None:
    content = encoded(suffix, photo(48, 64))
    path = tmp_path / f"cut{suffix}"
    for length in range(0, len(content) - 2, max(len(content) // 97, 1)):
        path.write_bytes(content[:length])
        with pytest.raises(RecipeError, match=f"cut{suffix}: (picture|is not a picture)"):
            read_picture(path)
    path.write_bytes(content)
    assert read_picture(path).shape == (48, 64, 3)


def test_garbage_is_an_error_of_one_line(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    for number in range(300):
        content = bytearray(encoded(SUFFIXES[number % 4], photo(20, 30)))
        for position in rng.integers(0, len(content), 1 + number % 5):
            content[position] = rng.integers(0, 256)
        path = tmp_path / "garbage"
        path.write_bytes(content)
        complaint = str(path)
        try:
            image = read_picture(path)  # a changed pixel is no error
        except RecipeError as error:
            complaint = str(error)
        else:
            assert image.dtype == np.uint8
        assert complaint.startswith(str(path))
        assert "\n" not in complaint


def test_what_is_no_picture_says_so(tmp_path: Path) -> None:
    (tmp_path / "text.jpg").write_text("GIF89a and so on")
    (tmp_path / "empty.png").write_bytes(b"")
    for name, message in (
        ("text.jpg", "is not a picture"),
        ("empty.png", "is not a picture"),
        ("missing.jpg", "no such picture"),
        (".", "folder"),
    ):
        with pytest.raises(RecipeError, match=message):
            read_picture(tmp_path / name)


def test_finds_files_folders_and_patterns_once_and_in_order(pictures: Path) -> None:
    (pictures / "notes.txt").write_text("no picture")
    names = ["a.jpg", "b.png", "c.bmp", "d.webp"]
    assert [path.name for path in find_pictures([pictures])] == names
    assert [path.name for path in find_pictures([str(pictures / "*")])] == names
    assert [path.name for path in find_pictures([pictures / "d.webp", pictures, pictures / "a.jpg"])] == [
        "d.webp",
        *names[:3],
    ]
    assert [path.name for path in find_pictures([str(pictures.parent / "**" / "?.png")])] == ["b.png"]


def test_says_all_sources_that_name_nothing(pictures: Path) -> None:
    (pictures.parent / "empty").mkdir()
    sources = [pictures, pictures.parent / "empty", pictures / "z.jpg", pictures / "*.tiff"]
    with pytest.raises(RecipeError) as caught:
        find_pictures(sources)
    assert [problem.where for problem in caught.value.problems] == [str(source) for source in sources[1:]]


def test_a_name_with_brackets_is_a_name_first(pictures: Path) -> None:
    (pictures / "x[1].jpg").write_bytes((pictures / "a.jpg").read_bytes())
    assert find_pictures([pictures / "x[1].jpg"]) == [pictures / "x[1].jpg"]
