"""Choosing by measurement: real sessions and real golden vectors; only which of two is quicker is stated by the tests,
for other tests run beside these."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

import edgecompile.runtime as rt
from edgecompile.errors import BundleError
from edgecompile.runtime import Archive, device_cache, tune, tuning
from edgecompile.runtime.backends import Setting, find_backend
from edgecompile.runtime.backends.onnxruntime import Backend as OnnxRuntime
from edgecompile.runtime.check import Check
from edgecompile.runtime.knobs import Alternative, Knob, Site, knobs_of, resolve
from edgecompile.runtime.options import check_options
from edgecompile.runtime.paired_trial import Comparison
from edgecompile.runtime.target import read_target

from .tiny import bundled, photo, tiny_manifest

pytest.importorskip("onnxruntime")

SITES = (
    Site(1, frozenset()),
    Site(4, frozenset({"avx2"})),
    Site(16, frozenset({"avx512_bf16", "amx_int8", "bf16"}), smt=True, hybrid=True),
)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(device_cache.VARIABLE, str(tmp_path / "cache"))
    monkeypatch.setattr(tuning, "available_cores", lambda: 2)
    monkeypatch.setattr(OnnxRuntime, "knobs", staticmethod(two_knobs))
    return tmp_path / "cache" / device_cache.FOLDER


@pytest.fixture
def bundle(tiny_members: dict[str, bytes], tmp_path: Path) -> Path:
    path = tmp_path / "tiny.bundle.zip"
    path.write_bytes(bundled(tiny_members, tiny_manifest()))
    return path


def found(ratio: float, low: float, high: float) -> Comparison:
    quiet: Any = type("Quiet", (), {"noise": ()})()
    return Comparison(ratio, low, high, 10, 5.0, quiet)


GAIN, EQUAL, OPEN = found(1.2, 1.1, 1.3), found(1.0, 0.99, 1.005), found(1.05, 0.97, 1.2)


@pytest.fixture
def stated(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Has trials come out as stated, in order; EQUAL behind the last."""

    def state(*outcomes: Comparison) -> None:
        left = list(outcomes)
        monkeypatch.setattr(tune, "compare", lambda *_: left.pop(0) if left else EQUAL)

    return state


def tuned(bundle: Path) -> tune.Tuned:
    with Archive(bundle) as archive:
        return tune.tune(archive)


def opened(bundle: Path, threads: int | None = None) -> tuning.Opened:
    with Archive(bundle) as archive:
        return tuning.find_setting(archive, read_target(archive), threads)


def two_knobs(setting: Setting, site: Site) -> list[Knob]:
    return [
        Knob("threads", {"1": Alternative(threads=1)}),
        Knob("graph", {"basic": Alternative({"graph_optimization_level": "ORT_ENABLE_BASIC"})}),
    ]


@pytest.mark.parametrize("kind", ["onnxruntime", "openvino", "ncnn", "tensorrt"])
def test_what_a_backend_leaves_open_is_of_its_own_options(kind: str) -> None:
    backend = find_backend(kind)
    for site in SITES:
        for options in ({}, {"ONEDNN_MAX_CPU_ISA": "AVX2", "DEVICE": "CPU"} if kind == "openvino" else {}):
            setting = Setting(site.cores, options)
            knobs = knobs_of(backend, setting, site)
            assert len({knob.name for knob in knobs}) == len(knobs) > 0
            for knob in knobs:
                for name, alternative in knob.alternatives.items():
                    other = alternative.over(setting)
                    assert other != setting, (knob.name, name)
                    assert not list(check_options(backend.options, other.options)), (knob.name, name)
    names = {knob.name for knob in knobs_of(find_backend("openvino"), Setting(4, {}), SITES[1])}
    assert "float" not in names  # no bfloat16 without the instruction set
    assert not knobs_of(find_backend("openvino"), Setting(4, {"DEVICE": "GPU"}), SITES[2])


def test_what_gains_is_adopted_and_used_by_the_next_start(bundle: Path, folder: Path, stated: Any) -> None:
    before, content = rt.load(bundle), bundle.read_bytes()
    stated(GAIN, EQUAL, GAIN)
    result = tuned(bundle)
    assert [trial.verdict for trial in result.trials] == ["adopted", "gains nothing"]
    assert result.tuning.chosen == {"threads": "1"}
    assert result.confirmed
    assert result.confirmed.low == 1.1
    assert result.kept
    after = rt.load(bundle)
    assert (opened(bundle).setting, after.tuning) == (Setting(1, {}), result.tuning)
    assert np.array_equal(before.predict(photo(70, 60)).boxes, after.predict(photo(70, 60)).boxes)
    assert bundle.read_bytes() == content
    assert rt.load(bundle, threads=1).tuning
    other = rt.load(bundle, threads=2)
    assert other.tuning is None
    assert "measured with 1 threads" in other.tuning_ignored
    json.dumps(result.to_json())
    assert result.lines()[0].endswith("1 adopted, 1 gains nothing")


def test_a_gain_that_does_not_show_again_is_not_kept(bundle: Path, folder: Path, stated: Any) -> None:
    stated(GAIN, OPEN, OPEN)
    result = tuned(bundle)
    assert [trial.verdict for trial in result.trials] == ["adopted", "not proven"]
    assert result.tuning.chosen == {}
    assert any("not confirmed" in line for line in result.lines())
    assert opened(bundle).setting == Setting(2, {})


