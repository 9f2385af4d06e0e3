from __future__ import annotations

import hashlib
import json
import random
import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from edgecompile.errors import BundleError, RecipeError
from edgecompile.runtime.archive import SEAL_LENGTH, Archive

from .tiny import bundled, seal, tiny_manifest, zipped

MEMBERS = {"artifact/model.onnx": b"weights " * 40, "spec.json": b'{"schema": 1}', "report.html": b"<html>"}


@pytest.fixture
def small() -> bytes:
    """A bundle of three members that nothing runs."""
    return bundled(MEMBERS, tiny_manifest())


def opened(content: bytes, folder: Path) -> Archive:
    path = folder / "x.bundle.zip"
    path.write_bytes(content)
    return Archive(path)


def complaint(content: bytes, folder: Path) -> str:
    """Returns what opening and reading every member of a bad bundle says; "" where nothing."""
    found = ""
    try:
        with opened(content, folder) as archive:
            archive.check_members()
    except BundleError as error:
        found = str(error)
    assert "\n" not in found
    assert not found or "x.bundle.zip" in found
    return found


def test_opens_what_is_sealed(small: bytes, tmp_path: Path) -> None:
    with opened(small, tmp_path) as archive:
        assert archive.digest == hashlib.sha256(small).hexdigest()
        assert archive.names == ("artifact/model.onnx", "manifest.json", "report.html", "spec.json")
        assert archive.manifest["name"] == "tiny"
        assert archive.read("spec.json") == MEMBERS["spec.json"]
        assert archive.read_json("spec.json") == {"schema": 1}
        assert dict(archive.folder("artifact/")) == {"model.onnx": MEMBERS["artifact/model.onnx"]}
        assert dict(archive.folder("nothing/")) == {}
        assert archive.check_members() == 4
        with pytest.raises(BundleError, match=r"no member 'nothing'"):
            archive.read("nothing")
        with pytest.raises(BundleError, match=r"not a JSON document"):
            archive.read_json("report.html")


def test_opens_what_the_writer_writes(tmp_path: Path) -> None:
    writer = pytest.importorskip("edgecompile.bundle.writer")
    pytest.importorskip("rfc8785")
    digest = writer.write_bundle(tmp_path / "x.zip", MEMBERS, tiny_manifest())
    with Archive(tmp_path / "x.zip") as archive:
        assert archive.digest == digest
        assert archive.check_members() == 4


@pytest.mark.slow
def test_every_flipped_byte_is_found(small: bytes, tmp_path: Path) -> None:
    flips = random.Random(1)
    for position in range(len(small)):
        altered = bytearray(small)
        altered[position] ^= flips.randrange(1, 256)
        assert complaint(bytes(altered), tmp_path), f"byte {position}"


@pytest.mark.slow
def test_every_truncation_and_every_tail_is_found(small: bytes, tmp_path: Path) -> None:
    for length in range(len(small)):
        assert complaint(small[:length], tmp_path), f"{length} bytes"
    for tail in (b"\0", b"PK\5\6", small):
        assert complaint(small + tail, tmp_path)
    assert complaint(small[1:], tmp_path)


def test_what_is_no_bundle_says_so(tmp_path: Path) -> None:
    for content in (b"", b"PK\5\6" + bytes(18), b"\x89PNG" * 99, zipped([])[:-SEAL_LENGTH]):
        assert "no seal" in complaint(content, tmp_path)
    with pytest.raises(RecipeError, match="no such bundle"):
        Archive(tmp_path / "nothing.zip")
    with pytest.raises(RecipeError, match="folder"):
        Archive(tmp_path)


def test_another_format_or_schema_says_what_to_do(small: bytes, tmp_path: Path) -> None:
    newer = small.replace(b"edgecompile-bundle-1 sha256", b"edgecompile-bundle-2 sha256")
    assert "format 2" in complaint(newer, tmp_path)
    assert "pip install" in complaint(bundled(MEMBERS, {**tiny_manifest(), "schema": 2}), tmp_path)
    assert "not that of a bundle" in complaint(bundled(MEMBERS, {"schema": 1}), tmp_path)


