"""What a split holds is found as Ultralytics finds it, each picture once, and what is left out is counted by reason."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unicodedata import normalize

import pytest

from edgecompile.data import split_listing
from edgecompile.data.split_listing import CIRCLE, DEEPEST, Folders, Listing, list_pictures
from edgecompile.errors import RecipeError

Lay = Callable[..., None]


@pytest.fixture
def lay(tmp_path: Path) -> Lay:
    """Writes files of one byte below the data set's folder."""

    def write(*names: str) -> None:
        for name in names:
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"x")

    return write


def listed(root: Path, *places: str) -> Listing:
    return list_pictures(root, places, "d.yaml:2:val", Folders())


def names(listing: Listing, root: Path) -> list[str]:
    return [os.path.relpath(path, root) for path in listing.pictures]


def test_what_ultralytics_reads_is_found_and_the_rest_is_counted(tmp_path: Path, lay: Lay, ultralytics: Any) -> None:
    lay(*(f"v/a.{one}" for one in ("avif", "bmp", "dng", "HEIC", "heif", "jp2", "jpeg", "JPG", "mpo", "png", "tif")))
    lay("v/a.TIFF", "v/a.webp", "v/a.gif", "v/a.xyz")
    lay("v/none", "v/a.txt", "v/a.npy", "v/a.cache", "v/.hidden.jpg", "v/._a.jpg", "v/.git/b.jpg", "v/below/c.jpg")
    from ultralytics.data.base import BaseDataset

    dataset = BaseDataset.__new__(BaseDataset)
    dataset.prefix, dataset.fraction = "", 1.0
    theirs = {Path(one).name for one in dataset.get_img_files(str(tmp_path / "v"))}
    found = listed(tmp_path, "v")
    assert theirs - {Path(one).name for one in found.pictures} == {"a.dng", "a.HEIC", "a.heif"}
    assert {Path(one).name for one in found.pictures} <= theirs
    assert dict(found.left_out) == {
        ".dng, whose preview is all that OpenCV decodes": 1,
        ".heic, which OpenCV does not decode": 1,
        ".heif, which OpenCV does not decode": 1,
        ".gif, which is not read": 1,
        ".xyz, which is not read": 1,
        "without a suffix": 1,
        "with a name that begins with a dot": 1,
    }
    assert found.found == len(found.pictures) + 7
    assert found.repeated == 0


def test_a_suffix_of_odd_characters_is_not_repeated(tmp_path: Path, lay: Lay) -> None:
    lay("v/a.jpg", "v/b.\x1b[31m", "v/c.<b>")
    assert dict(listed(tmp_path, "v").left_out) == {"with a suffix that is not read": 2}


@pytest.mark.parametrize("loop", [".", "..", "../../v"])
def test_links_in_a_circle_end(tmp_path: Path, lay: Lay, loop: str) -> None:
    lay("v/a.jpg", "v/below/b.jpg")
    os.symlink(loop, tmp_path / "v/below/loop")
    found = listed(tmp_path, "v")
    assert names(found, tmp_path) == ["v/a.jpg", "v/below/b.jpg"]
    assert dict(found.left_out) == {CIRCLE: 1}


def test_links_that_fan_out_are_gone_through_once(tmp_path: Path, lay: Lay) -> None:
    """Twenty folders, each with two links to the next: a million ways lead to the last."""
    lay(*(f"v/{number:02}/a{number:02}.jpg" for number in range(21)))
    for number in range(20):
        for link in ("one", "two"):
            os.symlink(f"../{number + 1:02}", tmp_path / f"v/{number:02}/{link}")
    began = time.monotonic()
    assert len(listed(tmp_path, "v/00").pictures) == 21
    assert time.monotonic() - began < 5


def test_a_picture_reached_twice_is_used_once_and_counted(tmp_path: Path, lay: Lay) -> None:
    lay("one/a.jpg", "one/b.jpg", "two/c.jpg")
    os.symlink("../one/a.jpg", tmp_path / "two/a-again.jpg")
    os.symlink("one", tmp_path / "three")
    (tmp_path / "list.txt").write_text("one/a.jpg\none/a.jpg\ntwo/c.jpg\n")
    assert names(listed(tmp_path, "one", "one"), tmp_path) == ["one/a.jpg", "one/b.jpg"]
    for places, repeated in (
        (("one", "one"), 2),
        (("one", "two"), 1),
        (("one", "three"), 2),
        (("list.txt",), 1),
        (("two/c.jpg", "list.txt"), 2),
    ):
        found = listed(tmp_path, *places)
        assert (found.repeated, len(set(found.pictures))) == (repeated, len(found.pictures))
        assert not found.left_out
    assert listed(tmp_path, "one", "list.txt").found == 3


def test_what_cannot_be_read_is_left_out(tmp_path: Path, lay: Lay, monkeypatch: pytest.MonkeyPatch) -> None:
    lay("v/a.jpg", "v/folder.jpg/inside.jpg")
    os.symlink("nowhere.jpg", tmp_path / "v/broken.jpg")
    os.symlink("itself.jpg", tmp_path / "v/itself.jpg")
    os.symlink("no-such-folder", tmp_path / "v/folder-that-was")
    os.mkfifo(tmp_path / "v/pipe.jpg")
    with open(tmp_path / "v/large.tif", "wb") as stream:
        stream.truncate((512 << 20) + 1)
    found = listed(tmp_path, "v")
    assert names(found, tmp_path) == ["v/a.jpg", "v/folder.jpg/inside.jpg"]
    assert dict(found.left_out) == {
        "that are broken links": 3,
        "that are no regular files": 1,
        "larger than 512 MiB": 1,
    }
    monkeypatch.setattr(os, "access", lambda path, mode: not path.endswith("a.jpg"))  # root may read everything
    assert listed(tmp_path, "v").left_out["that may not be read"] == 1


