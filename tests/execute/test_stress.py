"""The store under stress. Sizes are fit for every run of the tests; a variable takes those of the long run:

    EDGECOMPILE_STRESS=full pytest tests/execute/test_stress.py -s

Each test prints what it counted.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from edgecompile.execute.gc import collect, kept
from edgecompile.execute.runner import execute
from edgecompile.execute.store import Store
from edgecompile.plan.graph import Plan
from execute.plans import chain, finish, lines, plan, python, step, until
from execute.stress import Nursery, audit, is_right, key_of, kill_children, rebuild, workers_below, write_result

pytestmark = pytest.mark.stress

FULL = os.environ.get("EDGECOMPILE_STRESS") == "full"


def size(usual: int, full: int) -> int:
    return full if FULL else usual


def left_behind(root: Path) -> list[Path]:
    """Returns what of dead processes is still there after the next one has begun."""
    store = Store(root)
    store.begin()
    store.close()
    locks = [path for path in (root / "locks").iterdir() if not path.name.startswith("edgecompile-")]
    return [*(root / "staging").iterdir(), *(root / "sessions").iterdir(), *locks]


def test_kills_at_any_moment_leave_nothing_damaged(tmp_path: Path) -> None:
    chance = random.Random(20)
    writes = kill_children("real", tmp_path / "store", "write", size(40, 200), 0.06, chance)
    builds = kill_children("real", tmp_path / "store", "build", size(8, 100), 0.45, chance)
    print(f"\nstore writes: {writes}\nbuilds: {builds}")
    assert writes.landed + builds.landed >= size(48, 300)
    assert (writes.midway + builds.midway) / (writes.landed + builds.landed) >= 0.2
    assert not writes.damaged + builds.damaged
    assert not writes.wrong + builds.wrong
    until(lambda: not workers_below(tmp_path / "store"))
    assert not left_behind(tmp_path / "store")


def test_the_same_kills_damage_a_store_that_writes_in_place(tmp_path: Path) -> None:
    tally = kill_children("in place", tmp_path / "store", "write", size(40, 200), 0.06, random.Random(20))
    print(f"\nin place: {tally}")
    assert tally.damaged, "the harness would not notice damage"


SHARE = """
import sys
from edgecompile.execute.runner import execute
from edgecompile.execute.store import Store
from execute.test_stress import wide
print(execute(wide(int(sys.argv[2]), sys.argv[3]), Store(sys.argv[1]))["last"].digest)
"""


def wide(length: int, tally: str) -> Plan:
    """Returns a plan of many steps side by side, some that read others, and one that reads those."""
    first = [step(f"s{n}", params={"text": f"s{n}", "tally": tally}) for n in range(length - length // 5 - 1)]
    middle = [
        step(f"m{n}", needs=(f"s{n}", f"s{n + 1}"), params={"text": f"m{n}", "tally": tally})
        for n in range(length // 5)
    ]
    last = step("last", needs=tuple(one.name for one in middle), params={"text": "last", "tally": tally})
    return plan(*first, *middle, last)


def test_many_processes_run_each_step_exactly_once(tmp_path: Path) -> None:
    count, length = size(6, 16), size(20, 50)
    began = time.monotonic()
    processes = [python(SHARE, tmp_path / "store", length, tmp_path / "tally") for _ in range(count)]
    digests = {finish(process, 600)[0] for process in processes}
    ran = Counter(lines(tmp_path / "tally"))
    print(f"\n{count} processes, {length} steps: {sum(ran.values())} ran, in {time.monotonic() - began:.1f} s")
    assert len(digests) == 1
    assert len(ran) == length
    assert set(ran.values()) == {1}
    assert not audit(tmp_path / "store")
    assert not left_behind(tmp_path / "store")


Change = Callable[[bytes, int], bytes]
CHANGES: dict[str, Change] = {
    "flip": lambda raw, place: raw[:place] + bytes([raw[place] ^ 1 << place % 8]) + raw[place + 1 :],
    "truncation": lambda raw, place: raw[:place],
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_every_byte_of_entries_and_outputs_matters(store: Store, change: Change) -> None:
    entry = store.publish(key_of(0, 0), _tiny(store), {"step": "tiny", "function": "tiny"})
    tried = 0
    for path in (store.entry_path(entry.key), *(entry.path(name) for name in entry.files)):
        original = path.read_bytes()
        for place in range(0, len(original), size(7, 1)):
            path.chmod(0o644)
            path.write_bytes(change(original, place))
            assert store.find(entry.key) is None, f"{path.name} {place}"
            assert list((store.root / "aside").iterdir()), f"{path.name} {place}"
            healed = store.publish(entry.key, _tiny(store), entry.record)
            assert healed.digest == entry.digest
            assert store.find(entry.key) is not None
            shutil.rmtree(store.root / "aside")
            (store.root / "aside").mkdir()
            tried += 1
    print(f"\n{tried} changes, all detected and healed")
    assert not audit(store.root)


def _tiny(store: Store) -> Path:
    folder = store.staging_dir() / "out"
    folder.mkdir()
    (folder / "facts.json").write_bytes(b'{"n":1}')
    (folder / "model.bin").write_bytes(random.Random(1).randbytes(300))
    return folder


def test_the_audit_itself_finds_every_change(store: Store) -> None:
    """The audit is what the tests above trust; it must not be blind."""
    entry = store.publish(key_of(0, 0), _tiny(store), {"step": "tiny", "function": "tiny"})
    assert not audit(store.root)
    for path in (store.entry_path(entry.key), *(entry.path(name) for name in entry.files)):
        original = path.read_bytes()
        path.chmod(0o644)
        for place in range(len(original)):
            path.write_bytes(CHANGES["flip"](original, place))
            assert audit(store.root)
        path.write_bytes(original)
    assert not audit(store.root)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A small disk that can be filled."""
    here = tmp_path / "disk"
    here.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", here]
    if os.geteuid() != 0 or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("only root can make a small disk; see test_runner for the same with a limit on the size of files")
    try:
        yield here
    finally:
        subprocess.run(["umount", here], check=True)


