"""A loaded model in a forked process: one clear error, never a wait for ever; the ways that the error names work."""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import edgecompile.runtime as rt
from edgecompile.errors import RecipeError

from .tiny import bundled, tiny_manifest

OPENED = """
import json, os, sys, time, multiprocessing, signal
import numpy as np
import edgecompile.runtime as rt
from edgecompile.errors import RecipeError
image = np.zeros((50, 60, 3), np.uint8)
def opened():
    return rt.load(sys.argv[1], threads=2)
def refused(work):
    try:
        work()
    except RecipeError as error:
        assert "was loaded in process" in str(error) and "'spawn'" in str(error), error
        return True
def forked(work, seconds=60):
    pid = os.fork()
    if pid == 0:
        work()
        sys.exit(0)  # by the ordinary way: destructors run, and may not wait for threads that are not here
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.01)
    os.kill(pid, signal.SIGKILL)
    return "no end"
model = opened()
wanted = len(model.predict(image))
"""

REFUSED = """
frames = model.stream(image for _ in range(100))
next(frames)
def child():
    assert refused(lambda: model.predict(image))
    assert refused(lambda: model.predict_batch([image]))
    assert refused(lambda: model.stream([image]))
    assert refused(lambda: next(frames))
    assert refused(lambda: model.infer(np.zeros((1, 3, 64, 96), np.float32)))
    frames.close()
print(forked(child), len(model.predict(image)) == wanted, len(list(frames)))
"""

LOADED_THERE = """
def child():
    assert len(opened().predict(image)) == wanted
print(forked(child))
"""

REFUSED_THERE = """
def child():
    try:
        opened()
    except RecipeError as error:
        assert "openvino was used in process" in str(error) and "'spawn'" in str(error), error
        return
    raise AssertionError("loaded")
print([forked(child) for _ in range(5)])
"""

FIRST_THERE = """
def child():
    assert len(rt.load(sys.argv[1], threads=2).predict(np.zeros((50, 60, 3), np.uint8))) == int(sys.argv[2])
pid = os.fork()
if pid == 0:
    child()
    sys.exit(0)
print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"""

POOL = """
def predict(number):
    return len(model.predict(image))
def main():
    with multiprocessing.get_context("fork").Pool(2) as pool:
        try:
            pool.map(predict, range(8))
        except RecipeError as error:
            print("was loaded in process" in str(error), len(model.predict(image)) == wanted)
main()
"""


def outcome(code: str, bundle: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-c", OPENED + code, str(bundle)], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert not done.stderr
    return done.stdout.strip()


@pytest.fixture(params=["onnxruntime", "openvino"])
def bundle(request: pytest.FixtureRequest, tiny_members: dict[str, bytes], tmp_path: Path) -> Path:
    pytest.importorskip(request.param)
    path = tmp_path / "tiny.bundle.zip"
    path.write_bytes(bundled(tiny_members, tiny_manifest(request.param)))
    return path


def test_a_fork_of_the_process_that_loaded_refuses(bundle: Path) -> None:
    assert outcome(REFUSED, bundle) == "0 True 99"


def test_a_fork_may_load_for_itself(tiny_bundle: Path) -> None:
    assert outcome(LOADED_THERE, tiny_bundle) == "0"


@pytest.mark.slow
def test_a_fork_of_a_process_that_used_openvino_is_refused_there(
    tiny_members: dict[str, bytes], tmp_path: Path
) -> None:
    """One in some dozens waits for ever: what TBB's threads held at the fork is never let go."""
    pytest.importorskip("openvino")
    path = tmp_path / "tiny.bundle.zip"
    path.write_bytes(bundled(tiny_members, tiny_manifest("openvino")))
    assert outcome(REFUSED_THERE, path) == "[0, 0, 0, 0, 0]"


def test_a_fork_of_a_process_that_has_loaded_nothing_may_load(bundle: Path) -> None:
    count = len(rt.load(bundle).predict(np.zeros((50, 60, 3), np.uint8)))
    begin = OPENED[: OPENED.index("model = opened()")]
    done = subprocess.run(
        [sys.executable, "-c", begin + FIRST_THERE, str(bundle), str(count)],
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.stdout.strip() == "0", done.stderr


def test_a_pool_of_forks_that_uses_a_global_model_is_told(bundle: Path) -> None:
    assert outcome(POOL, bundle) == "True True"


def test_a_library_that_does_not_survive_a_fork_is_refused_when_it_loads(monkeypatch: pytest.MonkeyPatch) -> None:
    """The threads of ncnn's OpenMP and of OpenVINO's TBB are waited for in a fork, whoever loads there."""
    from edgecompile.runtime import fork

    fork.require_first_use("a library of tests")
    fork.require_first_use("a library of tests")
    monkeypatch.setattr(fork.os, "getpid", lambda: 1)
    with pytest.raises(RecipeError, match=r"a library of tests was used in process \d+ and cannot .* 'spawn'"):
        fork.require_first_use("a library of tests")
    fork.require_first_use("another library of tests")


def test_a_model_is_not_sent_to_another_process(tiny_bundle: Path) -> None:
    model = rt.load(tiny_bundle)
    for work in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(RecipeError, match="cannot be sent to another process"):
            work(model)


def test_an_error_can_be_sent_to_another_process() -> None:
    error = pickle.loads(pickle.dumps(RecipeError("found 1", where="a.yaml:2", fix="make it 2")))
    assert str(error) == "a.yaml:2: found 1; make it 2"
    assert error.problems[0].where == "a.yaml:2"
