"""A store that the members of a group share, whatever their umasks; two users of it where the tests may be both."""

from __future__ import annotations

import os
import shutil
import stat
import traceback
from collections.abc import Callable
from pathlib import Path

import pytest

from edgecompile.execute import gc
from edgecompile.execute.entry import StepRecord
from edgecompile.execute.store import Store

KEY, OTHER = "ab" * 32, "cd" * 32
RECORD = StepRecord(step="export", function="x:y")


@pytest.fixture
def team(tmp_path: Path) -> Path:
    """A store's folder as whoever sets it up leaves it; every new file is one that the group could not write."""
    root = tmp_path / "store"
    root.mkdir()
    root.chmod(0o2770)
    before = os.umask(0o077)
    yield root
    os.umask(before)


def publish(root: Path, key: str) -> None:
    store = Store(root)
    made = store.staging_dir() / "out"
    (made / "inner").mkdir(parents=True)
    (made / "inner" / "x.txt").write_text(key)
    with store.lock(key, "test"):
        store.publish(key, made, RECORD)
    store.close()


def closed(root: Path) -> list[str]:
    """Returns what the group may not replace or remove: folders it may not write, and files it may not lock."""
    strange = []
    for path in root.rglob("*"):
        mode = path.stat().st_mode
        if path.is_dir() and not (mode & stat.S_IWGRP and mode & stat.S_ISGID):
            strange.append(str(path.relative_to(root)))
        if path.suffix in (".lock", ".json") and not mode & stat.S_IWGRP:
            strange.append(str(path.relative_to(root)))
    return strange


def test_all_that_is_written_is_the_groups(team: Path) -> None:
    publish(team, KEY)
    assert closed(team) == []
    (text,) = team.glob("outputs/*/*/inner/x.txt")
    assert stat.S_IMODE(text.stat().st_mode) == 0o444, "outputs are never changed"


def test_negative_control_a_store_of_ones_own_opens_nothing(team: Path) -> None:
    team.chmod(0o700)
    publish(team, KEY)
    assert len(closed(team)) > 10


def test_a_shared_store_is_told(team: Path, capsys) -> None:
    publish(team, KEY)
    assert "is shared with the group" in capsys.readouterr().err
    publish(team, OTHER)
    assert capsys.readouterr().err == "", "once"


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to be two users in turn")
def test_two_users_use_and_clean_what_the_other_wrote(tmp_path_factory, monkeypatch) -> None:
    place = Path("/var/tmp") / f"edgecompile-group-{os.getpid()}"  # every user may enter it, unlike pytest's own folder
    place.mkdir(mode=0o755)
    try:
        root = place / "store"
        root.mkdir()
        os.chown(root, 4001, 5000)
        root.chmod(0o2770)
        as_user(4001, 5000, lambda: publish(root, KEY))
        as_user(4002, 5000, lambda: [publish(root, OTHER), clean(root)])
        assert not list(root.glob("outputs/*/*")), "the second user removed the results of both"
        with pytest.raises(AssertionError):  # negative control: the same by a user who is not in the group
            as_user(4003, 6000, lambda: publish(root, KEY))
    finally:
        shutil.rmtree(place)


def clean(root: Path) -> None:
    store = Store(root)
    assert store.find(KEY) is not None, "what the other has built is there"
    damaged = next(root.glob(f"entries/{KEY[:2]}/{KEY}.json"))
    damaged.write_bytes(damaged.read_bytes()[:-9])
    assert store.find(KEY) is None, "damage is moved away, whoever wrote it"
    gc.collect(store, older_than_s=-1)
    store.close()


def as_user(user: int, group: int, work: Callable[[], object]) -> None:
    """Runs `work` in a process of another user, whose umask keeps everybody out; fails where it fails."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            os.setgroups([])
            os.setgid(group)
            os.setuid(user)
            os.umask(0o077)
            work()
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    assert os.waitpid(child, 0)[1] == 0
