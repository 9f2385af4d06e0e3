"""Every command that README.md and docs/ show is one that there is, and those that need nothing special are run.

A fenced block without a language, or of `sh`, holds commands: one a line; `\\` continues it, two spaces and `#` begin
a remark. A block of `yaml` or `toml` whose first line names a file (`# my-camera.yaml`) is written to it. Blocks of
`python` that name none are run too. All blocks of a page run in order, in one folder that holds a person's own model,
data set, pictures and the quickstart bundle; the store is the one that all tests share. A build measures roughly, for a
full measurement beside other tests takes half a minute; tools/check_dist.py builds without that. A diagnosis watches
for three seconds.

`<!-- needs: ... -->` before a block names what it takes that is not at hand, in the words of `NEEDS`; it is not run.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import own_machine
import pytest
from exported import exported
from rough_measurement import ROUGH

from edgecompile.verbs import verb_names

ROOT = Path(__file__).parents[1]
SAMPLE = ROOT / "edgecompile" / "sample"
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
NEEDS = (
    "a clone",  # sets up an environment or runs this suite
    "network",
    "a device",  # reached by ssh, or the machine that the command runs on
    "an emulator",
    "OpenVINO 2022.3",
    "ONNX Runtime's headers",
    "a cluster",
    "hours",
    "a package of yours",
    "a bundle with its post-processing",  # tests/passes/test_embed_postprocess.py runs it
    "a bundle of a segmenter",
    "a package that no extra installs",
    "a container engine",
    "two devices",
    "a group of users",
)
BLOCK = re.compile(r"(?:^<!-- needs: (?P<needs>[^>]+?) -->\n+)?^```(?P<language>\w*)\n(?P<text>.*?)^```$", re.M | re.S)
RUN = ("", "sh", "python")
REMARK = re.compile(r"\s{2,}#.*$")
FILE_NAME = re.compile(r"# (?P<name>[\w./-]+\.(?:yaml|py|toml))\n")
PATH = re.compile(
    r"(?<![\w/.-])(?:tests|tools|bench|examples|edgecompile|docs|recipes|conf)/[a-z_][a-z0-9_/.-]*\.(?:py|md|sh|h|cpp|json)"
)
HYDRA_FLAGS = {"-m", "--multirun", "--cfg", "--resolve", "--info", "--config-dir", "--config-name", "--hydra-help"}
SECONDS = 1500


@dataclass(frozen=True)
class Block:
    """One fenced block of a page."""

    page: Path
    line: int
    language: str
    text: str
    needs: str

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"

    def commands(self) -> list[str]:
        """Returns its command lines, without remarks."""
        joined = re.sub(r"\\\n\s*", "", self.text)
        return [line for raw in joined.splitlines() if (line := REMARK.sub("", raw).strip()) and line[0] != "#"]


def blocks_of(page: Path) -> list[Block]:
    text = page.read_text(encoding="utf-8")
    return [
        Block(page, text[: match.start()].count("\n") + 1, match["language"], match["text"], match["needs"] or "")
        for match in BLOCK.finditer(text)
    ]


BLOCKS = [block for page in PAGES for block in blocks_of(page)]
COMMANDS = [block for block in BLOCKS if block.language in ("", "sh")]
RUNNABLE = [page for page in PAGES if any(block.page == page and not block.needs for block in COMMANDS)]


@pytest.mark.parametrize("block", [block for block in BLOCKS if block.needs], ids=str)
def test_what_a_block_needs_is_known(block: Block):
    assert set(block.needs.split(", ")) <= set(NEEDS)


@pytest.mark.parametrize("block", COMMANDS, ids=str)
def test_each_command_is_one_that_there_is(block: Block):
    targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.M)
    for line in block.commands():
        words = [word for word in shlex.split(line) if not re.fullmatch(r"[A-Z_]+=.*", word)]
        if "make" in words[:1]:
            assert words[1] in targets, line
        if "edgecompile" in words[:1] and not words[1].startswith("-"):
            assert words[1] in verb_names(), line
            flags = {word.split("=")[0] for word in words[2:] if re.match(r"--?[a-z]", word)}
            assert flags <= HYDRA_FLAGS | flags_of(*words[1 : 3 if words[1] == "cache" else 2]), line
        for word in words:
            if re.fullmatch(r"(tests|tools|bench|examples)/[\w/.-]+", word):
                assert (ROOT / word).exists(), line


def flags_of(*verb: str) -> set[str]:
    """Returns the flags that the help of a verb names."""
    command = [sys.executable, "-m", "edgecompile", *verb, "--help"]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return set(re.findall(r"(?<![\w-])--?[a-z][\w-]*", text)) | {"--help"}


@pytest.fixture
def workplace(tmp_path: Path) -> Path:
    """What a person has at hand: a model, a data set, some pictures, and a bundle that was built."""
    shutil.copytree(SAMPLE, tmp_path / "my-data", ignore=shutil.ignore_patterns("*.py", "__pycache__", "*.pt"))
    shutil.copyfile(SAMPLE / "parts.pt", tmp_path / "my-yolo11n.pt")
    shutil.copyfile(exported().model, tmp_path / "my-model.onnx")
    shutil.copytree(SAMPLE / "images" / "test", tmp_path / "pictures")
    shutil.copyfile(SAMPLE / "images" / "test" / "test_0000.jpg", tmp_path / "tray.jpg")
    shutil.copyfile(ROOT / "tests" / "golden" / "schema-1.bundle.zip", tmp_path / "quickstart.bundle.zip")
    return tmp_path


PROGRAM = """#!/bin/sh
case "$1" in
    build) exec {program} "$@" {rough} ;;
    diagnose) exec {program} "$@" --minutes 0.05 ;;
    *) exec {program} "$@" ;;
