from __future__ import annotations

import struct
import time
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest

from edgecompile.errors import RecipeError
from edgecompile.runtime.picture_headers import MOST_PIXELS, MOST_SCANS, measure_picture
from edgecompile.runtime.pictures import find_pictures, read_picture

from .tiny import photo

SUFFIXES = (".jpg", ".png", ".bmp", ".webp", ".tif", ".jp2", ".avif")
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


@pytest.mark.parametrize(
    ("suffix", "size"),
    [(one, size) for one in SUFFIXES for size in SIZES if one != ".jp2" or min(size) >= 32],  # OpenCV writes no smaller
)
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


def tiff(*tags: tuple[int, int], big: bool = False) -> bytes:
    """Returns a TIFF of nothing but a directory of the tags given, each one number."""
    ordered = sorted(tags)
    if big:
        entries = b"".join(struct.pack("<HHQQ", tag, 4, 1, value) for tag, value in ordered)
        return b"II+\0" + struct.pack("<HHQQ", 8, 0, 16, len(ordered)) + entries + bytes(8)
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in ordered)
    return b"II*\0" + struct.pack("<IH", 8, len(ordered)) + entries + bytes(4)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (tiff((256, 100_000), (257, 100_000)), "too large"),
        (tiff((256, 100_000), (257, 100_000), big=True), "too large"),
        (tiff((256, 8000), (257, 8000), (258, 64), (277, 4)), "4 x 64 bits a pixel"),
        (tiff((256, 64), (257, 64), (322, 1 << 15), (323, 1 << 15)), "tiles of 1074 megapixels"),
        (tiff((256, 0), (257, 9)), "no pixels"),
        (tiff((256, 9), (257, 9))[:20], "truncated"),
        (b"II*\0\xff\xff\xff\xff", "truncated"),
    ],
)
def test_claims_of_tiff_are_weighed_too(content: bytes, words: str) -> None:
    with pytest.raises(RecipeError, match=words):
        measure_picture(content, "")


def test_claims_of_jpeg_2000_and_avif_are_weighed_too() -> None:
    jp2, avif = bytearray(encoded(".jp2", photo(48, 64))), bytearray(encoded(".avif", photo(48, 64)))
    assert measure_picture(bytes(jp2), "") == measure_picture(bytes(avif), "") == (64, 48)
    struct.pack_into(">II", jp2, jp2.index(b"\xff\x51") + 6, 1 << 20, 1 << 20)
    struct.pack_into(">II", avif, avif.index(b"ispe") + 8, 1 << 20, 1 << 20)
    for content in (jp2, avif):
        with pytest.raises(RecipeError, match="too large"):
            measure_picture(bytes(content), "")


def test_a_jpeg_2000_of_millions_of_blocks_is_refused() -> None:
    """A file of some hundred bytes can make the decoder hold gigabytes of blocks of 4 by 4 pixels."""
    content = bytearray(encoded(".jp2", photo(48, 64)))
    assert measure_picture(bytes(content), "") == (64, 48)
    struct.pack_into(">II", content, content.index(b"\xff\x51") + 6, 4000, 4000)
    assert measure_picture(bytes(content), "") == (4000, 4000)  # blocks of 64 by 64 are fine
    coding = content.index(b"\xff\x52")
    content[coding + 10 : coding + 12] = b"\0\0"
    with pytest.raises(RecipeError, match=r"3,000,000 code blocks and precincts, at most 1,000,000 are read"):
        measure_picture(bytes(content), "")


def test_a_jpeg_2000_whose_coding_is_cut_is_damaged() -> None:
    content = bytearray(encoded(".jp2", photo(48, 64)))
    coding = content.index(b"\xff\x52")
    content[coding + 2 : coding + 4] = b"\0\4"
    with pytest.raises(RecipeError, match="truncated or damaged"):
        measure_picture(bytes(content), "")


def scans_of(jpeg: bytes, count: int) -> bytes:
    """Returns a progressive JPEG with its last scan repeated."""
    last = jpeg.rindex(b"\xff\xda")
    return jpeg[:last] + jpeg[last:-2] * count + b"\xff\xd9"