def test_other_outputs_are_refused_and_counted(bundle: Path, folder: Path, stated: Any, monkeypatch: Any) -> None:
    """Golden outputs that the bundle's own setting meets; of the alternative a test must state that it does not."""
    stated(GAIN, GAIN, GAIN)
    checks = tune.MeasuredProcess.golden_checks

    def strict(self: Any) -> list[Any]:
        met = "ORT_ENABLE_BASIC" not in self._request
        return [*checks(self)[:-1], Check("boxes", met, "difference 0.2 (limit 0.01)")]

    monkeypatch.setattr(tune.MeasuredProcess, "golden_checks", strict)
    result = tuned(bundle)
    assert [trial.verdict for trial in result.trials] == ["adopted", "refused"]
    assert "1 refused" in result.lines()[0]
    assert "difference 0.2" in result.lines()[2]


def test_a_bundle_that_differs_as_it_is_cannot_be_tuned(tiny_members: Any, tmp_path: Path, folder: Path) -> None:
    manifest = tiny_manifest()
    manifest["golden"]["tolerance"]["max_abs"] = 0
    manifest["golden"]["tolerance"]["min_cosine"] = 2
    path = tmp_path / "other.bundle.zip"
    path.write_bytes(bundled(tiny_members, manifest))
    with pytest.raises(BundleError, match="does not run here as it did"):
        tuned(path)


@pytest.fixture
def chosen(bundle: Path, folder: Path) -> Path:
    """The file of a choice."""
    with Archive(bundle) as archive:
        setting, speedup = Setting(1, {}), tune._speedup(GAIN, "the bundle's own setting")
        target = read_target(archive)
        choice = tuning.Tuning(tuning.library_of(target), {"threads": "1"}, setting, speedup, (), "now")
        assert tuning.keep(archive, target, choice)
    (path,) = folder.iterdir()
    assert opened(bundle).setting.threads == 1
    return path


def forge(bundle: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Keeps an altered choice with a seal that fits."""
    with Archive(bundle) as archive:
        facts = tuning._facts(archive, read_target(archive))
    kept = device_cache.find(facts)
    assert kept
    document = json.loads(kept)
    change(document)
    device_cache.keep(facts, json.dumps(document).encode())


FORGED: Mapping[str, Any] = {
    "another option": lambda document: document["options"].update(enable_profiling=True),
    "a file": lambda document: document["options"].update(profile_file_prefix="/tmp/x"),
    "another number": lambda document: document.update(threads=900),
    "an unknown knob": lambda document: document["chosen"].update(plugin="/tmp/x.so"),
    "an unknown alternative": lambda document: document["chosen"].update(threads="900"),
    "no library": lambda document: document.update(library=7),
    "another schema": lambda document: document.update(schema=2),
    "no mapping": lambda document: document.update(chosen=["threads"]),
    "a gain of words": lambda document: document["speedup"].update(ratio="\\x1b[31m"),
    "too much": lambda document: document.update(taken="x" * (1 << 17)),
}


@pytest.mark.parametrize("change", FORGED.values(), ids=FORGED.keys())
def test_a_forged_choice_is_ignored_with_a_line(bundle: Path, chosen: Path, change: Any) -> None:
    forge(bundle, change)
    answer = opened(bundle)
    assert answer.setting == Setting(2, {})
    assert "damaged" in answer.ignored
    assert len(rt.load(bundle).predict(photo(70, 60)).boxes)


def test_a_damaged_choice_is_ignored_with_a_line(bundle: Path, chosen: Path, run: Any) -> None:
    chosen.write_bytes(chosen.read_bytes()[:-3])
    assert opened(bundle).setting == Setting(2, {})
    assert "tuned here   ignored: it is damaged" in run("inspect", str(bundle)).out
    assert "tuned here   ignored: it is damaged" in run("verify", str(bundle)).out


def test_a_choice_is_of_one_library_and_one_machine(bundle: Path, chosen: Path, monkeypatch: Any) -> None:
    with monkeypatch.context() as changed:
        changed.setattr(tuning, "available_cores", lambda: 3)
        assert opened(bundle).tuning is None
    with monkeypatch.context() as changed:
        changed.setattr(tuning, "_version", lambda name: "9.9")
        assert "here is onnxruntime 9.9" in opened(bundle).ignored
    machine = device_cache.machine()
    with monkeypatch.context() as changed:
        changed.setattr(device_cache, "machine", lambda: {**machine, "flags": "avx512_bf16"})
        assert opened(bundle).tuning is None
    assert opened(bundle).tuning
    assert not opened(bundle).ignored


def test_the_verb_resets_and_says_where_nothing_can_be_kept(
    bundle: Path, chosen: Path, run: Any, monkeypatch: Any
) -> None:
    assert "tuned here   threads 1: 1.200x as fast [1.100-1.300]" in run("inspect", str(bundle)).out
    assert json.loads(run("inspect", str(bundle), "--json").out)["tuned_here"].startswith("threads 1")
    assert run("tune", str(bundle), "--reset").code == 0
    assert not chosen.exists()
    assert run("tune", str(bundle), "--minutes", "0").code == 2
    monkeypatch.setenv(device_cache.VARIABLE, "off")
    refused = run("tune", str(bundle))
    assert (refused.code, len(refused.lines)) == (5, 1)


def test_a_tuned_bundle_is_measured_as_it_is_opened(bundle: Path, chosen: Path, run: Any) -> None:
    words = json.loads(run("bench", str(bundle), "--rounds", "3", "--json").out)
    assert words["measurement"]["threads"] == 1
    assert words["tuned"].startswith("threads 1: 1.200x")


def test_resolving_names_nothing_that_is_not_declared() -> None:
    class Silent:
        options: ClassVar[dict[str, Any]] = {}

    assert knobs_of(Silent, Setting(1, {}), SITES[0]) == []
    with pytest.raises(KeyError):
        resolve([], {"threads": "1"}, Setting(1, {}))
