"""A bundle on a device that is reached by ssh: each verb is one command. What goes wrong: test_failures.py."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import pytest
from runtime.tiny import photo

from .server import Proxy, edgecompile

PYTHON = ("--python", sys.executable)
"""An interpreter "there" that has what the runtime needs: this one."""


def test_deploy_copies_verifies_measures_and_publishes(device, bundle):
    ended = edgecompile("deploy", bundle, device.address, *PYTHON, options=device.options())
    assert ended.returncode == 0, ended.stderr
    *lines, path = ended.stdout.splitlines()
    assert Path(path) == device.home / "edgecompile" / bundle.name
    assert Path(path).read_bytes() == bundle.read_bytes()
    said = "\n".join(lines)
    assert "seal         ok" in said
    assert "detections   ok" in said
    assert "frames a second" in said
    assert "gate fps: " in ended.stderr
    launched = subprocess.run(
        [device.home / "edgecompile/edgecompile", "inspect", path], capture_output=True, text=True
    )
    assert launched.stdout.startswith("bundle       tiny, ")
    assert not device.left()


def test_a_second_time_nothing_is_sent(device, large_bundle):
    proxy = Proxy(device.port)
    words = ["verify", large_bundle, "--on", proxy.address, *PYTHON]
    first = edgecompile(*words, options=device.options())
    assert first.returncode == 0, first.stderr
    sent = proxy.sent
    again = edgecompile(*words, options=device.options())
    proxy.close()
    assert again.stdout == first.stdout
    assert sent > large_bundle.stat().st_size > 10 * (proxy.sent - sent)


def test_a_host_of_the_configuration_and_a_folder_of_choice(device, bundle, tmp_path):
    """The path of the address takes everything; the host is an alias, as in ~/.ssh/config."""
    words = ["deploy", bundle, f"ssh://bench-board{tmp_path / 'models'}", *PYTHON, "--no-bench"]
    ended = edgecompile(*words, options=device.options())
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.splitlines()[-1] == str(tmp_path / "models" / bundle.name)
    assert "frames" not in ended.stdout
    assert (tmp_path / "models").stat().st_mode & 0o077 == 0


def test_bench_measures_pictures_of_this_machine(device, bundle, tmp_path):
    for number in range(3):
        cv2.imwrite(str(tmp_path / f"{number}.jpg"), photo(60, 80, number))
    words = [
        "bench",
        bundle,
        f"--on={device.address}",
        *PYTHON,
        "--images",
        tmp_path,
        "--rounds",
        4,
        "--layers",
        "--json",
        "--quiet",
    ]
    ended = edgecompile(*words, options=device.options())
    assert ended.returncode == 0, ended.stderr
    figures = json.loads(ended.stdout)
    assert figures["layers"]["layers"]
    assert (figures["pictures"], figures["measurement"]["predictions"]) == (3, 12)
    assert figures["measurement"]["latency_ms"]["total"]["p95"] > 0
    assert figures["measurement"]["machine"]["cores"]
    assert figures["power_mode"] is not None
    assert {"power_watt", "temperature_c", "peak_memory_mb"} <= figures["measurement"].keys()
    assert not list((device.home / "edgecompile/pictures").iterdir())


@pytest.mark.parametrize(
    ("facts", "code", "line"),
    [
        ({"spoiled": True}, 7, "does not run here as it did where it was built"),
        ({"runtime": ["onnxruntime", ">=99"]}, 4, "the bundle needs onnxruntime>=99"),
    ],
)
def test_what_verify_says_there_is_said_here(device, make_bundle, facts, code, line):
    """Its line and its exit code come back, and the name that programs there open still leads to what was there."""
    bundle = make_bundle("picky", **facts)
    for verb in (["verify", bundle, "--on", device.address], ["deploy", bundle, device.address]):
        ended = edgecompile(*verb, *PYTHON, options=device.options())
        assert ended.returncode == code
        complaints = [said for said in ended.stderr.splitlines() if said.startswith("edgecompile: ")]
        assert len(complaints) == 1
        assert complaints[0].startswith(f"edgecompile: {device.address}: ")
        assert line in complaints[0]
    assert not (device.home / "edgecompile" / bundle.name).exists()


@pytest.fixture(scope="session")
def wheels(tmp_path_factory):
    """What the runtime needs as wheels, packed again from what is installed: no index is asked."""
    folder = tmp_path_factory.mktemp("wheels")
    for name in needed("numpy", "opencv-python-headless", "onnxruntime"):
        packed(name, folder)
    return folder


def test_an_environment_from_wheels_without_network(device, bundle, wheels, tmp_path):
    """The package index of the device is one that does not exist, so nothing but the wheels can have served."""
    home = tmp_path / "wheels-only"
    config = device.home / ".config/pip/pip.conf"
    config.parent.mkdir(parents=True, exist_ok=True)
    config.write_text("[global]\nindex-url = http://127.0.0.1:9/simple\nretries = 0\n")
    words = ["deploy", bundle, f"{device.address}{home}", "--wheels", wheels]
    try:
        ended = edgecompile(*words, options=device.options())
        assert ended.returncode == 0, ended.stderr
        assert "installing numpy>=1.26, opencv-python-headless>=4.8, onnxruntime>=1.19,<3000" in ended.stderr
        (environment,) = (home / "environments").iterdir()
        command = [environment / "bin/python", "-m", "pip", "list", "--format=freeze", "--disable-pip-version-check"]
        listed = subprocess.run(command, capture_output=True, text=True).stdout
        assert not {"torch", "hydra-core", "onnx", "pydantic"} & {
            line.partition("==")[0] for line in listed.splitlines()
        }
        assert not (home / "wheels").exists() or not list((home / "wheels").rglob("*.whl"))
        again = edgecompile(*words, options=device.options())
        assert "installing" not in again.stderr
        assert again.returncode == 0
        without = edgecompile("verify", bundle, "--on", f"{device.address}{home}-2", options=device.options())
        assert without.returncode == 4, without.stderr  # negative control: without the wheels there is no numpy
        assert without.stderr.count("edgecompile: ") == 1
        assert not list((tmp_path / "wheels-only-2/environments").iterdir())
    finally:
        config.unlink()
        shutil.rmtree(home, ignore_errors=True)


def needed(*names: str) -> list[str]:
    """Returns the distributions that `names` need, themselves included."""
    from importlib import metadata

    from packaging.requirements import Requirement

    found: dict[str, None] = {}
    waiting = list(names)
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        found[name] = None
        for line in metadata.requires(name) or []:
            requirement = Requirement(line)
            if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
                waiting.append(requirement.name)
    return list(found)


def packed(name: str, folder: Path) -> None:
    """Packs an installed distribution into a wheel again: its files are listed in its RECORD."""
    import zipfile
    from importlib import metadata

    distribution = metadata.distribution(name)
    tags = [line[5:].split("-") for line in distribution.read_text("WHEEL").splitlines() if line.startswith("Tag: ")]
    tag = "-".join(".".join(dict.fromkeys(part)) for part in zip(*tags, strict=True))
    wheel = folder / f"{distribution.name.replace('-', '_')}-{distribution.version}-{tag}.whl"
    kept = [file for file in distribution.files if ".." not in file.parts and file.suffix != ".pyc"]
    with zipfile.ZipFile(wheel, "w", zipfile.ZIP_STORED) as archive:
        for file in kept:
            if file.name not in ("RECORD", "INSTALLER", "REQUESTED", "direct_url.json"):
                archive.write(file.locate(), str(file), compresslevel=0)
        info = next(file.parts[0] for file in kept if file.parts[0].endswith(".dist-info"))
        record = "".join(f"{name},,\n" for name in [*archive.namelist(), f"{info}/RECORD"])
        archive.writestr(f"{info}/RECORD", record)


def test_what_a_break_in_an_environment_leaves_is_swept_away_later(device, bundle):
    """Leftovers of calls that were cut off, a day old, go with the next call; younger ones may yet be resumed."""
    root = device.home / "edgecompile"
    old, young = root / "bundles/x/y.zip.aa.part", root / "bundles/x/z.zip.bb.part"
    old.parent.mkdir(parents=True, exist_ok=True)
    for path in (old, young):
        path.write_bytes(b"x")
    os.utime(old, (1, 1))
    assert edgecompile("verify", bundle, "--on", device.address, *PYTHON, options=device.options()).returncode == 0
    assert (old.exists(), young.exists()) == (False, True)