@pytest.mark.parametrize(
    "name",
    [
        "../x",
        "/etc/x",
        "artifact/../../x",
        "a//b",
        "a\\b",
        "C:x",
        ".hidden",
        "a/.b",
        "",
        "a/",
        "caf\u00e9",
        "a b",
        "a\0b",
    ],
)
def test_names_that_could_land_elsewhere_are_refused(name: str, tmp_path: Path) -> None:
    # zipfile mends some names while it writes, so the name is put into the bytes of a good bundle
    stand_in = b"Q" * max(len(name.encode()), 1)
    content = bundled({**MEMBERS, stand_in.decode(): b"x"}, tiny_manifest())
    raw = name.encode() or b"."
    altered = content[:-SEAL_LENGTH].replace(stand_in, raw)
    assert "may not be named so" in complaint(seal(altered), tmp_path)


def test_members_and_manifest_must_agree(tmp_path: Path) -> None:
    def made(members: dict[str, bytes], change: Callable[[dict], None]) -> str:
        manifest = json.loads(opened(bundled(members, tiny_manifest()), tmp_path).read("manifest.json"))
        change(manifest["files"])
        content = zipped([*members.items(), ("manifest.json", json.dumps(manifest).encode())])
        return complaint(content, tmp_path)

    assert made(MEMBERS, lambda files: None) == ""
    assert "'spec.json' is not listed" in made(MEMBERS, lambda files: files.pop("spec.json"))
    assert "'more' is not in the zip" in made(MEMBERS, lambda files: files.update(more={"sha256": "0" * 64, "size": 1}))
    assert "the manifest says 5" in made(MEMBERS, lambda files: files["spec.json"].update(size=5))
    assert "not the file" in made(MEMBERS, lambda files: files["spec.json"].update(sha256="0" * 64))
    assert "without sha256" in made(MEMBERS, lambda files: files["spec.json"].update(sha256="0"))
    assert "without sha256" in made(MEMBERS, lambda files: files["spec.json"].update(size=True))
    assert "lists no files" in complaint(
        zipped([("manifest.json", b'{"schema": 1, "format": "edgecompile-bundle"}')]), tmp_path
    )
    assert "has no manifest.json" in complaint(zipped(list(MEMBERS.items())), tmp_path)


@pytest.mark.parametrize(
    "document",
    [b"{", b"\xff{}", b'{"schema": 1, "schema": 1}', b'{"schema": NaN}', b"[" * 100_000, b'{"schema": 1e999}', b"[]"],
)
def test_a_manifest_that_is_no_strict_json_is_refused(document: bytes, tmp_path: Path) -> None:
    assert complaint(zipped([("manifest.json", document)]), tmp_path)


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_other_forms_of_zip_are_refused(tmp_path: Path) -> None:
    members = [*MEMBERS.items(), ("manifest.json", b"{}")]
    assert "not plainly stored" in complaint(zipped(members, compressed=True), tmp_path)
    assert "there twice" in complaint(zipped([*members, ("spec.json", b"{}")]), tmp_path)
    assert "not sorted" in complaint(zipped(members[::-1], sort=False), tmp_path)
    assert "collide" in complaint(zipped([*members, ("SPEC.json", b"{}")]), tmp_path)
    assert "collide" in complaint(zipped([*members, ("spec.json/x", b"{}")]), tmp_path)


def with_attributes(content: bytes, attributes: int, system: int = 3) -> bytes:
    """Returns a bundle in which the directory gives spec.json other attributes."""
    body = bytearray(content[:-SEAL_LENGTH])
    at = body.index(b"spec.json", struct.unpack("<4s4H2LH", body[-22:])[6]) - 46
    struct.pack_into("<L", body, at + 38, attributes)
    body[at + 5] = system
    return seal(bytes(body))