def test_a_jpeg_of_many_scans_is_refused_undecoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flat = encoded(".jpg", np.full((1000, 1000, 3), 90, np.uint8), cv2.IMWRITE_JPEG_PROGRESSIVE, 1)
    path = tmp_path / "scans.jpg"
    path.write_bytes(scans_of(flat, 20_000))
    began = time.monotonic()
    with pytest.raises(
        RecipeError, match=r"scans.jpg: picture is refused: a JPEG of 20,009 scans, at most 100 "
    ) as caught:
        read_picture(path)
    assert time.monotonic() - began < 2
    assert "\n" not in str(caught.value)
    path.write_bytes(scans_of(flat, MOST_SCANS - 9))  # the control: as many as are allowed
    assert read_picture(path).shape == (1000, 1000, 3)
    monkeypatch.setenv("EDGECOMPILE_MOST_SCANS", "9")
    with pytest.raises(RecipeError, match="at most 9 "):
        read_picture(path)
    monkeypatch.setenv("EDGECOMPILE_MOST_SCANS", "many")
    with pytest.raises(RecipeError, match="EDGECOMPILE_MOST_SCANS: found 'many', expected a whole number"):
        read_picture(path)


def test_scans_are_weighed_by_the_pixels_of_each() -> None:
    flat = bytearray(encoded(".jpg", np.full((100, 100), 90, np.uint8), cv2.IMWRITE_JPEG_PROGRESSIVE, 1))
    struct.pack_into(">HH", flat, flat.index(b"\xff\xc2") + 5, 8000, 8000)
    assert measure_picture(bytes(flat), "") == (8000, 8000)
    with pytest.raises(RecipeError, match=r"scans of 64 megapixels, at most 2,000 megapixels in all"):
        measure_picture(scans_of(bytes(flat), 40), "")


def test_a_bound_is_set_by_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(encoded(".png", photo(40, 50)))
    monkeypatch.setenv("EDGECOMPILE_MOST_PIXELS", "1999")
    with pytest.raises(RecipeError, match="EDGECOMPILE_MOST_PIXELS sets another bound"):
        read_picture(path)
    monkeypatch.setenv("EDGECOMPILE_MOST_PIXELS", "2000")
    assert read_picture(path).shape == (40, 50, 3)


def test_a_png_of_many_packed_texts_is_refused(tmp_path: Path) -> None:
    """300 of them, 2 MB in all, took half a minute."""
    plain = encoded(".png", photo(40, 50))
    body = b"zTXt" + b"key\0\0" + zlib.compress(bytes(7_900_000), 9)
    text = struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
    (tmp_path / "a.png").write_bytes(plain[:33] + text + plain[33:])
    assert read_picture(tmp_path / "a.png").shape == (40, 50, 3)
    with pytest.raises(RecipeError, match="a PNG of 101 packed texts, at most 100 are read"):
        measure_picture(plain[:33] + text * 101 + plain[33:], "")


@pytest.mark.parametrize(
    ("content", "name"),
    [
        (b"GIF89a" + bytes(90), "GIF"),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "HEIC"),
        (b"8BPS\0\x01", "Photoshop"),
        (b"P6 40 40 255\n", "PNM"),
    ],
)
def test_a_picture_of_another_kind_is_named(content: bytes, name: str) -> None:
    with pytest.raises(RecipeError, match=f"of a kind that is not read: {name}"):
        measure_picture(content, "")


def test_a_picture_of_floating_point_numbers_is_an_error(tmp_path: Path) -> None:
    """Ultralytics takes the numbers for colours from 0 to 255."""
    cv2.imwrite(str(tmp_path / "a.tif"), photo(40, 50).astype(np.float32))
    with pytest.raises(RecipeError, match="holds numbers of kind float32, expected 8 or 16 bits a channel"):
        read_picture(tmp_path / "a.tif")


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


@pytest.mark.slow
def test_garbage_is_an_error_of_one_line(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    for number in range(300):
        content = bytearray(encoded(SUFFIXES[number % len(SUFFIXES)], photo(40, 50)))
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
    (tmp_path / "text.jpg").write_text("MZ and so on")
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
