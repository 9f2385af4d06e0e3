"""A recipe that names its device: what is measured is measured there, and the bundle is what it would be without."""

from __future__ import annotations

import json
import os
import sys
import zipfile
from pathlib import Path

import pytest
import signatures as forge
from rough_measurement import SECTION

from edgecompile.runtime.machine import architecture

from .server import ROOT, Proxy, edgecompile
from .test_finalize import install_backend

pytestmark = pytest.mark.skipif(architecture() != "x86_64", reason="the recipe's target is an x86-64 CPU")

RECIPE = (
    """\
defaults: [x86-cpu_onnxruntime_fp32, override /model: sample, override /data: sample, _self_]
data: {validation: {split: val, images: 8}}
evaluate: {latency_images: 12}
gates: {latency_p95_ms: 60000, peak_memory_mb: 4000}
"""
    + SECTION
)


@pytest.fixture(scope="module")
def built(device, shared, tmp_path_factory):
    """Builds with and without a device: what to run, where, and how both ended."""
    pytest.importorskip("torch")
    folder = tmp_path_factory.mktemp("recipe")
    places = {"EDGECOMPILE_CACHE": str(shared / "cache"), "EDGECOMPILE_MACHINE": str(folder / "machine")}
    with_device = f'device: {{host: "{device.address}", python: {sys.executable}}}\n'
    (folder / "part.yaml").write_text(RECIPE)
    (folder / "there").mkdir()
    (folder / "there/part.yaml").write_text(RECIPE + with_device)
    (folder / "there/int8.yaml").write_text(
        RECIPE.replace("fp32", "int8") + "passes: {int8_static: {repair: off}}\n" + with_device
    )

    def build(recipe: str, out: str, *words: str, options: str | None = None, **more: str):
        run = f"hydra.run.dir={folder / out}"
        options = device.options() if options is None else options
        return edgecompile("build", folder / recipe, run, *words, options=options, **places, **more), folder / out

    return build


def test_the_device_is_judged_and_the_bundle_stays_what_it_is(device, built):
    ended, here = built("part.yaml", "here")
    assert ended.returncode == 0, ended.stderr
    ended, there = built("there/part.yaml", "there")
    assert ended.returncode == 0, ended.stderr
    assert "measure" not in [line.split()[1].rstrip(":") for line in ended.stderr.splitlines() if line.startswith("[")]
    assert (there / "part.bundle.zip").read_bytes() == (here / "part.bundle.zip").read_bytes()
    lock = zipfile.ZipFile(there / "part.bundle.zip").read("recipe.lock.yaml").decode()
    assert device.address not in lock
    report = json.loads((there / "report.json").read_text())
    section = report["device"]
    assert section["address"] == device.address
    assert section["measured"]["predictions"] == 16  # whole rounds of the 8 pictures
    assert report["measured"]["latency_ms"] == section["measured"]["latency_ms"]
    assert "detections   ok" in "\n".join(section["verified"])
    judged = {gate["gate"]: gate for gate in report["gates"]}
    assert judged["latency_p95_ms"]["figure"] == section["measured"]["latency_ms"]["total"]["p95"]
    assert judged["peak_memory_mb"]["met"] is True
    page = (there / "report.html").read_text()
    assert "On the device" in page
    assert device.address in page
    assert "On the device" not in (here / "report.html").read_text()
    assert not device.left()
    assert not [path for path in device.bundles() if path.name == "part.bundle.zip"]  # it was provisional


@pytest.mark.parametrize(("precision", "turns"), [("int8", True), ("fp32", False)])
def test_the_float_model_takes_turns_on_the_device(device, built, precision, turns):
    """With INT8 a bundle of the float model goes along; the control is float itself."""
    before = set(device.bundles())
    ended, folder = built(f"there/{'int8' if turns else 'part'}.yaml", f"turns-{precision}")
    assert ended.returncode == 0, ended.stderr
    measured = json.loads((folder / "report.json").read_text())["device"]["measured"]
    assert (measured["speedup"] is not None) == turns
    if turns:
        assert measured["speedup"]["against"].startswith("fp32 on onnxruntime")
        assert "INT8 is " in ended.stderr
    assert set(device.bundles()) == before, "both were provisional"


def test_bench_brings_the_figures_of_a_device_into_the_report_of_the_run(device, built):
    ended, folder = built("part.yaml", "later")
    assert ended.returncode == 0, ended.stderr
    before = json.loads((folder / "report.json").read_text())
    bundle = folder / "part.bundle.zip"
    words = ["bench", bundle, "--on", device.address, "--python", sys.executable, "--rounds", "5"]
    ended = edgecompile(*words, options=device.options())
    assert ended.returncode == 0, ended.stderr
    assert f"report: {folder / 'report.html'}" in ended.stderr
    assert "met: gate latency_p95_ms" in ended.stderr
    report = json.loads((folder / "report.json").read_text())
    assert report["device"]["measured"]["predictions"] == 5
    assert report["measured"] == before["measured"]  # what the machine that built measured stays
    assert device.address in (folder / "report.html").read_text()
    assert sorted(path.name for path in folder.iterdir()) == ["part.bundle.zip", "report.html", "report.json"]


def test_a_gate_that_the_device_does_not_meet(device, built):
    ended, folder = built("there/part.yaml", "slow", "gates.latency_p95_ms=0.001")
    assert ended.returncode == 6
    complaints = [line for line in ended.stderr.splitlines() if line.startswith("edgecompile: ")]
    assert len(complaints) == 1
    assert "gate latency_p95_ms" in complaints[0]
    assert not list(folder.glob("*.bundle.zip*"))
    assert json.loads((folder / "report.json").read_text())["device"]["gates"][0]["met"] is False


