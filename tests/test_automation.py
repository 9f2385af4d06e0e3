"""The GitHub Action and the container files: their form, and the script that builds. Linters run where they are."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

tomllib = pytest.importorskip("tomllib", reason="of Python 3.11 and later")

ROOT = Path(__file__).parents[1]
ACTION = yaml.safe_load((ROOT / "action.yml").read_text())
STEPS = ACTION["runs"]["steps"]
CONTAINERS = sorted((ROOT / "containers").glob("*.Containerfile"))


def test_the_action_is_one_that_github_reads() -> None:
    """Source: docs.github.com, metadata syntax for GitHub Actions."""
    assert {"name", "description", "inputs", "outputs", "runs", "branding"} == set(ACTION)
    assert ACTION["runs"]["using"] == "composite"
    for step in STEPS:
        assert ("run" in step) != ("uses" in step)
        assert "uses" in step or step["shell"] == "bash", "a composite action names the shell of each script"
        assert "run" in step or re.fullmatch(r"actions/[\w-]+@v\d+", step["uses"])
    used = set(re.findall(r"inputs\.([\w-]+)", (ROOT / "action.yml").read_text()))
    assert used == set(ACTION["inputs"])
    assert all(set(given) <= {"description", "required", "default"} for given in ACTION["inputs"].values())


def test_no_input_is_pasted_into_a_script() -> None:
    assert [step for step in STEPS if "${{" in step.get("run", "")] == []


def test_the_guide_names_every_input() -> None:
    guide = (ROOT / "docs" / "automation.md").read_text()
    assert re.findall(r"^\| `([\w-]+)` \|", guide, re.MULTILINE) == list(ACTION["inputs"])


@pytest.mark.parametrize("overrides", ["model.weights=a b.pt\n\ngates.fps=$(touch pwned)\n", ""])
def test_the_script_that_builds(tmp_path: Path, overrides: str) -> None:
    program = tmp_path / "edgecompile" / "bin" / "edgecompile"
    program.parent.mkdir(parents=True)
    program.write_text('#!/bin/sh\nprintf "%s\\n" "$@" >> "$RUNNER_TEMP/called"\necho outputs/x/x.bundle.zip\n')
    program.chmod(0o755)
    script = next(step["run"] for step in STEPS if step.get("id") == "build")
    places = {"RUNNER_TEMP": str(tmp_path), "GITHUB_OUTPUT": str(tmp_path / "out"), "PATH": os.environ["PATH"]}
    words = {"RECIPE": "my recipe.yaml", "OVERRIDES": overrides}
    command = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", script]
    subprocess.run(command, env={**places, **words}, cwd=tmp_path, check=True)
    lines = [line for line in overrides.splitlines() if line]
    called = (tmp_path / "called").read_text().splitlines()
    assert called == ["build", "my recipe.yaml", *lines, "verify", "outputs/x/x.bundle.zip"]
    assert (tmp_path / "out").read_text() == "bundle=outputs/x/x.bundle.zip\n"
    assert not (tmp_path / "pwned").exists()


def test_a_build_that_fails_fails_the_job(tmp_path: Path) -> None:
    program = tmp_path / "edgecompile" / "bin" / "edgecompile"
    program.parent.mkdir(parents=True)
    program.write_text("#!/bin/sh\nexit 6\n")
    program.chmod(0o755)
    script = next(step["run"] for step in STEPS if step.get("id") == "build")
    env = {"RUNNER_TEMP": str(tmp_path), "GITHUB_OUTPUT": str(tmp_path / "out"), "PATH": os.environ["PATH"]}
    command = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", script]
    ended = subprocess.run(command, env={**env, "RECIPE": "x", "OVERRIDES": ""}, cwd=tmp_path)
    assert ended.returncode == 6
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("file", CONTAINERS, ids=lambda file: file.stem)
def test_a_container_file(file: Path) -> None:
    text = re.sub(r"\\\n\s*", "", file.read_text())
    lines = [line.split(maxsplit=1) for line in text.splitlines() if line and not line.startswith("#")]
    words = [word for word, _ in lines]
    assert set(words) <= {"FROM", "COPY", "RUN", "USER", "ENV", "WORKDIR", "VOLUME", "ENTRYPOINT", "CMD"}
    images = [rest.split()[0] for word, rest in lines if word == "FROM"]
    assert all(re.fullmatch(r"docker\.io/library/python:3\.\d+-slim", image) for image in images), (
        "pinned, and one base"
    )
    assert [rest for word, rest in lines if word == "USER"] == ["1000"], (
        "not as root, and by number: no host knows the name"
    )
    assert words.index("USER") < words.index("ENTRYPOINT")
    (extra,) = re.findall(r"source\[(\w+)\]", text)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert extra in project["optional-dependencies"]
    version = int(re.findall(r"python:3\.(\d+)", text)[0])
    assert 10 <= version < 14


def test_what_a_container_is_built_from_is_let_through() -> None:
    let = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    assert let <= {path.name for path in ROOT.iterdir()}
    build = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert {"pyproject.toml", "constraints.txt", build["project"]["readme"], *build["project"]["license-files"]} <= let
    assert {"edgecompile", *build["tool"]["setuptools"]["package-dir"].values()} <= let


def linter(name: str) -> str:
    """Returns the path of a linter, in this environment or on the path; skips the test where it is not installed."""
    found = shutil.which(name, path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}")
    return found or pytest.skip(f"{name} is not installed")


def hadolint(file: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([linter("hadolint"), "--no-color", str(file)], capture_output=True, text=True)


@pytest.mark.parametrize("file", CONTAINERS, ids=lambda file: file.stem)
def test_a_linter_finds_nothing_in_a_container_file(file: Path) -> None:
    ended = hadolint(file)
    assert (ended.returncode, ended.stdout) == (0, "")


def test_control_the_linter_finds_what_is_wrong_in_a_container_file(tmp_path: Path) -> None:
    (tmp_path / "Containerfile").write_text("FROM python\nRUN cd /tmp && apt-get install curl\n")
    ended = hadolint(tmp_path / "Containerfile")
    assert ended.returncode == 1
    assert "DL3006" in ended.stdout


def checked(schema: str, file: Path) -> int:
    """Checks a file against a schema that comes with check-jsonschema, without network; returns its exit code."""
    command = [linter("check-jsonschema"), "--builtin-schema", f"vendor.{schema}", str(file)]
    return subprocess.run(command, capture_output=True, text=True).returncode


def test_action_and_workflow_are_such_by_their_schemas(tmp_path: Path) -> None:
    assert checked("github-actions", ROOT / "action.yml") == 0
    for file in (ROOT / ".github" / "workflows").glob("*.yml"):
        assert checked("github-workflows", file) == 0
    wrong = tmp_path / "action.yml"
    wrong.write_text((ROOT / "action.yml").read_text().replace("using: composite", "using: nothing"))
    assert checked("github-actions", wrong) == 1


@pytest.mark.slow
def test_the_runtime_image(tmp_path: Path) -> None:
    """Builds it and looks at its size, where a container engine is at hand."""
    engine = shutil.which("podman") or shutil.which("docker")
    if not engine or subprocess.run([engine, "info"], capture_output=True).returncode != 0:
        pytest.skip("no container engine is at hand")
    file = ROOT / "containers" / "runtime.Containerfile"
    subprocess.run([engine, "build", "-f", str(file), "-t", "edgecompile-runtime-test", str(ROOT)], check=True)
    size = subprocess.check_output([engine, "image", "inspect", "--format", "{{.Size}}", "edgecompile-runtime-test"])
    assert int(size) < 400e6
    subprocess.run([engine, "run", "--rm", "edgecompile-runtime-test", "--help"], check=True)
