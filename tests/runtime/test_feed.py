"""What command lines name as sources: lists, videos, streams over HTTP, standard input; and what hostile ones come to.

RTSP needs a server that is not here: its addresses are refused or time out like those of HTTP, and no test reads one.
"""

from __future__ import annotations

import http.server
import json
import os
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from edgecompile import cli
from edgecompile.errors import BundleError, InputError, Problem
from edgecompile.runtime import load, videos
from edgecompile.runtime.feed import Shot, open_feed
from edgecompile.runtime.network_address import masked
from edgecompile.runtime.videos import Video

from .tiny import NAMES, bundled, photo, tiny_manifest

pytest.importorskip("onnxruntime")
pytestmark = pytest.mark.usefixtures("in_this_process")


def write_video(path: Path, frames: int = 12, code: str = "MJPG") -> Path:
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*code), 10.0, (96, 64))
    for number in range(frames):
        writer.write(photo(64, 96, number))
    writer.release()
    return path


@pytest.fixture
def lines(tiny_bundle: Path, capsys: pytest.CaptureFixture[str]):
    """Predicts, and returns the exit code, the records, and standard error."""

    def predict(*words: Any) -> tuple[int, list[dict[str, Any]], str]:
        code = cli.run(["predict", str(tiny_bundle), *map(str, words), "--format", "jsonl"])
        out, err = capsys.readouterr()
        return code, [json.loads(line) for line in out.splitlines()], err

    return predict


def feed_of(*words: str, every: int = 1, stdin: bytes | None = None) -> tuple[list[Shot | InputError], list[str]]:
    notes: list[str] = []
    if stdin is None:
        return list(open_feed(words, every=every, notify=notes.append, stdin=None)), notes
    read, write = os.pipe()
    with open(read, "rb", buffering=0) as stream:
        thread = threading.Thread(target=_send, args=(write, stdin))
        thread.start()
        shots = list(open_feed(words, every=every, notify=notes.append, stdin=stream))
        thread.join()
    return shots, notes


def _send(descriptor: int, content: bytes) -> None:
    with suppress(BrokenPipeError), open(descriptor, "wb") as stream:
        stream.write(content)


def encoded(kind: str, seed: int = 0) -> bytes:
    return cv2.imencode(kind, photo(64, 96, seed))[1].tobytes()


def test_a_list_names_sources_from_here_or_beside_it(pictures: Path, tmp_path: Path, lines) -> None:
    listed = pictures / "all.txt"
    listed.write_bytes("\ufeffa.jpg\r\n\n  b.png  \n".encode() + os.fsencode(pictures / "c.bmp"))
    code, records, _ = lines(listed)
    assert (code, [Path(one["file"]).name for one in records]) == (0, ["a.jpg", "b.png", "c.bmp"])
    for content, said in ((b"", "the list is empty"), (b"\0a", "no list"), (b"gone.jpg", "no such picture")):
        listed.write_bytes(content)
        with pytest.raises(InputError, match=said):
            lines(listed)
    listed.write_text("all.txt")  # a list names no list: nothing turns in a circle
    assert "not a picture" in lines(listed)[1][0]["error"]


def test_a_video_is_predicted_frame_by_frame_and_written_whole(tmp_path: Path, tiny_bundle: Path, lines) -> None:
    video = write_video(tmp_path / "a b #1.avi")
    code, records, err = lines(video, "--save", tmp_path / "drawn", "--show-every", 5)
    assert (code, [one["frame"] for one in records]) == (0, [0, 5, 10])
    assert {one["file"] for one in records} == {str(video)}
    assert "3 pictures" in err
    assert "a second" in err
    (saved,) = (tmp_path / "drawn").iterdir()
    capture = cv2.VideoCapture(str(saved))
    assert (saved.stem, round(capture.get(cv2.CAP_PROP_FPS)), capture.get(cv2.CAP_PROP_FRAME_COUNT)) == ("a-b-1", 2, 3)
    model = load(tiny_bundle)
    assert [len(one) for one in model.stream(str(video))] == [len(one["detections"]) for one in lines(video)[1]]