def test_a_device_that_refuses_unsigned_bundles_says_what_to_do(device, built, tmp_path):
    """What a build sends there to be measured is signed by nobody yet."""
    forge.make_key(tmp_path, "release")
    policy = device.home / ".config/edgecompile/trust.toml"
    policy.parent.mkdir(parents=True, exist_ok=True)
    text = f'[[signer]]\nname = "maker"\nkey = "{tmp_path / "release.pub"}"\n'
    policy.write_text(text)
    try:
        ended, folder = built("there/part.yaml", "policed")
        assert ended.returncode == 7, ended.stderr
        (line,) = (line for line in ended.stderr.splitlines() if line.startswith("edgecompile: "))
        assert "the trust policy of the device refuses what is not signed" in line
        assert 'unsigned = "allow"' in line
        assert not list(folder.glob("*.bundle.zip*"))
        policy.write_text('unsigned = "allow"\n' + text)
        ended, _ = built("there/part.yaml", "allowed")
        assert ended.returncode == 0, ended.stderr
    finally:
        policy.unlink()
    assert not device.left()


def test_a_device_that_cannot_be_reached_leaves_no_bundle(device, built, tmp_path):
    proxy = Proxy(device.port, most=100_000)  # cut while the bundle is copied
    for address, options in (("ssh://no-such-host.invalid", ""), (proxy.address, device.options())):
        ended, folder = built("there/part.yaml", tmp_path.name, f"device.host='{address}'", options=options)
        assert ended.returncode == 5, ended.stderr
        assert sum(line.startswith("edgecompile: ") for line in ended.stderr.splitlines()) == 1
        assert not folder.exists() or not list(Path(folder).iterdir())
    proxy.close()
    assert not device.left()


def test_a_device_of_another_architecture_is_told_before_any_step_runs(device, built, tmp_path):
    ended, _ = built("there/part.yaml", tmp_path.name, "target=arm64-cpu_onnxruntime")
    assert ended.returncode == 2
    assert ended.stderr.count("\n") == 1
    assert "is x86_64, the target arm64 CPU with dot product is aarch64" in ended.stderr


def test_a_plan_says_where_it_will_be_measured(device, tmp_path):
    (tmp_path / "part.yaml").write_text(RECIPE + f'device: {{host: "{device.address}"}}\n')
    words = ["plan", tmp_path / "part.yaml"]
    ended = edgecompile(*words, options="", EDGECOMPILE_CACHE=str(tmp_path / "cache"))
    assert ended.returncode == 0, ended.stderr
    assert f"latency, memory and power are measured on {device.address}" in ended.stdout
    assert "latency, memory and power on this machine" not in ended.stdout
    wrong = edgecompile(*words, "device.host=pi5", options="", EDGECOMPILE_CACHE=str(tmp_path / "cache"))
    assert wrong.returncode == 2
    assert "device.host" in wrong.stderr


TARGET = """
from typing import ClassVar, Literal
from edgecompile.targets import ProxyBackend
from edgecompile.targets.onnxruntime import OnnxRuntime

class Deskbuilt(OnnxRuntime):
    kind: Literal["deskbuilt"] = "deskbuilt"
    backend: ClassVar = "deskbuilt"
    runtime: ClassVar = ("rt", ">=10.3,<11")
    finalize: ClassVar = True

    def constraints(self):
        return {"sm": ["8.7"]}

    def proxy_backend(self):
        return ProxyBackend("onnxruntime", "onnxruntime", {})
"""


def test_a_model_that_is_built_on_the_device_is_built_and_judged_there(devices, built, tmp_path):
    """The target is a third party's, its backend that of `test_finalize.py`. The bundle leaves to each device what only
    that one can tell, so it is the same whether or not the recipe names one."""
    site = tmp_path / "site"
    install_backend(site)
    (site / "deskbuilt_target.py").write_text(TARGET)
    with (site / "deskbuilt-1.0.dist-info/entry_points.txt").open("a") as points:
        points.write("[edgecompile.targets]\ndeskbuilt = deskbuilt_target:Deskbuilt\n")
    board = devices(pythonpath=str(site))
    more = {"PYTHONPATH": f"{ROOT}{os.pathsep}{site}", "options": board.options()}
    ended, here = built("part.yaml", "desk-here", "target.kind=deskbuilt", **more)
    assert ended.returncode == 0, ended.stderr
    words = ["target.kind=deskbuilt", f"device.host='{board.address}'"]
    ended, there = built("there/part.yaml", "desk-there", *words, **more)
    assert ended.returncode == 0, ended.stderr
    assert "building the model" in ended.stderr
    assert (there / "part.bundle.zip").read_bytes() == (here / "part.bundle.zip").read_bytes()
    judged = [gate["met"] for gate in json.loads((here / "report.json").read_text())["gates"] if gate["measured"]]
    assert judged == [None, None]
    report = json.loads((there / "report.json").read_text())
    assert [gate["met"] for gate in report["gates"] if gate["measured"]] == [True, True]
    assert "built here, now, with rt 10.3.0" in "\n".join(report["device"]["verified"])
    ended, _ = built("there/part.yaml", "desk-slow", *words, "gates.latency_p95_ms=0.001", **more)
    assert ended.returncode == 6, ended.stderr
    assert not list(board.home.rglob("*.bundle.zip*"))
    assert not board.left()
