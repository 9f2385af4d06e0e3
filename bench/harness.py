"""What the benchmarks share: running edgecompile, naming the machine, timing candidates in turns."""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

HERE = Path(__file__).resolve().parent
TOOLS = (
    "edgecompile",
    "onnxruntime",
    "openvino",
    "nncf",
    "ncnn",
    "ai-edge-litert",
    "ultralytics-opencv-headless",
    "torch",
    "numpy",
)

GATES = (
    "accuracy_drop", "map_drop", "latency_p95_ms", "fps", "stream_fps", "peak_memory_mb", "peak_memory_percent",
    "size_mb",
)  # fmt: skip
NO_GATES = tuple(f"gates.{name}=null" for name in GATES)
"""Overrides that leave out the gates of shipped recipes: a benchmark wants figures, not a refusal."""


def arguments(description: str) -> argparse.ArgumentParser:
    """Returns a parser with the options that every benchmark has: what to compile and where to work."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weights", type=Path, help="checkpoint of a YOLO detection model")
    parser.add_argument("data", type=Path, help="its data.yaml")
    parser.add_argument("--imgsz", type=int, default=320, help="side of the square input in pixels (default 320)")
    parser.add_argument("--split", default="test", help="split to validate on (default test)")
    parser.add_argument("--work", type=Path, help="folder for caches and bundles (default: a temporary one)")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    return parser


def workplace(chosen: Path | None) -> Path:
    """Returns the folder to work in, made where it does not exist."""
    folder = chosen.resolve() if chosen else Path(tempfile.mkdtemp(prefix="edgecompile-bench-"))
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def machine() -> dict[str, object]:
    """Returns processor, cores and versions: a figure without them means nothing."""
    text = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").is_file() else ""
    fields = dict(line.split(":", 1) for line in text.splitlines() if ":" in line)
    named = {name.strip(): value.strip() for name, value in fields.items()}
    flags = set(named.get("flags", named.get("Features", "")).split())
    telling = ("avx2", "avx512f", "avx512_vnni", "avx_vnni", "amx_int8", "asimddp", "i8mm")
    return {
        "cpu": named.get("model name", platform.processor() or platform.machine()),
        "isa": [flag for flag in telling if flag in flags],
        "cores": len(os.sched_getaffinity(0)),
        "python": platform.python_version(),
        "versions": {name: found for name in TOOLS if (found := _version(name))},
    }


def announce() -> dict[str, object]:
    """Prints the machine and returns it."""
    here = machine()
    print(f"machine: {here['cpu']}, {here['cores']} cores, {' '.join(here['isa'])}, Python {here['python']}")
    print("tools:   " + ", ".join(f"{name} {number}" for name, number in here["versions"].items()) + "\n")
    return here


@dataclass
class Run:
    """One finished command."""

    code: int
    seconds: float
    stdout: str
    stderr: str

    @property
    def last(self) -> str:
        """The last line of stdout: where `build` says where the bundle lies."""
        return self.stdout.strip().splitlines()[-1] if self.stdout.strip() else ""


def run(command: Sequence[str | Path], *, cwd: Path | None = None, **environment: str) -> Run:
    """Runs a command to its end, with variables added to the environment."""
    began = time.perf_counter()
    done = subprocess.run(
        [str(part) for part in command], cwd=cwd, env={**os.environ, **environment}, capture_output=True, text=True
    )
    return Run(done.returncode, time.perf_counter() - began, done.stdout, done.stderr)


def edgecompile(verb: str, *words: str | Path, work: Path, cache: Path | None = None, **environment: str) -> Run:
    """Runs the command line of edgecompile with its cache inside the working folder."""
    variables = {"EDGECOMPILE_CACHE": str(cache or work / "cache"), "PYTHONPATH": package_path(), **environment}
    return run([sys.executable, "-m", "edgecompile", verb, *words], cwd=work, **variables)


def build(recipe: str, options: argparse.Namespace, work: Path, *overrides: str, cache: Path | None = None) -> Run:
    """Builds a shipped recipe for the benchmark's model and data."""
    return edgecompile("build", *overrides_of(recipe, options), *overrides, work=work, cache=cache)


def overrides_of(recipe: str, options: argparse.Namespace) -> list[str]:
    """Returns the overrides that point a shipped recipe to the benchmark's model and data, without any gate."""
    return [
        f"recipe={recipe}",
        f"model.weights={options.weights.resolve()}",
        f"model.imgsz={options.imgsz}",
        f"data.path={options.data.resolve()}",
        f"data.validation.split={options.split}",
        *NO_GATES,
    ]


def built(done: Run) -> Path:
    """Returns the bundle that a build made; ends the benchmark with the build's message where it made none."""
    if done.code:
        sys.exit(f"build failed with exit code {done.code}:\n{done.stderr.strip()[-2000:]}")
    return Path(done.last)