def test_a_folder_and_a_pattern_name_videos_too(pictures: Path, lines) -> None:
    write_video(pictures / "e.avi", 2)
    for source in (pictures, pictures / "*"):
        records = lines(source)[1]
        assert [(Path(one["file"]).name, one.get("frame")) for one in records][-2:] == [("e.avi", 0), ("e.avi", 1)]
        assert len(records) == 6


def test_a_broken_picture_is_a_record_and_exit_code_2(pictures: Path, lines) -> None:
    (pictures / "b.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    code, records, _ = lines(pictures)
    assert (code, ["error" in one for one in records]) == (2, [False, True, False, False])


def test_a_truncated_video_is_told(tmp_path: Path) -> None:
    content = write_video(tmp_path / "a.avi", 40).read_bytes()
    (tmp_path / "a.avi").write_bytes(content[: len(content) // 2])
    shots, notes = feed_of(str(tmp_path / "a.avi"))
    assert 0 < len(shots) < 40
    assert "truncated or damaged" in notes[0]


@pytest.mark.parametrize(
    "content", [b"", b"\0" * 100, b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n", b"RIFF\xff\xff\xff\xffAVI "]
)
def test_what_is_no_video_is_one_line(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "x.mp4").write_bytes(content)
    with pytest.raises(InputError) as caught:
        feed_of(str(tmp_path / "x.mp4"))
    assert len(caught.value.problems) == 1
    assert "passwd" not in str(caught.value)


def test_a_video_that_names_other_hosts_reaches_none(tmp_path: Path) -> None:
    """FFmpeg follows a playlist, whatever its suffix; here it may read files alone."""
    with serving(lambda handler: handler.send_error(404)) as (address, asked):
        (tmp_path / "x.mp4").write_text(
            f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{address}/secret.ts\n#EXT-X-ENDLIST\n"
        )
        with pytest.raises(InputError):
            feed_of(str(tmp_path / "x.mp4"))
    assert asked == []


def test_frames_larger_than_pictures_may_be_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_video(tmp_path / "a.avi", 2)
    monkeypatch.setenv("EDGECOMPILE_MOST_PIXELS", "6000")
    with pytest.raises(InputError, match="96 x 64 pixels are too large"):
        feed_of(str(tmp_path / "a.avi"))


class serving:
    """Serves HTTP on the loopback, each request by a function; `asked` are the paths."""

    def __init__(self, answer) -> None:
        self.asked: list[str] = []
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.asked.append(self.path)
                answer(self)

            def log_message(self, *_: Any) -> None: ...

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True

    def __enter__(self) -> tuple[str, list[str]]:
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{self.server.server_port}", self.asked

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.server.server_close()


def send_frames(handler: Any, count: int) -> None:
    """Sends MJPEG as cameras do, and closes."""
    handler.send_response(200)
    handler.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
    handler.end_headers()
    for number in range(count):
        content = encoded(".jpg", number)
        head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(content)}\r\n\r\n".encode()
        handler.wfile.write(head + content + b"\r\n")


def test_a_stream_that_breaks_off_is_connected_to_again_and_ends_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(videos, "PAUSES_S", (0.01, 0.01))
    connections = iter((8, 8))

    def answer(handler: Any) -> None:
        count = next(connections, 0)
        send_frames(handler, count) if count else handler.send_error(503)

    with serving(answer) as (address, asked):
        secret = address.replace("//", "//user:pa55@") + "/video?token=pa55"
        notes: list[str] = []
        seen: list[Shot | InputError] = []
        with pytest.raises(
            InputError, match=r"the stream broke off after 16 frames, and could not be reached"
        ) as caught:
            seen.extend(open_feed([secret], every=1, notify=notes.append, stdin=None))
    assert len(asked) >= 4
    assert "connecting again, 1 of 2" in notes[0]
    assert "pa55" not in f"{caught.value}{notes}"
    assert "127.0.0.1" in str(caught.value)


def test_a_stream_gives_frames_in_order_and_counts_what_it_passes_over(lines) -> None:
    with serving(lambda handler: send_frames(handler, 30)) as (address, _):
        video = Video(f"{address}/video.mjpg")
        seen = []
        for number, image in video:
            seen.append(number)
            assert image.shape == (64, 96, 3)
            if len(seen) == 2:
                video.close()
        assert seen == sorted(seen)
        assert video.live


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("http://127.0.0.1:1/x", "the stream cannot be opened"),
        ("rtsp://u:pa55@127.0.0.1:1/x", "the stream cannot be opened"),
        ("file:///etc/passwd", "'file' is no stream that is read"),
        ("concat://a|b", "'concat' is no stream"),
        ("ftp://u:pa55@host/x.mp4", "'ftp' is no stream"),
        ("http://u:pa55@host/a.jpg?key=pa55", "is a picture on the network"),
    ],
)
def test_an_address_that_gives_nothing_is_one_line_without_its_secrets(address: str, said: str) -> None:
    with pytest.raises(InputError, match=said) as caught:
        feed_of(address)
    assert "pa55" not in str(caught.value)


@pytest.mark.parametrize("password", ["pa55", "p@55", "pa55/x", "päss", "a:b", "?pa55", "#pa55"])
def test_no_password_is_shown(password: str) -> None:
    shown = masked(f"rtsp://admin:{password}@cam.local:554/a?user=x&password={password}")
    assert password not in shown
    assert "admin" not in shown
    assert "cam.local:554/a" in shown


def test_no_error_shows_the_password_of_an_address() -> None:
    assert str(Problem("found 'http://me:pa55@host/x'")) == "found 'http://***@host/x'"
    assert str(Problem("reach ssh://pi@host:22/a")) == "reach ssh://pi@host:22/a"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["987"], "there is no such camera"),
        (["123456"], "no camera of that number"),
        (["screen"], "the screen is no source"),
        (["gone.mp4"], "no such picture or folder"),
        (["/dev/video987"], "no such picture or folder"),
        ([""], "it is empty"),
        (["\x1b[2J.mp4"], "\\\\x1b"),
    ],
)
def test_a_word_that_names_nothing_is_one_line(words: list[str], said: str) -> None:
    with pytest.raises(InputError, match=said) as caught:
        feed_of(*words)
    assert "\x1b" not in str(caught.value)


