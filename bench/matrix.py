"""One digest, whatever surrounds a build: hash seed, time zone, locale, working directory, umask, free cores, path of
the virtual environment, version of Python.

    python bench/matrix.py                                       # this interpreter, from the sample's checkpoint
    python bench/matrix.py --python "/tmp/other place/bin/python" --python py312/bin/python --onnx
    python bench/matrix.py --full                                # every combination: days rather than minutes

Each row is a sweep with an empty store over float ONNX Runtime, INT8 ONNX Runtime and INT8 OpenVINO. Without --full
the rows are chosen so that each value of each knob meets each value of each other. With --onnx the builds begin with
the sample's ONNX file, exported once: for interpreters without torch. Exit code 1 where a recipe has more than one
digest.
"""

from __future__ import annotations

import argparse
import itertools
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import harness

sys.path.insert(0, str(harness.HERE.parent / "tests"))
from surroundings import CHECKPOINT, Surroundings, cold_builds

FOLDERS = ("plain", "mit Leerzeichen, ünïcödé 文")
LOCALES = ("C", "tr_TR.UTF-8", "de_DE.UTF-8")
FROM_ONNX = ("passes.onnx_export=null", "passes.onnx_import.kind=onnx_import")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", action="append", help="an interpreter; may be given more than once")
    parser.add_argument("--onnx", action="store_true", help="begin with the exported sample instead of its checkpoint")
    parser.add_argument("--full", action="store_true", help="every combination instead of all pairs")
    parser.add_argument("--rows", type=int, help="only the first of them, which turn most knobs")
    parser.add_argument("--work", type=Path, help="folder to work in (default: a temporary one)")
    parser.add_argument("--json", type=Path, help="also write the rows to this file")
    options = parser.parse_args()
    machine, work = harness.announce(), harness.workplace(options.work)
    environment, locales = made_locales(work / "locales")
    pythons = options.python or [sys.executable]
    knobs = (("0", "4711"), ("UTC", "Asia/Kathmandu"), locales, FOLDERS, (0o022, 0o077), (0, 1), tuple(pythons))
    rows = list(itertools.product(*knobs)) if options.full else pairwise(knobs)
    rows = rows[: options.rows]
    overrides = (*CHECKPOINT, *from_onnx(work)) if options.onnx else CHECKPOINT
    found = []
    for number, row in enumerate(rows, 1):
        around, began, place = Surroundings(*row), time.time(), work / f"row-{number}"
        digests = cold_builds(around, place, overrides=overrides, environment=environment)
        found.append({"surroundings": str(around), "digests": digests})
        told = ", ".join(f"{name} {digest[:12]}" for name, digest in digests.items())
        print(f"{number}/{len(rows)} ({time.time() - began:.0f} s) {around}\n    {told}", flush=True)
        shutil.rmtree(place)
    if options.json:
        options.json.write_text(json.dumps({"machine": machine, "rows": found}, indent=2))
    return judged(found)


def judged(rows: Sequence[dict]) -> int:
    """Prints how many digests each recipe has; returns the exit code."""
    worst = 0
    for name in rows[0]["digests"]:
        digests = {row["digests"].get(name) for row in rows}
        worst |= not harness.holds(f"{name}: one digest in {len(rows)} builds", len(digests) == 1, f"{len(digests)}")
    return worst


def pairwise(knobs: Sequence[Sequence]) -> list[tuple]:
    """Returns rows, one value of each knob, in which each two values of two knobs meet at least once."""
    open_pairs = {
        (a, one, b, other)
        for a, b in itertools.combinations(range(len(knobs)), 2)
        for one in knobs[a]
        for other in knobs[b]
    }
    every, rows = list(itertools.product(*knobs)), []
    while open_pairs:
        best = max(every, key=lambda row: len(open_pairs & set(_pairs(row))))
        open_pairs -= set(_pairs(best))
        rows.append(best)
    return rows


def _pairs(row: Sequence) -> Iterator[tuple]:
    for a, b in itertools.combinations(range(len(row)), 2):
        yield a, row[a], b, row[b]


def made_locales(folder: Path) -> tuple[dict[str, str], tuple[str, ...]]:
    """Makes a Turkish and a German locale, which lower an I and write a comma in numbers unlike C does; returns the
    variable by which they are found, and their names. C alone where the system cannot make them."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in LOCALES[1:]:
        language, _, charset = name.partition(".")
        command = ["localedef", "-i", language, "-f", charset, str(folder / name)]
        if not shutil.which(command[0]) or subprocess.run(command, capture_output=True).returncode > 1:
            print(f"locale {name} cannot be made here")
            return {}, ("C", "C.UTF-8")
    return {"LOCPATH": str(folder)}, LOCALES


def from_onnx(work: Path) -> tuple[str, ...]:
    """Exports the sample with this interpreter, and returns the overrides by which builds begin with its ONNX file."""
    from exported import SIZE, exported

    model = shutil.copyfile(exported().model, work / "model.onnx")
    return (*FROM_ONNX, f"model.weights={model}", f"model.imgsz={list(SIZE)}")


if __name__ == "__main__":
    sys.exit(main())