def manifest(bundle: Path) -> dict:
    """Returns the manifest of a bundle."""
    with zipfile.ZipFile(bundle) as archive:
        return json.loads(archive.read("manifest.json"))


def unpack(bundle: Path, folder: Path) -> Path:
    """Writes the artifact of a bundle to a folder and returns the file to open."""
    folder.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(bundle) as archive:
        for name in archive.namelist():
            if name.startswith("artifact/"):
                (folder / Path(name).name).write_bytes(archive.read(name))
    return next(path for path in sorted(folder.iterdir()) if path.suffix in (".onnx", ".xml"))


def ultralytics(verb: str, options: argparse.Namespace, *more: str | Path) -> dict:
    """Runs `ultralytics_side.py` and returns what it found."""
    command = [sys.executable, HERE / "ultralytics_side.py", verb, options.weights, options.data]
    done = run([*command, "--imgsz", str(options.imgsz), *more])
    if done.code:
        sys.exit(f"Ultralytics' {verb} failed:\n{done.stderr.strip()[-2000:]}")
    return json.loads(done.last)


@dataclass
class Candidate:
    """A process that waits to be timed; see `candidate.py`.

    Attributes:
        started: what the process said of its start: import_ms, first_ms, memory_mb.
        samples: milliseconds of every timed call.
        rounds: the median of each round.
    """

    name: str
    process: subprocess.Popen[str]
    started: dict[str, float]
    samples: list[float] = field(default_factory=list)
    rounds: list[float] = field(default_factory=list)

    @classmethod
    def start(cls, name: str, kind: str, path: Path, threads: int, *more: str | Path, **environment: str) -> Candidate:
        """Starts a process that is bound to as many cores as it may have threads, with variables added."""
        messages = tempfile.NamedTemporaryFile("w+", suffix=".log")  # noqa: SIM115
        command = [sys.executable, HERE / "candidate.py", kind, path, "--threads", str(threads), *more]
        process = subprocess.Popen(
            [str(part) for part in command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=messages,
            text=True,
            env={**os.environ, "PYTHONPATH": package_path(), **environment},
        )
        candidate = cls(name, process, {})
        candidate.started = candidate._answer(messages)
        return candidate

    def call(self, times: int) -> None:
        """Times so many calls; the first of them warms up and does not count."""
        self.process.stdin.write(f"{times}\n")
        self.process.stdin.flush()
        found = self._answer()["samples"][1:]
        self.samples += found
        self.rounds.append(statistics.median(found))

    def end(self) -> float:
        """Ends the process and returns its peak memory in MB."""
        self.process.stdin.close()
        return self._answer()["memory_mb"]

    def _answer(self, messages=None) -> dict:
        for line in iter(self.process.stdout.readline, ""):
            if line.startswith("{"):
                return json.loads(line)
        text = ""
        if messages is not None:
            messages.seek(0)
            text = messages.read()[-1500:]
        sys.exit(f"{self.name} died:\n{text}")


def round_robin(candidates: Sequence[Candidate], rounds: int, calls: int = 8) -> None:
    """Times all candidates in turns, one active at a time, so that a drift of the machine touches all alike."""
    for _ in range(rounds):
        for candidate in candidates:
            candidate.call(calls)
            time.sleep(0.05)


def ratio(one: Candidate, other: Candidate) -> float:
    """Returns the median over rounds of `one` / `other`: how many times as long `one` takes."""
    return statistics.median(a / b for a, b in zip(one.rounds, other.rounds, strict=True))


def percentile(samples: Sequence[float], rank: int) -> float:
    """Returns a percentile, between 1 and 99."""
    return statistics.quantiles(samples, n=100, method="inclusive")[rank - 1]


def verdict(name: str, figure: float, limit: float, *, least: bool = False, digits: int = 4, unit: str = "") -> bool:
    """Prints a figure, its limit and whether it is met, and returns that."""
    met = figure >= limit if least else figure <= limit
    sign = "≥" if least else "≤"
    print(f"{'met   ' if met else 'MISSED'}  {name}: {figure:.{digits}f}{unit} ({sign} {limit:g}{unit})")
    return met


def holds(what: str, met: bool, but: str = "") -> bool:
    """Prints whether something holds, and what speaks against it where it does not; returns whether it does."""
    print(f"{'met   ' if met else 'MISSED'}  {what}{f': {but}' if but and not met else ''}")
    return met


def conclude(options: argparse.Namespace, figures: dict, met: Sequence[bool]) -> int:
    """Writes the figures where asked to and returns the exit code: 0 where every figure is met."""
    if options.json:
        options.json.write_text(json.dumps(figures, indent=1, sort_keys=True) + "\n")
    return 0 if all(met) else 1


def package_path() -> str:
    return os.pathsep.join(filter(None, [str(HERE.parent), os.environ.get("PYTHONPATH")]))


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
