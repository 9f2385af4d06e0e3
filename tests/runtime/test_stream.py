"""Streams: the same detections in the same order, bounded, each error in its place, nothing left running."""

from __future__ import annotations

import gc
import json
import random
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import edgecompile.runtime as rt
from edgecompile.errors import BundleError, RecipeError
from edgecompile.runtime.backends import Setting, find_backend
from edgecompile.runtime.stream import FEW

from .tiny import bundled, photo, tiny_manifest, tiny_onnx, tiny_spec


@pytest.fixture(params=["onnxruntime", "openvino", "openvino throughput"])
def model(request: pytest.FixtureRequest, tmp_path: Path) -> rt.Predictor:
    """The tiny model on a backend that calls its library in threads, on one whose library runs by itself, and on that
    in its setting for many."""
    kind, _, hint = request.param.partition(" ")
    pytest.importorskip(kind)
    (tmp_path / "model.onnx").write_bytes(tiny_onnx())
    options = {"PERFORMANCE_HINT": "THROUGHPUT", "NUM_STREAMS": 2} if hint else {}
    return rt.open_artifact(tmp_path / "model.onnx", tiny_spec(), kind, options, 2)


def depth(model: rt.Predictor) -> int:
    return len(getattr(model.backend, "requests", lambda: [None])())


def require_no_reader() -> None:
    """Demands that the threads of streams end."""
    gc.collect()
    deadline = time.monotonic() + 20
    while any(thread.name == "edgecompile-stream" for thread in threading.enumerate()):
        assert time.monotonic() < deadline
        time.sleep(0.005)


def same(one: rt.Detections, other: rt.Detections) -> bool:
    pairs = ((one.boxes, other.boxes), (one.scores, other.scores), (one.classes, other.classes))
    return all(np.array_equal(*pair) for pair in pairs)


def camera(count: int, given: list[int]) -> Iterator[np.ndarray]:
    """Gives pictures in one buffer, as cameras do."""
    buffer = np.empty((50, 60, 3), np.uint8)
    for number in range(count):
        given.append(number)
        buffer[:] = photo(50, 60, number)
        yield buffer


def test_a_stream_equals_predict_in_order(model: rt.Predictor) -> None:
    found = list(model.stream(camera(20, []), conf=0.3))
    wanted = [model.predict(photo(50, 60, number), conf=0.3) for number in range(20)]
    assert all(map(same, found, wanted))
    assert len({one.scores.tobytes() for one in found}) == len(found) == 20  # the pictures differ: order shows
    assert set(model.timings) == {"read", "preprocess", "inference", "postprocess"}
    assert all(value >= 0 for value in model.timings.values())


def test_no_more_pictures_are_taken_than_are_in_flight(model: rt.Predictor) -> None:
    given: list[int] = []
    stream = model.stream(camera(1000, given))
    assert not given
    for number in range(5):
        next(stream)
        assert len(given) <= number + depth(model)


def test_as_many_are_in_flight_as_the_device_wants(tmp_path: Path) -> None:
    pytest.importorskip("openvino")
    (tmp_path / "model.onnx").write_bytes(tiny_onnx())
    for options, wanted in (({}, 2), ({"PERFORMANCE_HINT": "THROUGHPUT", "NUM_STREAMS": 2}, 3)):
        model = rt.open_artifact(tmp_path / "model.onnx", tiny_spec(), "openvino", options, 2)
        assert depth(model) == wanted


@pytest.fixture(params=["onnxruntime", "openvino"])
def two_settings(request: pytest.FixtureRequest, tmp_path: Path, tiny_members: dict[str, bytes]) -> rt.Predictor:
    """A bundle on a backend with a setting for many pictures."""
    pytest.importorskip(request.param)
    bundle = tmp_path / "tiny.bundle.zip"
    bundle.write_bytes(bundled(tiny_members, tiny_manifest(request.param)))
    return rt.load(bundle, threads=2)


