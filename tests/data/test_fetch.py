"""Fetching against a server of this machine: what is downloaded, recorded, compared, refused. Nothing goes outside."""

from __future__ import annotations

import hashlib
import http.server
import io
import json
import threading
import zipfile
from functools import partial
from pathlib import Path

import pytest

from edgecompile.compose.composition import compose
from edgecompile.data.fetch import fetch
from edgecompile.errors import RecipeError, StepError
from edgecompile.places import fetched_folder, sample_folder
from edgecompile.recipe.materials import find_materials

CONTENT = b"weights of a net" * 1000
DIGEST = hashlib.sha256(CONTENT).hexdigest()


class Handler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        if self.path == "/short.txt/yolo11n.pt":
            self.send_response(200)
            self.send_header("Content-Length", "100000")
            self.end_headers()
            self.wfile.write(b"x")
            return
        super().do_GET()


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Serves a folder; yields the folder and the address."""
    folder = tmp_path / "published"
    folder.mkdir()
    (folder / "yolo11n.pt").write_bytes(CONTENT)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(folder))) as one:
        threading.Thread(target=one.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{one.server_port}"
        monkeypatch.setenv("EDGECOMPILE_FETCH_URL", url)
        yield folder, url
        one.shutdown()


def test_fetches_once_and_records_the_digest(server, run):
    ran = run("fetch", "yolo11n.pt")
    assert (ran.code, ran.out.strip()) == (0, str(fetched_folder() / "yolo11n.pt"))
    assert (fetched_folder() / "yolo11n.pt").read_bytes() == CONTENT
    record = json.loads((fetched_folder() / "yolo11n.pt.json").read_text())
    assert (record["sha256"], record["size"], record["url"]) == (DIGEST, len(CONTENT), f"{server[1]}/yolo11n.pt")
    (server[0] / "yolo11n.pt").write_bytes(b"another")
    assert run("fetch", "yolo11n.pt").code == 0
    assert (fetched_folder() / "yolo11n.pt").read_bytes() == CONTENT


def test_what_was_changed_since_is_told_and_kept(server):
    path = fetch("yolo11n.pt")
    path.write_bytes(b"changed")
    with pytest.raises(RecipeError, match="nothing is overwritten"):
        fetch("yolo11n.pt")
    assert path.read_bytes() == b"changed"


def test_the_digest_that_a_person_expects(server):
    with pytest.raises(RecipeError, match=f"has the digest {DIGEST}, expected 00"):
        fetch("yolo11n.pt", sha256="00")
    assert list(fetched_folder().iterdir()) == []
    assert fetch("yolo11n.pt", sha256=DIGEST.upper()).is_file()


def test_a_name_that_is_not_published(server, run):
    ran = run("fetch", "yolo11q.pt")
    assert ran.code == 2
    assert "did you mean 'yolo11" in ran.err
    assert run("fetch", "../yolo11n.pt").code == 2
    assert run("fetch").code == 2


@pytest.mark.parametrize(
    ("base", "words"),
    [
        ("http://127.0.0.1:9", "cannot be reached"),
        ("http://no-such-host.invalid", "cannot be reached"),
        ("file:///etc", "is no http(s) address"),
    ],
)
def test_an_address_that_is_not_there(run, base, words):
    ran = run("fetch", "yolo11n.pt", "--url", base)
    assert ran.code == (2 if "address" in words else 5)
    assert len(ran.lines) == 1
    assert words in ran.err
    assert not (fetched_folder() / "yolo11n.pt").exists()


def test_a_download_that_is_not_there_or_ends_early(server):
    with pytest.raises(StepError, match="404"):
        fetch("yolo11s.pt")
    with pytest.raises(StepError, match=r"ended after|cannot be reached"):
        fetch("yolo11n.pt", base=f"{server[1]}/short.txt")
    assert list(fetched_folder().iterdir()) == []


def archive(names: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as content:
        for name, data in names.items():
            content.writestr(name, data)
    return stream.getvalue()


def test_a_data_set_is_split_so_that_it_can_calibrate_and_validate(server):
    picture = (sample_folder() / "images/val/val_0000.jpg").read_bytes()
    files = {f"coco128/images/train2017/{one:012}.jpg": picture + bytes([one]) for one in range(64)}
    files |= {f"coco128/labels/train2017/{one:012}.txt": b"79 0.5 0.5 0.1 0.1\n" for one in range(64)}
    files["coco128/LICENSE"] = b"x"
    (server[0] / "coco128.zip").write_bytes(archive(files))
    fetch("coco128.yaml")
    found = find_materials(compose("quickstart", "data=coco128"))
    assert (len(found.calibration.paths), len(found.validation.paths), len(found.names)) == (48, 16, 80)
    assert (found.names[0], found.names[79]) == ("person", "toothbrush")
    assert fetch("coco128.yaml").name == "coco128.yaml"


def test_a_data_set_with_splits_of_its_own(server):
    files = {f"coco8/images/{split}/{one}.jpg": b"x" for split in ("train", "val") for one in range(4)}
    (server[0] / "coco8.zip").write_bytes(archive(files))
    assert "val: images/val\n" in fetch("coco8.yaml").read_text()


@pytest.mark.parametrize("name", ["../evil.txt", "/tmp/evil.txt", "coco8/../../evil.txt", "..\\evil.txt"])
def test_an_archive_that_leaves_its_folder(server, name):
    (server[0] / "coco8.zip").write_bytes(archive({"coco8/images/train/a.jpg": b"x", name: b"evil"}))
    with pytest.raises(StepError, match="leaves its folder"):
        fetch("coco8.yaml")
    assert list(fetched_folder().iterdir()) == []


def test_an_archive_that_is_none(server):
    (server[0] / "coco8.zip").write_bytes(b"no zip")
    with pytest.raises(StepError, match="damaged"):
        fetch("coco8.yaml")


def test_a_cache_that_cannot_be_written(server, monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("EDGECOMPILE_CACHE", str(tmp_path / "file"))
    with pytest.raises(StepError, match="cannot write to"):
        fetch("yolo11n.pt")
