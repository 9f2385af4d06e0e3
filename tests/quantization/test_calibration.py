"""Ranges of activations, on graphs whose values are known."""

from __future__ import annotations

import json

import numpy as np
import pytest
from exported import pictures, run_step, simplified

from edgecompile.errors import StepError

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

from edgecompile.quantization import calibration  # noqa: E402  (needs what is asked for above)
from edgecompile.quantization.calibration import measure_ranges  # noqa: E402


def twice():
    """Returns a graph that doubles its input, and makes a constant of it."""
    from onnx import helper, numpy_helper

    nodes = [
        helper.make_node("Mul", ["x", "two"], ["doubled"], name="double"),
        helper.make_node("Mul", ["x", "zero"], ["nothing"], name="flat"),
        helper.make_node("Add", ["doubled", "nothing"], ["y"], name="sum"),
    ]
    info = [helper.make_tensor_value_info(name, 1, [1, 10_000]) for name in "xy"]
    tensors = [numpy_helper.from_array(np.float32(value), name) for name, value in (("two", 2), ("zero", 0))]
    graph = helper.make_graph(nodes, "g", info[:1], info[1:], tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)


def values(*outliers):
    """Returns 10,000 values spread evenly over -1..3, the first ones replaced by `outliers`."""
    spread = np.linspace(-1, 3, 10_000, dtype=np.float32)[None].copy()
    spread[0, : len(outliers)] = outliers
    return spread


def ranges_of(batches, method="minmax", percentile=99.9):
    return measure_ranges(twice(), lambda: iter(batches), method=method, percentile=percentile)


def test_minmax_is_over_all_pictures():
    ranges = ranges_of([values(), values(-7), values(9)])
    assert ranges["x"] == (-7.0, 9.0)
    assert ranges["doubled"] == (-14.0, 18.0)
    assert ranges["nothing"] == (0.0, 0.0)


def test_percentile_cuts_what_is_rare():
    low, high = ranges_of([values(100, -50)], "percentile", 99.0)["x"]
    assert -1.2 < low < -0.8
    assert 2.8 < high < 3.2


def test_percentile_of_everything_is_minmax():
    low, high = ranges_of([values(100)], "percentile", 100.0)["x"]
    assert low == pytest.approx(-1, abs=0.06)
    assert high == pytest.approx(100)


def test_entropy_cuts_what_is_rare_and_far_and_keeps_an_even_spread():
    low, high = ranges_of([values(8), *[values()] * 99], "entropy")["x"]
    assert (low, high) == pytest.approx((-1, 3), abs=0.2), "one value in a million"
    even = ranges_of([values()], "entropy")["x"]
    assert even == pytest.approx((-1, 3), abs=0.1)


def test_entropy_keeps_strong_values_however_many_lie_near_zero():
    """Where most of a tensor lies near zero, as behind SiLU, the divergence alone cuts the strongest values off."""
    tail = np.random.default_rng(0).lognormal(0, 1, (1, 10_000)).astype(np.float32)
    assert ranges_of([tail], "entropy")["x"] == pytest.approx((tail.min(), tail.max()))


@pytest.mark.slow
def test_methods_differ_on_the_sample(tmp_path):
    """They are several methods, not one under several names."""
    from edgecompile.quantization.qdq import calibrate

    widths = {}
    for method in ("minmax", "percentile"):
        out = tmp_path / method
        out.mkdir()
        chosen = {"method": method, "percentile": 99.9, "pictures": pictures("train", 3)}
        calibrate(out, model=simplified().model, spec=simplified().spec, **chosen)
        found = json.loads((out / "ranges.json").read_text())
        widths[method] = sum(high - low for low, high in found.values())
    assert widths["percentile"] < 0.98 * widths["minmax"]


@pytest.mark.parametrize("method", ["minmax", "percentile", "entropy"])
def test_constant_activations_are_no_trouble(method):
    ranges = ranges_of([np.full((1, 10_000), 5, np.float32)], method)
    assert ranges["x"] == (5.0, 5.0)
    assert ranges["nothing"] == (0.0, 0.0)


def test_what_is_not_finite_is_named():
    with pytest.raises(StepError, match="'doubled' is not finite"):
        ranges_of([values(3e38)])


def test_no_pictures_is_an_error():
    with pytest.raises(StepError, match="no pictures"):
        ranges_of([])


def test_ranges_do_not_depend_on_how_much_fits_into_memory(monkeypatch):
    expected = ranges_of([values(), values(9)], "entropy")
    monkeypatch.setattr(calibration, "FETCH_BYTES", 50_000)
    assert ranges_of([values(), values(9)], "entropy") == expected


@pytest.mark.slow
def test_ranges_do_not_depend_on_free_cores(tmp_path):
    paths = {"model": simplified().model, "spec": simplified().spec, "pictures": pictures("train", 2)}
    params = {"method": "percentile", "percentile": 99.9}
    made = []
    for name, how in (("one", {"cores": "0"}), ("all", {"OMP_NUM_THREADS": "2", "PYTHONHASHSEED": "5"})):
        run_step(tmp_path / name, "edgecompile.quantization.qdq:calibrate", paths, params, **how)
        made.append((tmp_path / name / "ranges.json").read_bytes())
    assert made[0] == made[1]