def test_a_long_stream_goes_on_in_the_setting_for_many(two_settings: rt.Predictor) -> None:
    """Order and results stay, and the next stream begins with it."""
    count = FEW + 30
    wanted = [two_settings.predict(photo(50, 60, number)) for number in range(count)]
    stream = two_settings.stream(camera(count, []))
    found = [next(stream)]
    assert stream.pipeline.setting == "latency"
    found += stream
    assert stream.pipeline.setting == "throughput"
    assert stream.pipeline.requests > 2
    assert len(found) == count
    assert all(map(same, found, wanted))
    assert two_settings.stream(camera(1, [])).pipeline.setting == "throughput"
    assert two_settings.stream(camera(1, []), hint="latency").pipeline.setting == "latency"


def test_the_setting_is_chosen(two_settings: rt.Predictor) -> None:
    with two_settings.stream(camera(4, []), hint="throughput") as stream:
        assert stream.pipeline.setting == "throughput"
        assert all(map(same, stream, [two_settings.predict(photo(50, 60, number)) for number in range(4)]))
    stream = two_settings.stream(camera(FEW + 5, []), hint="latency")
    assert len(list(stream)) == FEW + 5
    assert stream.pipeline.setting == "latency"
    with pytest.raises(RecipeError, match="hint is 'fast', expected latency or throughput"):
        two_settings.stream(camera(1, []), hint="fast")


