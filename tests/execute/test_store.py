from __future__ import annotations

import errno
import fcntl
import os
import pwd
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from edgecompile.errors import StepError
from edgecompile.execute.canonical_json import digest_of, seal, unseal
from edgecompile.execute.store import SCHEMA, Entry, Store
from edgecompile.files import hash_file
from execute.plans import finish, python, until

KEY, OTHER = "a" * 64, "b" * 64
RECORD = {"step": "one", "function": "module:one", "wall_seconds": 1.5}


def folder(store: Store, **files: str) -> Path:
    """Returns a folder as a worker leaves it, with `__` for the slash in names."""
    place = store.staging_dir() / "out"
    place.mkdir()
    for name, text in {"facts_json": '{"n":1}', **files}.items():
        path = place / name.replace("__", "/").replace("_", ".")
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    return place


def published(store: Store, key: str = KEY, **files: str) -> Entry:
    return store.publish(key, folder(store, **(files or {"model_onnx": "model", "ir__model_bin": "weights"})), RECORD)


def snapshot(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def test_what_was_published_is_found(store: Store) -> None:
    assert store.find(KEY) is None
    entry = published(store)
    assert store.find(KEY) == entry == Store(store.root).find(KEY)
    assert entry.facts == {"n": 1}
    assert entry.record == RECORD
    assert sorted(entry.files) == ["facts.json", "ir/model.bin", "model.onnx"]
    assert entry.files["model.onnx"] == hash_file(entry.path("model.onnx"))
    assert entry.path("model.onnx").read_text() == "model"
    assert sorted(path.name for path in entry.path().iterdir()) == ["facts.json", "ir", "model.onnx"]
    assert (entry.path("ir") / "model.bin").read_text() == "weights"
    assert entry.size == 19


def test_contents_of_parts(store: Store) -> None:
    entry = published(store)
    other = published(store, OTHER, model_onnx="changed", ir__model_bin="weights")
    assert entry.content() == entry.digest != other.content()
    assert entry.content("ir") == other.content("ir")
    assert entry.content("model.onnx") != other.content("model.onnx")
    with pytest.raises(StepError, match=r"step 'one' put out no 'model.onx'; did you mean 'model.onnx'\?"):
        entry.path("model.onx")


def test_equal_outputs_lie_in_one_place(store: Store) -> None:
    one, two = published(store), published(store, OTHER)
    assert one.root == two.root
    assert one.digest == two.digest


def test_files_are_single_links_that_nobody_may_write(store: Store) -> None:
    entry = published(store)
    for name in entry.files:
        status = entry.path(name).stat()
        assert status.st_nlink == 1
        assert stat.S_IMODE(status.st_mode) == 0o444


def test_a_hard_link_is_published_as_a_copy(store: Store, tmp_path: Path) -> None:
    place = folder(store)
    (tmp_path / "original").write_text("shared")
    os.link(tmp_path / "original", place / "twin")
    entry = store.publish(KEY, place, RECORD)
    assert entry.path("twin").stat().st_nlink == 1
    (tmp_path / "original").write_text("changed later")
    assert store.find(KEY) == entry


def test_a_symbolic_link_is_refused(store: Store) -> None:
    place = folder(store)
    (place / "link").symlink_to("/etc/hostname")
    with pytest.raises(StepError, match="put out 'link', which is no plain file"):
        store.publish(KEY, place, RECORD)
    assert store.find(KEY) is None


def test_a_folder_from_outside_is_copied(store: Store, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "a.txt").write_text("a")
    assert store.publish(KEY, tmp_path / "out", RECORD).path("a.txt").read_text() == "a"
    assert (tmp_path / "out" / "a.txt").exists()


def test_the_first_result_of_a_key_stays(store: Store) -> None:
    first = published(store, model_onnx="first")
    assert published(store, model_onnx="second") == first


def alter(path: Path, change: Callable[[bytes], bytes]) -> None:
    path.chmod(0o644)
    path.write_bytes(change(path.read_bytes()))


def flip(raw: bytes) -> bytes:
    return raw[:-1] + bytes([raw[-1] ^ 1])


DAMAGE: dict[str, Callable[[Store, Entry], object]] = {
    "flipped bit in a file": lambda store, entry: alter(entry.path("model.onnx"), flip),
    "truncated file": lambda store, entry: alter(entry.path("model.onnx"), lambda raw: raw[:-1]),
    "empty file": lambda store, entry: alter(entry.path("ir/model.bin"), lambda raw: b""),
    "missing file": lambda store, entry: entry.path("model.onnx").unlink(),
    "file too many": lambda store, entry: (entry.root / "model.onnx.data").write_bytes(b"x"),
    "file that became a link": lambda store, entry: (
        shutil.copy(entry.path("model.onnx"), store.root / "copy"),
        entry.path("model.onnx").unlink(),
        (entry.root / "model.onnx").symlink_to(store.root / "copy"),
    ),
    "missing output": lambda store, entry: shutil.rmtree(entry.root),
    "output that became a file": lambda store, entry: (shutil.rmtree(entry.root), entry.root.write_text("x")),
    "truncated entry": lambda store, entry: alter(store.entry_path(KEY), lambda raw: raw[: len(raw) // 2]),
    "empty entry": lambda store, entry: alter(store.entry_path(KEY), lambda raw: b""),
    "entry that became a folder": lambda store, entry: (
        store.entry_path(KEY).unlink(),
        store.entry_path(KEY).mkdir(),
    ),
    "flipped bit in the entry": lambda store, entry: alter(store.entry_path(KEY), lambda raw: flip(raw[:9]) + raw[9:]),
    "entry whose output is not the digest of its files": lambda store, entry: alter(
        store.entry_path(KEY), lambda raw: seal({**unseal(raw), "output": published(store, OTHER, x="y").digest})
    ),
    "entry whose output lies elsewhere": lambda store, entry: alter(
        store.entry_path(KEY), lambda raw: seal({**unseal(raw), "output": "../../elsewhere"})
    ),
    "entry that is sealed and none": lambda store, entry: alter(store.entry_path(KEY), lambda raw: seal([1])),
    "entry without files": lambda store, entry: alter(
        store.entry_path(KEY), lambda raw: seal({**unseal(raw), "files": [], "output": digest_of([])})
    ),
    "entry of another key": lambda store, entry: shutil.copy(
        store.entry_path(published(store, OTHER, model_onnx="other").key), store.entry_path(KEY)
    ),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_damage_is_a_miss_that_heals(store: Store, damage: Callable[[Store, Entry], object]) -> None:
    entry = published(store)
    damage(store, entry)
    assert store.find(KEY) is None
    assert not store.entry_path(KEY).exists()
    assert list((store.root / "aside").iterdir())
    assert published(store) == entry
    assert store.find(KEY) == entry


def test_an_entry_that_names_a_folder_elsewhere_moves_nothing(store: Store, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "mine").write_text("mine")
    entry = published(store)
    inside = os.path.relpath(elsewhere, store.output_path(entry.digest).parent)
    alter(store.entry_path(KEY), lambda raw: seal({**unseal(raw), "output": inside}))
    assert store.find(KEY) is None
    assert (elsewhere / "mine").read_text() == "mine"


def test_a_store_of_somebody_else_is_told_once(
    store: Store, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    published(store)
    store.close()
    assert capfd.readouterr().err == ""  # one's own
    me = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: me + 4321)
    Store(store.root).warn_reader()
    (read,) = capfd.readouterr().err.splitlines()
    assert not any((store.root / "machines").glob("*-*.txt"))  # who only reads notes nothing
    Store(store.root.parent / "none").warn_reader()
    Store(store.root).begin()
    (line,) = capfd.readouterr().err.splitlines()
    name = pwd.getpwuid(me).pw_name
    assert line.startswith(f"edgecompile: warning: the store {store.root} belongs to {name} (user {me})")
    assert "set EDGECOMPILE_CACHE" in line
    assert read == line
    # a note that somebody else has placed silences nothing
    Store(store.root).begin()
    assert len(capfd.readouterr().err.splitlines()) == 1
    note = next((store.root / "machines").glob(f"*-{me + 4321}.txt"))
    if me == 0:
        os.chown(note, me + 4321, -1)
        Store(store.root).begin()
        assert capfd.readouterr().err == ""


def test_damage_without_a_find_between_heals_too(store: Store) -> None:
    entry = published(store)
    alter(entry.path("model.onnx"), flip)
    assert published(store) == entry
    assert store.find(KEY) == entry


def test_damage_to_a_shared_output_heals_for_all(store: Store) -> None:
    one, _ = published(store), published(store, OTHER)
    alter(one.path("model.onnx"), flip)
    assert published(store) == one
    assert store.find(OTHER) is not None


def test_undamaged_results_are_not_set_aside(store: Store) -> None:
    """The other half of the tests above: what finds damage must not find it everywhere."""
    entry = published(store)
    store.quarantine(KEY)
    assert store.find(KEY) == entry
    assert not list((store.root / "aside").iterdir())


def test_a_quick_look_compares_sizes_only(store: Store) -> None:
    entry = published(store)
    alter(entry.path("model.onnx"), flip)
    assert store.find(KEY, thorough=False) == entry
    alter(entry.path("model.onnx"), lambda raw: raw + b"x")
    assert store.find(KEY, thorough=False) is None


def test_an_entry_of_another_schema_is_a_miss_and_stays(store: Store) -> None:
    published(store)
    path = store.entry_path(KEY)
    later = seal({**unseal(path.read_bytes()), "schema": SCHEMA + 1})
    path.write_bytes(later)
    assert store.find(KEY) is None
    assert path.read_bytes() == later
    assert published(store)


def test_the_digest_is_that_of_names_and_contents(store: Store) -> None:
    entry = published(store)
    assert entry.digest == digest_of({name: list(file) for name, file in entry.files.items()})


def test_intact(store: Store) -> None:
    entry = published(store)
    assert store.intact(entry)
    alter(entry.path("ir/model.bin"), flip)
    assert not store.intact(entry)
    shutil.rmtree(entry.root)
    assert not store.intact(entry)


def test_history_and_listings(store: Store) -> None:
    assert store.history("module:one") == []
    published(store)
    published(store, OTHER, model_onnx="x")
    assert store.history("module:one") == [("one", OTHER), ("one", KEY)]
    assert store.record_of(KEY) == RECORD
    assert store.record_of("c" * 64) is None
    assert store.listing("c" * 64) is None


def test_the_location(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("EDGECOMPILE_CACHE", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert Store.default().root == tmp_path / ".cache" / "edgecompile"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert Store.default().root == tmp_path / "xdg" / "edgecompile"
    monkeypatch.setenv("EDGECOMPILE_CACHE", "~/mine")
    assert Store.default().root == tmp_path / "mine"
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.delenv("EDGECOMPILE_CACHE")
    assert Store.default().root == tmp_path / "Library" / "Caches" / "edgecompile"
    assert not list(tmp_path.iterdir()), "asking for the location made it"


@pytest.fixture
def read_only(store: Store, tmp_path: Path) -> Iterator[Store]:
    """A store with one result, that nobody may write to, not even root."""
    published(store)
    store.close()
    if os.geteuid() != 0:
        folders = [store.root, *(path for path in store.root.rglob("*") if path.is_dir())]
        for folder in folders:
            folder.chmod(0o555)
        yield Store(store.root)
        for folder in folders:
            folder.chmod(0o755)
        return
    here = tmp_path / "read-only"
    here.mkdir()
    if subprocess.run(["mount", "--bind", store.root, here], capture_output=True, check=False).returncode:
        pytest.skip("root may not mount here")
    try:
        subprocess.run(["mount", "-o", "remount,ro,bind", here], check=True)
        yield Store(here)
    finally:
        subprocess.run(["umount", here], check=True)


def test_a_read_only_store_serves_and_says_in_one_line_that_it_takes_nothing(read_only: Store, tmp_path: Path) -> None:
    before = snapshot(read_only.root)
    assert read_only.find(KEY) is not None
    assert read_only.find(OTHER) is None
    (tmp_path / "out").mkdir()
    line = r"^the store .* cannot be written: .*; set EDGECOMPILE_CACHE to a folder that can be written$"
    with pytest.raises(StepError, match=line) as raised:
        read_only.publish(OTHER, tmp_path / "out", RECORD)
    assert len(raised.value.problems) == 1
    with pytest.raises(StepError, match="cannot be written"):
        read_only.lock(OTHER)
    assert snapshot(read_only.root) == before


def test_damage_that_cannot_be_set_aside_is_a_miss_all_the_same(store: Store) -> None:
    alter(published(store).path("model.onnx"), flip)
    (store.root / "aside").rmdir()
    (store.root / "aside").write_text("nothing can be moved here")
    assert store.find(KEY) is None


def test_a_file_where_the_store_should_be(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(StepError, match="cannot be written"):
        Store(tmp_path / "file").begin()
    with pytest.raises(StepError, match="cannot be written"):
        Store(tmp_path / "file").find(KEY)


def test_a_full_disk_is_named(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    place = folder(store)

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(StepError, match=r"no space left for the store .*; free some, or run 'edgecompile cache gc'"):
        store.publish(KEY, place, RECORD)
    monkeypatch.undo()
    assert store.find(KEY) is None
    assert not list((store.root / "entries").rglob("*.json"))
    assert published(store)


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.ENOLCK])
def test_a_file_system_without_locks_is_refused(store: Store, number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_locks(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", no_locks)
    with pytest.raises(
        StepError, match=r"^the file system of the store .* has no file locks; set EDGECOMPILE_CACHE to"
    ):
        store.begin()


HOLD = """
import sys, time
from edgecompile.execute.store import Store
store = Store(sys.argv[1])
place = store.staging_dir()
(place / "half").write_text("written")
print(place, flush=True)
time.sleep(60)
"""


def test_what_a_killed_process_left_goes_when_the_next_one_begins(tmp_path: Path) -> None:
    process = python(HOLD, tmp_path / "store")
    place = Path(process.stdout.readline().strip())
    living = Store(tmp_path / "store")
    living.begin()
    assert (place / "half").exists(), "the next one removed what a living process writes"
    process.kill()
    process.wait()
    Store(tmp_path / "store").begin()
    assert not place.parent.exists()
    assert len(list((tmp_path / "store" / "sessions").iterdir())) == 1, "that of the living one and nothing else"


def test_a_process_that_ends_leaves_nothing_behind(tmp_path: Path) -> None:
    finish(python(HOLD.replace("time.sleep(60)", ""), tmp_path / "store"))
    assert not list((tmp_path / "store" / "staging").iterdir())
    assert not list((tmp_path / "store" / "sessions").iterdir())


def test_a_lock_is_gone_after_use(store: Store) -> None:
    with store.lock(KEY, "one") as lock:
        assert lock.is_held()
    assert not list((store.root / "locks").glob(f"{KEY}*"))
    until(lambda: not lock.is_held())
