"""What must not change a bundle: all that surrounds a build, and a cold build in given surroundings.

The test in tests/test_determinism.py turns every knob at once; `bench/matrix.py` goes through their combinations.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import venv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

from rough_measurement import ROUGH

ROOT = Path(__file__).parent.parent
RECIPES = ("x86-cpu_onnxruntime_fp32", "x86-cpu_onnxruntime_int8", "x86-cpu_openvino_int8")
"""Float ONNX Runtime, INT8 ONNX Runtime, INT8 OpenVINO."""
FEWER = ("data.calibration.images=32", "data.validation.images=8", "evaluate.latency_images=10")
CHECKPOINT = ("model=sample", "data=sample", *FEWER)


@dataclass(frozen=True)
class Surroundings:
    """Everything about a build that its bundle must not depend on.

    Attributes:
        hash_seed: PYTHONHASHSEED.
        time_zone: TZ.
        locale: LC_ALL and LANG.
        folder: name of the working directory.
        umask: of the process.
        cores: how many of the usable cores it may use; 0 for all.
        python: interpreter, whose virtual environment may lie anywhere.
    """

    hash_seed: str
    time_zone: str
    locale: str
    folder: str
    umask: int
    cores: int
    python: str

    def __str__(self) -> str:
        return ", ".join(f"{one.name} {getattr(self, one.name)}" for one in fields(self))


def cold_builds(
    around: Surroundings,
    place: Path,
    recipes: Sequence[str] = RECIPES,
    overrides: Sequence[str] = CHECKPOINT,
    environment: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """Builds recipes with an empty store, and returns the sha256 of the bundle of each.

    Args:
        place: an empty folder; working directory and store lie in it.
        environment: further variables, such as where locales lie.
    """
    folder = place / around.folder
    folder.mkdir(parents=True)
    words = ["build", "-m", f"recipe={','.join(recipes)}", "hydra.sweep.dir=sweep", "--quiet", *ROUGH, *overrides]
    settings = {
        **{name: value for name, value in os.environ.items() if not name.startswith(("LC_", "LANG"))},
        "PYTHONPATH": str(ROOT),
        "PYTHONHASHSEED": around.hash_seed,
        "TZ": around.time_zone,
        "LC_ALL": around.locale,
        "LANG": around.locale,
        "EDGECOMPILE_CACHE": str(place / "store"),
        "EDGECOMPILE_MACHINE": str(place / "machine"),
        **(environment or {}),
    }
    usable = sorted(os.sched_getaffinity(0))
    cores = usable[: around.cores] if around.cores else usable
    finished = subprocess.run(
        [around.python, "-m", "edgecompile", *words],
        cwd=folder,
        env=settings,
        umask=around.umask,
        preexec_fn=lambda: os.sched_setaffinity(0, cores),
        capture_output=True,
        timeout=900,
    )
    assert finished.returncode == 0, f"{around}: {finished.stderr.decode(errors='replace')[-2000:]}"
    return dict(_digests(folder / "sweep"))


def _digests(sweep: Path) -> Iterator[tuple[str, str]]:
    for status in sorted(sweep.glob("*/status.json")):
        said = json.loads(status.read_text(encoding="utf-8"))
        bundle = sweep.parent / said["bundle"]
        yield said["name"], hashlib.sha256(bundle.read_bytes()).hexdigest()


def virtual_environment(folder: Path, packages: Sequence[str]) -> str:
    """Makes a virtual environment that sees the packages in the folders given, and returns its interpreter."""
    venv.create(folder, symlinks=True)
    site = next((folder / "lib").glob("python*/site-packages"))
    (site / "shared.pth").write_text("".join(f"{one}\n" for one in packages), encoding="utf-8")
    return str(folder / "bin/python")