def test_standard_input_holds_a_picture_or_jpegs_or_lines(pictures: Path) -> None:
    for kind in (".png", ".jpg", ".bmp", ".webp"):
        ((shot,), _) = feed_of("-", stdin=encoded(kind))
        assert isinstance(shot, Shot)
        assert (shot.source, shot.frame, shot.image.shape) == ("-", None, (64, 96, 3))
    moving, _ = feed_of("-", stdin=b"".join(encoded(".jpg", seed) for seed in range(5)), every=2)
    assert [shot.frame for shot in moving if isinstance(shot, Shot)] == [0, 2, 4]
    broken, _ = feed_of("-", stdin=encoded(".jpg")[:200] + b"\xff\xd9" + encoded(".jpg"))
    assert [isinstance(shot, InputError) for shot in broken] == [True, False]
    named, _ = feed_of("-", stdin=b"".join(os.fsencode(path) + b"\n" for path in sorted(pictures.iterdir())))
    assert [Path(shot.source).name for shot in named if isinstance(shot, Shot)] == ["a.jpg", "b.png", "c.bmp", "d.webp"]
    with pytest.raises(InputError, match="standard input is empty"):
        feed_of("-", stdin=b"")
    with pytest.raises(InputError, match="neither a picture nor a list"):
        feed_of("-", stdin=b"x" * 300_000)


