"""Finishing a bundle on its device.

No device of the catalogue that builds its own model can be here. Its place takes a backend of a package of its own: its
device is a file of facts, which a test changes; what it builds is real, a graph that ONNX Runtime optimizes for this
machine and then runs.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edgecompile import cli, entry_points
from edgecompile.errors import BundleError, EdgecompileError, GateError, MissingToolError, StepError
from edgecompile.runtime import Archive, load
from edgecompile.runtime.finalize import finalize
from edgecompile.runtime.machine import architecture, system

from .tiny import bundled, tiny_manifest, tiny_onnx

pytest.importorskip("onnxruntime")
pytestmark = pytest.mark.usefixtures("in_this_process")

BACKEND = """
import json, os
from collections.abc import Iterator
from pathlib import Path
from edgecompile.errors import BundleError, MissingToolError
from edgecompile.runtime.backends.onnxruntime import Backend as OnnxRuntime
from edgecompile.runtime.options import Choice

HERE = Path(__file__).parent

class Backend(OnnxRuntime):
    options = {**OnnxRuntime.options, **dict.fromkeys(("fails", "nothing", "other"), Choice(("1",)))}
    distributions = ("rt",)

    def __init__(self, artifact, spec, threads, options):
        super().__init__(artifact, spec, threads, {k: v for k, v in options.items() if k in OnnxRuntime.options})
        self.version = self.device({})["runtime"]

    @staticmethod
    def device(options):
        if not (HERE / "device.json").exists():
            raise MissingToolError("the runtime is not installed", fix="install it")
        return json.loads((HERE / "device.json").read_text())

    @staticmethod
    def build(artifact, spec, options, out, kept):
        import onnxruntime
        log = kept / "builds.txt"
        log.write_text((log.read_text() if log.exists() else "") + "built\\n")
        (out / "half.tmp").write_bytes(b"half")
        if "fails" in options:
            raise BundleError("the device's tools cannot build the model: no such kernel")
        (out / "half.tmp").unlink()
        if "nothing" in options:
            return
        settings = onnxruntime.SessionOptions()
        settings.optimized_model_filepath = str(out / "model.onnx")
        settings.log_severity_level = 3
        model = (HERE / "other.onnx").read_bytes() if "other" in options else artifact["model.onnx"]
        onnxruntime.InferenceSession(model, settings, providers=["CPUExecutionProvider"])
