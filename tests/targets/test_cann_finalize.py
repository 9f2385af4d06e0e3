"""Huawei Ascend: `edgecompile finalize` and what comes after it, by the program's own command line.

The bundles are real, built here of the embedded sample. Neither a chip nor CANN can be here: `npu-smi`, `atc`,
`amct_onnx` and `acl` are the FAKES of ascend.py, and the fake `acl` computes with ONNX Runtime. So golden vectors,
checks of the device, what is kept and what is refused are proven here; what Huawei's tools make of the model is not.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import program
import pytest
from ascend import NPU_SMI, fake_board, write_program
from exported import SAMPLE
from rough_measurement import ROUGH

from edgecompile.runtime import load
from edgecompile.runtime.machine import architecture

pytest.importorskip("onnxruntime")

pytestmark = pytest.mark.slow

PICTURES = SAMPLE / "images" / "val"
CARD = "310P3"
SMALL = (
    "model=sample",
    "data=sample",
    "model.imgsz=128",
    "data.calibration.images=32",
    "data.validation.images=8",
    "gates.accuracy_drop=null",
)
"""Each finalize measures a hundred predictions, and again where other tests disturb: they are to be short."""


def edgecompile(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "edgecompile", *words], cwd=folder, capture_output=True, text=True)


@pytest.fixture(scope="module")
def built(shared, tmp_path_factory) -> dict[str, Path]:
    """Precision to a bundle for an Atlas 300I Pro whose host has the architecture of this machine."""
    folder = tmp_path_factory.mktemp("bundles")
    bundles = {}
    for precision in ("int8", "fp16"):
        words = [f"recipe=atlas-300i_cann_{precision}", f"target.arch={architecture()}", *SMALL, *ROUGH, "--quiet"]
        done = program.edgecompile(folder, "build", *words, EDGECOMPILE_CACHE=str(shared / "cache"))
        assert done.returncode == 0, done.stderr
        bundles[precision] = folder / done.stdout.splitlines()[-1]
    return bundles


class Card:
    """A computer with a card of fakes, and a bundle on its disk."""

    def __init__(self, folder: Path, fakes: SimpleNamespace, bundle: Path) -> None:
        self.folder, self.fakes, self.bundle = folder, fakes, folder / "parts.bundle.zip"
        self.bundle.write_bytes(bundle.read_bytes())
        self.home = self.bundle.with_name(f"{self.bundle.name}.device")

    def is_a(self, chip: str, driver: str = "23.0.rc3") -> None:
        text = NPU_SMI.replace("310B4", chip).replace("Version: 23.0.rc3", f"Version: {driver}")
        write_program(self.fakes.tools / "npu-smi", text)

    def runs(self, verb: str, *words: str) -> str:
        """Returns what a verb prints, which must succeed."""
        done = edgecompile(self.folder, verb, str(self.bundle), *words)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def refuses(self, verb: str, *words: str, code: int = 7) -> str:
        """Returns the one line by which a verb refuses."""
        done = edgecompile(self.folder, verb, str(self.bundle), *words)
        assert done.returncode == code, done.stdout + done.stderr
        assert len(done.stderr.splitlines()) == 1, done.stderr
        return done.stderr

    def kept(self) -> list[str]:
        """Returns what stands next to the bundle and could be taken for a model."""
        found = self.home.rglob("*") if self.home.is_dir() else []
        return [path.name for path in found if path.is_file() and path.name != "lock"]


@pytest.fixture
def card(built, tmp_path, monkeypatch) -> Card:
    return Card(tmp_path, fake_board(tmp_path, monkeypatch, CARD), built["int8"])


@pytest.mark.parametrize("precision", ["int8", "fp16"])
def test_the_model_is_built_verified_and_kept_and_the_verbs_use_it(built, precision, tmp_path, monkeypatch):
    card = Card(tmp_path, fake_board(tmp_path, monkeypatch, CARD), built[precision])
    for verb in (["verify"], ["predict", str(PICTURES)]):
        assert f"run: edgecompile finalize {card.bundle}" in card.refuses(*verb)
    record = json.loads(card.runs("finalize", "--json"))
    assert (record["built"], record["accepted"]) == (True, True)
    assert record["runtime"] == ["cann-toolkit", "8.0.0"]
    assert {name: record["facts"][name] for name in ("soc", "driver")} == {"soc": "Ascend310P3", "driver": "23.0.rc3"}
    checks = {check["name"]: check["met"] for check in record["checks"]}
    assert checks == dict.fromkeys(("arch", "runtime", "soc", "boxes", "scores", "detections"), True)
    assert record["figures"]["latency_p95_ms"] > 0
    said = json.loads(card.fakes.log.read_text())
    assert said["soc_version"] == "Ascend310P3"
    assert said["model"] == ("converted_deploy_model.onnx" if precision == "int8" else "model.onnx")
    assert list(record["engine"]["files"]) == ["model.om"]
    assert (Path(record["folder"]) / record["engine"]["folder"] / "model.om").is_file()
    assert sorted(card.kept()) == ["finalized.json", "model.om"]

    card.fakes.log.unlink()
    assert "runtime      ok: cann-toolkit 8.0.0" in card.runs("verify")
    found = json.loads(card.runs("predict", str(PICTURES), "--format", "json"))
    assert sum(len(one["detections"]) for one in found) > 0
    assert not json.loads(card.runs("finalize", "--json"))["built"]
    assert not card.fakes.log.exists(), "the model was built again"
    assert json.loads(card.runs("finalize", "--rebuild", "--json"))["built"]
    assert card.fakes.log.exists()


def test_a_process_may_open_several_models(card):
    card.runs("finalize")
    picture = sorted(PICTURES.iterdir())[0]
    first, second = load(card.bundle), load(card.bundle)
    found = first.predict(picture)
    assert len(found) > 0
    assert np.array_equal(second.predict(picture).boxes, found.boxes)
    assert np.array_equal(first.predict(picture).boxes, found.boxes)


def test_pictures_of_a_stream_have_buffers_and_streams_of_their_own(card):
    """The fake runs what a stream holds when it is waited for."""
    card.runs("finalize")
    pictures = sorted(PICTURES.iterdir())[:6]
    model = load(card.bundle)
    wanted = [model.predict(picture) for picture in pictures]
    with model.stream(pictures) as stream:
        found = list(stream)
        assert stream.pipeline.requests == 3
    assert [one.boxes.tolist() for one in found] == [one.boxes.tolist() for one in wanted]


def test_another_version_of_the_chip_is_refused_with_the_reason(card):
    card.runs("finalize")
    card.is_a("310P1")
    message = card.refuses("finalize")
    assert "soc is Ascend310P1 (the bundle is for Ascend310P3)" in message
    assert "edgecompile build recipe=atlas-300i_cann_int8" in message
    for verb in (["verify"], ["predict", str(PICTURES)]):
        assert "built for soc Ascend310P3, here is Ascend310P1" in card.refuses(*verb)
    card.is_a(CARD)
    card.runs("verify")


def test_another_driver_or_toolkit_builds_again(card):
    first = json.loads(card.runs("finalize", "--json"))
    card.is_a(CARD, driver="24.1.rc1")
    assert "built for driver 23.0.rc3, here is 24.1.rc1" in card.refuses("verify")
    assert json.loads(card.runs("finalize", "--json"))["key"] != first["key"]
    card.runs("verify")
    info = card.fakes.toolkit / "aarch64-linux/ascend_toolkit_install.info"
    info.write_text("version=6.3.RC2\n")
    assert "runtime is 6.3.RC2 (the bundle is for >=7)" in card.refuses("finalize")
    assert "runtime 8.0.0, here is 6.3.RC2" in card.refuses("verify")


READ = 'file.write(words["insert_op_conf"], "aipp.cfg")'
SWAPPED = """text = open(words["insert_op_conf"]).read()
    file.writestr("aipp.cfg", text.replace("swap_switch: true", "swap_switch: false"))"""
SCALE = "\nSCALE = np.array([1, 1, 1, 1, 0.5, 0.5, 0.5], np.float32)[:, None]\n"
FAULTS = {
    "noise": ("site/acl.py", "return outputs", "return [np.random.rand(*one.shape) for one in outputs]"),
    "not a number": ("site/acl.py", "return outputs", "return [one * np.nan for one in outputs]"),
    "half of each score": ("site/acl.py", "return outputs", "return [one * SCALE for one in outputs]"),
    "red and blue as they came": ("bin/atc", READ, SWAPPED),
}
"""Name to file, what stands there, and what stands there instead."""


def break_it(card: Card, fault: str) -> None:
    where, right, wrong = FAULTS[fault]
    path = card.folder / where
    assert right in path.read_text()
    path.write_text(path.read_text().replace(right, wrong) + (SCALE if where.endswith("acl.py") else ""))


@pytest.mark.parametrize("fault", FAULTS)
def test_a_model_that_computes_something_else_is_refused_and_nothing_is_kept(card, fault):
    """The negative controls: a chip, or a tool, that does not do what it was told."""
    break_it(card, fault)
    message = card.refuses("finalize")
    assert "does not run here as it did where it was made: " in message
    assert "scores" in message or "output 0" in message
    assert card.kept() == []
    assert "must first be built and verified on this device" in card.refuses("predict", str(PICTURES))


def test_a_model_that_computed_well_once_is_withdrawn_when_it_does_not_any_more(card):
    card.runs("finalize")
    right = (card.fakes.site / "acl.py").read_text()
    break_it(card, "half of each score")
    assert "does not run here as it did where it was built: scores" in card.refuses("verify")
    assert "scores" in card.refuses("finalize")
    (card.fakes.site / "acl.py").write_text(right)
    assert "must first be built" in card.refuses("verify")
    card.runs("finalize")
    card.runs("verify")


def test_a_tool_that_fails_is_quoted_and_nothing_is_kept(card):
    atc = (card.fakes.tools / "atc").read_text()
    (card.fakes.tools / "atc").write_text(atc.replace('"Ascend310P3"', '"Ascend310P0"'))
    assert "atc failed (exit code 1): E10001: Value [Ascend310P3] is invalid." in card.refuses("finalize")
    assert card.kept() == []
    write_program(card.fakes.tools / "atc", "#!/bin/sh\n")
    assert "atc wrote no model.om" in card.refuses("finalize")
    assert card.kept() == []
    (card.fakes.tools / "atc").unlink()
    assert "atc is not found" in card.refuses("finalize", code=4)
