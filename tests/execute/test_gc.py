from __future__ import annotations

import json
import os
import subprocess
import threading
import time
from pathlib import Path

import pytest

from edgecompile import cli
from edgecompile.errors import RecipeError
from edgecompile.execute import store as store_module
from edgecompile.execute.gc import DAY_S, age, collect, kept, verify
from edgecompile.execute.runner import execute
from edgecompile.execute.store import Store
from edgecompile.execute.store_report import bytes_of
from execute.plans import chain, finish, plan, python, step


def used(store: Store, key: str, days_ago: float) -> None:
    when = time.time() - days_ago * DAY_S
    os.utime(store.entry_path(key), (when, when))
    output = store.load(key).root
    os.utime(output, (when, when))


@pytest.fixture
def old(store: Store) -> Store:
    """A store of four results, last used 40, 30, 20 and 10 days ago, as another process left it."""
    entries = execute(chain(4, size=1 << 16), store)
    store.close()
    for n, entry in enumerate(entries.values()):
        used(store, entry.key, 40 - 10 * n)
    return store


def names(store: Store) -> list[str]:
    return [one.entry.record["step"] for one in kept(store)]


def test_what_was_not_used_for_long_goes(old: Store) -> None:
    swept = collect(old, older_than_s=25 * DAY_S)
    assert names(old) == ["s3", "s2"]
    assert (swept.results, swept.outputs, swept.left_results) == (2, 2, 2)
    assert swept.bytes > 2 << 16
    assert swept.left_bytes == sum(one.entry.size for one in kept(old))
    assert len(list((old.root / "outputs").glob("*/*"))) == 2
    assert not list((old.root / "staging").glob("*/*"))


def test_what_is_too_much_goes_the_least_recently_used_first(old: Store) -> None:
    collect(old, older_than_s=365 * DAY_S, max_bytes=(1 << 17) + 2000)
    assert names(old) == ["s3", "s2"]
    collect(old, older_than_s=365 * DAY_S, max_bytes=0)
    assert names(old) == []


def test_a_use_is_remembered(old: Store) -> None:
    oldest = kept(old)[-1].entry
    assert old.find(oldest.key)
    collect(old, older_than_s=25 * DAY_S)
    assert "s0" in names(old)


def test_a_shared_output_stays_while_one_result_refers_to_it(store: Store) -> None:
    entries = execute(plan(step("a", version=1), step("b", version=2)), store)
    assert entries["a"].root == entries["b"].root
    store.close()
    used(store, entries["a"].key, 100)
    swept = collect(store, older_than_s=50 * DAY_S)
    assert (swept.results, swept.outputs) == (1, 0)
    assert store.find(entries["b"].key)


def test_everything_can_go(old: Store) -> None:
    swept = collect(old, older_than_s=0)
    assert swept.left_results == 0
    assert not list((old.root / "outputs").glob("*/*"))


IN_USE = """
import sys
from edgecompile.execute.runner import execute
from edgecompile.execute.store import Store
from edgecompile.execute.store_report import bytes_of
from execute.plans import chain
store = Store(sys.argv[1])
execute(chain(2, size=1 << 16), store)
print("used", flush=True)
sys.stdin.readline()
"""


def test_what_a_living_build_uses_stays(old: Store) -> None:
    process = python(IN_USE, old.root, stdin=subprocess.PIPE)
    assert process.stdout.readline() == "used\n"
    collect(old, older_than_s=0)
    assert sorted(names(old)) == ["s0", "s1"]
    finish(process)
    collect(old, older_than_s=0)
    assert names(old) == []