esac
"""
"""`edgecompile` in the folder of a person: builds measure roughly, and of a diagnosis the last duration counts."""


def write_program(folder: Path) -> None:
    program = Path(sys.executable).parent / "edgecompile"
    folder.mkdir()
    (folder / "edgecompile").write_text(PROGRAM.format(program=shlex.quote(str(program)), rough=shlex.join(ROUGH)))
    (folder / "edgecompile").chmod(0o755)


@pytest.mark.slow
@pytest.mark.timeout(2 * SECONDS)
@pytest.mark.parametrize("page", RUNNABLE, ids=lambda page: page.stem)
def test_the_commands_of_a_page_run(page: Path, workplace: Path, shared: Path, tmp_path_factory):
    """In their order, as a person types them; a line that fails ends the page."""
    programs = tmp_path_factory.mktemp("programs") / "bin"
    write_program(programs)
    settings = {
        **os.environ,
        **own_machine.settings(),
        "PATH": os.pathsep.join([str(programs), str(Path(sys.executable).parent), os.environ["PATH"]]),
        "EDGECOMPILE_CACHE": str(shared / "cache"),
        "EDGECOMPILE_DEVICE_CACHE": str(workplace / "device-cache"),
    }
    for block in blocks_of(page):
        named = FILE_NAME.match(block.text) if block.language in ("yaml", "toml", "python") else None
        if named and block.language != "python":
            (workplace / named["name"]).parent.mkdir(parents=True, exist_ok=True)
            (workplace / named["name"]).write_text(block.text, encoding="utf-8")
        if block.needs or block.language not in RUN or (named and block.language == "python"):
            continue
        scripts = [["python", "-c", block.text]] if block.language == "python" else []
        scripts += [["bash", "-euo", "pipefail", "-c", line] for line in ([] if scripts else block.commands())]
        for script in scripts:
            done = subprocess.run(
                script,
                cwd=workplace,
                env=settings,
                capture_output=True,
                text=True,
                timeout=SECONDS,
                stdin=subprocess.DEVNULL,
                preexec_fn=own_machine.keep_to,
            )
            assert done.returncode == 0, f"{block}: {script[-1]}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"


@pytest.mark.parametrize("page", [*PAGES, ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md"], ids=lambda page: page.stem)
def test_each_file_that_a_page_names_is_there(page: Path):
    named = set(re.findall(PATH, page.read_text(encoding="utf-8")))
    examples = re.findall(
        r"^# (\S+)$", page.read_text(encoding="utf-8"), re.MULTILINE
    )  # files that the page itself shows
    assert sorted(name for name in named if not (ROOT / name).exists() and name not in examples) == []


def test_the_control_a_verb_and_a_flag_that_there_are_not(tmp_path: Path):
    page = tmp_path / "page.md"
    for line in ("edgecompile bild", "edgecompile build --fast", "make everything", "python tools/nothing.py"):
        page.write_text(f"```\n{line}\n```\n")
        (block,) = blocks_of(page)
        with pytest.raises(AssertionError):
            test_each_command_is_one_that_there_is(block)
    page.write_text("<!-- needs: network -->\n```sh\nedgecompile plan -m x \\\n    y=1  # why\n\n# a remark\n```\n")
    (block,) = blocks_of(page)
    assert (block.needs, block.commands()) == ("network", ["edgecompile plan -m x y=1"])
    test_each_command_is_one_that_there_is(block)
