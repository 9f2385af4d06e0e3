"""Command lines of people who know Ultralytics, or a shell: answered with what to type, and never by a parser."""

from __future__ import annotations

import os
import re
import shlex
from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from edgecompile import cli, habits
from edgecompile.cli import parser_of
from edgecompile.compose.command_line import read_line
from edgecompile.compose.shell_words import PARSER_TALK, as_meant
from edgecompile.errors import EdgecompileError, RecipeError, nearest_few
from edgecompile.evaluate.next_steps import Situation, next_steps
from edgecompile.recipe import folders
from edgecompile.runtime.measured_gates import Verdict
from edgecompile.verbs import verb_names
from edgecompile.verbs._bundle import bundle_path

ANSWERS = {
    "export model=my.pt format=openvino int8=True imgsz=320": "edgecompile build recipe=x86-cpu_openvino_int8 "
    "model.weights=my.pt model.imgsz=320 data.path=DATA.yaml",
    "export model=my.pt format=onnx": "build recipe=x86-cpu_onnxruntime_fp32 model.weights=my.pt",
    "export format=engine half=True model=my.pt data=d.yaml": "recipe=jetson-orin-nano_tensorrt_fp16 "
    "model.weights=my.pt data.path=d.yaml",
    "export format=ncnn model=my.pt": "recipe=raspberry-pi-5_ncnn_fp32",
    "export my.pt --format openvino --half": "recipe=x86-cpu_openvino_fp16 model.weights=my.pt",
    "export --weights my.pt --include onnx --img 640": "model.weights=my.pt model.imgsz=640",
    "export model=my.pt format=coreml": "no target here is of the format 'coreml'",
    "export": "model.weights=MODEL.pt data.path=DATA.yaml",
    "model=my.pt export format=openvino": "recipe=x86-cpu_openvino_fp32 model.weights=my.pt",
    "yolo export model=my.pt": "edgecompile build recipe=",
    "detect export model=my.pt": "edgecompile build recipe=",
    "detect predict model=my.bundle.zip source=a.jpg": "edgecompile predict my.bundle.zip a.jpg",
    "train model=my.pt data=d.yaml epochs=3": "edgecompile trains nothing",
    "val model=my.pt data=d.yaml": "accuracy is part of each build",
    "benchmark model=my.pt": "edgecompile bench BUNDLE",
    "track source=0": "nothing is tracked",
    "checks": "edgecompile doctor",
    "build my.pt": "edgecompile build recipe=x86-cpu_openvino_int8 model.weights=my.pt data.path=DATA.yaml",
    "build model=my.pt data=d.yaml imgsz=320": "build recipe=x86-cpu_openvino_int8 model.weights=my.pt model.imgsz=320 "
    "data.path=d.yaml",
    "build my.pt int8=True": "recipe=x86-cpu_openvino_int8",
    "build my.pt device=0": "building needs no GPU",
    "build recipe=x86-cpu_openvino_int8 half=True": "recipe=x86-cpu_openvino_fp16",
    "plan my.onnx half=True": "edgecompile plan recipe=x86-cpu_openvino_fp16 model.weights=my.onnx",
    "build format=openvino": "recipe=x86-cpu_openvino_int8",
    "predict model=my.bundle.zip source=a.jpg conf=0.3 save=1": "predict my.bundle.zip a.jpg --conf 0.3 --save drawn",
    "predict my.bundle.zip source=0 classes=[0,2] imgsz=320,640": "my.bundle.zip 0 --imgsz 320x640 --classes 0,2",
    "predict source=a.jpg": "edgecompile predict BUNDLE a.jpg",
    "predict my.pt a.jpg": "'my.pt' is a model and no bundle: `predict` opens what was built",
    "predict my.engine a.jpg": "is a model and no bundle",
    "bench model=my.bundle.zip": "edgecompile bench my.bundle.zip",
    "verify my.onnx": "is a model and no bundle",
    "predict model='my file.zip' source='a b.jpg'": "edgecompile predict 'my file.zip' 'a b.jpg'",
}


@pytest.mark.parametrize("line", ANSWERS)
def test_a_line_of_ultralytics_is_answered_with_the_command(line: str, run, here: Path) -> None:
    done = run(*shlex.split(line))
    assert (done.code, done.out, len(done.lines)) == (2, "", 1)
    assert ANSWERS[line] in done.err
    command = re.search(r"the same here: (edgecompile .*)", done.err)
    if command:
        verb = shlex.split(command[1].partition(" (")[0])[1]
        assert verb in verb_names()


