"""Building again from a lock: the same digest from another folder, and every way of missing it told."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import time
import zipfile
from pathlib import Path
from typing import NamedTuple

import program
import pytest
from exported import SIZE, exported
from rough_measurement import ROUGH, SECTION

from edgecompile.bundle.lock import open_locked
from edgecompile.data.search import Finder

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parent.parent
SAMPLE = ROOT / "edgecompile/sample"
LOCK = "recipe.lock.yaml"


class Made(NamedTuple):
    """A bundle of pictures of the test's own: one of those to calibrate with is not in the embedded sample."""

    bundle: Path
    data: Path
    cache: Path


def edgecompile(*words: object, cwd: Path, cache: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    places = {"EDGECOMPILE_CACHE": str(cache)}
    if "PYTHONPATH" not in environment:
        return program.edgecompile(cwd, *map(str, words), **places, **environment)
    settings = {**os.environ, **places, **environment}
    command = [sys.executable, "-m", "edgecompile", *map(str, words)]
    return subprocess.run(command, cwd=cwd, env=settings, capture_output=True, text=True, timeout=300)


@pytest.fixture(scope="module")
def made(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Made:
    folder = tmp_path_factory.mktemp("made")
    data = shutil.copytree(SAMPLE, folder / "data")
    picture = data / "images/train/train_0000.jpg"
    picture.write_bytes((data / "images/val/val_0000.jpg").read_bytes() + b"\0")
    words = ["build", "--quiet", *ROUGH, f"data.path={data / 'data.yaml'}"]
    finished = edgecompile(*words, cwd=folder, cache=shared / "cache")
    assert finished.returncode == 0, finished.stderr
    return Made(Path(finished.stdout.splitlines()[-1]), data, shared / "cache")


def lock_of(made: Made, folder: Path) -> Path:
    with zipfile.ZipFile(made.bundle) as bundle:
        (folder / LOCK).write_bytes(bundle.read(LOCK))
    return folder / LOCK


def test_another_folder_and_an_empty_cache_give_the_same_digest(made, tmp_path):
    """The data lies elsewhere, and a picture bears another name than it had: it is found by what it holds."""
    data = shutil.copytree(made.data, tmp_path / "else where/näher")
    picture = data / "images/train/train_0000.jpg"
    picture.rename(picture.with_name("renamed.jpg"))
    words = ["reproduce", made.bundle, "--cache", "empty", "--search", data, "--out", "out", "--quiet"]
    finished = edgecompile(*words, cwd=tmp_path, cache=tmp_path / "none")
    assert finished.returncode == 0, finished.stdout + finished.stderr
    assert re.fullmatch(r"reproduced: sha256 \w{64} \(12 steps ran, 0 reused\)\nbundle: .*\n", finished.stdout)
    assert (tmp_path / "out" / made.bundle.name).read_bytes() == made.bundle.read_bytes()


def test_a_changed_calibration_picture_is_named(made, tmp_path):
    """Without the folder of the data, the picture of that name in the embedded sample is another."""
    finished = edgecompile("reproduce", made.bundle, "--quiet", cwd=tmp_path, cache=made.cache)
    assert finished.returncode == 5
    assert "differs: calibration picture train_0000.jpg: not what the lock says" in finished.stdout
    assert "first step with another output: calibration\n" in finished.stdout
    assert re.search(r"\n  boxes: (not )?within tolerance, difference \S+ \(limit \S+\), cosine ", finished.stdout)
    assert re.search(r"\n  scores: (not )?within tolerance, ", finished.stdout)
    assert re.search(r"mAP50-95 0\.\d+ → 0\.\d+ \([+-]0\.\d+, (not )?within 0\.005\)", finished.stdout)
    told = r"not reproduced: calibration picture train_0000\.jpg differs from the lock; (not )?within tolerance\n"
    assert re.search(told, finished.stderr)
    other = Path(finished.stdout.splitlines()[-1].removeprefix("bundle: "))
    shown = edgecompile("diff", made.bundle, tmp_path / other, cwd=tmp_path, cache=made.cache).stdout
    assert re.search(r"\n  calibration picture train_0000.jpg: \w{12} → \w{12}\n", shown)
    assert re.search(r"\n  per_class\.\w+\.map50_95: 0\.\d+ → 0\.\d+ \([+-].*\)\n", shown)
    assert "\nfirst step with another output: calibration\n" in shown


def test_a_lock_alone(made, tmp_path):
    words = ["reproduce", lock_of(made, tmp_path), "--search", made.data, "--quiet"]
    finished = edgecompile(*words, cwd=tmp_path, cache=made.cache)
    assert finished.returncode == 0, finished.stdout + finished.stderr
    assert finished.stdout.startswith("reproduced: every step's output is the lock's (")


def test_the_result_as_json_is_all_of_stdout(made, tmp_path):
    words = ["reproduce", lock_of(made, tmp_path), "--quiet", "--json"]
    finished = edgecompile(*words, "--search", made.data, cwd=tmp_path, cache=made.cache)
    assert finished.returncode == 0, finished.stderr
    said = json.loads(finished.stdout)
    assert said.keys() == {"same", "near", "sha256", "bundle", "steps", "metric", "differences", "checks"}
    assert (said["same"], said["differences"], said["steps"]["run"]) == (True, [], 0)
    assert (tmp_path / said["bundle"]).read_bytes() == made.bundle.read_bytes()
    other = edgecompile(*words, cwd=tmp_path, cache=made.cache)  # without the folder of the data, one picture differs
    assert other.returncode == 5
    assert json.loads(other.stdout)["same"] is False
    assert json.loads(other.stdout)["differences"]


def test_another_machine_is_named_before_anything_runs(made, tmp_path):
    """Another instruction set, and another version of a tool: both made up, since neither can be had here."""
    (tmp_path / "tools/onnxslim-9.9.9.dist-info").mkdir(parents=True)
    (tmp_path / "tools/onnxslim-9.9.9.dist-info/METADATA").write_text("Name: onnxslim\nVersion: 9.9.9\n")
    words = ["reproduce", made.bundle, "--search", made.data, "--quiet"]
    another = {"EDGECOMPILE_ISA_CLASS": "x86_64+none", "PYTHONPATH": f"{tmp_path / 'tools'}{os.pathsep}{ROOT}"}
    finished = edgecompile(*words, cwd=tmp_path, cache=made.cache, **another)
    assert finished.returncode == 5
    first, second, *_ = finished.stdout.splitlines()
    assert re.fullmatch(r"differs: onnxslim: [\d.]+ → 9\.9\.9", first)
    assert re.fullmatch(r"differs: instruction set: x86_64\S* → x86_64\+none", second)
    assert "not reproduced: onnxslim and 1 more differ from the lock; within tolerance" in finished.stderr
    assert "\n  boxes: within tolerance, difference 0 (limit" in finished.stdout
    assert "\n  within tolerance of the bundle\n" in finished.stdout


@pytest.mark.parametrize(
    ("old", "new", "exit_code", "line"),
    [
        (
            r"weights: \{name: parts.pt, sha256: \w+\}",
            f"weights: {{name: gone.pt, sha256: {'a' * 64}}}",
            2,
            r"edgecompile: weights 'gone\.pt' \(sha256 aaaaaaaaaaaa\) not found, neither by digest nor by name "
            r"\(looked in .*/data, \., .*sample\); name the folder that holds it: --search DIR",
        ),
        (
            r"iou: 0.7, ",
            "",
            2,
            r"edgecompile: .*recipe\.lock\.yaml:recipe\.evaluate\.iou: absent → 0\.7: this version reads the lock "
            r"otherwise; reproduce it with edgecompile [\d.]+; this is [\d.]+",
        ),
        (r"kind: int8_static", "kind: int8_sttic", 2, r"edgecompile: .*recipe\.passes\.int8_static\.kind: unknown .*"),
        (r"version: 1", "version: 0", 2, r"edgecompile: .*version.*"),
    ],
)
def test_what_cannot_be_built_again_is_one_line(made, tmp_path, old, new, exit_code, line):
    lock = lock_of(made, tmp_path)
    text, count = re.subn(old, new, lock.read_text(), count=1)
    assert count == 1
    lock.write_text(text)
    finished = edgecompile("reproduce", lock, "--search", made.data, "--quiet", cwd=tmp_path, cache=made.cache)
    assert finished.returncode == exit_code
    assert finished.stdout == ""
    assert re.fullmatch(line + "\n", finished.stderr), finished.stderr


@pytest.mark.parametrize(
    ("words", "exit_code", "message"),
    [
        (["none.bundle.zip"], 2, "none.bundle.zip"),
        (["none.lock.yaml"], 2, "none.lock.yaml: cannot be read"),
        (["."], 2, "holds no bundles or locks, expected one"),
        (["empty.zip"], 7, "empty.zip"),
        ([], 2, "command line"),
        (["none.bundle.zip", "--jobs", "0"], 2, "expected a whole number of at least 1"),
    ],
)
def test_what_is_no_lock(tmp_path, words, exit_code, message):
    (tmp_path / "empty.zip").touch()
    finished = edgecompile("reproduce", *words, cwd=tmp_path, cache=tmp_path)
    assert (finished.returncode, finished.stdout) == (exit_code, "")
    assert message in finished.stderr
    assert finished.stderr.count("\n") == 1


def test_files_are_found_by_digest_then_by_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "given/.hidden").mkdir(parents=True)
    (tmp_path / "given/.hidden/a.txt").write_text("right")
    (tmp_path / "given/a.txt").write_text("wrong")
    (tmp_path / "given/b.txt").write_text("right")
    right, absent = (hashlib.sha256(text.encode()).hexdigest() for text in ("right", "absent"))
    finder = Finder([Path("given")])
    assert finder.find("a.txt", right) == tmp_path / "given/b.txt"
    assert finder.find("a.txt", absent) is None
    assert finder.namesake("a.txt") == tmp_path / "given/a.txt"
    assert finder.namesake("c.txt") is None


def copy_of_the_program(folder: Path) -> Path:
    """Copies the program with its config groups and recipes, to be changed as a later version might be."""
    for name in ("edgecompile", "conf", "recipes"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    return folder


def changed(file: Path, old: str, new: str) -> None:
    text = file.read_text(encoding="utf-8")
    assert old in text
    file.write_text(text.replace(old, new), encoding="utf-8")


def test_other_defaults_of_a_later_version_change_nothing(made, tmp_path):
    """Nothing is read from config groups or recipes, and a default in code has no say where the lock states a value."""
    later = copy_of_the_program(tmp_path / "later")
    changed(later / "conf/target/x86-cpu_onnxruntime.yaml", "threads: 2", "threads: 1")
    changed(later / "conf/pass/int8_static.yaml", "per_channel: true", "per_channel: false")
    changed(later / "recipes/quickstart.yaml", "defaults:", "model: {imgsz: 128}\ndefaults:")
    changed(later / "edgecompile/evaluate/tasks/_average_precision_task.py", 'Setting("iou", 0.7', 'Setting("iou", 0.5')
    words = ["reproduce", made.bundle, "--search", made.data, "--quiet"]
    finished = edgecompile(*words, cwd=tmp_path, cache=made.cache, PYTHONPATH=str(later))
    assert finished.returncode == 0, finished.stdout + finished.stderr
    assert "(0 steps ran, 12 reused)" in finished.stdout


def test_a_step_of_a_later_version_is_named_before_it_runs(made, tmp_path):
    later = copy_of_the_program(tmp_path / "later")
    golden = 'function="edgecompile.evaluate.golden_vectors:golden",\n        version='
    changed(later / "edgecompile/plan/validation.py", f"{golden}3", f"{golden}4")
    words = ["reproduce", made.bundle, "--search", made.data, "--quiet"]
    finished = edgecompile(*words, cwd=tmp_path, cache=made.cache, PYTHONPATH=str(later))
    assert finished.returncode == 5
    assert finished.stdout.startswith("differs: step golden, version: 3 → 4\n")
    assert "not reproduced: step golden, version differs from the lock; within tolerance" in finished.stderr


def test_external_data_is_found_by_digest_and_named_where_it_differs(tmp_path):
    """An ONNX model whose weights lie in a file beside it, which is read from no link: found apart from it, renamed."""
    onnx = pytest.importorskip("onnx")
    first, cache = tmp_path / "first", tmp_path / "cache"
    first.mkdir()
    model = onnx.load_model_from_string(exported().model.read_bytes())
    onnx.save(model, first / "m.onnx", save_as_external_data=True, location="m.onnx.data", size_threshold=0)
    (first / "my.yaml").write_text(
        "defaults:\n  - /pass@passes: [onnx_import]\n  - override /target: x86-cpu_onnxruntime\n"
        f"  - override /data: sample\nmodel: {{weights: m.onnx, imgsz: {SIZE}}}\n"
        "data: {validation: {images: 8}}\nevaluate: {latency_images: 10}\n"
        f"{SECTION}"
    )
    finished = edgecompile("build", "--quiet", "my.yaml", cwd=first, cache=cache)
    assert finished.returncode == 0, finished.stderr
    bundle = finished.stdout.splitlines()[-1]
    other = tmp_path / "other"
    (other / "a").mkdir(parents=True)
    (other / "b").mkdir()
    (first / "m.onnx").rename(other / "a/m.onnx")
    (first / "m.onnx.data").rename(other / "b/renamed.data")
    words = ["reproduce", bundle, "--search", other, "--quiet"]
    finished = edgecompile(*words, "--out", "out", cwd=tmp_path, cache=cache)
    assert finished.returncode == 0, finished.stdout + finished.stderr
    (other / "b/renamed.data").rename(other / "b/m.onnx.data")
    with (other / "b/m.onnx.data").open("ab") as stream:
        stream.write(b"\0")
    finished = edgecompile(*words, "--out", "again", cwd=tmp_path, cache=cache)
    assert finished.returncode == 5
    assert finished.stdout.startswith("differs: external data m.onnx.data: not what the lock says (sha256 ")
    (other / "b/m.onnx.data").unlink()
    finished = edgecompile(*words, cwd=tmp_path, cache=cache)
    assert finished.returncode == 2
    assert finished.stderr.startswith("edgecompile: external data 'm.onnx.data' (sha256 ")


def test_the_folders_of_a_run_that_is_told_to_end_go(made, tmp_path):
    """Also with SIGTERM, as a service or a batch system sends it."""
    (tmp_path / "temporary").mkdir()
    settings = {**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(tmp_path / "temporary")}
    words = ["reproduce", made.bundle, "--cache", "empty", "--search", made.data, "--quiet"]
    command = [sys.executable, "-m", "edgecompile", *map(str, words)]
    running = subprocess.Popen(command, cwd=tmp_path, env=settings, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while not [*tmp_path.glob("temporary/edgecompile-reproduce-*")] and time.monotonic() < deadline:
        time.sleep(0.02)
    assert [*tmp_path.glob("temporary/edgecompile-reproduce-*")]
    running.terminate()
    assert running.wait(60) == 130
    assert not [*tmp_path.glob("temporary/edgecompile-reproduce-*"), *tmp_path.glob("temporary/edgecompile-inputs-*")]


def test_a_bundle_is_known_by_what_it_holds_and_a_report_by_its_bundle(made, tmp_path):
    """A bundle without its suffix is one; a report of another build beside it does not count."""
    renamed = shutil.copy(made.bundle, tmp_path / "renamed")
    finished = edgecompile("diff", made.bundle, renamed, cwd=tmp_path, cache=made.cache)
    assert finished.returncode == 0, finished.stderr
    folder = tmp_path / "run"
    folder.mkdir()
    shutil.copy(made.bundle, folder)
    said = json.loads((made.bundle.parent / "report.json").read_text())
    (folder / "report.json").write_text(json.dumps(said))
    assert open_locked(folder).measured is not None
    said["run"]["bundle"]["sha256"] = "0" * 64
    (folder / "report.json").write_text(json.dumps(said))
    assert open_locked(folder).measured is None


def test_diff_tells_operators_and_precisions_and_what_failed_its_gates(made, tmp_path):
    """INT8 against float; then a bundle against the run directory of a build that was refused one."""
    words = ["build", "--quiet", *ROUGH, f"data.path={made.data / 'data.yaml'}"]
    finished = edgecompile(*words, "passes.int8_static=null", cwd=tmp_path, cache=made.cache)
    assert finished.returncode == 0, finished.stderr
    other = finished.stdout.splitlines()[-1]
    shown = edgecompile("diff", made.bundle, other, cwd=tmp_path, cache=made.cache).stdout
    for line in (
        r"layers\.int8: 87 → absent",
        r"layers\.fp32: absent → 87",  # all 87 layers with weights are INT8 in the one, float in the other
        r"operators\.QuantizeLinear: \d+ → absent",
        r"weights\.int8: \d+ → absent",
        r"per_class\.\w+\.map50_95: .*",
        r"step quantization: edgecompile\.quantization\.qdq:quantize → absent",
    ):
        assert re.search(rf"\n  {line}\n", shown), line
    refused = edgecompile(*words, "gates.map50_95=1", cwd=tmp_path / "..", cache=made.cache)
    assert refused.returncode == 6
    run = Path(re.search(r"report: (.*)/report\.html", refused.stderr).group(1))
    shown = edgecompile("diff", made.bundle.parent, run, cwd=tmp_path, cache=made.cache).stdout
    assert "\nrecipe:\n  gates.map50_95: absent → 1\n" in shown
    assert f"graph not compared: {run / LOCK} holds none" in shown
    assert "figures not compared" not in shown
