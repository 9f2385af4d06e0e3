"""Key points that a model puts out and those that a data set labels: `plan` compares their numbers."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from edgecompile import cli
from edgecompile.places import sample_folder


@pytest.mark.parametrize("points", [2, 3])
def test_another_number_of_key_points_is_told_at_plan(points: int, tmp_path: Path, capfd, monkeypatch) -> None:
    monkeypatch.setenv("EDGECOMPILE_CACHE", str(tmp_path / "cache"))
    for kind in ("images", "labels"):
        (tmp_path / kind / "val").mkdir(parents=True)
    for picture in sorted((sample_folder() / "pose/images/val").glob("*.jpg"))[:8]:
        shutil.copy(picture, tmp_path / "images/val")
        line = "0 0.5 0.5 0.2 0.2" + " 0.5 0.5 2" * points + "\n"
        (tmp_path / "labels/val" / f"{picture.stem}.txt").write_text(line)
    data = tmp_path / "data.yaml"
    data.write_text(f"val: images/val\nkpt_shape: [{points}, 3]\nnames: [bolt, nut, washer]\n")
    words = ["recipe=x86-cpu_onnxruntime_fp32", "model=sample-pose", f"data.path={data}", "data.calibration=null"]
    code = cli.main(["plan", *words, "data.validation.split=val"])
    said = capfd.readouterr()
    if points == 3:
        assert (code, said.err) == (0, "")
        assert "task: pose\n" in said.out
        return
    assert code == 2
    fix = "name the data set that the model was trained for"
    message = "the model puts out 3 key points of an object, the data set labels 2 (kpt_shape)"
    assert said.err == f"edgecompile: command line:data.path: {message}; {fix}\n"