def test_a_result_half_published_when_collecting_begins_stays(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its output lies there before its entry does: it must not be taken for one that no entry refers to."""
    placed, write = threading.Event(), store_module.write_atomically

    def slow_write(path: Path, *rest: object, **settings: object) -> None:
        if path.parent.parent.name == "entries":
            placed.set()
            time.sleep(0.3)
        write(path, *rest, **settings)

    monkeypatch.setattr(store_module, "write_atomically", slow_write)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "a.txt").write_text("a")
    publisher = threading.Thread(target=store.publish, args=("a" * 64, tmp_path / "out", {"step": "one"}))
    publisher.start()
    placed.wait(10)
    collector = Store(store.root)
    collect(collector, older_than_s=0)
    collector.close()
    publisher.join()
    assert store.find("a" * 64) is not None


def test_old_notes_and_abandoned_files_go(old: Store) -> None:
    things = [old.root / folder / "old" for folder in ("aside", "logs", "staging", "stat")]
    for path in things:
        path.mkdir()
        (path / "file").touch()
        os.utime(path, (0, 0))
    young = old.root / "aside" / "young"
    young.touch()
    collect(old, older_than_s=0)
    assert [path.exists() for path in (*things, young)] == [False, False, False, False, True]


def alter(path: Path) -> None:
    path.chmod(0o644)
    path.write_bytes(path.read_bytes()[:-1] + b"?")


def test_verify_finds_all_damage_sets_it_aside_and_leaves_the_rest(old: Store) -> None:
    results = {one.entry.record["step"]: one.entry for one in kept(old)}
    alter(results["s0"].path("below/large.bin"))
    alter(old.entry_path(results["s1"].key))
    wrong = verify(old)
    assert wrong == {
        results["s0"].key: "'below/large.bin' was altered",
        results["s1"].key: "its seal does not fit its content",
    }
    assert sorted(names(old)) == ["s2", "s3"]
    assert verify(old) == {}
    execute(chain(4, size=1 << 16), old)
    assert len(names(old)) == 4


def test_verify_looks_at_outputs_without_results_too(old: Store) -> None:
    results = {one.entry.record["step"]: one.entry for one in kept(old)}
    alter(results["s0"].path("below/large.bin"))
    old.entry_path(results["s0"].key).unlink()
    old.entry_path(results["s1"].key).unlink()
    assert list(verify(old)) == [results["s0"].digest]
    assert results["s1"].root.exists()


def test_the_verb(old: Store, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGECOMPILE_CACHE", str(old.root))
    assert cli.run(["cache", "ls"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["step", "key", "size", "took", "used"]
    assert lines[1].split()[0] == "s3"
    assert lines[1].split()[-2:] == ["10", "d"]
    total = sum(one.entry.size for one in kept(old))
    assert lines[-1] == f"4 results, {total / 1000:.1f} kB, in {old.root}"
    alter(kept(old)[0].entry.path("result.txt"))
    assert cli.run(["cache", "verify"]) == 0
    assert "set aside, will be built again when needed" in capsys.readouterr().out
    assert cli.run(["cache", "gc", "--older-than", "25", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["results"] == 2
    assert cli.run(["cache", "ls", "--json", "--cache", str(old.root)]) == 0
    assert [row["step"] for row in json.loads(capsys.readouterr().out)["results"]] == ["s2"]
    assert cli.run(["cache", "gc", "--max-size", "0"]) == 0
    assert cli.run(["cache", "ls"]) == 0
    assert capsys.readouterr().out.endswith(f"0 results, 0 B, in {old.root}\n")


def test_an_empty_store_is_no_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for action in ("ls", "verify", "gc"):
        assert cli.run(["cache", action, "--cache", str(tmp_path / "none")]) == 0
    assert "0 results" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("text", "expected"), [("0", 0), ("17", 17), ("500M", 500_000_000), ("1.5 GB", 1_500_000_000), ("2KiB", 2_000)]
)
def test_sizes(text: str, expected: int) -> None:
    assert bytes_of(text) == expected


@pytest.mark.parametrize("arguments", [["--max-size", "much"], ["--max-size", "-1"], ["--older-than", "-1"]])
def test_arguments_without_meaning(arguments: list[str], tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="expected"):
        cli.run(["cache", "gc", "--cache", str(tmp_path), *(f"{arguments[0]}={arguments[1]}",)])


def test_ages() -> None:
    now = time.time()
    assert [age(now - seconds) for seconds in (0, 59, 120, 7200, 3 * DAY_S)] == ["0 s", "59 s", "2 min", "2 h", "3 d"]
