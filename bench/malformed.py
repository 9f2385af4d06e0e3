"""Malformed recipes, each refused by a process of its own: one line with file, line and key, exit code 2, under 1 s and
300 MB.

    python bench/malformed.py                 # all of tests/recipe/malformed.py

On a machine that has other work wall time means little: --limit-s sets another limit; processor time is printed too.
Exit code 1 where one recipe misses any of it.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

import harness

sys.path.insert(0, str(harness.HERE.parent))
from tests.recipe.malformed import Malformed, every

LIMIT_MB = 300


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--limit-s", type=float, default=1.0, help="most seconds of wall time (default 1)")
    parser.add_argument("--every", type=int, default=1, help="only each Nth of them (default 1: all)")
    options = parser.parse_args()
    harness.announce()
    recipes, faults = list(every())[:: options.every], []
    walls, processor, memory = [], [], []
    with tempfile.TemporaryDirectory() as folder:
        for recipe in recipes:
            code, told, wall, used, peak = refused(recipe, Path(folder))
            walls.append(wall)
            processor.append(used)
            memory.append(peak)
            one_line = told.startswith(f"edgecompile: my.yaml:{recipe.place}") and told.count("\n") == 1
            if not (code == 2 and one_line and wall < options.limit_s and peak < LIMIT_MB):
                faults.append(recipe)
                print(f"MISSED {wall:.2f} s, {peak:.0f} MB, exit code {code}: {recipe.text!r}\n       {told.strip()}")
    print(f"{len(recipes)} recipes, {len(recipes) - len(faults)} refused as they should be")
    print(f"wall time      median {sorted(walls)[len(walls) // 2]:.2f} s, at most {max(walls):.2f} s")
    print(f"processor time median {sorted(processor)[len(processor) // 2]:.2f} s, at most {max(processor):.2f} s")
    print(f"memory         at most {max(memory):.0f} MB")
    return bool(faults)


def refused(recipe: Malformed, folder: Path) -> tuple[int, str, float, float, float]:
    """Returns exit code, stderr, seconds of wall and of processor time, and peak memory in MB of one `build`."""
    (folder / "my.yaml").write_text(recipe.content(), encoding="utf-8")
    errors = folder / "errors"
    settings = {**os.environ, "EDGECOMPILE_CACHE": str(folder / "cache"), "PYTHONPATH": str(harness.HERE.parent)}
    began = time.monotonic()
    child = os.fork()
    if child == 0:
        os.chdir(folder)
        os.dup2(os.open(errors, os.O_CREAT | os.O_TRUNC | os.O_WRONLY), 2)
        os.execve(sys.executable, [sys.executable, "-m", "edgecompile", "build", "my.yaml"], settings)
    _, status, usage = os.wait4(child, 0)
    wall = time.monotonic() - began
    used = usage.ru_utime + usage.ru_stime
    return os.waitstatus_to_exitcode(status), errors.read_text(), wall, used, usage.ru_maxrss / 1024


if __name__ == "__main__":
    sys.exit(main())
