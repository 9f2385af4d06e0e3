"""Builds the golden bundle of the format that is written today: tests/golden/schema-<n>.bundle.zip.

    python tools/make_golden_bundle.py

Run it once for each released format, and before a release as often as the format still changes. The bundle of an older
format is never made again: newer versions must go on reading the file that was published.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from edgecompile.runtime.archive import SCHEMA

GOLDEN = Path(__file__).resolve().parent.parent / "tests" / "golden"


def main() -> int:
    with tempfile.TemporaryDirectory(prefix="edgecompile-golden-") as folder:
        command = [sys.executable, "-m", "edgecompile", "build", "recipe=quickstart"]
        settings = {**os.environ, "EDGECOMPILE_CACHE": str(Path(folder, "store"))}  # empty: every step runs
        finished = subprocess.run(command, cwd=folder, env=settings, stdout=subprocess.PIPE, text=True)
        if finished.returncode:
            return finished.returncode
        GOLDEN.mkdir(exist_ok=True)
        golden = GOLDEN / f"schema-{SCHEMA}.bundle.zip"
        shutil.copyfile(finished.stdout.splitlines()[-1], golden)
    print(golden)
    return 0


if __name__ == "__main__":
    sys.exit(main())