def test_formats_that_want_an_end_are_refused_where_there_may_be_none(tiny_bundle: Path, tmp_path: Path) -> None:
    video = str(write_video(tmp_path / "a.avi", 2))
    for form, source in (("json", "rtsp://host/a"), ("coco", video), ("json", "0")):
        with pytest.raises(InputError, match="take --format jsonl"):
            cli.run(["predict", str(tiny_bundle), source, "--format", form])
    out = tmp_path / "found.json"
    assert cli.run(["predict", str(tiny_bundle), video, "--format", "json", "--out", str(out)]) == 0
    assert [one["frame"] for one in json.loads(out.read_text())] == [0, 1]


def test_only_some_classes_are_told(pictures: Path, lines) -> None:
    everything = [one["class"] for record in lines(pictures)[1] for one in record["detections"]]
    assert len(set(everything)) > 1
    for words in (["--classes", NAMES[1]], ["--classes", "1"], ["--classes", f"1,{NAMES[1]}"]):
        told = [one["class"] for record in lines(pictures, *words)[1] for one in record["detections"]]
        assert told == [number for number in everything if number == 1]
    for wrong in ("zzz", "99", "-1", "", "1,,0"):
        with pytest.raises(InputError, match="the model knows no class"):
            lines(pictures, f"--classes={wrong}")


@pytest.fixture
def absent(tiny_members: dict[str, bytes], tmp_path: Path) -> Path:
    """A bundle for a device that is not here, which ONNX Runtime judged."""
    facts = {"kind": "tensorrt", "runtime": ["tensorrt", ">=10.3,<12"], "finalize": True, "stand_in": "onnxruntime"}
    path = tmp_path / "absent.bundle.zip"
    path.write_bytes(bundled(tiny_members, tiny_manifest("tensorrt", **facts)))
    return path


@pytest.mark.parametrize("form", ["table", "json", "jsonl", "coco"])
def test_a_stand_in_is_named_in_every_line(
    form: str, absent: Path, tiny_bundle: Path, pictures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run(["predict", str(absent), str(pictures), "--stand-in", "--format", form]) == 0
    out = capsys.readouterr().out
    told = [line for line in out.splitlines() if line not in ("[", "]")]
    assert len(told) >= 4
    assert all("stand-in onnxruntime" in line and "not a desk" in line for line in told)
    assert cli.run(["predict", str(tiny_bundle), str(pictures), "--format", form]) == 0
    assert "stand-in" not in capsys.readouterr().out


def test_a_stand_in_says_so_in_python_and_on_pictures(absent: Path, tiny_bundle: Path, pictures: Path) -> None:
    model, own = load(absent, stand_in=True), load(tiny_bundle)
    found, wanted = model.predict(pictures / "a.jpg"), own.predict(pictures / "a.jpg")
    assert np.array_equal(found.boxes, wanted.boxes)
    assert "stand-in" in repr(model)
    assert "stand-in" in repr(found)
    assert not np.array_equal(found.plot()[:10], wanted.plot()[:10])
    assert "stand-in" not in repr(own) + repr(wanted)


def test_who_may_not_stand_in(absent: Path, tiny_bundle: Path, pictures: Path) -> None:
    with pytest.raises(Exception, match="add --stand-in"):
        cli.run(["predict", str(absent), str(pictures)])
    with pytest.raises(InputError, match="judged by its own runtime"):
        cli.run(["predict", str(tiny_bundle), str(pictures), "--stand-in"])
    for verb in ("bench", "verify", "finalize"):
        with pytest.raises(InputError, match="says nothing of the device"):
            cli.run([verb, str(absent), "--stand-in"])


def test_a_backend_that_is_none_stands_in_for_nothing(tiny_members: dict[str, bytes], tmp_path: Path) -> None:
    for name in ("../../x", "nothing", 7):
        facts = {"runtime": ["tensorrt", ">=10"], "stand_in": name}
        (tmp_path / "x.bundle.zip").write_bytes(bundled(tiny_members, tiny_manifest("tensorrt", **facts)))
        with pytest.raises(BundleError):
            load(tmp_path / "x.bundle.zip", stand_in=True)
