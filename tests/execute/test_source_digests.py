from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

import pytest

from edgecompile.errors import RecipeError
from edgecompile.execute import source_digests as module
from edgecompile.execute.source_digests import Sources
from execute.plans import source


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    """Some files that have not changed for long."""
    folder = tmp_path / "data"
    folder.mkdir()
    paths = [folder / f"{n}.jpg" for n in range(5)]
    for n, path in enumerate(paths):
        path.write_bytes(bytes([n]) * 100)
    return paths


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the files whose content was read."""
    names: list[str] = []

    def counting(path: Path | str) -> tuple[str, int]:
        names.append(os.path.basename(path))
        return hash_file(path)

    hash_file = module.hash_file
    monkeypatch.setattr(module, "hash_file", counting)
    return names


def settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets time pass: what was just written counts as written long ago."""
    now = time.time_ns
    monkeypatch.setattr(time, "time_ns", lambda: now() + 10 * module.SETTLED_NS)


def test_the_digest_is_of_names_contents_and_order_but_not_of_folders(files: list[Path], tmp_path: Path) -> None:
    digest = Sources(tmp_path / "stat").of(source(*files)).digest
    elsewhere = Path(shutil.copytree(files[0].parent, tmp_path / "else where ü"))
    assert Sources(tmp_path / "stat").of(source(*sorted(elsewhere.iterdir()))).digest == digest
    assert Sources(tmp_path / "stat").of(source(*reversed(files))).digest != digest
    assert Sources(tmp_path / "stat").of(source(*files[:4])).digest != digest
    files[0].rename(files[0].with_name("renamed.jpg"))
    assert Sources(tmp_path / "stat").of(source(files[0].with_name("renamed.jpg"), *files[1:])).digest != digest


def test_an_unchanged_file_is_read_once(
    files: list[Path], tmp_path: Path, reads: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    settled(monkeypatch)
    first = Sources(tmp_path / "stat").of(source(*files))
    assert len(reads) == 5
    assert Sources(tmp_path / "stat").of(source(*files)) == first
    assert len(reads) == 5
    files[3].write_bytes(b"x" * 100)  # the same size
    second = Sources(tmp_path / "stat").of(source(*files))
    assert reads[5:] == ["3.jpg"]
    assert [a == b for a, b in zip(first.files, second.files, strict=True)] == [True, True, True, False, True]


def test_a_file_changed_just_now_is_read_each_time(files: list[Path], tmp_path: Path, reads: list[str]) -> None:
    """Within one tick of the file system's clock it may change again with the same stat."""
    for _ in range(2):
        Sources(tmp_path / "stat").of(source(*files))
    assert len(reads) == 10


def test_a_change_that_keeps_size_and_time_is_seen(
    files: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settled(monkeypatch)
    first = Sources(tmp_path / "stat").of(source(*files))
    before = files[0].stat()
    files[0].write_bytes(b"y" * 100)
    os.utime(files[0], ns=(before.st_atime_ns, before.st_mtime_ns))
    assert Sources(tmp_path / "stat").of(source(*files)) != first


@pytest.mark.parametrize("damage", [b"", b"{}", b"rubbish\nrubbish\n", None])
def test_a_damaged_memory_is_ignored(
    files: list[Path], tmp_path: Path, damage: bytes | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    settled(monkeypatch)
    first = Sources(tmp_path / "stat").of(source(*files))
    (memory,) = (tmp_path / "stat").iterdir()
    raw = memory.read_bytes()
    memory.write_bytes(raw.replace(first.files[0][1].encode(), b"0" * 64) if damage is None else damage)
    assert Sources(tmp_path / "stat").of(source(*files)) == first


def test_a_memory_that_cannot_be_written_is_done_without(files: list[Path], tmp_path: Path) -> None:
    (tmp_path / "stat").write_text("a file where the folder should be")
    digest = Sources(tmp_path / "stat").of(source(*files))
    assert digest == Sources(tmp_path / "other").of(source(*files))


def test_missing_files(files: list[Path], tmp_path: Path) -> None:
    missing = tmp_path / "data" / "missing.jpg"
    assert Sources(tmp_path).of(source(files[0], missing)).files[1] == ("missing.jpg", None)
    with pytest.raises(RecipeError, match=r"weights '.*missing\.jpg' does not exist"):
        Sources(tmp_path).of(source(missing, name="weights", many=False))
    with pytest.raises(RecipeError, match=r"weights '.*data' cannot be read: Is a directory"):
        Sources(tmp_path).of(source(tmp_path / "data", name="weights", many=False))


def test_what_changed_since_is_told(files: list[Path], tmp_path: Path) -> None:
    sources = Sources(tmp_path / "stat")
    sources.of(source(*files))
    assert sources.unchanged(source(*files))
    files[4].write_bytes(b"z" * 100)
    assert not sources.unchanged(source(*files))
