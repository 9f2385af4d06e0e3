from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from importlib import metadata

import pytest

from edgecompile.errors import MissingToolError
from edgecompile.execute import tools
from execute.plans import REPOSITORY, step

REQUIRES = [
    "numpy>=1.26",
    'openvino>=2024.6; extra == "openvino"',
    'openvino>=2026.1; extra == "nncf"',
    'nncf<4,>=3.4; extra == "nncf"',
    'torch>=2.10; extra == "ultralytics"',
    'ultralytics-opencv-headless>=8.4; extra == "ultralytics"',
    'edgecompile[openvino,nncf]; extra == "all"',
]


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    def install(**versions: str) -> None:
        known = {name.replace("_", "-"): version for name, version in versions.items()}

        def version(name: str) -> str:
            if name not in known:
                raise metadata.PackageNotFoundError(name)
            return known[name]

        tools._installed.cache_clear()
        monkeypatch.setattr(metadata, "version", version)
        monkeypatch.setattr(metadata, "requires", lambda name: REQUIRES)

    yield install
    monkeypatch.undo()
    tools._installed.cache_clear()


def test_a_distribution_that_installs_the_same_module_serves(installed: Callable[..., None]) -> None:
    installed(ultralytics_opencv_headless="8.4.190", opencv_python="4.12")
    assert tools.version_of("ultralytics") == "8.4.190"
    assert tools.version_of("opencv-python-headless") == "4.12"
    assert tools.version_of("torch") is None


def test_the_one_asked_for_comes_first(installed: Callable[..., None]) -> None:
    installed(ultralytics_opencv_headless="8.4.190", ultralytics="8.4.1")
    assert tools.version_of("ultralytics") == "8.4.1"
    assert tools.version_of("ultralytics-opencv-headless") == "8.4.190"


def test_all_that_is_missing_is_named_with_the_extra_that_brings_it(installed: Callable[..., None]) -> None:
    installed(numpy="2.0")
    steps = [step("a", tools=("numpy", "ultralytics", "openvino")), step("b", tools=("torch", "nncf", "unheard-of"))]
    with pytest.raises(MissingToolError) as raised:
        tools.require_tools(steps)
    assert [str(problem) for problem in raised.value.problems] == [
        "step 'b' needs nncf, which is not installed; pip install 'edgecompile[nncf]'",
        "step 'a' needs openvino, which is not installed; pip install 'edgecompile[openvino]'",
        "step 'b' needs torch, which is not installed; pip install 'edgecompile[ultralytics]'",
        "step 'a' needs ultralytics, which is not installed; pip install 'edgecompile[ultralytics]'",
        "step 'b' needs unheard-of, which is not installed; pip install unheard-of",
    ]


def test_nothing_missing_is_no_error(installed: Callable[..., None]) -> None:
    installed(numpy="2.0")
    tools.require_tools([step("a", tools=("numpy",))])


def test_the_package_itself_names_an_extra_for_each_tool() -> None:
    try:
        metadata.requires("edgecompile")
    except metadata.PackageNotFoundError:
        pytest.skip("edgecompile is not installed here")
    for tool in ("torch", "ultralytics", "onnx", "onnxruntime", "openvino", "nncf", "onnxslim"):
        assert tools.install_command(tool).startswith("pip install 'edgecompile["), tool


def test_no_tool_is_imported_to_learn_its_version() -> None:
    code = (
        "import sys; from edgecompile.execute import runner, plan_status, gc, store_report, tools;"
        "print(tools.version_of('numpy'), tools.version_of('torch'), tools.version_of('onnx'));"
        "print({'numpy', 'torch', 'onnx', 'rich', 'pydantic', 'hydra'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "set()"


def test_a_package_whose_requirements_are_too_many_is_installed_alone(installed: Callable[..., None]) -> None:
    installed()
    assert tools.install_command("pnnx") == "pip install --no-deps pnnx"