def test_folders_nested_too_deep_are_an_error(tmp_path: Path, lay: Lay) -> None:
    lay(f"v/{'d/' * (DEEPEST - 1)}a.jpg")
    assert len(listed(tmp_path, "v").pictures) == 1
    lay(f"v/{'d/' * 300}a.jpg")
    with pytest.raises(RecipeError, match=r"d\.yaml:2:val: folders are nested deeper than 100 levels"):
        listed(tmp_path, "v")


def test_a_disk_is_not_gone_through(tmp_path: Path, lay: Lay, monkeypatch: pytest.MonkeyPatch) -> None:
    lay(*(f"v/{number % 3}/{number}.jpg" for number in range(12)))
    monkeypatch.setattr(split_listing, "MOST_FILES", 15)
    assert len(listed(tmp_path, "v").pictures) == len(listed(tmp_path, "v/*/*.jpg").pictures) == 12
    monkeypatch.setattr(split_listing, "MOST_FILES", 10)
    with pytest.raises(RecipeError, match="more than 10 files lie there; name a folder of pictures"):
        listed(tmp_path, "v")
    with pytest.raises(RecipeError, match=r"more than 10 files match 'v/\*/\*.jpg'"):
        listed(tmp_path, "v/*/*.jpg")


def test_patterns_name_folders_pictures_and_listings(tmp_path: Path, lay: Lay) -> None:
    lay("one/images/val/a.jpg", "two/images/val/b.jpg", "two/images/train/c.jpg", "d.png", "e.txt", "odd[1]/f.jpg")
    (tmp_path / "list1.txt").write_text("./d.png\n")
    assert names(listed(tmp_path, "*/images/val"), tmp_path) == ["one/images/val/a.jpg", "two/images/val/b.jpg"]
    assert names(listed(tmp_path, "two/**/*.jpg"), tmp_path) == ["two/images/train/c.jpg", "two/images/val/b.jpg"]
    everything = listed(tmp_path, "two/**")
    assert (len(everything.pictures), everything.repeated) == (2, 0)
    assert names(listed(tmp_path, "list?.txt"), tmp_path) == ["d.png"]
    assert names(listed(tmp_path, "odd[1]"), tmp_path) == ["odd[1]/f.jpg"]  # a name first
    with pytest.raises(RecipeError, match=r"d.yaml:2:val: nothing matches 'three/\*'"):
        listed(tmp_path, "three/*")


def test_a_listing_counts_what_it_names(tmp_path: Path, lay: Lay) -> None:
    lay("v/a.jpg", "v/b.heic", "v/c.gif")
    (tmp_path / "list.txt").write_text("\ufeffv/a.jpg\r\nv/b.heic\n\n./v/c.gif\n", encoding="utf-8")
    found = listed(tmp_path, "list.txt")
    assert names(found, tmp_path) == ["v/a.jpg"]
    assert found.left_out.total() == 2
    (tmp_path / "list.txt").write_text("v/a.jpg\nv/nope.jpg\nv\n")
    with pytest.raises(RecipeError) as caught:
        listed(tmp_path, "list.txt")
    assert [str(one).rpartition("list.txt")[2] for one in caught.value.problems] == [
        ":2: picture 'v/nope.jpg' not found",
        ":3: picture 'v' not found",
    ]


@pytest.mark.parametrize(("written", "on_disk"), [("NFC", "NFD"), ("NFD", "NFC")])
def test_names_are_found_in_either_unicode_form(tmp_path: Path, lay: Lay, written: Any, on_disk: Any) -> None:
    folder, picture = "Prüfung", "Löwenzahn.jpg"
    lay(normalize(on_disk, f"{folder}/{picture}"))
    (tmp_path / "list.txt").write_text(normalize(written, f"{folder}/{picture}\n"), encoding="utf-8")
    expected = [normalize(on_disk, f"{folder}/{picture}")]
    assert names(listed(tmp_path, normalize(written, folder)), tmp_path) == expected
    assert names(listed(tmp_path, "list.txt"), tmp_path) == expected
    with pytest.raises(RecipeError, match="not found"):  # the control: another letter
        listed(tmp_path, "Prufung")


def test_two_names_alike_are_two_pictures_where_each_has_its_label(tmp_path: Path, lay: Lay) -> None:
    composed, decomposed = (normalize(form, "é") for form in ("NFC", "NFD"))
    lay(f"images/{composed}.jpg", f"images/{decomposed}.jpg", f"labels/{composed}.txt")
    if len(os.listdir(tmp_path / "images")) == 1:
        pytest.skip("this file system takes the two names for one")
    found = listed(tmp_path, "images")
    assert len(found.pictures) == 1
    assert dict(found.left_out) == {"named as another but for Unicode normalisation": 1}
    lay(f"labels/{decomposed}.txt")
    assert len(listed(tmp_path, "images").pictures) == 2


def test_a_place_that_is_a_link_is_known_by_what_it_leads_to(tmp_path: Path, lay: Lay) -> None:
    lay("elsewhere/images/a.jpg")
    os.symlink("elsewhere/images", tmp_path / "val")
    found = listed(tmp_path, "val")
    assert names(found, tmp_path) == ["val/a.jpg"]
    assert found.resolved == {str(tmp_path / "val/a.jpg"): os.path.realpath(tmp_path / "elsewhere/images/a.jpg")}
