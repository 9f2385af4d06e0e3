"""Draws docs/prediction.jpg of the README with the runtime itself: python tools/readme_picture.py BUNDLE."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from edgecompile import cli

ROOT = Path(__file__).resolve().parent.parent


def main(bundle: str) -> None:
    picture = sorted((ROOT / "edgecompile" / "sample" / "images" / "test").glob("*.jpg"))[3]
    with tempfile.TemporaryDirectory() as folder:
        cli.main(["predict", bundle, str(picture), "--save", folder])
        (ROOT / "docs").mkdir(exist_ok=True)
        next(Path(folder).rglob("*.jpg")).replace(ROOT / "docs" / "prediction.jpg")


if __name__ == "__main__":
    main(sys.argv[1])