def test_recipes_that_answers_name_are_there() -> None:
    names = folders.recipe_names()
    for device, precisions in habits.FORMATS.values():
        assert all(f"{device}_{precision}" in names for precision in precisions)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (
            "recipe=quickstart model=my.pt data=d.yaml imgsz=320",
            ["++model.weights=my.pt", "++data.path=d.yaml", "++model.imgsz=320"],
        ),
        ("recipe=quickstart imgsz=320,640", ["++model.imgsz=[320,640]"]),
        ("recipe=quickstart model=yolo11n.pt", ["model=yolo11n"]),
        ("recipe=quickstart data=coco128.yaml", ["data=coco128"]),
        ("recipe=quickstart my.onnx", ["++model.weights=my.onnx"]),
        ("recipe=quickstart model=yolo11n data=coco128", ["model=yolo11n", "data=coco128"]),
    ],
)
def test_what_means_one_thing_works(
    line: str, words: list[str], here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    read = read_line(parser_of("plan").read(line.split()), folders.recipe_names)
    assert as_meant(read.for_hydra()) == ["recipe=quickstart", *words]
    assert ("is taken as" in capsys.readouterr().err) == ("yolo11n data=coco128" not in line)


STRANGE = [
    "a b.pt",
    "a,b.pt",
    "a[1].pt",
    "a{1}.pt",
    "a(1).pt",
    "a:b.pt",
    "a=b.pt",
    "a#b.pt",
    "a$b.pt",
    "a'b.pt",
    'a"b.pt',
    "a\\b.pt",
    "été.pt",
    "模型.pt",
    "a\u00a0b.pt",
    "😀.pt",
    "~a.pt",
    "-a.pt",
    "+a.pt",
    "a&b.pt",
    "a;b.pt",
    "a|b.pt",
    "a*b.pt",
    "a?b.pt",
    "null",
    "true",
    "1",
    "1e3",
    "[a].pt",
    "{a}.pt",
    "(a).pt",
    "'a'.pt",
    "a b c.pt",
    " a.pt",
    "a%20b.pt",
    "a@b.pt",
    "a!b.pt",
    "a^b.pt",
    "a<b>.pt",
    "`a`.pt",
    "${a}.pt",
    "a,",
    "[",
    "{",
    "'",
    '"',
    "\\",
    "a\tb.pt",
    "glob(a).pt",
    "a,b=c.pt",
    "[a,b].pt",
    "a: b.pt",
]


@pytest.mark.parametrize("name", STRANGE)
def test_a_file_of_any_name_is_that_file(name: str, here: Path) -> None:
    (here / name).write_bytes(b"x")
    (word,) = as_meant([f"++model.weights={name}"])
    (override,) = OverridesParser.create().parse_overrides([word])
    assert str(override.value()) in (name, {"null": "None", "true": "True", "1": "1", "1e3": "1000.0"}.get(name, name))


VALUES = [
    "[",
    "]",
    "{",
    "}",
    "(",
    ")",
    "'",
    '"',
    "[a",
    "a]",
    "{a",
    "a: b",
    "a:b:c",
    "a b",
    "a,",
    ",a",
    ",",
    "=",
    "a=b",
    "#",
    "a #b",
    "$",
    "$HOME",
    "${",
    "${a",
    "${a}",
    "${oc.env:HOME}",
    "$(ls)",
    "`ls`",
    "~",
    "~/x",
    "*",
    "?",
    "!",
    "&",
    "|",
    ";",
    "\\",
    "\\n",
    "\n",
    "\t",
    "\x1b[2J",
    "\u202ea",
    "é",
    "模",
    "😀",
    "null",
    "[1,2",
    "1,2",
    "{a:1",
    "{a:1}",
    "choice(",
    "range(1",
    "glob(",
    "sort(1",
    "a'b",
    'a"b',
    "'a",
    '"a',
    "''",
    '""',
    "int(x",
    "float(x)",
    "%",
    "@",
    "^",
    "<",
    ">",
    "\0",
    "a" * 5000,
    "[" * 500,
]
KEYS = [
    "model.weights",
    "data.path",
    "model.imgsz",
    "name",
    "gates.fps",
    "passes.simplify",
    "target.threads",
    "hydra.run.dir",
    "model",
    "x y",
    "",
]


def refused(word: str) -> list[str]:
    """Returns the lines by which a word is refused; none where it is taken."""
    try:
        as_meant([word])
    except RecipeError as error:
        return [str(problem) for problem in error.problems]
    return []


@pytest.mark.parametrize("key", KEYS)
def test_no_parser_speaks_to_a_person(key: str, here: Path) -> None:
    """Each value is given to each key as a shell would: accepted, or refused in lines of ours."""
    for value in VALUES:
        for word in (f"{key}={value}", f"++{key}={value}", f"~{key}", f"+{key}={value}"):
            for text in refused(word):
                assert not PARSER_TALK.search(text), text
                assert "\n" not in text
                assert "\x1b" not in text


@pytest.mark.parametrize("value", ["[", "'a", "{a", "a b]", "$HOME/x.pt", "${a", "=", "é é", "glob(", "\\"])
@pytest.mark.parametrize("key", ["model.weights", "model.imgsz", "gates.fps"])
def test_no_parser_speaks_through_the_program(key: str, value: str, run, here: Path) -> None:
    done = run("plan", "recipe=quickstart", f"{key}={value}")
    assert done.code in (0, 2)
    assert not PARSER_TALK.search(done.err), done.err
    assert "Traceback" not in done.err
    assert all(line.startswith("edgecompile: ") for line in done.lines)


def test_what_the_shell_did_is_told(run, here: Path) -> None:
    (here / "my model.pt").touch()
    done = run("plan", "recipe=quickstart", "model.weights=my", "model.pt")
    assert "the shell made two words of 'my model.pt'; quote it: 'model.weights=my model.pt'" in done.err
    done = run("plan", "recipe=quickstart", "model.weights=$HOME/x.pt")
    assert "'$HOME' was not replaced by the shell; double quotes let the shell replace it" in done.err
    done = run("plan", "recipe=quickstart", "model.imgsz=320", "model.imgsz=[192,256]")
    assert "model.imgsz is given twice, and the last counts: [192,256]" in done.err


def test_a_recipe_that_is_none_shows_the_nearest_five(run, here: Path) -> None:
    done = run("plan", "recipe=jetson_int8")
    names = re.search(r"nearest: (.*);", done.err)
    assert done.code == 2
    assert names, done.err
    assert len(names[1].split(", ")) == 5
    assert "jetson-orin-nano_tensorrt_int8" in names[1]
    assert f"all {len(folders.recipe_names())}: edgecompile list recipes" in done.err
    assert nearest_few("rpi5", ["a", "raspberry-pi-5_ncnn_int8"]).startswith("nearest: raspberry-pi-5")


@pytest.mark.parametrize("words", [["help"], ["help", "build"], ["version"]])
def test_help_and_version_as_words(words: list[str], run) -> None:
    done = run(*words)
    assert (done.code, done.err) == (0, "")
    assert ("usage: edgecompile build" in done.out) == (words == ["help", "build"])


def test_the_folder_of_a_build_stands_for_its_bundle(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run_dir, later = tmp_path / "my/1", tmp_path / "my/2"
    for folder in (run_dir, later):
        folder.mkdir(parents=True)
        (folder / "my.bundle.zip").touch()
    os.utime(run_dir / "my.bundle.zip", (1, 1))
    assert bundle_path(str(run_dir)) == run_dir / "my.bundle.zip"
    assert bundle_path(str(tmp_path / "my")) == later / "my.bundle.zip"
    assert "the newest is taken" in capsys.readouterr().err
    (later / "other.bundle.zip").touch()
    (tmp_path / "none").mkdir()
    (tmp_path / "none/report.html").touch()
    (tmp_path / "unpacked").mkdir()
    for member in ("report.html", "manifest.json"):
        (tmp_path / "unpacked" / member).touch()
    for folder, said in (
        ("my", "3 bundles in this folder"),
        ("none", "its report says why"),
        ("unpacked", "an unpacked bundle"),
    ):
        with pytest.raises(EdgecompileError, match=said):
            bundle_path(str(tmp_path / folder))
    assert bundle_path("gone.zip") == Path("gone.zip")


def verdict(gate: str, figure: float | None = 1.0, *, measured: bool = False) -> Verdict:
    return Verdict(gate, 0.5, figure, False, measured, "")


def test_an_unmet_gate_says_what_to_try_by_what_it_costs() -> None:
    int8 = Situation("int8", ("fp32", "fp16", "int8"), "int8_static", "minmax", True, True, 64, 640)
    text = next_steps(verdict("accuracy_drop"), int8)
    parts = [
        "data.calibration.images=300 instead of 64",
        "int8_static.method=percentile",
        "max_slowdown: 3",
        "FP16",
        "FP32",
    ]
    assert [part for part in parts if part in text] == parts
    assert [text.index(part) for part in parts] == sorted(text.index(part) for part in parts)
    assert "repair=auto" in next_steps(verdict("map_drop"), Situation("int8", ("int8",), "int8_static", "minmax"))
    plain = Situation("fp32", ("fp32", "int8"), imgsz=640)
    for gate in ("latency_p95_ms", "fps", "peak_memory_mb"):
        assert "INT8" in next_steps(verdict(gate, measured=True), plain)
        assert "model.imgsz=480" in next_steps(verdict(gate, measured=True), plain)
    assert "INT8" in next_steps(verdict("size_mb"), plain)
    assert "FP16" not in next_steps(verdict("accuracy_drop"), plain)
    assert "device.host" in next_steps(verdict("fps_per_watt", None, measured=True), plain)
    assert next_steps(verdict("fps", measured=True), int8) == next_steps(verdict("fps", measured=True), int8)


def test_a_drop_that_is_not_proven_wants_pictures() -> None:
    int8 = Situation("int8", ("fp32", "int8"), "int8_static", "minmax", True, True, 64)
    unproven = Verdict("accuracy_drop", 0.5, 0.4, False, False, "", proven=False)
    assert "data.validation" in next_steps(unproven, int8)
    assert "method" not in next_steps(unproven, int8)
    beyond = Verdict("accuracy_drop", 0.5, 0.6, False, False, "", proven=False)
    assert "data.validation" not in next_steps(beyond, int8), "more pictures mend no loss"


def test_words_of_the_verbs_are_no_habits() -> None:
    assert not {*habits.VERBS, *habits.TASKS, *habits.HELP} & {*verb_names()}
    assert cli.main(["list", "recipes"]) == 0
