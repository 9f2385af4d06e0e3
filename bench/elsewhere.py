"""What a bundle does in another interpreter: with another version of its runtime, or on another architecture.

    OTHER_PYTHON bench/elsewhere.py BUNDLE [--options JSON] [--images DIR --labels DIR]

Runs inside that interpreter, which needs numpy, OpenCV and the bundle's backend, and nothing else of edgecompile than
this clone. Compares with the golden vectors and, where labelled pictures are given, measures mAP50-95. Prints one line
of JSON; exit code 1 where an output is out of tolerance.

`--options` replaces the options that the backend is opened with: `{"INFERENCE_PRECISION_HINT": "f32"}` runs on the CPU
what is meant for the Neural Compute Stick 2, `{"use_fp16_arithmetic": true}` computes in FP16 what was built for float.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from edgecompile.evaluate.accuracy import evaluate
from edgecompile.runtime import open_artifact
from edgecompile.runtime.archive import Archive
from edgecompile.runtime.figures import figures_from
from edgecompile.runtime.golden import check_golden

VALIDATION = {"conf": 0.001, "iou": 0.7, "max_det": 300}
"""Settings of Ultralytics' validation, and of every recipe that says nothing else."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--options", type=json.loads, help="options of the backend, JSON; the bundle's by default")
    parser.add_argument("--images", type=Path, help="folder of pictures to validate on")
    parser.add_argument("--labels", type=Path, help="folder of their YOLO labels")
    asked = parser.parse_args()
    with Archive(asked.bundle) as archive, tempfile.TemporaryDirectory() as folder:
        target, built = archive.manifest["target"], figures_from(archive.manifest["figures"])
        options = target["options"] if asked.options is None else asked.options
        artifact = Path(folder) / "artifact"
        artifact.mkdir()
        for name, content in archive.folder("artifact/").items():
            (artifact / name).write_bytes(content)
        spec = Path(folder) / "spec.json"
        spec.write_bytes(archive.read("spec.json"))
        detector = open_artifact(artifact, spec, target["backend"], options, 1)
        checks = check_golden(archive, detector)
        figures = None
        if asked.images:
            pictures = sorted(asked.images.glob("*.jpg"))
            labels = [asked.labels / f"{picture.stem}.txt" for picture in pictures]
            how = {"backend": target["backend"], "options": options, "threads": 1, "settings": VALIDATION}
            facts = evaluate(Path(folder), artifact=artifact, spec=spec, pictures=pictures, labels=labels, **how)
            figures = {**facts["metrics"], "pictures": facts["pictures"]}
        told = {
            "bundle": archive.manifest["name"],
            "python": platform.python_version(),
            "machine": platform.machine(),
            "runtime": f"{target['runtime'][0]} {detector.backend.version}",
            "golden": {check.name: check.detail for check in checks},
            "figures": figures,
            "built": {**built.metrics, "pictures": built.pictures},
        }
    print(json.dumps(told))
    return 0 if all(check.met for check in checks) else 1


if __name__ == "__main__":
    sys.exit(main())
