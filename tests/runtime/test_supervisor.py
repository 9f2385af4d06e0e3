"""A model that has no end, or takes all memory, ends the verb within its limit, in one line that names it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from edgecompile import cli
from edgecompile.errors import RecipeError
from edgecompile.runtime import confinement, machine
from edgecompile.runtime.confinement import choose_limits
from edgecompile.verbs.verify import verify_bundle

from .tiny import ANCHORS, HEIGHT, WIDTH, bundled, photo, tiny_manifest

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
ROOT = str(Path(__file__).parents[2])


def endless() -> bytes:
    """Returns a model whose output comes after a loop without end."""
    helper, proto = onnx.helper, onnx.TensorProto
    body = helper.make_graph(
        [helper.make_node("Identity", ["go"], ["again"]), helper.make_node("Identity", ["turn"], ["count"])],
        "body",
        [
            helper.make_tensor_value_info("turn", proto.INT64, []),
            helper.make_tensor_value_info("go", proto.BOOL, []),
        ],
        [
            helper.make_tensor_value_info("again", proto.BOOL, []),
            helper.make_tensor_value_info("count", proto.INT64, []),
        ],
    )
    return with_nodes([helper.make_node("Loop", ["", "yes"], ["turns"], body=body)])


def with_nodes(nodes: list[Any]) -> bytes:
    """Returns a model with some nodes that give `turns`, which its output needs."""
    helper, proto, numpy_helper = onnx.helper, onnx.TensorProto, onnx.numpy_helper
    import numpy as np

    graph = helper.make_graph(
        [
            helper.make_node("ReduceMin", ["images"], ["low"], keepdims=0),
            *nodes,
            helper.make_node("Cast", ["turns"], ["numbers"], to=proto.FLOAT),
            helper.make_node("ReduceMax", ["numbers"], ["top"], keepdims=0),
            helper.make_node("Mul", ["top", "zero"], ["nothing"]),
            helper.make_node("Add", ["rows", "nothing"], ["output0"]),
        ],
        "g",
        [helper.make_tensor_value_info("images", proto.FLOAT, [1, 3, HEIGHT, WIDTH])],
        [helper.make_tensor_value_info("output0", proto.FLOAT, [1, 7, ANCHORS])],
        [
            numpy_helper.from_array(np.zeros((1, 7, ANCHORS), np.float32), "rows"),
            numpy_helper.from_array(np.float32(0), "zero"),
            numpy_helper.from_array(np.array(True), "yes"),
            numpy_helper.from_array(np.array([400_000.0, 100_000.0], np.float32), "sides"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    return model.SerializeToString()


def enormous() -> bytes:
    """A tensor of 160 GB, whose size is known when the model runs only."""
    make_node = onnx.helper.make_node
    return with_nodes(
        [
            make_node("Add", ["sides", "low"], ["later"]),  # pixels are 0..1: not to be computed before there are some
            make_node("Cast", ["later"], ["whole"], to=onnx.TensorProto.INT64),
            make_node("ConstantOfShape", ["whole"], ["turns"]),
        ]
    )


@pytest.fixture
def made(tiny_members: dict[str, bytes], tmp_path: Path) -> Any:
    def make(model: bytes) -> Path:
        path = tmp_path / "x.bundle.zip"
        path.write_bytes(bundled({**tiny_members, "artifact/model.onnx": model}, tiny_manifest()))
        return path

    return make


def refused(capfd: pytest.CaptureFixture[str], *words: Any) -> str:
    assert cli.main([str(word) for word in words]) == 7
    (line,) = capfd.readouterr().err.splitlines()
    return line


@pytest.mark.slow
@pytest.mark.parametrize("verb", ["verify", "predict", "bench", "finalize"])
def test_a_loop_without_end_is_ended(verb: str, made: Any, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    import cv2

    picture = tmp_path / "a.png"
    cv2.imwrite(str(picture), photo(HEIGHT, WIDTH))
    words = [verb, made(endless()), *([picture] if verb == "predict" else [])]
    began = time.monotonic()
    line = refused(capfd, *words, "--timeout", "6")
    assert time.monotonic() - began < 60
    assert "running the model was ended after 6 s, its limit; allow it more: --timeout 12" in line
    assert "EDGECOMPILE_MODEL_TIMEOUT" in line
    assert not left_over(str(words[1]))


def left_over(bundle: str) -> list[int]:
    """Returns the processes that still work on a bundle."""
    return [
        one.pid
        for one in psutil.process_iter(["cmdline"])
        if any(bundle in word for word in one.info["cmdline"] or ()) and one.pid != os.getpid()
    ]


def test_a_model_that_takes_all_memory_is_told_its_limit(made: Any, capfd: pytest.CaptureFixture[str]) -> None:
    line = refused(capfd, "verify", made(enormous()), "--memory", "2G")
    assert "memory" in line
    assert "allow it more: --memory 4G, or EDGECOMPILE_MODEL_MEMORY" in line


def test_what_a_verb_prints_and_returns_is_the_same_in_its_own_process(
    tiny_bundle: Path, capfd: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = cli.parser_of("verify").read([str(tiny_bundle)])
    assert verify_bundle(arguments) == 0
    here = capfd.readouterr().out
    monkeypatch.setenv("EDGECOMPILE_MODEL_MEMORY", "none")
    monkeypatch.setenv("EDGECOMPILE_MODEL_TIMEOUT", "none")
    assert cli.main(["verify", str(tiny_bundle)]) == 0
    assert capfd.readouterr() == (here, "")
    assert cli.main(["predict", str(tiny_bundle), str(tmp_path / "nothing.jpg")]) == 2
    assert "no such picture" in capfd.readouterr().err
    assert cli.main(["verify", str(tmp_path / "nothing.zip")]) == 2
    assert cli.main(["predict", str(tiny_bundle), str(tmp_path), "--save", "/proc/x"]) in (2, 5)


def test_modules_come_from_where_the_program_found_them(tiny_bundle: Path, tmp_path: Path) -> None:
    """What lies in the working directory is not imported by the process of the model."""
    (tmp_path / "json.py").write_text("raise SystemExit('imported')")
    (tmp_path / "numpy.py").write_text("raise SystemExit('imported')")
    program = f"import sys; sys.path[:1] = [{ROOT!r}]; from edgecompile.cli import main; sys.exit(main())"
    command = [sys.executable, "-c", program, "verify", str(tiny_bundle)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_nothing_is_left_of_a_program_that_is_ended(how: signal.Signals, made: Any) -> None:
    bundle = made(endless())
    command = [sys.executable, "-m", "edgecompile", "verify", str(bundle)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT)
    for _ in range(3):
        process.stdout.readline()
    process.send_signal(how)
    _, err = process.communicate(timeout=60)
    assert process.returncode == (130 if how == signal.SIGINT else -signal.SIGKILL)
    assert err.strip() == ("edgecompile: interrupted" if how == signal.SIGINT else "")
    deadline = time.monotonic() + 30
    while left_over(str(bundle)) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert not left_over(str(bundle))


def test_a_reader_that_goes_away_ends_the_verb(tiny_bundle: Path, tmp_path: Path) -> None:
    code = f"{sys.executable} -m edgecompile predict {tiny_bundle} {tmp_path} --format json | true"
    import cv2

    for number in range(40):
        cv2.imwrite(str(tmp_path / f"{number}.png"), photo(HEIGHT, WIDTH, number))
    done = subprocess.run(["bash", "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.stderr == ""


def test_limits_come_from_the_command_line_then_the_environment_then_the_machine(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv(confinement.TIMEOUT, raising=False)
    monkeypatch.delenv(confinement.MEMORY, raising=False)
    limits = choose_limits(None, None)
    assert limits.seconds(confinement.RUNNING) == 120
    assert limits.seconds(confinement.BUILDING) == 3600
    assert limits.memory_mb == pytest.approx(0.75 * machine.memory_mb() + 500)
    monkeypatch.setenv(confinement.TIMEOUT, "7")
    monkeypatch.setenv(confinement.MEMORY, "5G")
    limits = choose_limits(None, None)
    assert (limits.seconds(confinement.BUILDING), limits.memory_mb) == (7, 5000)
    limits = choose_limits("none", "750M")
    assert (limits.seconds(confinement.RUNNING), limits.memory_mb) == (float("inf"), 750)
    for timeout, memory, where in (("soon", None, "--timeout"), (None, "8", "--memory"), ("-1", None, "--timeout")):
        with pytest.raises(RecipeError, match=f"command line:{where}: found"):
            choose_limits(timeout, memory)
    monkeypatch.setenv(confinement.MEMORY, "much")
    with pytest.raises(RecipeError, match="EDGECOMPILE_MODEL_MEMORY: found 'much'"):
        choose_limits(None, None)


def test_memory_of_a_container_counts(tmp_path: Path) -> None:
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/meminfo").write_text("MemTotal:       8000000 kB\n")
    assert machine.memory_mb(tmp_path) == 8192
    (tmp_path / "sys/fs/cgroup").mkdir(parents=True)
    (tmp_path / "sys/fs/cgroup/memory.max").write_text("max\n")
    assert machine.memory_mb(tmp_path) == 8192
    (tmp_path / "sys/fs/cgroup/memory.max").write_text("1000000000\n")
    assert machine.memory_mb(tmp_path) == 1000
    assert machine.memory_mb(tmp_path / "nothing") == 4294


def test_a_process_says_only_now_and_then_that_it_does_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    monkeypatch.setattr(confinement, "_this_process", None)
    confinement.doing("this")
    confinement.confine(told.append)
    for _ in range(100):
        confinement.doing("this")
    confinement.doing("that")
    assert told == ["this", "that"]
    monkeypatch.setattr(confinement, "OFTEN_S", 0.0)
    confinement.doing("that")
    assert told == ["this", "that", "that"]
    assert json.dumps(told)
