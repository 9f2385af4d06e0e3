"""A sweep over a Ray cluster of two nodes, of which one dies in the middle. Both run on this machine: what a network
between them would do is not shown."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path

import psutil
import pytest
from rough_measurement import ROUGH

pytest.importorskip("ray")
pytest.importorskip("hydra_plugins.hydra_ray_launcher")

pytestmark = pytest.mark.slow
RAY = [sys.executable, "-m", "ray.scripts.scripts", "start", "--block", "--num-cpus=1", "--disable-usage-stats"]
STORE = "--object-store-memory=100000000"
LAUNCHER = ("hydra/launcher=ray", "+hydra.launcher.ray.init.object_store_memory=null")
LONGEST_S = 600


class Node:
    """A node of a cluster: `ray start --block`, whose children are the node's processes."""

    def __init__(self, folder: Path, environment: dict[str, str], *words: str) -> None:
        quiet = subprocess.DEVNULL
        command = [*RAY, STORE, *words]
        self._process = subprocess.Popen(command, cwd=folder, env=environment, stdout=quiet, stderr=quiet)

    def die(self) -> None:
        """Ends all of the node's processes at once, as where its power fails."""
        with suppress(psutil.NoSuchProcess):
            parent = psutil.Process(self._process.pid)
            for process in [parent, *parent.children(recursive=True)]:
                with suppress(psutil.NoSuchProcess):
                    process.kill()
        self._process.wait()


class Cluster:
    """Two nodes that share a store. Workers have the environment and the folder in which their node was started."""

    def __init__(self, folder: Path) -> None:
        self.environment = {**os.environ, "EDGECOMPILE_CACHE": str(folder / "cache"), "RAY_USAGE_STATS_ENABLED": "0"}
        self._sockets = tempfile.mkdtemp(prefix="ray", dir="/tmp")  # paths of sockets hold 107 characters
        with closing(socket.socket()) as free:
            free.bind(("127.0.0.1", 0))
            self.address = f"127.0.0.1:{free.getsockname()[1]}"
        port = self.address.rpartition(":")[2]
        head = ("--head", f"--port={port}", "--include-dashboard=false", f"--temp-dir={self._sockets}")
        self.nodes = [Node(folder, self.environment, *head)]
        until(lambda: self._alive() == 1)
        self.nodes.append(Node(folder, self.environment, f"--address={self.address}"))
        until(lambda: self._alive() == 2)

    def _alive(self) -> int:
        command = [sys.executable, "-m", "ray.scripts.scripts", "status", "--address", self.address]
        return subprocess.run(command, env=self.environment, capture_output=True, text=True).stdout.count(" node_")

    def end(self) -> None:
        for node in reversed(self.nodes):
            node.die()
        shutil.rmtree(self._sockets, ignore_errors=True)


def until(happened: Callable[[], bool]) -> None:
    end = time.monotonic() + LONGEST_S
    while not happened():
        assert time.monotonic() < end
        time.sleep(1)


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    started = Cluster(tmp_path)
    yield started
    started.end()


def documents(folder: Path, name: str) -> list[dict]:
    found = []
    for file in sorted(folder.rglob(name)):
        with suppress(OSError, ValueError):  # it is being replaced
            found.append(json.loads(file.read_text()))
    return found


def test_a_node_that_dies_costs_no_point_and_no_step_that_was_finished(cluster: Cluster, tmp_path: Path) -> None:
    words = ["build", "-m", "recipe=x86-cpu_onnxruntime_fp32", "model=sample", "data=sample", "model.imgsz=96,128"]
    words += [*ROUGH, *LAUNCHER, f"hydra.launcher.ray.init.address={cluster.address}"]
    sweep = subprocess.Popen(
        [sys.executable, "-m", "edgecompile", *words],
        cwd=tmp_path, env=cluster.environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip

    def both_at_work() -> bool:
        assert sweep.poll() is None, sweep.communicate()[0]
        return [one.get("run", 0) > 0 for one in documents(tmp_path, "progress.json")] == [True, True]

    until(both_at_work)
    seen = {tuple(one["overrides"]): one["run"] for one in documents(tmp_path, "progress.json")}
    cluster.nodes[1].die()
    said, _ = sweep.communicate(timeout=LONGEST_S)
    assert sweep.returncode == 0, said
    assert "will be retried" in said  # by Ray, on the node that is left
    ended = documents(tmp_path, "status.json")
    assert [one["exit_code"] for one in ended] == [0, 0]
    assert len(list((tmp_path / "outputs").rglob("*.bundle.zip"))) == 2
    again = [one for one in ended if one["steps"]["reused"] >= seen[tuple(one["overrides"])] > 0]
    assert again, (seen, ended)
    assert sum(one["steps"]["run"] for one in ended) < 2 * ended[0]["steps"]["run"] + 10
