"""Compiled models kept on the device: found again, trusted only where they are this user's own, never in the way."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import edgecompile.runtime as rt
from edgecompile.runtime import device_cache

from .tiny import bundled, photo, tiny_manifest

FACTS = {"bundle": "1" * 64, "settings": {"threads": 2}}
CONTENT = bytes(range(256)) * 40


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The cache's folder, which is not there yet."""
    monkeypatch.setenv(device_cache.VARIABLE, str(tmp_path / "cache"))
    return tmp_path / "cache" / device_cache.FOLDER


def only(folder: Path) -> Path:
    files = list(folder.iterdir())
    assert len(files) == 1
    return files[0]


def test_finds_what_was_kept_for_the_same_facts_only(folder: Path) -> None:
    assert device_cache.find(FACTS) is None
    device_cache.keep(FACTS, CONTENT)
    assert device_cache.find({"settings": {"threads": 2}, "bundle": "1" * 64}) == CONTENT
    assert device_cache.find({**FACTS, "settings": {"threads": 1}}) is None
    assert folder.stat().st_mode & 0o777 == 0o700
    assert only(folder).stat().st_mode & 0o777 == 0o600
    device_cache.forget(FACTS)
    assert device_cache.find(FACTS) is None
    device_cache.forget(FACTS)


def test_whatever_is_damaged_is_a_miss_that_heals(folder: Path) -> None:
    device_cache.keep(FACTS, CONTENT)
    path = only(folder)
    whole = path.read_bytes()
    flipped = [whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :] for at in (0, 30, 90, len(whole) - 1)]
    for damaged in (*flipped, whole[:-1], whole + b"x", b"", whole[:50]):
        path.write_bytes(damaged)
        assert device_cache.find(FACTS) is None
        device_cache.keep(FACTS, CONTENT)
        assert device_cache.find(FACTS) == CONTENT


def test_a_file_under_the_name_of_another_is_a_miss(folder: Path) -> None:
    other = {**FACTS, "bundle": "2" * 64}
    device_cache.keep(FACTS, CONTENT)
    path = only(folder)
    device_cache.keep(other, b"of another bundle")
    second = next(one for one in folder.iterdir() if one != path)
    second.replace(path)
    assert device_cache.find(FACTS) is None


def loose_folder(folder: Path) -> None:
    folder.chmod(0o755)


def loose_file(folder: Path) -> None:
    only(folder).chmod(0o644)


def link(folder: Path) -> None:
    aside = folder.with_name("aside")
    folder.rename(aside)
    folder.symlink_to(aside)


def linked_file(folder: Path) -> None:
    path = only(folder)
    path.rename(folder.parent / "aside")
    path.symlink_to(folder.parent / "aside")


def of_somebody_else(folder: Path) -> None:
    if os.geteuid():
        pytest.skip("only root can give a file away")
    os.chown(folder, 12345, -1)


@pytest.mark.parametrize("spoil", [loose_folder, loose_file, link, linked_file, of_somebody_else])
def test_what_another_could_have_written_is_not_opened(folder: Path, spoil: Callable[[Path], None]) -> None:
    device_cache.keep(FACTS, CONTENT)
    assert device_cache.find(FACTS) == CONTENT
    spoil(folder)
    assert device_cache.find(FACTS) is None


def test_it_can_be_turned_off_and_never_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for place in (device_cache.OFF, "/proc/no-such-place", str(tmp_path / "file" / "below")):
        (tmp_path / "file").write_text("")
        monkeypatch.setenv(device_cache.VARIABLE, place)
        device_cache.keep(FACTS, CONTENT)
        assert device_cache.find(FACTS) is None
        device_cache.forget(FACTS)
    monkeypatch.delenv(device_cache.VARIABLE)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert device_cache.location() == tmp_path / "xdg" / "edgecompile-device" / device_cache.FOLDER
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert device_cache.location() == tmp_path / ".cache" / "edgecompile-device" / device_cache.FOLDER


def test_those_not_used_for_longest_make_room(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device_cache, "MOST_BYTES", 3 * (len(CONTENT) + 200))
    for number in range(3):
        device_cache.keep({"number": number}, CONTENT)
        name, _ = device_cache._named({"number": number})
        os.utime(folder / name, (1000 + number, 1000 + number))
    assert device_cache.find({"number": 0}) == CONTENT  # used again: the next one goes instead
    device_cache.keep({"number": 3}, CONTENT)
    assert [device_cache.find({"number": number}) is not None for number in range(4)] == [True, False, True, True]
    device_cache.keep({"number": 4}, bytes(device_cache.MOST_BYTES + 1))
    assert device_cache.find({"number": 4}) is None
    abandoned, fresh = folder / "a.1.1.part", folder / "b.1.1.part"
    for path in (abandoned, fresh):
        path.write_bytes(b"half")
    os.utime(abandoned, (time.time() - 7200,) * 2)
    device_cache.keep({"number": 5}, CONTENT)
    assert fresh.exists()
    assert not abandoned.exists()


@pytest.fixture
def bundle(tiny_members: dict[str, bytes], tmp_path: Path) -> Path:
    """The tiny model in a bundle for OpenVINO."""
    pytest.importorskip("openvino")
    path = tmp_path / "tiny.bundle.zip"
    path.write_bytes(bundled(tiny_members, tiny_manifest("openvino")))
    return path


def boxes(model: rt.Predictor) -> np.ndarray:
    return model.predict(photo(70, 60)).boxes


def test_the_second_start_of_a_bundle_takes_the_kept_model(bundle: Path, folder: Path) -> None:
    first = rt.load(bundle, threads=1)
    second = rt.load(bundle, threads=1)
    assert (first.backend.from_cache, second.backend.from_cache) == (False, True)
    assert np.array_equal(boxes(first), boxes(second))
    assert second.backend.outputs == first.backend.outputs
    assert not rt.load(bundle, threads=2).backend.from_cache  # other settings, another model
    for path in folder.iterdir():
        path.write_bytes(path.read_bytes()[:-1])
    healed = rt.load(bundle, threads=1)
    assert not healed.backend.from_cache
    assert np.array_equal(boxes(healed), boxes(first))
    assert rt.load(bundle, threads=1).backend.from_cache


def test_what_openvino_refuses_is_compiled_again(bundle: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A sealed content of the right facts that is no model: as after a change of driver that no fact shows."""
    kept: list[Any] = []
    keep = device_cache.keep
    monkeypatch.setattr(device_cache, "keep", lambda facts, content: kept.append(facts) or keep(facts, content))
    rt.load(bundle, threads=1)
    keep(kept[0], b"no model")
    model = rt.load(bundle, threads=1)
    assert not model.backend.from_cache
    assert len(boxes(model))
    assert rt.load(bundle, threads=1).backend.from_cache


def test_only_models_in_bundles_are_kept(tiny_members: dict[str, bytes], tmp_path: Path, folder: Path) -> None:
    pytest.importorskip("openvino")
    (tmp_path / "model.onnx").write_bytes(tiny_members["artifact/model.onnx"])
    spec = json.loads(tiny_members["spec.json"])
    assert not rt.open_artifact(tmp_path / "model.onnx", spec, "openvino", {}, 1).backend.from_cache
    assert not folder.exists()
