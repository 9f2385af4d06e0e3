"""The measurement: that it tells what it should, of a process that has only the runtime. No figure is judged."""

from __future__ import annotations

import json
import subprocess
import sys
import time

import psutil
import pytest

from edgecompile.errors import StepError
from edgecompile.evaluate.gates import judge_measured
from edgecompile.evaluate.latency import measure
from edgecompile.runtime import measure as measuring
from edgecompile.runtime.machine import architecture
from edgecompile.runtime.measure import Extent, Subject
from edgecompile.runtime.measurement import GATED, PARTS, Measurement
from edgecompile.runtime.power import EnergyMeter


@pytest.fixture(scope="module")
def arguments(float_model, held_out) -> dict:
    return {
        "artifact": float_model.model,
        "spec": float_model.spec,
        "pictures": held_out.pictures[:3],
        "backend": "onnxruntime",
        "options": {},
        "threads": 1,
        "arch": architecture(),
        "warmup": 2,
        "predictions": 20,
    }


@pytest.fixture(scope="module")
def facts(arguments, tmp_path_factory) -> dict:
    return measure(tmp_path_factory.mktemp("measure"), **arguments)


def test_every_part_has_its_percentiles(facts):
    assert tuple(facts["latency_ms"]) == PARTS
    for figures in facts["latency_ms"].values():
        assert 0 < figures["p50"] <= figures["p95"] <= figures["p99"]
    parts = sum(facts["latency_ms"][part]["p50"] for part in PARTS[1:-1])
    assert parts <= facts["latency_ms"]["total"]["p99"]
    assert facts["jitter_ms"] == pytest.approx(
        facts["latency_ms"]["total"]["p95"] - facts["latency_ms"]["total"]["p50"], abs=0.002
    )
    assert facts["predictions"] >= 20
    assert facts["extremes_ms"][0] <= facts["latency_ms"]["total"]["p50"] <= facts["extremes_ms"][1]
    assert facts["fps"] > 0


def test_memory_is_that_of_the_runtime_alone(facts):
    """This process holds more (pytest, perhaps torch); what it holds must not be counted."""
    assert 30 < facts["peak_memory_mb"] < 250


def test_what_the_memory_is_taken_by_is_told_apart(arguments, facts, tmp_path):
    parts = facts["memory_parts_mb"]
    assert list(parts) == ["library", "model", "buffers"]
    assert sum(parts.values()) == pytest.approx(facts["peak_memory_mb"], abs=0.3)
    assert parts["library"] > parts["buffers"]
    assert facts["bound_bytes"] > 0
    assert facts["accelerator_memory_mb"] is None
    share = measure(tmp_path, **{**arguments, "memory_mb": 1000})["peak_memory_percent"]
    assert 2 < share < 25  # of 1000 MB


def test_start_and_machine_are_told(facts):
    assert min(facts["import_ms"], facts["open_ms"], facts["first_ms"]) > 0
    assert facts["machine"]["arch"] == architecture()
    assert facts["threads"] == 1


def test_no_power_meter_is_null_with_a_reason_and_meets_no_gate(arguments, tmp_path, monkeypatch):
    monkeypatch.setattr(measuring, "find_meter", lambda **_: (None, "this machine has no power meter"))
    facts = measure(tmp_path, **arguments)
    assert (facts["power_watt"], facts["fps_per_watt"], facts["power_meter"]) == (None, None, None)
    (verdict,) = judge_measured({"fps_per_watt": 1.0}, Measurement.from_json(facts))
    assert not verdict.met
    assert "this machine has no power meter" in str(verdict)


def test_power_is_that_of_the_loop(arguments, tmp_path, monkeypatch):
    readings = iter([[100.0], [180.0]])
    meter = EnergyMeter("test meter", lambda: next(readings), [0.0])
    monkeypatch.setattr(measuring, "find_meter", lambda **_: (meter, ""))
    facts = measure(tmp_path, **arguments)
    assert facts["power_watt"] > 0
    assert facts["fps_per_watt"] == pytest.approx(facts["fps"] / facts["power_watt"], rel=0.01)
    assert facts["power_meter"] == "test meter"


def test_another_architecture_is_not_measured(arguments, tmp_path):
    facts = measure(tmp_path, **{**arguments, "arch": "riscv64"})
    assert facts["latency_ms"] == {}
    assert set(facts["unmeasured"]) == set(GATED)
    limits = {"latency_p95_ms": 1000, "fps": 0.001, "peak_memory_mb": 10_000}
    verdicts = judge_measured(limits, Measurement.from_json(facts))
    assert [verdict.gate for verdict in verdicts] == list(limits)
    assert not any(verdict.met for verdict in verdicts)
    assert "the target is riscv64, this machine" in str(verdicts[0])


def test_a_model_that_cannot_be_opened_is_one_line(arguments, tmp_path):
    (tmp_path / "model.onnx").write_bytes(b"no model")
    with pytest.raises(StepError, match="cannot open the model") as caught:
        measure(tmp_path, **{**arguments, "artifact": tmp_path / "model.onnx"})
    assert "\n" not in str(caught.value)


