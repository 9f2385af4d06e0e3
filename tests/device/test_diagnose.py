"""`diagnose --on`: the soak runs there, judged and drawn here."""

from __future__ import annotations

import json
import sys

from .server import edgecompile

PYTHON = ("--python", sys.executable)


def test_a_soak_on_a_device_is_judged_and_drawn_here(device, bundle, tmp_path):
    page = tmp_path / "there.html"
    words = ["diagnose", bundle, "--on", device.address, *PYTHON, "--minutes", "0.02", "--json", "--page", page]
    ended = edgecompile(*words, options=device.options())
    assert ended.returncode == 0, ended.stderr
    found = json.loads(ended.stdout)
    assert found["subject"]["bundle"] == bundle.name
    assert found["timeline"]["predicted"] > 0
    assert "load of others" in page.read_text()
    assert not device.left()


def test_a_gate_that_is_not_met_there_ends_with_its_code_here(device, make_bundle):
    strict = [{"gate": "jitter_ms", "limit": 1e-9, "figure": None, "met": None, "measured": True}]
    strict += [{"gate": "temperature_c", "limit": 1e-9, "figure": None, "met": None, "measured": True}]
    bundle = make_bundle("strict", gates=strict)
    ended = edgecompile(
        "diagnose", bundle, "--on", device.address, *PYTHON, "--minutes", "0.02", options=device.options()
    )
    assert ended.returncode == 6, ended.stderr
    assert "gate temperature_c" in ended.stderr
    assert "latency p50" in ended.stdout
