"""The program from outside: verbs, exit codes, and what each of them imports."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from edgecompile import __version__

ROOT = Path(__file__).parent.parent
HEAVY = {"hydra", "omegaconf", "torch", "ultralytics", "onnx", "onnxruntime", "openvino", "pydantic", "yaml", "rich"}


def edgecompile(*words: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    settings = {**os.environ, "PYTHONPATH": str(ROOT), "EDGECOMPILE_CACHE": str(cwd / "cache"), **environment}
    command = [sys.executable, "-m", "edgecompile", *words]
    return subprocess.run(command, cwd=cwd, env=settings, capture_output=True, text=True, timeout=120)


def imported(*words: str, cwd: Path) -> set[str]:
    """Returns the top-level packages that a command line imports."""
    settings = {**os.environ, "PYTHONPATH": str(ROOT), "EDGECOMPILE_CACHE": str(cwd / "cache")}
    command = [sys.executable, "-X", "importtime", "-m", "edgecompile", *words]
    finished = subprocess.run(command, cwd=cwd, env=settings, capture_output=True, text=True, timeout=120)
    lines = [line for line in finished.stderr.splitlines() if line.startswith("import time:")]
    return {line.rpartition("|")[2].strip().partition(".")[0] for line in lines}


@pytest.mark.parametrize("words", [["--help"], ["-h"], [], ["--version"], ["build", "--help"], ["plan", "-h"]])
def test_help_imports_nothing_heavy(tmp_path, words):
    finished = edgecompile(*words, cwd=tmp_path)
    assert (finished.returncode, finished.stderr) == (0, "")
    assert not imported(*words, cwd=tmp_path) & HEAVY


def test_version(tmp_path):
    assert edgecompile("--version", cwd=tmp_path).stdout == f"edgecompile {__version__}\n"


@pytest.mark.parametrize(
    "words",
    [
        ["list", "recipes"],
        ["list", "passes"],
        ["list", "data"],
        ["schema"],
        ["fetch", "nope"],
        ["cache", "ls"],
        ["report", "x"],
    ],
)
def test_other_verbs_import_no_hydra(tmp_path, words):
    assert not imported(*words, cwd=tmp_path) & {"hydra", "omegaconf", "torch", "ultralytics", "onnx", "onnxruntime"}


@pytest.mark.parametrize("verb", ["predict", "verify", "bench", "inspect"])
def test_the_device_never_sees_the_compiler(tmp_path, verb):
    assert not imported(verb, "none.bundle.zip", cwd=tmp_path) & {
        "hydra",
        "omegaconf",
        "pydantic",
        "yaml",
        "rich",
        "onnx",
    }
    assert edgecompile(verb, "none.bundle.zip", cwd=tmp_path).returncode in (2, 7)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["bild"], "edgecompile: command line: unknown verb 'bild'; did you mean 'build'?"),
        (["--frob"], "edgecompile: command line: '--frob' without a verb; see `edgecompile --help`"),
        (
            ["plan", "gates.map_dorp=1"],
            "edgecompile: command line:gates.map_dorp: unknown key 'map_dorp'; did you mean 'map_drop'?",
        ),
        (["build", "nope.yaml"], "edgecompile: command line: recipe file 'nope.yaml' not found"),
        (["report", "nope"], "edgecompile: command line: no folder 'nope'; see `edgecompile report --help`"),
        (["plan", "--jsn"], "edgecompile: command line: unknown flag '--jsn'; did you mean '--json'?"),
    ],
)
def test_a_wrong_line_is_one_line_and_exit_code_2(tmp_path, words, line):
    finished = edgecompile(*words, cwd=tmp_path)
    assert (finished.returncode, finished.stdout, finished.stderr) == (2, "", f"{line}\n")


def test_a_compiler_that_is_not_installed_is_named(tmp_path):
    """A device has no Hydra: a module of that name that cannot be imported stands in for its absence."""
    (tmp_path / "without").mkdir()
    (tmp_path / "without/hydra.py").write_text("raise ModuleNotFoundError('no hydra', name='hydra')\n")
    path = f"{tmp_path / 'without'}{os.pathsep}{ROOT}"
    finished = edgecompile("build", cwd=tmp_path, PYTHONPATH=path)
    assert finished.returncode == 4
    assert finished.stderr == "edgecompile: 'hydra' is not installed; pip install 'edgecompile[compiler]'\n"


def test_a_reader_that_goes_away(tmp_path):
    command = f"{sys.executable} -m edgecompile schema | head -1"
    settings = {**os.environ, "PYTHONPATH": str(ROOT)}
    finished = subprocess.run(["bash", "-c", command], cwd=tmp_path, env=settings, capture_output=True, text=True)
    assert (finished.stdout, finished.stderr) == ("{\n", "")


@pytest.mark.slow
def test_doctor_names_what_a_recipe_needs(tmp_path):
    finished = edgecompile("doctor", "recipe=x86-cpu_openvino_int8", cwd=tmp_path)
    assert finished.returncode in (0, 4)
    assert "recipe x86-cpu_openvino_int8; the device needs openvino" in finished.stdout
    assert "ultralytics" in finished.stdout
    wrong = edgecompile("doctor", "recipe=x86-cpu_openvino_int7", cwd=tmp_path)
    assert wrong.returncode == 2
    assert "did you mean 'x86-cpu_openvino_int8'?" in wrong.stderr
    assert not imported("doctor", cwd=tmp_path) & {"hydra", "omegaconf", "torch", "ultralytics"}


@pytest.mark.slow
@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", ">&- 2>&- <&-"])
@pytest.mark.parametrize("verb", ["list recipes", "plan recipe=quickstart"])
def test_a_closed_stream_is_no_error(tmp_path, closed, verb):
    settings = {**os.environ, "PYTHONPATH": str(ROOT), "EDGECOMPILE_CACHE": str(tmp_path / "cache")}
    line = f"'{sys.executable}' -m edgecompile {verb} {closed}"
    finished = subprocess.run(
        ["sh", "-c", line], cwd=tmp_path, env=settings, capture_output=True, text=True, timeout=60
    )
    assert (finished.returncode, finished.stderr) == (0, "")
    assert bool(finished.stdout) is not closed.startswith(">")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="has no device that is always full")
def test_a_full_disk_behind_stdout_is_named(tmp_path):
    settings = {**os.environ, "PYTHONPATH": str(ROOT)}
    line = f"'{sys.executable}' -m edgecompile list recipes > /dev/full"
    finished = subprocess.run(
        ["sh", "-c", line], cwd=tmp_path, env=settings, capture_output=True, text=True, timeout=60
    )
    assert (finished.returncode, finished.stderr) == (
        5,
        "edgecompile: no space left on the disk; free some, or write elsewhere\n",
    )


@pytest.mark.slow
def test_a_plan_makes_no_store_and_a_build_does(tmp_path):
    assert edgecompile("plan", cwd=tmp_path).returncode == 0
    assert not (tmp_path / "cache").exists()
    assert edgecompile("build", "--quiet", "--step-timeout", "0.001", cwd=tmp_path).returncode == 5  # it need not end
    assert list((tmp_path / "cache/stat").iterdir())