def test_the_probe_loads_neither_torch_nor_the_compiler():
    script = "import sys, edgecompile.runtime.probe, edgecompile.runtime.predictor; print(*sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    loaded = {name.partition(".")[0] for name in done.stdout.split()}
    assert not loaded & {"torch", "ultralytics", "onnx", "pydantic", "hydra", "rich"}


def test_the_loop_ends_when_its_time_is_up(arguments):
    known = {name: arguments[name] for name in ("artifact", "spec", "backend", "options", "threads")}
    found = measuring.measure(Subject(arguments["pictures"], **known), Extent(2, 10**6, 0.3))
    assert 0 < found.predictions < 10**6


def comes_to(process: psutil.Process, status: str) -> bool:
    """Waits for a state of a process; one that is gone is past all of them."""
    for _ in range(1000):
        try:
            if process.status() == status:
                return True
        except psutil.NoSuchProcess:
            return status == psutil.STATUS_ZOMBIE
        time.sleep(0.01)
    return False


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_process_runs_only_in_its_turn_and_dies_with_its_parent(arguments):
    """Spinning threads of the one would take the time of the other."""
    known = {name: arguments[name] for name in ("artifact", "spec", "backend", "options", "threads")}
    request = json.dumps(Subject(arguments["pictures"], **known).request())
    program = (
        "import json, sys; from edgecompile.runtime.measured_process import MeasuredProcess\n"
        f"probe = MeasuredProcess(json.loads({request!r}))\n"
        "probe.ask(); print(probe.pid, flush=True); sys.stdin.readline()\n"
        "probe.turn({'warmup': 0, 'least': 2, 'most': 2, 'seconds': 1}); print('went on', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", program]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdin
        assert parent.stdout
        probe = psutil.Process(int(parent.stdout.readline()))
        assert comes_to(probe, psutil.STATUS_STOPPED)
        print(file=parent.stdin, flush=True)
        assert parent.stdout.readline() == "went on\n"
        assert comes_to(probe, psutil.STATUS_STOPPED)
        parent.kill()
    assert comes_to(probe, psutil.STATUS_ZOMBIE)


def test_a_measurement_survives_json(facts):
    again = Measurement.from_json(json.loads(json.dumps(facts)))
    assert again.to_json() == facts
    assert again.latency_p95_ms == facts["latency_ms"]["total"]["p95"]


def test_the_float_model_takes_turns_with_the_artifact(arguments, facts, tmp_path):
    """Here it is the artifact itself: what is tested is that a speed-up is told, not how large it comes out."""
    run = {"backend": "onnxruntime", "options": {}, "precision": "fp32"}
    twin = {"reference": arguments["artifact"], "reference_spec": arguments["spec"], "reference_run": run}
    found = measure(tmp_path, **{**arguments, "tolerance": 10.0}, **twin)
    speedup = found["speedup"]
    assert 0 < speedup["low"] <= speedup["ratio"] <= speedup["high"]
    assert speedup["rounds"] >= 10
    assert speedup["against"].startswith("fp32 on onnxruntime 1.")
    assert Measurement.from_json(json.loads(json.dumps(found))).to_json() == found
    assert facts["speedup"] is None


def test_plain_int8_takes_its_turn_beside_a_repaired_artifact(arguments, facts, tmp_path):
    """Here too all are the artifact itself."""
    run = {"backend": "onnxruntime", "options": {}, "precision": "fp32"}
    twin = {"reference": arguments["artifact"], "reference_spec": arguments["spec"], "reference_run": run}
    plain = {"plain": arguments["artifact"], "plain_spec": arguments["spec"]}
    found = measure(tmp_path, **{**arguments, "tolerance": 10.0}, **twin, **plain)
    over_plain = found["over_plain"]
    assert over_plain["against"].startswith("plain INT8 on onnxruntime 1.")
    assert over_plain["rounds"] == found["speedup"]["rounds"] > 0
    assert over_plain["low"] <= over_plain["ratio"] <= over_plain["high"]
    assert Measurement.from_json(json.loads(json.dumps(found))).to_json() == found
    assert facts["over_plain"] is None


def test_plain_int8_takes_its_turn_where_the_float_model_cannot(arguments, tmp_path):
    (tmp_path / "model.onnx").write_bytes(b"no model")
    run = {"backend": "onnxruntime", "options": {}, "precision": "fp32"}
    twin = {"reference": tmp_path / "model.onnx", "reference_spec": arguments["spec"], "reference_run": run}
    plain = {"plain": arguments["artifact"], "plain_spec": arguments["spec"]}
    found = measure(tmp_path, **{**arguments, "tolerance": 10.0}, **twin, **plain)
    assert found["speedup"] is None
    assert found["over_plain"]["against"].startswith("plain INT8")


def test_a_float_model_that_cannot_be_opened_ends_no_build(arguments, tmp_path):
    (tmp_path / "model.onnx").write_bytes(b"no model")
    run = {"backend": "onnxruntime", "options": {}, "precision": "fp32"}
    twin = {"reference": tmp_path / "model.onnx", "reference_spec": arguments["spec"], "reference_run": run}
    found = measure(tmp_path, **{**arguments, "tolerance": 10.0}, **twin)
    assert found["speedup"] is None
    assert found["unmeasured"]["speedup"].startswith("the fp32 model cannot be measured beside it: ")
    assert found["latency_ms"]
