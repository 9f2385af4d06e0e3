"""Means to put a store under stress: processes that write to it and can be killed at any moment, an audit that shares
no code with the store, and a store that writes in place, on which the same harness must find damage.
"""

from __future__ import annotations

import hashlib
import json
import mmap
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from edgecompile.execute.canonical_json import digest_of, seal
from edgecompile.execute.entry import Entry, seal_output
from edgecompile.execute.runner import execute
from edgecompile.execute.store import Store
from edgecompile.plan.graph import Plan
from execute.plans import chain, plan, python


def audit(root: Path) -> list[str]:
    """Returns what is damaged among all that a store shows, read as its layout is documented and not by its code."""
    wrong = []
    for path in (root / "entries").glob("*/*.json"):
        try:
            body, end = path.read_bytes().split(b"\n", 1)
            assert end == hashlib.sha256(body).hexdigest().encode() + b"\n", "the seal of the entry does not fit"
            document = json.loads(body)
            assert document["key"] == path.stem, "the entry is of another key"
            output = root / "outputs" / document["output"][:2] / document["output"]
            files = {str(file.relative_to(output)): file.read_bytes() for file in output.rglob("*") if file.is_file()}
            found = {name: [hashlib.sha256(content).hexdigest(), len(content)] for name, content in files.items()}
            assert found == document["files"], "the files are not those of the entry"
        except (AssertionError, ValueError, KeyError, OSError) as error:
            wrong.append(f"{path.name[:12]}: {error}")
    return wrong


class InPlaceStore(Store):
    """A store as one might write it in an afternoon: a result is visible at once, and its files are written where they
    stay. Right as long as nobody is killed."""

    def publish(self, key: str, folder: Path, record: Mapping[str, Any]) -> Entry:
        self.begin()
        files = seal_output(folder)
        document = {"schema": 1, "key": key, "output": digest_of(files), "files": files, "record": dict(record)}
        path, root = self.entry_path(key), self.output_path(document["output"])
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(seal(document))
        for name in files:
            target = root / name
            target.parent.mkdir(parents=True, exist_ok=True)
            with open(target, "wb") as file, open(folder / name, "rb") as given:
                while block := given.read(4096):
                    file.write(block)
                os.fsync(file.fileno())
        return self.load(key, thorough=False)


STORES = {"real": Store, "in place": InPlaceStore}


class Board:
    """A few bytes that a process and whoever kills it both see: whether it is writing, and how far it is."""

    def __init__(self, path: Path) -> None:
        if not path.exists():
            path.write_bytes(bytes(16))
        with open(path, "r+b") as file:
            self._bytes = mmap.mmap(file.fileno(), 16)

    @property
    def writing(self) -> bool:
        return self._bytes[0] > 0

    @property
    def count(self) -> int:
        return int.from_bytes(self._bytes[8:16], "little")

    @count.setter
    def count(self, value: int) -> None:
        self._bytes[8:16] = value.to_bytes(8, "little")

    def clear(self) -> None:
        self._bytes[:] = bytes(16)

    @contextmanager
    def write(self) -> Iterator[None]:
        self._bytes[0] = 1
        yield
        self._bytes[0] = 0


def watched(kind: str, root: Path, board: Board) -> Store:
    """Returns a store that shows on the board while it publishes."""

    class Watched(STORES[kind]):  # type: ignore[misc]
        def publish(self, key: str, folder: Path, record: Mapping[str, Any]) -> Entry:
            with board.write():
                return super().publish(key, folder, record)

    return Watched(root)


def contents(seed: int, number: int) -> dict[str, bytes]:
    """Returns the files of one result, the same for the same numbers."""
    chance = random.Random(f"{seed} {number}")
    return {f"{n}/file.bin": chance.randbytes(chance.choice([10, 3000, 100_000])) for n in range(4)}


def key_of(seed: int, number: int) -> str:
    return hashlib.sha256(f"{seed} {number}".encode()).hexdigest()


def write_result(store: Store, seed: int, number: int) -> Entry:
    """Publishes a result unless it is there, as a build does."""
    key = key_of(seed, number)
    if entry := store.find(key):
        return entry
    folder = store.staging_dir() / "out"
    for name, content in contents(seed, number).items():
        (folder / name).parent.mkdir(parents=True)
        (folder / name).write_bytes(content)
    return store.publish(key, folder, {"step": "stress", "function": "stress"})


def is_right(entry: Entry, seed: int, number: int) -> bool:
    return {name: entry.path(name).read_bytes() for name in entry.files} == contents(seed, number)


def build_of(seed: int) -> Plan:
    """Returns the plan that the build of a seed runs: no other build has a step of it."""
    first, *others = chain(4, seconds=0.01, size=1 << 18).steps
    return plan(replace(first, params={**first.params, "text": f"seed {seed}"}), *others)


