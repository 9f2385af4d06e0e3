"""A sweep over several devices: each point is measured on each of them, and one page has the verdict on all."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from sweep.sweeps import lay_out, report_of, status_of

from edgecompile.compose.composition import compose
from edgecompile.errors import RecipeError
from edgecompile.sweep.report_files import read

from .server import edgecompile
from .test_recipe import RECIPE, pytestmark  # noqa: F401 - of that target's architecture


def test_a_sweep_over_two_devices(devices, shared: Path, tmp_path: Path) -> None:
    """One gate that both meet, and one that none can meet."""
    pytest.importorskip("torch")
    pytest.importorskip("hydra_plugins.hydra_joblib_launcher")
    boards = {"board-a": devices(), "board-b": devices()}
    config = tmp_path / "ssh_config"
    config.write_text(
        "".join(
            f"Host {name}\n  HostName 127.0.0.1\n  Port {board.port}\n  IdentityFile {board.folder / 'user'}\n"
            f"  IdentitiesOnly yes\n  IdentityAgent none\n  UserKnownHostsFile {board.folder / 'known'}\n"
            f"  GlobalKnownHostsFile /dev/null\n  HostKeyAlias device\n"
            for name, board in boards.items()
        )
    )
    (tmp_path / "part.yaml").write_text(RECIPE + f"device: {{python: {sys.executable}}}\n")
    ended = edgecompile(
        "build", "-m", tmp_path / "part.yaml", "device.hosts=[ssh://board-a,ssh://board-b]",
        "gates.latency_p95_ms=60000,0.001", "hydra/launcher=joblib", "hydra.launcher.n_jobs=2",
        f"hydra.sweep.dir={tmp_path / 'sweep'}", options=f"-F {config}", limit_s=550,
        EDGECOMPILE_CACHE=str(shared / "cache"), EDGECOMPILE_MACHINE=str(tmp_path),
    )  # fmt: skip
    assert ended.returncode == 6, ended.stderr
    sweep = json.loads((tmp_path / "sweep" / "results.json").read_text())
    assert [device["address"] for device in sweep["devices"]] == ["ssh://board-a", "ssh://board-b"]
    assert [device["ship"] for device in sweep["devices"]] == ["0_part", "1_part"]
    assert [point["state"] for point in sweep["points"]] == ["built", "built", "gate unmet", "gate unmet"]
    first, second = ((tmp_path / "sweep" / name / "part.bundle.zip").read_bytes() for name in ("0_part", "1_part"))
    assert first == second, "one bundle for all devices"
    assert "ship this on all: gates.latency_p95_ms=60000, fp32" in sweep["fleet"][0]
    page = (tmp_path / "sweep" / "report.html").read_text()
    assert sweep["fleet"][0] in page
    assert "x86-64 CPU at ssh://board-b" in page
    for board in boards.values():
        assert not board.left()
        assert not [path for path in board.bundles() if path.name == "part.bundle.zip"]


def on(address: str, score: float, p50: float) -> dict:
    return {**report_of("int8", score, p50), "device": {"address": address}}


def test_what_is_built_on_all_devices_is_shipped_on_all(tmp_path: Path) -> None:
    a, b = "ssh://a", "ssh://b"
    lay_out(
        tmp_path,
        {
            "0_x": (status_of(0, "model.imgsz=320", f"device.host={a}"), on(a, 0.75, 9.0)),
            "1_x": (status_of(6, "model.imgsz=320", f"device.host={b}"), on(b, 0.75, 19.0)),
            "2_x": (status_of(0, "model.imgsz=256", f"device.host={a}"), on(a, 0.74, 8.9)),
            "3_x": (status_of(0, "model.imgsz=256", f"device.host={b}"), on(b, 0.74, 7.0)),
        },
    )
    sweep = read(tmp_path)
    assert [device.title for device in sweep.devices] == ["a small board at ssh://a", "a small board at ssh://b"]
    assert sweep.devices[0].ship == "0_x", "on this device alone the more accurate point is the better"
    assert sweep.fleet == (
        "a small board, 2 devices: ship this on all: model.imgsz=256, int8; slowest on ssh://a, p50 8.90 ms",
    )


def test_negative_control_where_no_point_was_built_on_all(tmp_path: Path) -> None:
    jobs = {
        "0_x": (status_of(0, "device.host=ssh://a"), on("ssh://a", 0.75, 9.0)),
        "1_x": (status_of(6, "device.host=ssh://b"), on("ssh://b", 0.75, 19.0)),
    }
    (line,) = read(lay_out(tmp_path, jobs)).fleet
    assert "nothing to ship on all: no point was built on each; points failed on ssh://b" in line


def test_one_device_is_no_fleet(tmp_path: Path) -> None:
    jobs = {f"{n}_x": (status_of(0, f"model.imgsz={n}"), on("ssh://a", 0.75, 9.0 + n)) for n in (0, 1)}
    assert read(lay_out(tmp_path, jobs)).fleet == ()


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["device.hosts=[ssh://a,pi5]"], "pi5"),
        (["device.hosts=[ssh://a]", "device.host=ssh://b"], "both device.host and device.hosts are given"),
        (['device.hosts=["ssh://a\';rm -rf /"]'], "is no address of a device"),
    ],
)
def test_hosts_that_are_none(run, here: Path, words: list[str], expected: str) -> None:
    ran = run("plan", "-m", *words)
    assert ran.code == 2
    assert expected in ran.err


def test_the_points_of_a_plan(run, here: Path) -> None:
    (here / "my.yaml").write_text(
        "defaults: [quickstart, _self_]\ndevice: {hosts: ['ssh://a/~/x', 'ssh://u@[::1]:22']}\n"
    )
    ran = run("plan", "-m", "my.yaml", "model.imgsz=96,128", "--json")
    hosts = ["device.host=ssh://a/~/x", "device.host=ssh://u@[::1]:22"]
    points = [[word.replace("'", "") for word in point["overrides"][1:]] for point in json.loads(ran.out)["points"]]
    assert points == [[f"++model.imgsz={size}", f"++{host}"] for size in (96, 128) for host in hosts]


def test_devices_of_a_sweep_in_a_single_build(here: Path) -> None:
    with pytest.raises(RecipeError, match="add -m"):
        compose("device.hosts=[ssh://a,ssh://b]")