def test_a_short_stream_does_not_open_the_model_again(
    two_settings: rt.Predictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(two_settings._lanes, "_for_many", lambda *_: pytest.fail("it was opened"))
    assert len(list(two_settings.stream(camera(FEW, [])))) == FEW


@pytest.mark.parametrize("change", ["gone", "another"])
def test_a_bundle_that_is_not_there_any_more_runs_on_as_it_is_open(
    change: str, two_settings: rt.Predictor, tmp_path: Path, tiny_members: dict[str, bytes]
) -> None:
    bundle = tmp_path / "tiny.bundle.zip"
    bundle.unlink()
    if change == "another":
        bundle.write_bytes(bundled(tiny_members, {**tiny_manifest("onnxruntime"), "name": "another"}))
    wanted = [two_settings.predict(photo(50, 60, number)) for number in range(FEW + 3)]
    stream = two_settings.stream(camera(FEW + 3, []))
    assert all(map(same, stream, wanted))
    assert stream.pipeline.setting == "latency"
    assert "cannot be opened once more" in stream.pipeline.remark
    assert ("another bundle" in stream.pipeline.remark) is (change == "another")


def test_the_setting_for_many_is_that_of_the_library() -> None:
    ov, ort = find_backend("openvino"), find_backend("onnxruntime")
    throughput = {"PERFORMANCE_HINT": "THROUGHPUT"}
    assert ov.for_many({"PERFORMANCE_HINT": "LATENCY"}, 2) == Setting(2, throughput)
    assert ov.for_many({"DEVICE": "GPU"}, 1) == Setting(1, {"DEVICE": "GPU", **throughput})
    for options, threads in ((throughput, 2), ({"NUM_STREAMS": 1}, 2), ({}, 1), ({"DEVICE": "MYRIAD"}, 2)):
        assert ov.for_many(options, threads) is None
    assert ort.for_many({}, 4) == Setting(1, {}, at_once=4)
    assert ort.for_many({}, 1) is None


def test_what_a_picture_raises_is_raised_in_its_place(model: rt.Predictor, tmp_path: Path) -> None:
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no picture")
    images: list[Any] = [photo(40, 40, 0), broken, "missing.png", photo(40, 40, 1), broken]
    stream, places = model.stream(images), []
    for _ in images:
        try:
            places.append(next(stream))
        except RecipeError as error:
            places.append(Path(error.problems[0].where).name)
    assert places[1:3] == ["broken.png", "missing.png"]
    assert places[4] == "broken.png"
    assert same(places[0], model.predict(images[0]))
    assert same(places[3], model.predict(images[3]))
    assert next(stream, None) is None
    with pytest.raises(RecipeError, match="expected"):
        next(model.stream(images, conf=1.5))


def test_a_source_that_breaks_ends_the_stream_behind_what_it_gave(model: rt.Predictor) -> None:
    def unplugged() -> Iterator[np.ndarray]:
        yield from camera(3, [])
        raise OSError("unplugged")

    found, stream = [], model.stream(unplugged())
    with pytest.raises(OSError, match="unplugged"):
        found.extend(one for one in stream)
    assert next(stream, None) is None
    found, stream = [], model.stream(unplugged())
    found = [next(stream) for _ in range(3)]
    assert len(found) == 3


def test_a_stream_closed_early_leaves_nothing_running(model: rt.Predictor) -> None:
    given: list[int] = []
    with model.stream(camera(1000, given)) as stream:
        next(stream)
    taken = len(given)
    assert taken <= depth(model)
    assert next(stream, None) is None
    assert len(given) == taken
    flight = stream._flight
    assert flight.is_empty()
    require_no_reader()
    for lane in flight._lanes:  # every request is idle
        if hasattr(lane._request, "_request"):  # OpenVINO's refuses its input while it is in flight
            lane._request._request.set_input_tensor(lane._request._request.get_input_tensor())
        elif lane._request._begun:
            assert lane._request._begun.done()
    assert same(model.predict(photo(50, 60, 0)), next(model.stream(camera(1, []))))


def test_two_streams_and_single_pictures_do_not_disturb_each_other(model: rt.Predictor) -> None:
    wanted = [model.predict(photo(50, 60, number)) for number in range(6)]
    one, other = model.stream(camera(6, [])), model.stream(camera(6, []))
    for number in range(6):
        assert same(next(one), wanted[number])
        assert same(model.predict(photo(50, 60, 5 - number)), wanted[5 - number])
        assert same(next(other), wanted[number])


def test_a_size_is_chosen_as_for_predict(model: rt.Predictor) -> None:
    image = photo(40, 40)
    assert same(next(model.stream([image], imgsz=(64, 96))), model.predict(image))
    with pytest.raises(RecipeError, match="was built for 64x96 alone"):
        next(model.stream([image], imgsz=480))


@pytest.mark.parametrize("consumers", [2, 4, 16])
def test_threads_that_share_a_stream_get_each_result_once(model: rt.Predictor, consumers: int) -> None:
    wanted = [model.predict(photo(50, 60, number)).scores.tobytes() for number in range(60)]
    stream, seen, errors = model.stream(camera(60, [])), [], []

    def take() -> None:
        try:
            for one in stream:
                seen.append(one.scores.tobytes())
                time.sleep(random.random() / 1000)
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=take) for _ in range(consumers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not errors
    assert sorted(seen) == sorted(wanted)


def test_a_stalled_source_withholds_no_result_and_closing_does_not_wait_for_it(
    model: rt.Predictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgecompile.runtime.stream.PATIENCE_S", 0.2)
    goes_on, given = threading.Event(), []

    def stalled() -> Iterator[np.ndarray]:
        for number in range(4):
            given.append(number)
            yield photo(50, 60, number)
        goes_on.wait(60)
        given.append("late")
        yield photo(50, 60, 9)

    stream = model.stream(stalled())
    for number in range(4):
        assert same(next(stream), model.predict(photo(50, 60, number)))
    assert not goes_on.is_set()
    began = time.monotonic()
    stream.close()
    assert time.monotonic() - began < 10
    goes_on.set()
    require_no_reader()
    assert next(stream, None) is None
    assert stream._flight.is_empty()


def test_a_consumer_that_waits_is_woken_by_close(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("openvino")
    monkeypatch.setattr("edgecompile.runtime.stream.PATIENCE_S", 0.2)
    (tmp_path / "model.onnx").write_bytes(tiny_onnx())
    model = rt.open_artifact(tmp_path / "model.onnx", tiny_spec(), "openvino", {}, 1)
    never = threading.Event()
    stream = model.stream(photo(50, 60) for _ in range(3) if never.wait(30))
    found: list[object] = []
    consumer = threading.Thread(target=lambda: found.append(next(stream, "end")))
    consumer.start()
    time.sleep(0.1)
    stream.close()
    consumer.join(10)
    assert found == ["end"]
    never.set()


def test_a_stream_that_nobody_holds_ends_its_thread(model: rt.Predictor) -> None:
    for found in model.stream(camera(1000, [])):
        assert len(found)
        break
    require_no_reader()


def test_a_source_may_wait_for_the_result_of_the_picture_before(model: rt.Predictor) -> None:
    arrived = threading.Semaphore(1)

    def one_by_one() -> Iterator[np.ndarray]:
        for number in range(5):
            assert arrived.acquire(timeout=30)
            yield photo(50, 60, number)

    for number, found in enumerate(model.stream(one_by_one())):
        assert same(found, model.predict(photo(50, 60, number)))
        arrived.release()


INTERRUPTED = """
import itertools, json, random, signal, sys
from contextlib import suppress
import numpy as np
import edgecompile.runtime as rt
model = rt.open_artifact(sys.argv[1], json.loads(sys.argv[2]), sys.argv[3], json.loads(sys.argv[4]), 2)
images = [np.random.default_rng(seed).integers(0, 255, (50, 60, 3), np.uint8) for seed in range(3)]
def outcome(found):
    return found.boxes.tobytes() + found.scores.tobytes()
wanted = [outcome(model.predict(image)) for image in images]
class Interrupt(BaseException):
    pass
def interrupt(*_):
    if armed:
        raise Interrupt
def interrupted(work, times):  # ends it at random moments, as Ctrl-C would
    global armed
    for _ in range(times):
        with suppress(Interrupt):
            armed = True
            signal.setitimer(signal.ITIMER_REAL, random.uniform(2e-5, 2e-3), 1.0)  # again where a destructor ate it
            while True:
                work()
        armed = False
    signal.setitimer(signal.ITIMER_REAL, 0)
armed = False
signal.signal(signal.SIGALRM, interrupt)
interrupted(lambda: model.predict(images[0]), 300)
stream = model.stream(itertools.cycle(images))  # a generator that is interrupted itself would end
interrupted(lambda: next(stream), 100)
stream.close()
right = [outcome(model.predict(image)) for image in images] + [outcome(one) for one in model.stream(images)]
print(right == wanted * 2)
"""


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["onnxruntime", "openvino", "openvino throughput"])
def test_interrupts_leave_the_detector_and_the_stream_usable(kind: str, tmp_path: Path) -> None:
    kind, _, hint = kind.partition(" ")
    pytest.importorskip(kind)
    (tmp_path / "model.onnx").write_bytes(tiny_onnx())
    options = {"PERFORMANCE_HINT": "THROUGHPUT", "NUM_STREAMS": 2} if hint else {}
    words = [str(tmp_path / "model.onnx"), json.dumps(tiny_spec()), kind, json.dumps(options)]
    done = subprocess.run([sys.executable, "-c", INTERRUPTED, *words], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout) == (0, "True\n"), done.stderr


def test_an_error_of_the_library_is_told_and_the_next_picture_is_right(
    model: rt.Predictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = model.predict(photo(50, 60))
    with monkeypatch.context() as patch:
        patch.setattr(model.backend, "infer", lambda tensor: (_ for _ in ()).throw(RuntimeError("first\nlast")))
        with pytest.raises(BundleError, match=r"model\.onnx: the model cannot run: last") as caught:
            model.predict(photo(50, 60))
        assert "\n" not in str(caught.value)
    with pytest.raises(BundleError, match=r"cannot run the model|the model cannot run"):
        model.infer(np.zeros((1, 3, 5, 7), np.float32))
    assert same(model.predict(photo(50, 60)), wanted)


EXITING = """
import sys, time, itertools
import numpy as np
import edgecompile.runtime as rt
from pathlib import Path
import json
model = rt.open_artifact(sys.argv[1], json.loads(sys.argv[2]), sys.argv[3], {}, 2)
def camera():
    yield from (np.zeros((50, 60, 3), np.uint8) for _ in range(5))
    if sys.argv[4] == "stalled":
        time.sleep(1000)
    yield from (np.zeros((50, 60, 3), np.uint8) for _ in itertools.count())
stream = model.stream(camera())
for _ in range(5):
    next(stream)
kept = [stream]
print("done", flush=True)
"""


@pytest.mark.parametrize("kind", ["onnxruntime", "openvino"])
@pytest.mark.parametrize("source", ["stalled", "endless"])
def test_an_interpreter_that_exits_waits_for_no_stream(kind: str, source: str, tmp_path: Path) -> None:
    pytest.importorskip(kind)
    (tmp_path / "model.onnx").write_bytes(tiny_onnx())
    words = [str(tmp_path / "model.onnx"), json.dumps(tiny_spec()), kind, source]
    done = subprocess.run([sys.executable, "-c", EXITING, *words], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "done\n", "")
