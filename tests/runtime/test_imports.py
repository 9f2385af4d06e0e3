"""The device never sees the compiler: what an import of the runtime, and a prediction, may load."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from .tiny import bundled, tiny_manifest

FORBIDDEN = (
    "torch", "torchvision", "ultralytics", "onnx", "hydra", "omegaconf", "pydantic", "rich", "PIL", "scipy",
    "matplotlib", "nncf", "yaml", "psutil", "filelock", "jinja2", "pandas", "openvino.tools.ovc", "openvino_telemetry",
)  # fmt: skip
ROOT = Path(__file__).parents[2]


def loaded_by(code: str, *argv: str) -> set[str]:
    """Returns the names of the modules that a fresh process has loaded after some code."""
    code = f"import sys\n{code}\nprint(*sorted(sys.modules), sep='\\n', file=sys.stderr)"
    ended = subprocess.run(
        [sys.executable, "-c", code, *argv], capture_output=True, text=True, env={"PYTHONPATH": str(ROOT)}, cwd="/"
    )
    assert ended.returncode == 0, ended.stderr
    return set(ended.stderr.split())


def test_importing_the_runtime_loads_next_to_nothing() -> None:
    loaded = loaded_by("import edgecompile.runtime")
    assert not loaded & {"numpy", "cv2", "onnxruntime", "openvino", *FORBIDDEN}
    assert "numpy" in loaded_by("from edgecompile.runtime import load")  # the check sees what is loaded


def test_inspecting_a_bundle_needs_the_standard_library_alone(tiny_bundle: Path) -> None:
    code = "from edgecompile.cli import run; run(['inspect', *sys.argv[1:]])"
    assert not loaded_by(code, str(tiny_bundle)) & {"numpy", "cv2", "onnxruntime", "openvino", *FORBIDDEN}


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
def test_predicting_loads_one_backend_and_nothing_of_the_compiler(
    backend: str, tiny_members: dict[str, bytes], pictures: Path, tmp_path: Path
) -> None:
    pytest.importorskip(backend)
    path = tmp_path / "x.bundle.zip"
    path.write_bytes(bundled(tiny_members, tiny_manifest(backend)))
    code = "import edgecompile.runtime as rt; assert len(rt.load(sys.argv[1]).predict(sys.argv[2]))"
    loaded = loaded_by(code, str(path), str(pictures / "a.jpg"))
    other = {"onnxruntime": "openvino", "openvino": "onnxruntime"}[backend]
    assert backend in loaded
    assert not loaded & {other, "importlib.metadata", *FORBIDDEN}
    rooms = {name.split(".")[1] for name in loaded if name.startswith("edgecompile.")}
    assert rooms - {"json_types"} == {"entry_points", "errors", "files", "runtime", "text"}