def breed() -> None:
    """Forks a child for each line `work seed` on standard input and prints its number; for `reap pid` waits for its end
    and prints the signal that ended it. A fork costs a millisecond, a new interpreter a hundred."""
    kind, root, board = sys.argv[1], Path(sys.argv[2]), Board(Path(sys.argv[3]))
    for line in sys.stdin:
        work, number = line.split()
        if work == "reap":
            _, status = os.waitpid(int(number), 0)
            print(os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0, flush=True)
            continue
        pid = os.fork()
        if pid == 0:
            os.close(0)
            with suppress(BaseException):
                store = watched(kind, root, board)
                if work == "build":
                    execute(build_of(int(number)), store)
                else:
                    for count in range(10_000):
                        board.count = count
                        write_result(store, int(number), count)
            os._exit(0)
        print(pid, flush=True)


@dataclass
class Tally:
    """What came of a series of kills."""

    landed: int = 0
    midway: int = 0
    damaged: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        return (
            f"{self.landed} kills landed, {self.midway} in the middle of a write; "
            f"{len(self.damaged)} times a damaged entry was visible, {len(self.wrong)} rebuilds were wrong"
        )


class Nursery:
    """Where children come from that write to a store and are killed."""

    def __init__(self, kind: str, root: Path, board: Path) -> None:
        self.board = Board(board)
        code = "from execute.stress import breed; breed()"
        self._process = python(code, kind, root, board, stdin=subprocess.PIPE, stderr=None)

    def ask(self, line: str) -> int:
        self._process.stdin.write(f"{line}\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())

    def close(self) -> None:
        self._process.stdin.close()
        self._process.wait()


PATIENCE_S = 5


def seconds_of_write(store: Store) -> float:
    """Returns how long a write takes on this machine at this time: milliseconds, or a tenth of a second under load."""
    began = time.monotonic()
    for number in range(5):
        write_result(store, 0, number)
    return (time.monotonic() - began) / 5


def await_write(board: Board) -> None:
    """Returns when a child has begun to write, or has had time enough to."""
    end = time.monotonic() + PATIENCE_S
    while not board.writing and time.monotonic() < end:
        time.sleep(0.0002)


def kill_children(kind: str, root: Path, work: str, kills: int, longest_s: float, chance: random.Random) -> Tally:
    """Starts children that write, kills each at a random moment, and looks at what they left.

    Every other child is killed at any moment of its life, the rest at a random moment of a write: on a loaded machine
    most of a short life passes before the first write, and the writes are what is to be put under stress.

    Args:
        kind: of store.
        root: of the store.
        work: "write" for children that publish one result after the other, "build" for real builds with workers.
        kills: how many are to land.
        longest_s: a child that is killed at any moment lives at most so long after it began.
        chance: where random times come from.
    """
    tally, nursery = Tally(), Nursery(kind, root, root.with_suffix(".board"))
    own = STORES[kind](root)
    write_s = seconds_of_write(own)
    seed = 0
    try:
        while tally.landed < kills:
            seed += 1
            nursery.board.clear()
            pid = nursery.ask(f"{work} {seed}")
            if seed % 2:
                time.sleep(chance.uniform(0, longest_s))
            else:
                await_write(nursery.board)
                time.sleep(chance.uniform(0, write_s))
            os.kill(pid, signal.SIGKILL)
            if nursery.ask(f"reap {pid}") != signal.SIGKILL:
                continue
            tally.landed += 1
            tally.midway += nursery.board.writing
            wrong = audit(root)
            tally.damaged += wrong
            for line in wrong:  # seen; what follows must not count it again
                own.quarantine(next(path.stem for path in (root / "entries").glob(f"*/{line[:12]}*")))
            tally.wrong += rebuild(own, work, seed, nursery.board.count)
    finally:
        nursery.close()
        own.close()
    return tally


def rebuild(store: Store, work: str, seed: int, count: int) -> list[str]:
    """Does again what a killed child was about to do; returns what is wrong with the results."""
    if work == "build":
        text = execute(build_of(seed), store)["s3"].path("result.txt").read_text()
        return [] if text == f"3+2+1+seed {seed}" else [f"build {seed}: {text}"]
    return [
        f"result {seed} {number}"
        for number in range(max(0, count - 1), count + 1)
        if not is_right(write_result(store, seed, number), seed, number)
    ]


def workers_below(root: Path) -> list[int]:
    """Returns the numbers of living processes, but for this one, whose current folder lies in a store."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if process.name != str(os.getpid()) and (process / "cwd").readlink().is_relative_to(root):
                found.append(int(process.name))
    return found
