"""The sealed zip: equal bytes whatever the surroundings, nothing that reaches elsewhere, no damage unseen."""

from __future__ import annotations

import hashlib
import os
import random
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from built import Built, build

from edgecompile.bundle import writer
from edgecompile.bundle.writer import copy_bundle, write_bundle
from edgecompile.errors import BundleError, EdgecompileError, StepError
from edgecompile.runtime.archive import Archive

TESTS = Path(__file__).parent.parent
MEMBERS = {
    "spec.json": b"{}\n",
    "artifact/model.onnx": bytes(range(256)),
    "golden/input.png": b"png",
    "golden/output_0.npy": b"npy",
    "golden/result.json": b"[]",
}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    return build(tmp_path_factory.mktemp("built"))


@pytest.fixture
def bundle(built: Built, tmp_path: Path) -> Path:
    path = tmp_path / "small.bundle.zip"
    write_bundle(path, MEMBERS, built.manifest)
    return path


def test_the_digest_returned_is_that_of_the_whole_file(built: Built, tmp_path: Path):
    path = tmp_path / "a.zip"
    assert write_bundle(path, MEMBERS, built.manifest) == hashlib.sha256(path.read_bytes()).hexdigest()


def test_reader_finds_every_member_and_the_same_digest(bundle: Path):
    with Archive(bundle) as archive:
        assert set(archive.names) == {*MEMBERS, "manifest.json"}
        assert archive.check_members() == len(MEMBERS) + 1
        assert {name: archive.read(name) for name in MEMBERS} == MEMBERS
        assert archive.digest == hashlib.sha256(bundle.read_bytes()).hexdigest()


def test_zip_has_the_one_form(bundle: Path):
    with zipfile.ZipFile(bundle) as archive:
        entries = archive.infolist()
        seal = archive.comment
    assert [entry.filename for entry in entries] == sorted(entry.filename for entry in entries)
    for entry in entries:
        assert entry.date_time == (1980, 1, 1, 0, 0, 0)
        assert entry.compress_type == zipfile.ZIP_STORED
        assert (entry.create_system, entry.external_attr, entry.extra, entry.comment) == (3, 0o100644 << 16, b"", b"")
    before = bundle.read_bytes()[: -len(seal)]
    assert seal == b"edgecompile-bundle-1 sha256:" + hashlib.sha256(before).hexdigest().encode()


def test_order_of_members_and_their_kind_do_not_matter(built: Built, tmp_path: Path):
    files = {}
    for name, content in reversed(MEMBERS.items()):
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "in" / name).write_bytes(content)
        files[name] = tmp_path / "in" / name
    reordered = dict(reversed(built.manifest.items()))
    assert write_bundle(tmp_path / "a", MEMBERS, built.manifest) == write_bundle(tmp_path / "b", files, reordered)


def test_negative_control_one_byte_of_one_member_changes_the_digest(built: Built, tmp_path: Path):
    other = {**MEMBERS, "golden/input.png": b"pnG"}
    assert write_bundle(tmp_path / "a", MEMBERS, built.manifest) != write_bundle(tmp_path / "b", other, built.manifest)