ON_DISK = """
import sys
from edgecompile.errors import StepError
from edgecompile.execute.runner import execute
from edgecompile.execute.store import Store
from execute.plans import chain
try:
    print(execute(chain(3, size=1 << 19), Store(sys.argv[1]), jobs=1)["s2"].path("result.txt").read_text())
except StepError as error:
    print(error)
    raise SystemExit(5)
"""


def test_a_disk_that_fills_up_at_any_level(disk: Path) -> None:
    failed = 0
    levels = size(6, 20)
    for level in range(levels):
        store = disk / "store"
        free = os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize
        (disk / "filler").write_bytes(bytes(free - int(free * (level / levels) ** 2)))
        process = python(ON_DISK, store)
        out, err = process.communicate(timeout=60)
        assert process.returncode in (0, 5), err
        assert len(out.splitlines()) == 1
        assert err == ""
        if process.returncode:
            failed += 1
            assert "space left" in out, out
        assert not audit(store)
        if (store / "staging").exists():
            assert not list((store / "staging").glob("*/*"))
        (disk / "filler").unlink()
        assert finish(python(ON_DISK, store))[0] == "2+1+0\n"
        shutil.rmtree(store)
    print(f"\n{levels} levels, {failed} builds found no space, all succeeded once there was some")
    assert failed >= levels // 2


GC = """
import sys
from edgecompile.execute.runner import execute
from edgecompile.execute.store import Store
from execute.stress import build_of
for round in range(int(sys.argv[2])):
    store = Store(sys.argv[1])
    seed = (round + int(sys.argv[3])) // 2
    text = execute(build_of(seed), store)["s3"].path("result.txt").read_text()
    assert text == f"3+2+1+seed {seed}", text
    store.close()
"""


def test_collecting_garbage_breaks_no_build(tmp_path: Path) -> None:
    root = tmp_path / "store"
    old = Store(root)
    for number in range(20):
        write_result(old, 0, number)
    old.close()
    builds = [python(GC, root, size(4, 15), n) for n in range(size(4, 8))]
    removed = rounds = 0
    while any(process.poll() is None for process in builds):
        store = Store(root)
        swept = collect(store, older_than_s=0, max_bytes=0)
        store.close()
        removed, rounds = removed + swept.results, rounds + 1
        time.sleep(0.02)
    for process in builds:
        finish(process)
    print(f"\n{rounds} collections removed {removed} results during {len(builds) * size(4, 15)} builds")
    assert removed >= 20
    assert not audit(root)
    store = Store(root)
    collect(store, older_than_s=0)
    assert not kept(store)
    store.close()


def test_stopped_processes_hold_nobody_up(tmp_path: Path) -> None:
    """Stopped at any moment, in the middle of a write as well, and woken later."""
    root, chance, longest, stopped = tmp_path / "store", random.Random(3), 0.0, []
    nursery, own = Nursery("real", root, tmp_path / "board"), Store(root)
    try:
        for seed in range(1, size(5, 40)):
            work = "write" if seed % 2 else "build"
            nursery.board.clear()
            stopped.append(nursery.ask(f"{work} {seed}"))
            time.sleep(chance.uniform(0.01, 0.08 if work == "write" else 0.3))
            os.kill(stopped[-1], signal.SIGSTOP)
            began = time.monotonic()
            assert not rebuild(own, work, seed, nursery.board.count)
            longest = max(longest, time.monotonic() - began)
        assert not audit(root)
        for pid in stopped:
            os.kill(pid, signal.SIGCONT)
        assert not rebuild(own, "build", 1000, 0)
    finally:
        for pid in stopped:
            os.kill(pid, signal.SIGKILL)
            nursery.ask(f"reap {pid}")
        nursery.close()
        own.close()
    print(f"\n{len(stopped)} processes stopped; what others did beside one took {longest:.1f} s at most")
    assert not audit(root)
    until(lambda: not workers_below(root))


def test_the_harness_tells_a_right_result_from_a_wrong_one(store: Store) -> None:
    assert is_right(write_result(store, 1, 2), 1, 2)
    assert not is_right(write_result(store, 1, 2), 1, 3)
    assert execute(chain(1), store)["s0"].fresh
