from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import cv2
import pytest

from edgecompile import cli
from edgecompile.errors import BundleError, EdgecompileError, MissingToolError, RecipeError
from edgecompile.runtime import load

from .test_pictures import png
from .tiny import bundled, photo, tiny_manifest, tiny_onnx, tiny_spec

pytest.importorskip("onnxruntime")
pytestmark = pytest.mark.usefixtures("in_this_process")


def run(verb: str, *argv: Any) -> None:
    assert cli.run([verb, *(str(word) for word in argv)]) == 0


def failed(verb: str, *argv: Any) -> EdgecompileError:
    with pytest.raises(EdgecompileError) as caught:
        cli.run([verb, *(str(word) for word in argv)])
    assert all("\n" not in str(problem) for problem in caught.value.problems)
    return caught.value


def test_predict_prints_a_table(tiny_bundle: Path, pictures: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run("predict", tiny_bundle, pictures, "--threads", 1)
    out, err = capsys.readouterr()
    assert [line.split()[0] for line in out.splitlines() if not line.startswith(" ")] == [
        str(pictures / name) for name in ("a.jpg", "b.png", "c.bmp", "d.webp")
    ]
    assert err == ""


def test_predict_says_what_it_passes_over_in_a_folder(
    tiny_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), photo(8, 8))
    for name in ("b.heic", "c.HEIC", "d", "e.\x1b[2Jtxt", ".hidden"):
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "folder.heic").mkdir()
    run("predict", tiny_bundle, tmp_path)
    out, err = capsys.readouterr()
    assert len([line for line in out.splitlines() if not line.startswith(" ")]) == 1
    kinds = "1 without a suffix, 1 .\\x1b[2jtxt, 2 .heic"
    assert err == f"edgecompile: note: 4 files are passed over, of no suffix that is read: {kinds}\n"
    run("predict", tiny_bundle, tmp_path / "a.png", tmp_path / "*.png")  # a person names pictures, not a folder
    assert capsys.readouterr().err == ""


