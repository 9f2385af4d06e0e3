"""Tries the packages of a folder as strangers install them: on a device, and where bundles are built.

    python tools/check_dist.py dist

On the device, the wheel stands with one backend in an environment of its own. The compiler runs from the wheel too, in
a second environment, which borrows the other packages of the environment that runs this script: they are a gigabyte.
There the quickstart is built from the wheel, away from this tree; the device then verifies and runs it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
import tempfile
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
GOLDEN = sorted((ROOT / "tests" / "golden").glob("*.bundle.zip"))
PICTURE = "import edgecompile.sample as s; print(s.__path__[0] + '/images/test/test_0000.jpg')"
ABSENT = ("torch", "hydra", "pydantic", "onnx", "ultralytics")
MISSING_TOOL = 4


def main(folder: Path) -> None:
    (wheel,) = folder.glob("*.whl")
    (_,) = folder.glob("*.tar.gz")
    with tempfile.TemporaryDirectory(prefix="edgecompile-dist-") as place:
        device, builder = Environment(Path(place, "device")), Environment(Path(place, "builder"))
        device.install(f"{wheel.resolve()}[onnxruntime]", "--constraint", str(ROOT / "constraints.txt"))
        device.demand_absence(ABSENT)
        builder.install("--no-deps", str(wheel.resolve()))
        builder.borrow(Path(sysconfig.get_path("purelib")))

        device.run("--help")
        device.run("list", "recipes", expected=MISSING_TOOL)  # names the extra that brings the compiler
        builder.run("list", "recipes")
        builder.run("plan")
        for task in ("classify", "obb", "pose", "segment"):
            builder.run("plan", f"recipe=quickstart_{task}")
        built = Path(builder.run("build", "--quiet").splitlines()[-1])
        picture = device.python("-c", PICTURE).strip()
        for bundle in (*GOLDEN, device.home / built):
            device.run("verify", str(bundle))
            found = json.loads(device.run("predict", str(bundle), picture, "--format", "json"))
            if not found:
                sys.exit(f"{bundle.name}: nothing was found on {picture}")
    print(f"{wheel.name}: installed, built the quickstart, verified and run")


class Environment:
    """A virtual environment and an empty working directory beside it."""

    def __init__(self, folder: Path) -> None:
        venv.create(folder)
        self.bin, self.home = folder / "bin", folder.parent / "work"
        self.home.mkdir(exist_ok=True)
        (self.packages,) = folder.glob("lib/python*/site-packages")

    def install(self, *words: str) -> None:
        """Installs packages by the pip of the environment that runs this script."""
        self._call([sys.executable, "-m", "pip", "--python", self.bin / "python", "install", "--quiet", *words])

    def borrow(self, packages: Path) -> None:
        """Lets the environment see what lies in a folder of packages, behind its own."""
        (self.packages / "borrowed.pth").write_text(f"{packages}\n")

    def demand_absence(self, packages: tuple[str, ...]) -> None:
        code = f"import importlib.util as u; print([name for name in {packages!r} if u.find_spec(name)])"
        if (present := self.python("-c", code).strip()) != "[]":
            sys.exit(f"a device would get {present}")

    def run(self, *words: str, expected: int = 0) -> str:
        """Runs the program; returns what it prints."""
        print("$ edgecompile", *words, flush=True)
        return self._call([self.bin / "edgecompile", *words], expected)

    def python(self, *words: str) -> str:
        return self._call([self.bin / "python", *words])

    def _call(self, command: list[str | Path], expected: int = 0) -> str:
        clean = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "PYTHONHOME")}
        settings = {**clean, "EDGECOMPILE_CACHE": str(self.home / "store"), "EDGECOMPILE_DEVICE_CACHE": "off"}
        done = subprocess.run(command, cwd=self.home, env=settings, stdout=subprocess.PIPE, text=True)
        if done.returncode != expected:
            sys.exit(f"{' '.join(map(str, command))}: exit code {done.returncode}, expected {expected}\n{done.stdout}")
        return done.stdout


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "dist"))