@pytest.mark.parametrize(
    ("mode", "low", "system"),
    [
        (0o120777, 0, 3),  # a link
        (0o040755, 0x10, 3),
        (0o020666, 0, 3),
        (0o060666, 0, 3),
        (0o010644, 0, 3),
        (0o140644, 0, 3),
        (0o104755, 0, 3),
        (0o102755, 0, 3),
        (0o101644, 0, 3),
        (0o000644, 0, 3),
        (0, 0, 3),
        (0o100644, 0x10, 3),
        (0o100644, 0, 0),
        (0o120777, 0, 19),
    ],
)
def test_members_are_plain_files(mode: int, low: int, system: int, small: bytes, tmp_path: Path) -> None:
    assert "not a plain file" in complaint(with_attributes(small, mode << 16 | low, system), tmp_path)


def test_modes_of_plain_files_are_taken(small: bytes, tmp_path: Path) -> None:
    for mode in (0o100644, 0o100600, 0o100444, 0o100755):
        assert complaint(with_attributes(small, mode << 16), tmp_path) == ""


@pytest.mark.parametrize("number", ["1e999", "-1e999", "1" * 5000, "0." + "1" * 5000, "1" * 41])
def test_numbers_that_are_none_are_refused(number: str, tmp_path: Path) -> None:
    document = b'{"schema": 1, "format": "edgecompile-bundle", "x": %s}' % number.encode()
    assert "not a JSON document" in complaint(zipped([("manifest.json", document)]), tmp_path)
    good = document.replace(number.encode(), b"123456789012345678901234567890.25e-3")
    assert "not a JSON document" not in complaint(zipped([("manifest.json", good)]), tmp_path)


class Pieces:
    """A sealed zip in pieces, to be put together wrongly."""

    def __init__(self, content: bytes) -> None:
        body = content[:-SEAL_LENGTH]
        fields = struct.unpack("<4s4H2LH", body[-22:])
        self.total, self.size, self.start = fields[4], fields[5], fields[6]
        self.data = bytearray(body[: self.start])
        self.directory = bytearray(body[self.start : -22])

    def put(
        self, *, gap: bytes = b"", total: int | None = None, size: int | None = None, start: int | None = None
    ) -> bytes:
        """Returns the sealed whole, `gap` before the directory, with other claims in the end record."""
        total = self.total if total is None else total
        size = len(self.directory) if size is None else size
        start = len(self.data) + len(gap) if start is None else start
        end = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, total, total, size, start, SEAL_LENGTH)
        return seal(bytes(self.data) + gap + bytes(self.directory) + end)


def test_sealed_zips_whose_parts_disagree_are_refused(small: bytes, tmp_path: Path) -> None:
    pieces = Pieces(small)
    assert pieces.put() == small
    assert "belong to no member" in complaint(pieces.put(gap=b"hidden"), tmp_path)
    for total in (0, pieces.total - 1, pieces.total + 1, 65535):
        assert complaint(pieces.put(total=total), tmp_path)
    for size in (0, pieces.size - 1, pieces.size + 1, 2**32 - 1):
        assert complaint(pieces.put(size=size), tmp_path)
    for start in (0, pieces.start - 1, pieces.start + 1, 2**32 - 1):
        assert complaint(pieces.put(start=start), tmp_path)


@pytest.mark.parametrize(
    ("offset", "value", "message"),
    [
        (20, 2**31, "not plainly stored"),  # stored size that differs from the size
        (42, 1, "does not follow"),  # offset of the local header
        (16, 7, "header that differs"),  # checksum
        (38, 2**31, None),  # attributes carry no meaning here
    ],
)
def test_every_field_of_a_directory_entry_is_weighed(
    offset: int, value: int, message: str | None, small: bytes, tmp_path: Path
) -> None:
    pieces = Pieces(small)
    struct.pack_into("<L", pieces.directory, offset, value)
    found = complaint(pieces.put(), tmp_path)
    assert (message in found) if message else not found


def test_an_oversized_claim_reads_nothing(small: bytes, tmp_path: Path) -> None:
    pieces = Pieces(small)
    for at in (20, 24):  # both sizes of the first member: 4 GB
        struct.pack_into("<L", pieces.directory, at, 2**32 - 2)
    for at in (18, 22):
        struct.pack_into("<L", pieces.data, at, 2**32 - 2)
    assert "does not follow" in complaint(pieces.put(), tmp_path)
