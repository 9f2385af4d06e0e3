"""The main job on the embedded model: build, verify, predict, benchmark. Run by `make demo`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

SAMPLE = Path(__file__).resolve().parent.parent / "edgecompile" / "sample"


def edgecompile(*arguments: str | Path) -> str:
    """Runs the program as a person would, shows what it prints, and returns its stdout."""
    print(f"\n$ edgecompile {' '.join(map(str, arguments))}", flush=True)
    command = [sys.executable, "-m", "edgecompile", *map(str, arguments)]
    finished = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    print(finished.stdout, end="", flush=True)
    if finished.returncode:
        sys.exit(finished.returncode)
    return finished.stdout


def main() -> None:
    edgecompile("plan", "recipe=quickstart")
    bundle = Path(edgecompile("build", "recipe=quickstart").strip().splitlines()[-1])
    edgecompile("verify", bundle)
    pictures = sorted((SAMPLE / "images" / "test").glob("*.jpg"))[:4]
    edgecompile("predict", bundle, *pictures, "--save", bundle.parent / "predictions")
    edgecompile("bench", bundle, "--images", SAMPLE / "images" / "test")
    print(f"\nbundle  {bundle}\nreport  {bundle.parent / 'report.html'}")


if __name__ == "__main__":
    main()
