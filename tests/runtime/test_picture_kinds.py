"""Pictures of many kinds are read as Ultralytics reads them: the same bytes give the same numbers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from edgecompile.runtime.pictures import PICTURES, read_picture

from .tiny import photo

PLAIN = photo(72, 96)
GREY = PLAIN[..., 0]


def mode(image: Any, name: str) -> Any:
    """Returns a PIL picture in another mode; one with alpha that is not the same everywhere."""
    if name == "RGBA":
        from PIL import Image

        image = image.copy()
        image.putalpha(Image.fromarray(GREY))
        return image
    return image.convert(name)


def turned(orientation: int) -> dict[str, Any]:
    """Returns what PIL writes so that a viewer turns the picture."""
    from PIL import Image

    exif = Image.Exif()
    exif[0x0112] = orientation
    return {"exif": exif}


WRITTEN = {  # suffix, mode, settings
    "colour": (".tif", "RGB", {}),
    "alpha": (".tif", "RGBA", {}),
    "grey": (".tif", "L", {}),
    "cmyk": (".tif", "CMYK", {}),
    "palette": (".tif", "P", {}),
    "bilevel": (".tif", "1", {"compression": "group4"}),
    "grey and alpha": (".tif", "LA", {}),
    "lab": (".tif", "LAB", {}),
    "ycbcr": (".tif", "YCbCr", {}),
    "lzw": (".tiff", "RGB", {"compression": "tiff_lzw"}),
    "deflate": (".tif", "RGB", {"compression": "tiff_adobe_deflate"}),
    "jpeg in tiff": (".tif", "RGB", {"compression": "jpeg"}),
    "big tiff": (".tif", "RGB", {"big_tiff": True}),
    "16 bits": (".tif", "I;16", {}),
    "cmyk jpeg": (".jpg", "CMYK", {}),
    "progressive": (".jpeg", "RGB", {"progressive": True}),
    "jp2": (".jp2", "RGB", {}),
    "jp2 in tiles": (".jp2", "RGB", {"tile_size": (64, 64)}),
    "jp2, alpha": (".jp2", "RGBA", {}),
    "jp2, 16 bits": (".jp2", "I;16", {}),
    "avif": (".avif", "RGB", {}),
    "avif, alpha": (".avif", "RGBA", {}),
    "avif, grey": (".avif", "L", {}),
    "bmp palette": (".bmp", "P", {}),
    "png palette": (".png", "P", {}),
    "webp, alpha": (".webp", "RGBA", {"lossless": True}),
}


@pytest.fixture(scope="module")
def imread(ultralytics: Any) -> Any:
    from ultralytics.utils.patches import imread

    return imread


def same(path: Path, imread: Any) -> np.ndarray:
    """Returns a picture as both read it."""
    theirs, ours = imread(str(path)), read_picture(path)
    assert ours.dtype == np.uint8
    assert ours.flags.c_contiguous
    np.testing.assert_array_equal(ours, theirs)
    return ours


@pytest.mark.parametrize(("suffix", "name", "settings"), WRITTEN.values(), ids=WRITTEN)
def test_is_read_as_ultralytics_reads_it(
    suffix: str, name: str, settings: dict[str, Any], tmp_path: Path, imread: Any
) -> None:
    from PIL import Image

    if name == "I;16":
        image = Image.fromarray(GREY.astype(np.uint16) * 257)
    else:
        image = mode(Image.fromarray(PLAIN[..., ::-1].copy()), name)
    image.save(tmp_path / f"a{suffix}", **settings)
    assert same(tmp_path / f"a{suffix}", imread).shape == (72, 96, 3)


@pytest.mark.parametrize("suffix", [".tif", ".jpg", ".png", ".webp", ".avif"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_is_turned_as_ultralytics_turns_it(suffix: str, orientation: int, tmp_path: Path, imread: Any) -> None:
    from PIL import Image

    Image.fromarray(PLAIN[..., ::-1].copy()).save(tmp_path / f"a{suffix}", **turned(orientation))
    read = same(tmp_path / f"a{suffix}", imread)
    assert read.shape == ((72, 96, 3) if orientation < 5 else (96, 72, 3))


@pytest.mark.parametrize("pages", [[PLAIN, PLAIN[::-1]], [GREY, PLAIN[..., 1], PLAIN[..., 2]], [GREY, PLAIN]])
def test_of_several_pages_the_first_is_read(pages: list[np.ndarray], tmp_path: Path, imread: Any) -> None:
    assert cv2.imwritemulti(str(tmp_path / "a.tif"), pages)
    same(tmp_path / "a.tif", imread)


@pytest.mark.parametrize("image", [PLAIN, GREY, np.dstack((PLAIN, GREY))], ids=["colour", "grey", "alpha"])
@pytest.mark.parametrize("suffix", [".tif", ".png", ".jp2"])
def test_sixteen_bits_keep_their_high_byte(image: np.ndarray, suffix: str, tmp_path: Path, imread: Any) -> None:
    cv2.imwrite(str(tmp_path / f"a{suffix}"), image.astype(np.uint16) * 200)
    same(tmp_path / f"a{suffix}", imread)


def test_two_pictures_in_one_jpeg_are_read_as_one(tmp_path: Path, imread: Any) -> None:
    from PIL import Image

    image = Image.fromarray(PLAIN[..., ::-1].copy())
    image.save(tmp_path / "a.mpo", save_all=True, append_images=[image.rotate(180)])
    same(tmp_path / "a.mpo", imread)


def test_every_suffix_that_ultralytics_and_opencv_read_is_read(ultralytics: Any) -> None:
    from ultralytics.data.utils import IMG_FORMATS

    assert {f".{one}" for one in IMG_FORMATS} - set(PICTURES) == {".dng", ".heic", ".heif"}
    assert set(PICTURES) <= {f".{one}" for one in IMG_FORMATS}
