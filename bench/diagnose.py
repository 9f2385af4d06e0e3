"""Does `diagnose` name the right cause, and none where there is none?

    python bench/diagnose.py [--quiet 20] [--minutes 0.25]

Builds the embedded sample for ONNX Runtime, fixed and with sizes that may change, soaks it quietly again and again, and
then with each cause provoked: a busy neighbour on each core, four times as many threads as cores, pauses, changing
sizes, a quota of a tenth of a core (where a control group can be made), and a source that keeps what it made. Prints
what was named each time, and what others took of the processor meanwhile: on a busy machine "other_processes" is right
in every run. Exit code 1 where a provoked cause is not named, or a run that others left alone names any.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import harness

NEIGHBOUR = "import os\nparent = os.getppid()\nwhile os.getppid() == parent: pass"
LEAK = """
import sys, json
import numpy as np
from edgecompile.runtime import load
from edgecompile.runtime.diagnosis import diagnosis_of, subject_of
from edgecompile.runtime.soak import Conditions, soak
kept, model = [], load(sys.argv[1], threads=2)
def pictures():
    while True:
        kept.append(np.ones(50_000))
        yield np.full((256, 256, 3), 90, np.uint8)
timeline = soak(model, pictures(), Conditions(float(sys.argv[2]), 2))
print(json.dumps(diagnosis_of(subject_of(model), timeline).to_json()))
"""
GROUP = Path("/sys/fs/cgroup/cpu") / f"edgecompile-bench-{os.getpid()}"
QUIET_SHARE = 0.03
"""Share of the processor up to which others have left a run alone."""


def main() -> int:
    options = arguments().parse_args()
    harness.announce()
    work = harness.workplace(options.work)
    fixed = sample(work)
    dynamic = sample(work, "++model.dynamic.imgsz=[192,256,320]")
    time = ["--minutes", str(options.minutes)]
    rows = [("quiet", "", diagnosed(fixed, *time)) for _ in range(options.quiet)]
    with neighbours(os.cpu_count() or 1):
        rows.append(("neighbour", "other_processes", diagnosed(fixed, *time)))
    rows.append(("threads", "oversubscription", diagnosed(fixed, *time, "--threads", str(4 * (os.cpu_count() or 1)))))
    rows.append(("sizes", "new_shapes", diagnosed(dynamic, *time, "--imgsz", "192", "224", "256", "288", "320")))
    rows.append(("pauses", "idle", diagnosed(fixed, *time, "--pause", "200")))
    leak = [sys.executable, "-c", LEAK, str(fixed), str(60 * options.minutes)]
    rows.append(("leak", "source", json.loads(subprocess.run(leak, capture_output=True, text=True, check=True).stdout)))
    with quota() as inside:
        if inside:
            rows.append(("quota", "quota", diagnosed(fixed, *time, inside=inside)))
        else:
            print("quota: no control group can be made here")
    wrong = [row for row in rows if not shown(*row)]
    print(f"{len(rows) - len(wrong)} of {len(rows)} as expected")
    return bool(wrong)


def sample(work: Path, *overrides: str) -> Path:
    words = (
        "recipe=x86-cpu_onnxruntime_int8",
        "model=sample",
        "data=sample",
        *harness.NO_GATES,
        "measurement.seconds=1",
    )
    return harness.built(harness.edgecompile("build", *words, *overrides, work=work))


def shown(name: str, expected: str, document: dict) -> bool:
    """Prints one run, and returns whether it named what it should."""
    named = [one["cause"] for one in document["findings"]]
    shares = [share for share in document["timeline"]["moments"]["foreign"] if share is not None]
    foreign = statistics.fmean(shares) if shares else 0.0
    alone = foreign <= QUIET_SHARE
    right = expected in named if expected else not [one for one in named if alone or one != "other_processes"]
    print(
        f"{name:<10} {'ok' if right else 'WRONG':<6} others {foreign:4.0%}  named: {', '.join(named) or 'none'}",
        flush=True,
    )
    return right


def diagnosed(bundle: Path, *words: str, inside: Path | None = None) -> dict:
    command = [sys.executable, "-m", "edgecompile", "diagnose", str(bundle), *words, "--json"]
    if inside:
        command = ["sh", "-c", f'echo $$ > {inside}/cgroup.procs && exec "$@"', "sh", *command]
    return json.loads(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout)


@contextmanager
def neighbours(count: int) -> Iterator[None]:
    busy = [subprocess.Popen([sys.executable, "-S", "-c", NEIGHBOUR]) for _ in range(count)]
    try:
        yield
    finally:
        for process in busy:
            process.kill()
            process.wait()


@contextmanager
def quota() -> Iterator[Path | None]:
    """Yields a control group that may use a tenth of a core; None where none can be made."""
    try:
        GROUP.mkdir()
        (GROUP / "cpu.cfs_quota_us").write_text("10000")
    except OSError:
        yield None
        return
    try:
        yield GROUP
    finally:
        GROUP.rmdir()


def arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quiet", type=int, default=20, help="how many quiet runs")
    parser.add_argument("--minutes", type=float, default=0.25, help="of each run")
    parser.add_argument("--work", type=Path, help="folder for builds")
    return parser


if __name__ == "__main__":
    sys.exit(main())
