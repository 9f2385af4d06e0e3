"""Causes that are provoked for real: a busy neighbour, too many threads, a quota, memory given back; each is named.

Other processes may disturb these runs too, and are then named beside.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from edgecompile.runtime import load
from edgecompile.runtime.diagnosis import Diagnosis, diagnosis_of, subject_of
from edgecompile.runtime.latency_costs import PAUSE_MS
from edgecompile.runtime.machine import available_cores
from edgecompile.runtime.process_counts import QUOTA_UNITS_MS, quota_files
from edgecompile.runtime.soak import Conditions, soak

from .test_supervisor import with_nodes
from .tiny import bundled, photo, tiny_manifest

pytestmark = [
    pytest.mark.stress,
    pytest.mark.skipif(not Path("/proc/self/schedstat").exists(), reason="Linux's counts"),
]
NEIGHBOUR = "import os\nparent = os.getppid()\nwhile os.getppid() == parent: pass"
CPU_GROUPS = Path("/sys/fs/cgroup/cpu")


def heavy_onnx() -> bytes:
    """Returns the tiny model with convolutions before it that take milliseconds and change nothing."""
    helper = onnx.helper
    floats = helper.make_tensor("value", onnx.TensorProto.FLOAT, [1], [1e-3])
    shapes = {"first": [32, 3, 3, 3], "next": [32, 32, 3, 3]}
    nodes = []
    for name, shape in shapes.items():
        nodes.append(helper.make_node("Constant", [], [f"{name}.shape"], value_ints=shape))
        nodes.append(helper.make_node("ConstantOfShape", [f"{name}.shape"], [f"{name}.weight"], value=floats))
    before = "images"
    for number in range(4):
        weight = "next.weight" if number else "first.weight"
        nodes.append(helper.make_node("Conv", [before, weight], [f"conv{number}"], pads=[1, 1, 1, 1]))
        before = f"conv{number}"
    nodes.append(helper.make_node("ReduceMax", [before], ["largest"], keepdims=0))
    nodes.append(helper.make_node("Cast", ["largest"], ["turns"], to=onnx.TensorProto.INT64))
    return with_nodes(nodes)


@pytest.fixture(scope="module")
def heavy(tiny_members: dict[str, bytes], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("heavy") / "heavy.bundle.zip"
    path.write_bytes(bundled({**tiny_members, "artifact/model.onnx": heavy_onnx()}, tiny_manifest()))
    return path


def soaked(bundle: Path, seconds: float = 1.5, threads: int = 1, **conditions: Any) -> Diagnosis:
    model = load(bundle, threads=threads)
    source = [photo(64, 96, seed) for seed in range(4)]
    return diagnosis_of(subject_of(model), soak(model, source, Conditions(seconds, threads, **conditions)))


def causes(diagnosis: Diagnosis) -> list[str]:
    return [finding.cause for finding in diagnosis.findings if finding.symptom == "latency"]


@contextmanager
def neighbours(count: int) -> Iterator[None]:
    busy = [subprocess.Popen([sys.executable, "-S", "-c", NEIGHBOUR]) for _ in range(count)]
    try:
        time.sleep(0.2)
        yield
    finally:
        for process in busy:
            process.kill()
            process.wait()


def test_a_busy_neighbour(heavy: Path):
    with neighbours(2 * available_cores()):
        diagnosis = soaked(heavy)
    assert causes(diagnosis)[0] == "other_processes"
    assert diagnosis.findings[0].share > 0.2


def test_more_threads_than_cores(heavy: Path):
    assert "oversubscription" in causes(soaked(heavy, threads=4 * available_cores()))


def test_memory_that_is_given_back(heavy: Path):
    """What is freed behind each prediction has to be fetched anew at the next. Other tests that run beside it may
    take more than that costs: one of a few soaks names it."""
    libc = pytest.importorskip("ctypes").CDLL(None)
    if not hasattr(libc, "malloc_trim"):
        pytest.skip("the C library gives nothing back when asked")
    model = load(heavy, threads=1)
    infer = model.backend.infer

    def allocating(tensor: np.ndarray) -> Any:
        np.ones(12_000_000)
        return infer(tensor)

    model.backend.infer = allocating  # type: ignore[method-assign]
    conditions = Conditions(1.5, 1, handle=lambda _: libc.malloc_trim(0))
    soaks = (soak(model, [photo(64, 96)], conditions) for _ in range(4))
    assert any("page_faults" in causes(diagnosis_of(subject_of(model), timeline)) for timeline in soaks)


def test_rests_between_pictures(tiny_bundle: Path):
    """A substitute: a clock that falls when nothing runs, which no machine at hand has."""
    model = load(tiny_bundle, threads=1)
    infer, last = model.backend.infer, [time.perf_counter()]

    def ramping(tensor: np.ndarray) -> Any:
        if time.perf_counter() - last[0] > PAUSE_MS / 1e3:
            time.sleep(0.02)
        outputs = infer(tensor)
        last[0] = time.perf_counter()
        return outputs

    model.backend.infer = ramping  # type: ignore[method-assign]
    source = [photo(64, 96)]
    timeline = soak(model, source, Conditions(3.0, 1, pause_s=0.06))
    assert "idle" in causes(diagnosis_of(subject_of(model), timeline))


QUOTA = """
import os
import sys
from pathlib import Path
from edgecompile.runtime import load
from edgecompile.runtime.diagnosis import diagnosis_of, subject_of
from edgecompile.runtime.soak import Conditions, soak
import numpy as np
model = load(sys.argv[1], threads=1)
Path(sys.argv[2], "cgroup.procs").write_text(str(os.getpid()))
timeline = soak(model, [np.zeros((64, 96, 3), np.uint8)], Conditions(2.0, 1))
print(*(one.cause for one in diagnosis_of(subject_of(model), timeline).findings))
"""


@pytest.fixture
def group() -> Iterator[Path]:
    """A control group that may use a twentieth of a core."""
    folder = CPU_GROUPS / f"edgecompile-test-{os.getpid()}"
    try:
        folder.mkdir()
        (folder / "cpu.cfs_quota_us").write_text("5000")
    except OSError as error:
        pytest.skip(f"no control group can be made here: {error.strerror}")
    try:
        yield folder
    finally:
        folder.rmdir()


def test_a_quota_of_processor_time(heavy: Path, group: Path):
    command = [sys.executable, "-c", QUOTA, str(heavy), str(group)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=200)
    assert "quota" in ended.stdout.split(), ended.stderr


def test_quotas_of_both_versions_are_found(tmp_path: Path):
    """A fake: a machine has one version."""
    second = tmp_path / "two/sys/fs/cgroup/app/cpu.stat"
    first = tmp_path / "one/sys/fs/cgroup/cpu,cpuacct/docker/cpu.stat"
    for file, key, line in ((second, "throttled_usec", "0::/app"), (first, "throttled_time", "4:cpu,cpuacct:/docker")):
        root = tmp_path / file.relative_to(tmp_path).parts[0]
        (root / "proc/self").mkdir(parents=True)
        (root / "proc/self/cgroup").write_text(f"9:name=systemd:/\n{line}\n")
        file.parent.mkdir(parents=True)
        file.write_text(f"nr_periods 3\n{key} 5000000\n")
        assert quota_files(root) == [file]
    assert set(QUOTA_UNITS_MS) == {"throttled_usec", "throttled_time"}
    assert quota_files(tmp_path / "none") == []
