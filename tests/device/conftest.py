"""Fixtures of the tests on devices: a server on loopback and small real bundles."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from runtime.tiny import bundled, golden_members, tiny_manifest, tiny_onnx, tiny_spec

from edgecompile.runtime.machine import architecture

from .server import Server, start, why_not


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks the tests that reach a device: `make check` leaves them out."""
    for item in items:
        if {"device", "devices"} & {*getattr(item, "fixturenames", ())} and Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.ssh)


@pytest.fixture(scope="session")
def device(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A device that is reached as a person's would be."""
    if reason := why_not():
        pytest.skip(reason)
    server = start(tmp_path_factory.mktemp("device"))
    yield server
    server.end()


@pytest.fixture
def devices(device: Server, tmp_path: Path) -> Iterator[Callable[..., Server]]:
    """Starts further devices, such as one whose PATH holds no Python; see `start`."""
    started: list[Server] = []

    def another(**settings: Any) -> Server:
        started.append(start(tmp_path / f"device-{len(started)}", **settings))
        return started[-1]

    yield another
    for server in started:
        server.end()


@pytest.fixture(scope="session")
def make_bundle(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Returns what makes bundles of a tiny model, with `ballast` random bytes or wrong golden vectors."""
    pytest.importorskip("onnxruntime")
    import json

    from edgecompile.runtime import open_artifact

    folder = tmp_path_factory.mktemp("bundles")
    artifact = folder / "model.onnx"
    artifact.write_bytes(tiny_onnx())
    detector = open_artifact(artifact, tiny_spec(), "onnxruntime", {}, 1)
    members = {
        "artifact/model.onnx": artifact.read_bytes(),
        "spec.json": json.dumps(tiny_spec()).encode(),
        "recipe.lock.yaml": b"schema: 1\n",
        "report.json": b"{}\n",
        "report.html": b"<html></html>\n",
        **golden_members(detector),
    }

    def make(name: str, *, ballast: int = 0, spoiled: bool = False, **facts: Any) -> Path:
        path = folder / f"{name}.bundle.zip"
        noise = np.random.default_rng(len(name)).bytes(ballast)
        more = {"artifact/ballast.bin": noise} if ballast else {}
        if spoiled:
            raw = members["golden/output_0.npy"]
            more["golden/output_0.npy"] = raw[:-400] + np.full(100, 0.5, np.float32).tobytes()
        tolerance, gates = facts.pop("tolerance", None), facts.pop("gates", None)
        manifest = {**tiny_manifest(**{"arch": architecture(), **facts}), "name": name}
        manifest["golden"]["tolerance"]["max_abs"] = tolerance or manifest["golden"]["tolerance"]["max_abs"]
        manifest["gates"] = gates or manifest["gates"]
        path.write_bytes(bundled({**members, **more}, manifest))
        return path

    return make


@pytest.fixture(scope="session")
def bundle(make_bundle: Callable[..., Path]) -> Path:
    return make_bundle("tiny")


@pytest.fixture(scope="session")
def large_bundle(make_bundle: Callable[..., Path]) -> Path:
    """A bundle of 6 MB: more than lies on the way while it is sent, which is 2 MB."""
    return make_bundle("large", ballast=6_000_000)