"""
DEVICE = {"runtime": "10.3.0", "gpu": "Orin", "sm": "8.7", "driver": "540.4.0"}
CONSTRAINTS = {"sm": ["8.7"], "driver": ">=540"}


class Desk:
    """A device on a desk, and a bundle for it."""

    def __init__(self, site: Path, members: dict[str, bytes], folder: Path) -> None:
        self.site, self.members, self.bundle = site, members, folder / "tiny.bundle.zip"
        self.home = folder / "tiny.bundle.zip.device"
        self.is_a(**DEVICE)
        self.has()

    def is_a(self, **facts: str) -> None:
        (self.site / "device.json").write_text(json.dumps(facts))

    def has(self, gates: dict[str, float] | None = None, **target: Any) -> None:
        """Puts a bundle on the desk."""
        facts = {"arch": architecture(), "finalize": True, "constraints": CONSTRAINTS, "runtime": ["rt", ">=10.3,<11"]}
        options = {"session.intra_op.allow_spinning": "0"}
        manifest = tiny_manifest(target.pop("backend", "deskbuilt"), **{**facts, "options": options, **target})
        manifest["golden"]["tolerance"]["max_abs"] = 1e-3
        manifest["gates"] = [
            {"gate": name, "limit": limit, "figure": None, "met": None, "measured": True}
            for name, limit in (gates or {}).items()
        ]
        self.bundle.write_bytes(bundled(self.members, manifest))

    def finalize(self, **how: Any) -> dict[str, Any]:
        with Archive(self.bundle) as archive:
            return finalize(archive, **how)

    def refuses(self, kind: type[EdgecompileError] = BundleError, **how: Any) -> str:
        with pytest.raises(kind) as caught:
            self.finalize(**how)
        assert all("\n" not in str(problem) for problem in caught.value.problems)
        return str(caught.value)

    def built(self) -> list[Path]:
        return sorted(self.home.glob("*/finalized.json"))

    def leftovers(self) -> list[Path]:
        return [path for path in self.home.rglob("*") if path.name.endswith((".part", ".tmp"))]

    def builds(self) -> int:
        return sum(path.read_text().count("built") for path in self.home.glob("*/cache/builds.txt"))


@pytest.fixture
def desk(tiny_members: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Desk]:
    site = tmp_path / "site"
    (site / "deskbuilt-1.0.dist-info").mkdir(parents=True)
    (site / "deskbuilt_backend.py").write_text(BACKEND)
    (site / "deskbuilt-1.0.dist-info/METADATA").write_text("Metadata-Version: 2.1\nName: deskbuilt\nVersion: 1.0\n")
    entry = "[edgecompile.backends]\ndeskbuilt = deskbuilt_backend:Backend\n"
    (site / "deskbuilt-1.0.dist-info/entry_points.txt").write_text(entry)
    monkeypatch.syspath_prepend(str(site))
    monkeypatch.setenv("PYTHONPATH", str(site))
    monkeypatch.delitem(sys.modules, "deskbuilt_backend", raising=False)
    folder = tmp_path / "desk"
    folder.mkdir()
    entry_points._all.cache_clear()
    yield Desk(site, tiny_members, folder)
    entry_points._all.cache_clear()


def test_a_bundle_is_of_no_use_before_it_was_finished_and_says_the_command(desk: Desk, pictures: Path) -> None:
    with pytest.raises(BundleError, match="first be built") as caught:
        load(desk.bundle)
    assert f"run: edgecompile finalize {desk.bundle}" in str(caught.value)
    record = desk.finalize()
    assert record["built"]
    assert record["accepted"]
    assert {check["name"] for check in record["checks"]} == {
        *("arch", "runtime", "sm", "driver"),
        *("boxes", "scores", "detections"),
    }
    assert record["facts"] == {**DEVICE, "arch": architecture(), "os": system()}
    assert record["figures"]["latency_p95_ms"] > 0
    assert record["figures"]["peak_memory_mb"] > 20
    assert len(load(desk.bundle).predict(pictures / "a.jpg")) > 0
    for verb in (["verify"], ["bench", "--rounds", "1"], ["predict", str(pictures / "a.jpg")]):
        assert cli.run([verb[0], str(desk.bundle), *verb[1:]]) == 0
    assert not desk.leftovers()


def test_a_second_start_uses_what_was_built(desk: Desk) -> None:
    first = desk.finalize()
    second = desk.finalize()
    assert (first["built"], second["built"], desk.builds()) == (True, False, 1)
    assert second["engine"] == first["engine"]
    assert desk.finalize(rebuild=True)["built"]
    assert desk.builds() == 2
    assert len(list((desk.home / first["key"]).glob("engine-*"))) == 1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"driver": "560.1"}, "driver 540.4.0, here is 560.1"),
        ({"runtime": "10.7.0"}, "runtime 10.3.0, here is 10.7.0"),
        ({"gpu": "Orin NX"}, "gpu Orin, here is Orin NX"),
    ],
)
def test_another_device_or_driver_builds_again(desk: Desk, change: dict[str, str], said: str) -> None:
    desk.finalize()
    desk.is_a(**{**DEVICE, **change})
    with pytest.raises(BundleError, match="was built for") as caught:
        load(desk.bundle)
    assert said in str(caught.value)
    assert "edgecompile finalize" in str(caught.value)
    assert desk.finalize()["built"]
    assert len(desk.built()) == 2
    desk.is_a(**DEVICE)  # the first one is still there
    assert not desk.finalize()["built"]


@pytest.mark.slow
def test_another_bundle_of_the_same_name_builds_again(desk: Desk) -> None:
    desk.finalize()
    desk.has({"fps": 0.001})
    with pytest.raises(BundleError, match="must first be built"):
        load(desk.bundle)
    assert desk.finalize()["built"]


@pytest.mark.parametrize(
    ("device", "said"),
    [
        ({"sm": "8.9"}, "sm is 8.9 (the bundle is for 8.7)"),
        ({"driver": "35.1"}, "driver is 35.1 (the bundle is for >=540)"),
        ({"runtime": "8.6.2"}, "runtime is 8.6.2 (the bundle is for >=10.3,<11)"),
    ],
)
def test_what_is_not_the_device_is_refused_with_the_command_that_builds_for_it(
    desk: Desk, device: dict[str, str], said: str
) -> None:
    desk.is_a(**{**DEVICE, **device})
    message = desk.refuses()
    assert said in message
    assert "edgecompile build recipe=tiny" in message
    assert not desk.home.exists()


def test_every_constraint_that_is_not_met_is_told_at_once(desk: Desk) -> None:
    desk.is_a(runtime="9.0")
    with pytest.raises(BundleError) as caught:
        desk.finalize()
    assert len(caught.value.problems) == 3
    assert "driver is unknown" in str(caught.value)
    assert caught.value.exit_code == 7


def test_a_bundle_for_another_architecture_is_told_from_a_runtime_that_is_missing(desk: Desk) -> None:
    desk.has(arch="riscv64")
    (desk.site / "device.json").unlink()
    assert "arch is" in desk.refuses()


@pytest.mark.parametrize(
    ("option", "said"),
    [("fails", "no such kernel"), ("nothing", "built nothing"), ("other", "does not run here as it did")],
)
def test_a_failed_build_leaves_its_cache_and_nothing_else(desk: Desk, option: str, said: str) -> None:
    desk.has(options={option: "1"})
    if option == "other":  # a model that computes something else: the golden vectors must tell
        (desk.site / "other.onnx").write_bytes(other_scores())
    assert said in desk.refuses()
    assert not desk.built()
    assert not desk.leftovers()
    assert desk.builds() == 1
    assert not list(desk.home.glob("*/engine-*"))
    with pytest.raises(BundleError, match="must first be built"):
        load(desk.bundle)


def other_scores() -> bytes:
    import numpy as np
    import onnx
    from onnx import numpy_helper

    model = onnx.load_from_string(tiny_onnx())
    bias = next(one for one in model.graph.initializer if one.name == "bias")
    bias.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(bias) * np.float32(0.5), "bias"))
    return model.SerializeToString()


def test_an_unmet_gate_keeps_the_model_out(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    desk.has({"latency_p95_ms": 1e-6, "fps": 0.001, "peak_memory_mb": 100_000})
    with pytest.raises(GateError) as caught:
        cli.run(["finalize", str(desk.bundle), "--json"])
    assert caught.value.exit_code == 6
    assert len(caught.value.problems) == 1
    assert str(caught.value).startswith("gate latency_p95_ms: ")
    record = json.loads(capsys.readouterr().out)
    assert {gate["gate"]: gate["met"] for gate in record["gates"]} == {
        "latency_p95_ms": False,
        "fps": True,
        "peak_memory_mb": True,
    }
    assert not record["accepted"]
    assert not desk.built()
    assert not desk.leftovers()
    desk.has({"latency_p95_ms": 1e6, "fps": 0.001})
    assert all(gate["met"] for gate in desk.finalize()["gates"])


def test_power_that_cannot_be_read_meets_no_gate(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgecompile.runtime.measure.find_meter", lambda gpu: (None, "no meter on this desk"))
    desk.has({"fps_per_watt": 1.0})
    assert "no meter on this desk" in desk.refuses(GateError)


@pytest.mark.slow
def test_a_damaged_model_is_not_used_and_heals(desk: Desk) -> None:
    record = desk.finalize()
    engine = next((desk.home / record["key"] / record["engine"]["folder"]).iterdir())
    content = bytearray(engine.read_bytes())
    content[len(content) // 2] ^= 1
    engine.write_bytes(content)
    with pytest.raises(BundleError, match="is damaged"):
        load(desk.bundle)
    assert desk.finalize()["built"]
    load(desk.bundle)
    (desk.home / record["key"] / record["engine"]["folder"] / "stray").touch()
    with pytest.raises(BundleError, match="stray"):
        load(desk.bundle)
    desk.built()[0].write_text("{")
    with pytest.raises(BundleError, match="must first be built"):
        load(desk.bundle)
    assert desk.finalize()["built"]


def test_a_record_that_points_elsewhere_is_not_followed(desk: Desk) -> None:
    desk.finalize()
    record = json.loads(desk.built()[0].read_text())
    record["engine"]["folder"] = "../../site"
    desk.built()[0].write_text(json.dumps(record))
    with pytest.raises(BundleError, match="must first be built"):
        load(desk.bundle)


@pytest.mark.slow
def test_leftovers_of_a_killed_build_go_and_two_builds_do_not_meet(desk: Desk) -> None:
    record = desk.finalize()
    left = desk.home / record["key"] / "engine-99.part"
    left.mkdir()
    desk.finalize(rebuild=True)
    assert not left.exists()
    import fcntl

    with (desk.home / record["key"] / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert "at work" in desk.refuses(StepError, rebuild=True)
        load(desk.bundle)  # what was built stays in use


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is forbidden to root")
def test_a_folder_that_may_not_be_written_is_said(desk: Desk) -> None:
    desk.bundle.parent.chmod(0o500)
    try:
        assert "cannot be written" in desk.refuses(StepError)
    finally:
        desk.bundle.parent.chmod(0o700)


def test_a_file_in_the_way_is_said(desk: Desk) -> None:
    desk.home.write_text("in the way")
    assert "cannot be written" in desk.refuses(StepError)


def test_a_missing_runtime_is_a_missing_tool(desk: Desk) -> None:
    (desk.site / "device.json").unlink()
    desk.refuses(MissingToolError)
    with pytest.raises(MissingToolError):
        load(desk.bundle)


@pytest.mark.slow
def test_a_bundle_that_needs_no_building_is_verified_and_judged(
    tiny_members: dict[str, bytes], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    manifest = tiny_manifest()
    manifest["gates"] = [{"gate": "fps", "limit": 0.01, "figure": None, "met": None, "measured": True}]
    path = tmp_path / "x.bundle.zip"
    path.write_bytes(bundled(tiny_members, manifest))
    assert cli.run(["finalize", str(path)]) == 0
    out = capsys.readouterr().out
    assert "not needed" in out
    assert "fps met" in out
    assert not list(tmp_path.glob("*.device"))
    manifest["gates"][0]["limit"] = 1e9
    path.write_bytes(bundled(tiny_members, manifest))
    with pytest.raises(GateError):
        cli.run(["finalize", str(path)])


def test_a_backend_that_builds_nothing_cannot_finish(desk: Desk) -> None:
    desk.has(backend="openvino", runtime=["openvino", ">=10.3,<11"], options={})
    assert "cannot build" in desk.refuses()


@pytest.mark.slow
def test_the_command_ends_with_its_exit_code(desk: Desk) -> None:
    root = str(Path(__file__).parents[2])
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(desk.site), root])}
    code = "import sys; from edgecompile.cli import main; sys.exit(main(sys.argv[1:]))"
    command = [sys.executable, "-c", code, "finalize", str(desk.bundle), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["accepted"]
    desk.is_a(**{**DEVICE, "sm": "8.9"})
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 7
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