PACK = """
import os, sys, pathlib
os.umask(int(sys.argv[2], 8))
from built import build
from edgecompile.bundle.package import package
work = pathlib.Path(sys.argv[1])
made = build(work / "made")
(work / "out").mkdir()
print(package(work / "out", **made.inputs(), manifest=made.manifest, lock=made.lock, report=made.report())["sha256"])
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("seed", "zone", "umask", "folder"),
    [("1", "Pacific/Kiritimati", "077", "with space ü"), ("987", "America/St_Johns", "002", "x")],
)
def test_a_bundle_depends_on_nothing_but_its_inputs(
    built: Built, tmp_path: Path, seed: str, zone: str, umask: str, folder: str
):
    """Packed in other processes, folders, time zones, locales, with other hash seeds and umasks: the same bytes."""
    from edgecompile.bundle.package import package

    (tmp_path / "here").mkdir()
    documents = {"manifest": built.manifest, "lock": built.lock, "report": built.report()}
    wanted = package(tmp_path / "here", **built.inputs(), **documents)["sha256"]
    work = tmp_path / folder
    work.mkdir()
    environment = os.environ | {
        "PYTHONHASHSEED": seed, "TZ": zone, "LC_ALL": "C", "PYTHONPATH": f"{TESTS.parent}{os.pathsep}{TESTS}",
    }  # fmt: skip
    command = [sys.executable, "-c", PACK, str(work), umask]
    finished = subprocess.run(command, cwd=work, env=environment, capture_output=True, text=True)
    assert finished.stdout.strip() == wanted, finished.stderr


@pytest.mark.parametrize(
    "name",
    [
        "/etc/passwd",
        "../x",
        "a/../../x",
        "a//b",
        "a/./b",
        ".hidden",
        "a\\b",
        "C:x",
        "a/",
        "",
        "a b",
        "ä",
        "a\nb",
        "a\0b",
    ],
)
def test_names_that_could_land_elsewhere_are_refused(built: Built, tmp_path: Path, name: str):
    with pytest.raises(BundleError, match="cannot be the name"):
        write_bundle(tmp_path / "a.zip", {**MEMBERS, name: b""}, built.manifest)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        ("SPEC.json", "differ only in case"),
        ("spec.json/x", "both a member and the folder"),
        ("manifest.json", "itself"),
    ],
)
def test_names_that_collide_are_refused(built: Built, tmp_path: Path, extra: str, message: str):
    with pytest.raises(BundleError, match=message):
        write_bundle(tmp_path / "a.zip", {**MEMBERS, extra: b""}, built.manifest)
    assert not list(tmp_path.iterdir())


def test_a_member_that_changes_while_it_is_packed_is_noticed(built: Built, tmp_path: Path, monkeypatch):
    file = tmp_path / "model.onnx"
    file.write_bytes(b"before")
    measure = writer._measure

    def measure_and_alter(content):
        found = measure(content)
        if content is file:
            file.write_bytes(b"after!")
        return found

    monkeypatch.setattr(writer, "_measure", measure_and_alter)
    with pytest.raises(StepError, match="changed while it was packed"):
        write_bundle(tmp_path / "a.zip", {"artifact/model.onnx": file}, built.manifest)
    assert [path.name for path in tmp_path.iterdir()] == ["model.onnx"]


def test_a_disk_that_refuses_leaves_the_old_bundle_and_nothing_else(built: Built, bundle: Path, monkeypatch):
    before = bundle.read_bytes()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(writer.os, "fsync", full)
    with pytest.raises(StepError, match="No space left on device"):
        write_bundle(bundle, {**MEMBERS, "artifact/model.onnx": b"new"}, built.manifest)
    assert bundle.read_bytes() == before
    assert [path.name for path in bundle.parent.iterdir()] == [bundle.name]


def test_a_missing_folder_is_one_line(built: Built, tmp_path: Path):
    with pytest.raises(StepError, match="cannot be written: No such file or directory"):
        write_bundle(tmp_path / "nowhere" / "a.zip", MEMBERS, built.manifest)


def test_a_manifest_of_another_form_is_refused_before_anything_is_written(built: Built, tmp_path: Path):
    with pytest.raises(BundleError, match="surprise"):
        write_bundle(tmp_path / "a.zip", MEMBERS, {**built.manifest, "surprise": 1})
    assert not list(tmp_path.iterdir())


def test_copies_are_whole(bundle: Path, tmp_path: Path):
    copy = copy_bundle(bundle, tmp_path / "outputs" / "run" / bundle.name)
    assert copy.read_bytes() == bundle.read_bytes()
    assert [path.name for path in copy.parent.iterdir()] == [bundle.name]


def opens(path: Path) -> bool:
    """Returns whether the runtime opens the bundle and finds all members in order."""
    try:
        with Archive(path) as archive:
            archive.check_members()
    except EdgecompileError:
        return False
    return True


def test_every_flipped_byte_is_noticed(bundle: Path):
    """One random bit of each byte of the file. Negative control: untouched, and restored at the end, it opens."""
    assert opens(bundle)
    content = bundle.read_bytes()
    chance = random.Random(0)
    unseen = []
    with bundle.open("r+b", buffering=0) as file:
        for place, byte in enumerate(content):
            os.pwrite(file.fileno(), bytes([byte ^ 1 << chance.randrange(8)]), place)
            if opens(bundle):
                unseen.append(place)
            os.pwrite(file.fileno(), bytes([byte]), place)
    assert not unseen
    assert opens(bundle)


def test_every_truncated_length_is_noticed(bundle: Path, tmp_path: Path):
    content = bundle.read_bytes()
    cut = tmp_path / "cut.zip"
    lengths = {*range(0, len(content), 61), *range(len(content) - 200, len(content))}
    for length in sorted(lengths):
        cut.write_bytes(content[:length])
        assert not opens(cut), length
    cut.write_bytes(content + b"\n")
    assert not opens(cut)