def test_predict_writes_json_and_coco_that_agree_with_the_library(
    tiny_bundle: Path, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "found.json"
    run("predict", tiny_bundle, pictures, "--format", "json", "--out", out, "--conf", 0.4, "--iou", 0.5, "--max-det", 3)
    assert capsys.readouterr().out == ""
    found = json.loads(out.read_text())
    model = load(tiny_bundle)
    for one in found:
        wanted = model.predict(one["file"], conf=0.4, iou=0.5, max_det=3)
        assert len(wanted) == len(one["detections"]) > 0
        assert [value["box"] for value in one["detections"]] == wanted.to_dict()["boxes"]
    run("predict", tiny_bundle, pictures, "--format", "coco", "--conf", 0.4, "--iou", 0.5, "--max-det", 3)
    results = json.loads(capsys.readouterr().out)
    assert len(results) == sum(len(one["detections"]) for one in found)
    assert {one["image_id"]: one["file_name"] for one in results} == dict(
        enumerate(["a.jpg", "b.png", "c.bmp", "d.webp"])
    )


def test_predict_saves_pictures_with_boxes(tiny_bundle: Path, pictures: Path, tmp_path: Path) -> None:
    more = tmp_path / "more"
    more.mkdir()
    (more / "a.jpg").write_bytes((pictures / "a.jpg").read_bytes())
    (more / "a-2.jpg").write_bytes((pictures / "a.jpg").read_bytes())
    saved = tmp_path / "new" / "saved"
    run("predict", tiny_bundle, pictures, more, "--save", saved, "--out", tmp_path / "table.txt")
    names = ["a-2.jpg", "a-3.jpg", "a.jpg", "b.png", "c.bmp", "d.webp"]
    assert sorted(path.name for path in saved.iterdir()) == sorted(names)
    assert (saved / "b.png").read_bytes() != (pictures / "b.png").read_bytes()


def test_predict_never_overwrites_a_source(tiny_bundle: Path, pictures: Path) -> None:
    before = {path: path.read_bytes() for path in pictures.iterdir()}
    assert "overwrite" in str(failed("predict", tiny_bundle, pictures, "--save", pictures))
    assert {path: path.read_bytes() for path in pictures.iterdir()} == before


def test_results_never_replace_what_is_read(tiny_bundle: Path, pictures: Path, tmp_path: Path) -> None:
    link = tmp_path / "link.jpg"
    link.symlink_to(pictures / "a.jpg")
    before = {path: path.read_bytes() for path in (*pictures.iterdir(), tiny_bundle)}
    for out in (pictures / "a.jpg", link, tiny_bundle):
        assert "would be overwritten" in str(failed("predict", tiny_bundle, pictures, "--out", out))
    assert {path: path.read_bytes() for path in before} == before


@pytest.mark.parametrize("form", ["json", "coco", "table"])
def test_a_name_that_is_no_text_is_escaped(form: str, tiny_bundle: Path, pictures: Path, tmp_path: Path) -> None:
    strange = os.path.join(os.fsencode(pictures), b"b\xe9.jpg")
    os.rename(os.fsencode(pictures / "a.jpg"), strange)
    out = tmp_path / "found"
    assert cli.run(["predict", str(tiny_bundle), str(pictures), "--format", form, "--out", str(out)]) == 0
    assert "b\\udce9.jpg" in out.read_text()
    if form == "json":
        assert strange in [os.fsencode(one["file"]) for one in json.loads(out.read_text())]


@pytest.mark.parametrize(
    ("flag", "value", "said"),
    [
        ("--conf", "x", "found 'x', expected a number in 0..1"),
        ("--conf", "nan", "found 'nan', expected a number in 0..1"),
        ("--max-det", "0", "found '0', expected a whole number of at least 1"),
        ("--imgsz", "192,256", "found '192,256', expected N or HxW, pixels"),
    ],
)
def test_a_wrong_value_is_named_beside_what_is_expected(flag, value, said, tiny_bundle: Path, pictures: Path) -> None:
    assert said in str(failed("predict", tiny_bundle, pictures, flag, value))
    assert "it is empty" in str(failed("predict", tiny_bundle, ""))


def test_a_setting_of_other_tasks_is_refused(tiny_bundle: Path, pictures: Path, tmp_path: Path) -> None:
    error = failed("predict", tiny_bundle, pictures, "--top", 3, "--save", tmp_path / "drawn")
    assert str(error) == "--top says nothing about detections; this bundle takes --conf, --iou, --max-det"
    assert error.exit_code == 2
    assert not (tmp_path / "drawn").exists()
    run("predict", tiny_bundle, pictures, "--conf", 0.3, "--iou", 0.5, "--max-det", 3)


def test_an_overlap_is_refused_where_nothing_is_suppressed(pictures: Path, tmp_path: Path) -> None:
    members = {
        "artifact/model.onnx": tiny_onnx(decode="end2end"),
        "spec.json": json.dumps(tiny_spec(decode="end2end")).encode(),
    }
    (tmp_path / "free.bundle.zip").write_bytes(bundled(members, tiny_manifest()))
    error = failed("predict", tmp_path / "free.bundle.zip", pictures, "--iou", 0.5)
    said = "--iou has no effect on this model: its head leaves no boxes to be suppressed; leave it out"
    assert (str(error), error.exit_code) == (said, 2)
    run("predict", tmp_path / "free.bundle.zip", pictures, "--conf", 0.3, "--max-det", 3)


@pytest.mark.parametrize("form", ["json", "coco"])
def test_a_bad_picture_ends_the_run_with_nothing_half_written(
    form: str, tiny_bundle: Path, pictures: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    cut = (pictures / "a.jpg").read_bytes()
    for name, content in (("e.jpg", cut[: len(cut) // 2]), ("e.png", png(20_000, 20_000)), ("e.bmp", b"BM")):
        (pictures / name).write_bytes(content)
        for destination in ([], ["--out", tmp_path / "found.json"]):
            error = failed("predict", tiny_bundle, pictures, "--format", form, *destination)
            assert error.exit_code == 2
            assert str(error).startswith(str(pictures / name))
        (pictures / name).unlink()
    assert not (tmp_path / "found.json").exists()
    assert not [name for name in os.listdir(tmp_path) if name.endswith(".part")]
    assert capfd.readouterr() == ("", "")


def test_wrong_command_lines_are_errors_of_one_line(tiny_bundle: Path, pictures: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for argv in (
        [],
        [tiny_bundle],
        [tiny_bundle, pictures, "--conf", "2"],
        [tiny_bundle, pictures, "--conf", "much"],
        [tiny_bundle, pictures, "--format", "xml"],
        [tiny_bundle, pictures, "--threads", "0"],
        [tiny_bundle, pictures, "--nonsense"],
        [tiny_bundle, pictures, "--out", tmp_path / "nowhere" / "x.json"],
        [tiny_bundle, pictures, "--out", tmp_path],
        [tiny_bundle, pictures, "--save", tiny_bundle],
        [tiny_bundle, tmp_path / "empty"],
        [tiny_bundle, tmp_path / "*.tiff"],
        [tmp_path / "x.bundle.zip", pictures],
    ):
        assert isinstance(failed("predict", *argv), RecipeError), argv
    assert failed("predict", pictures / "a.jpg", pictures).exit_code == 7


def test_help_is_no_error(capsys: pytest.CaptureFixture[str]) -> None:
    for verb in ("finalize", "predict", "verify", "bench", "inspect"):
        with pytest.raises(SystemExit) as caught:
            cli.run([verb, "--help"])
        assert caught.value.code == 0
        assert f"edgecompile {verb}" in capsys.readouterr().out


def test_verify_says_what_was_checked(tiny_bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import hashlib

    run("verify", tiny_bundle)
    out = capsys.readouterr().out
    assert re.findall(r"^(\w+) +ok:", out, re.MULTILINE) == [
        "seal",
        "members",
        "runtime",
        "boxes",
        "scores",
        "detections",
    ]
    assert out.splitlines()[-1].split() == ["sha256", hashlib.sha256(tiny_bundle.read_bytes()).hexdigest()]


def test_verify_finds_what_is_wrong(
    tiny_members: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def made(manifest: dict[str, Any], **changes: bytes) -> Path:
        path = tmp_path / "x.bundle.zip"
        path.write_bytes(bundled({**tiny_members, **changes}, manifest))
        return path

    altered = made(tiny_manifest())
    altered.write_bytes(altered.read_bytes().replace(b"bolt", b"volt"))
    assert failed("verify", altered).exit_code == 7

    strict = tiny_manifest()
    strict["golden"]["tolerance"]["min_cosine"] = 1.1
    error = failed("verify", made(strict))
    assert isinstance(error, BundleError)
    assert "boxes, scores" in str(error)
    assert "DIFFERS" in capsys.readouterr().out

    for versions in (">=99", ">=1.19,<1.2"):
        error = failed("verify", made(tiny_manifest(runtime=["onnxruntime", versions])))
        assert isinstance(error, MissingToolError)
        assert f"pip install 'onnxruntime{versions}'" in str(error)
    assert failed("verify", made(tiny_manifest(runtime=["onnxruntime", "~=1"]))).exit_code == 7
    assert failed("verify", made(tiny_manifest(runtime=None))).exit_code == 7

    import sys

    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    assert failed("verify", made(tiny_manifest())).exit_code == 4


def test_inspect_shows_the_manifest(tiny_bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run("inspect", tiny_bundle)
    assert "boxes that stand still" in capsys.readouterr().out
    run("inspect", tiny_bundle, "--json")
    document = json.loads(capsys.readouterr().out)
    assert document["manifest"]["name"] == "tiny"
    assert document["size_bytes"] == tiny_bundle.stat().st_size


def test_bench_measures_with_and_without_pictures(
    tiny_bundle: Path, pictures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run("bench", tiny_bundle, "--json", "--threads", 1, "--rounds", 5)
    golden = json.loads(capsys.readouterr().out)
    figures = golden["measurement"]
    assert (golden["pictures"], figures["predictions"], figures["threads"]) == (1, 5, 1)
    run("bench", tiny_bundle, "--images", pictures, "--rounds", 2)
    out = capsys.readouterr().out
    assert "8 predictions" in out
    assert "peak memory" in out
    for part, ranks in figures["latency_ms"].items():
        assert 0 <= ranks["p50"] <= ranks["p95"] <= ranks["p99"], part
    assert set(figures["latency_ms"]) == {"read", "preprocess", "inference", "postprocess", "total"}
    assert min(figures["import_ms"], figures["open_ms"], figures["first_ms"]) > 0
    assert 20 < figures["peak_memory_mb"] < 1000
    assert figures["fps"] > 0


@pytest.mark.slow
def test_bench_of_what_cannot_be_measured_says_why(
    tiny_bundle: Path, pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (pictures / "a.jpg").write_bytes(b"no picture")
    assert failed("bench", tiny_bundle, "--images", pictures / "a.jpg").exit_code == 2
    (pictures / "stub").mkdir()
    (pictures / "stub/onnxruntime.py").write_text("raise SystemExit('out of memory')\n")
    monkeypatch.setenv("PYTHONPATH", str(pictures / "stub"))
    error = failed("bench", tiny_bundle)
    assert error.exit_code == 7
    assert "the measured process died" in str(error)
    (pictures / "stub/onnxruntime.py").write_text("raise ModuleNotFoundError('no onnxruntime', name='onnxruntime')\n")
    assert failed("bench", tiny_bundle).exit_code == 4


@pytest.fixture(params=[(0, float("nan"), "the box (nan"), (4, float("nan"), "the score nan"), (5, 7.0, "the score 7")])
def implausible(request: pytest.FixtureRequest, tiny_members: dict[str, bytes], tmp_path: Path) -> tuple[Path, str]:
    """A bundle whose model puts out a number that is none, and what is said of it."""
    row, value, message = request.param
    path = tmp_path / "implausible.bundle.zip"
    model = tiny_onnx(row=row, value=value)
    path.write_bytes(bundled({**tiny_members, "artifact/model.onnx": model}, tiny_manifest()))
    return path, message


@pytest.mark.parametrize("form", ["table", "json", "coco"])
def test_numbers_that_are_none_are_never_results(
    form: str, implausible: tuple[Path, str], pictures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle, message = implausible
    for words in (("predict", bundle, pictures, "--format", form), ("bench", bundle), ("verify", bundle)):
        error = failed(*words)
        assert error.exit_code == 7
        assert str(bundle) in str(error)
        if words[0] != "verify":  # which says that the outputs differ
            assert f"output 'output0' of the model holds {message}" in str(error)
        assert "nan" not in capsys.readouterr().out.lower()


def test_numbers_that_are_none_are_errors_of_every_call(implausible: tuple[Path, str], pictures: Path) -> None:
    bundle, message = implausible
    model = load(bundle)
    picture = pictures / "a.jpg"
    for work in (
        lambda: model.predict(picture),
        lambda: model.predict_batch([picture]),
        lambda: next(model.stream([picture])),
    ):
        with pytest.raises(BundleError) as caught:
            work()
        assert message in str(caught.value)


@pytest.mark.slow
def test_two_bundles_are_measured_in_turns(tiny_bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run("bench", tiny_bundle, "--rounds", 60, "--against", tiny_bundle, "--json")
    measurement = json.loads(capsys.readouterr().out)["measurement"]
    speedup = measurement["speedup"]
    assert measurement["predictions"] == 60
    assert speedup["rounds"] >= 10
    assert speedup["against"].startswith("fp32 on onnxruntime")
    assert 0 < speedup["low"] <= speedup["ratio"] <= speedup["high"]
    run("bench", tiny_bundle, "--rounds", 7, "--against", tiny_bundle)
    assert "x as fast as fp32 on onnxruntime" in capsys.readouterr().out
