"""The wheel that a device gets: installable, of equal bytes, and without the compiler."""

from __future__ import annotations

import subprocess
import sys
import zipfile

import pytest

from edgecompile import __version__
from edgecompile.device.wheel import NEEDS, PACKAGE, runtime_wheel


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    return runtime_wheel(tmp_path_factory.mktemp("wheel"))


def test_equal_bytes_in_two_folders(wheel, tmp_path):
    assert runtime_wheel(tmp_path).read_bytes() == wheel.read_bytes()


def test_holds_the_runtime_and_nothing_of_the_compiler(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    rooms = {name.split("/")[1] for name in names if name.startswith("edgecompile/") and name.count("/") > 1}
    assert rooms == {"runtime", "verbs"}
    runtime = {path.relative_to(PACKAGE.parent).as_posix() for path in (PACKAGE / "runtime").rglob("*.py")}
    assert runtime <= set(names)


def test_needs_what_pyproject_says():
    lines = (PACKAGE.parent / "pyproject.toml").read_text().splitlines()
    line = next(line for line in lines if line.startswith("dependencies = "))
    assert line == f'dependencies = ["{NEEDS[0]}", "{NEEDS[1]}"]'


@pytest.mark.slow
def test_pip_installs_it_and_it_runs_without_the_compiler(wheel, tmp_path):
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps", "--target", tmp_path, wheel]
    subprocess.run(pip, check=True, capture_output=True)

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        code = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); from edgecompile.cli import main; sys.exit(main())"
        return subprocess.run([sys.executable, "-S", "-c", code, *words], capture_output=True, text=True, cwd=tmp_path)

    assert run("--version").stdout == f"edgecompile {__version__}\n"
    ended = run("deploy", "x.bundle.zip", "ssh://nowhere")
    assert ended.returncode == 4
    assert ended.stderr == "edgecompile: 'edgecompile.device' is not installed; pip install 'edgecompile[compiler]'\n"


def test_a_wheel_that_is_imported_from_as_it_is_knows_its_tasks_and_backends(wheel):
    """A device that has numpy, OpenCV and a backend gets no environment: the wheel stands in its path."""
    code = "from edgecompile.runtime.{0} import {1}; print({1}('{2}').__module__)"
    for room, find, name in (("tasks", "find_task", "detect"), ("backends", "find_backend", "onnxruntime")):
        words = [sys.executable, "-c", code.format(room, find, name)]
        ended = subprocess.run(words, capture_output=True, text=True, cwd=wheel.parent, env={"PYTHONPATH": str(wheel)})
        assert ended.stdout == f"edgecompile.runtime.{room}.{name}\n", ended.stderr
