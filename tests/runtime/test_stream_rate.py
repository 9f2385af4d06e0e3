"""The rate of streams: taken in turns, stated with how they ran, and read by a gate of its own."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from rough_measurement import ROUGH

import edgecompile
import edgecompile.runtime as rt
from edgecompile import cli
from edgecompile.runtime import machine
from edgecompile.runtime.measure import NO_STREAM
from edgecompile.runtime.measure_streams import LEAST_ROUNDS, stream_rate
from edgecompile.runtime.measured_gates import judge_one
from edgecompile.runtime.measurement import Measurement, not_measured
from edgecompile.runtime.stream_rate import StreamRate

from .tiny import photo


@pytest.fixture(scope="module")
def rate(tiny_bundle: Path) -> StreamRate:
    model = rt.load(tiny_bundle, threads=2)
    return stream_rate(model, [photo(50, 60, number) for number in range(3)], seconds=0.0)


def test_the_rate_states_how_the_stream_ran(rate: StreamRate) -> None:
    assert (rate.setting, rate.requests, rate.threads) == ("throughput", 3, 1)
    assert rate.rounds == LEAST_ROUNDS
    low, middle, high = rate.gain
    assert 0 < low <= middle <= high
    assert min(rate.fps, rate.predict_fps, rate.as_open_fps) > 0
    assert "throughput setting, 3 in flight, 1 thread" in rate.line()
    assert StreamRate.from_json(json.loads(json.dumps(rate.to_json()))) == rate


def test_a_gate_reads_the_stream_and_another_single_predictions(rate: StreamRate) -> None:
    measured = Measurement(machine.describe(), 2, fps=10.0, stream=rate)
    assert Measurement.from_json(json.loads(json.dumps(measured.to_json()))).stream == rate
    assert judge_one("stream_fps", rate.fps, measured).met is True
    assert judge_one("stream_fps", rate.fps + 1, measured).met is False
    assert judge_one("fps", 10.0, measured).figure == 10.0
    alone = not_measured(NO_STREAM, 2, machine.describe())
    verdict = judge_one("stream_fps", 1.0, alone)
    assert (verdict.met, NO_STREAM in verdict.text) == (False, True)


def test_bench_measures_streams_where_asked_to(tiny_bundle: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["bench", str(tiny_bundle), "--rounds", "2", "--threads", "2", "--stream", "--json"]) == 0
    figures = json.loads(capfd.readouterr().out)["measurement"]
    assert figures["stream"]["setting"] == "throughput"
    assert figures["stream"]["fps"] > 0
    assert cli.main(["bench", str(tiny_bundle), "--rounds", "2", "--json"]) == 0
    figures = json.loads(capfd.readouterr().out)["measurement"]
    assert figures["stream"] is None
    assert figures["unmeasured"]["stream_fps"] == NO_STREAM


@pytest.mark.slow
@pytest.mark.parametrize(
    ("recipe", "package"),
    [
        ("x86-cpu_onnxruntime_int8", "onnxruntime"),
        ("x86-cpu_openvino_fp32", "openvino"),
        ("raspberry-pi-5_ncnn_int8", "ncnn"),
    ],
)
def test_streams_of_a_real_model_equal_predict_in_both_settings(
    recipe: str, package: str, shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To the bit and in order: whatever an inference shares its processor with, its sums are added in one order."""
    pytest.importorskip(package)
    monkeypatch.setenv("EDGECOMPILE_CACHE", str(shared / "cache"))
    no_gates = [f"gates.{name}=null" for name in ("accuracy_drop", "latency_p95_ms", "fps", "size_mb")]
    words = [f"recipe={recipe}", "model=sample", "data=sample", f"hydra.run.dir={tmp_path}", *no_gates, *ROUGH]
    assert cli.main(["build", *words]) == 0
    model = rt.load(next(tmp_path.glob("*.bundle.zip")), threads=2)
    pictures = rt.find_pictures([str(Path(edgecompile.__file__).parent / "sample" / "images" / "test")])[:12]
    wanted = [model.task.golden(model.predict(picture)) for picture in pictures]
    assert len({json.dumps(one) for one in wanted}) == len(pictures)  # the pictures differ: order shows
    for setting in ("latency", "throughput"):
        with model.stream(pictures, hint=setting) as stream:
            assert stream.pipeline.setting == setting
            assert [model.task.golden(result) for result in stream] == wanted
