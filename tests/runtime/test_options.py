"""What a bundle may ask of a library: options that its backend declares, and nothing else."""

from __future__ import annotations

import ast
import sys
from pathlib import Path
from typing import Any

import pytest

import edgecompile.runtime as rt
from edgecompile import cli
from edgecompile.errors import BundleError
from edgecompile.recipe.kinds import target_class, target_kinds
from edgecompile.runtime import backends
from edgecompile.runtime.backends import find_backend, open_backend
from edgecompile.runtime.options import MOST_THREADS, Choice, Group, Matching, Switch, Whole, check_options

from .tiny import bundled, tiny_manifest

BUILT_IN = sorted(path.stem for path in Path(backends.__file__).parent.glob("[!_]*.py"))

REFUSED: dict[str, list[tuple[Any, ...]]] = {
    "onnxruntime": [
        ("optimized_model_filepath", "/tmp/x"),
        ("profile_file_prefix", "/tmp/x"),
        ("enable_profiling", True),
        ("intra_op_num_threads", 20000),
        ("inter_op_num_threads", -1),
        ("log_verbosity_level", 9),
        ("register_custom_ops_library", "x.so"),
        ("session.model_external_initializers_file_folder_path", "/etc"),
        ("session.load_model_format", "ORT"),
        ("session.optimized_model_external_initializers_file_name", "/tmp/x"),
        ("ep.context_file_path", "/tmp/x"),
        ("graph_optimization_level", "MAGIC"),
        ("graph_optimization_level", 99),
        ("enable_mem_pattern", "perhaps"),
        ("enable_mem_pattern", 1),
        ("session.intra_op.allow_spinning", 0),
        ("__class__", "x"),
        ("", ""),
    ],
    "openvino": [
        ("CACHE_DIR", "/tmp/x"),
        ("CONFIG_FILE", "/etc/passwd"),
        ("WEIGHTS_PATH", "/etc/passwd"),
        ("LOG_LEVEL", "LOG_TRACE"),
        ("INFERENCE_NUM_THREADS", 20000),
        ("NUM_STREAMS", 10**9),
        ("NUM_STREAMS", True),
        ("DEVICE", "HETERO:CPU,GPU"),
        ("DEVICE", "BATCH:GPU"),
        ("DEVICE", "TEMPLATE"),
        ("DEVICE", "/tmp/plugin.so"),
        ("DEVICE", "AUTO:CPU,../x"),
        ("DEVICE", "CPU\n"),
        ("DEVICE", "GPU.\u0663"),  # a digit, and none of ours
        ("DEVICE", ["CPU"]),
        ("ONEDNN_VERBOSE", "2"),
        ("ONEDNN_JIT_DUMP", "1"),
        ("ONEDNN_MAX_CPU_ISA", "AVX9"),
        ("LD_PRELOAD", "x.so"),
        ("DEVICE_PROPERTIES", {"CPU": {"CACHE_DIR": "/tmp/x"}}),
        ("DEVICE_PROPERTIES", {"../x": {}}),
        ("DEVICE_PROPERTIES", "CPU"),
    ],
    "ncnn": [
        ("use_vulkan_compute", True),
        ("num_threads", 20000),
        ("use_fp16_packed", "yes"),
        ("vulkan_device_index", 1),
        ("blob_allocator", None),
    ],
    "litert": [("num_threads", 20000), ("experimental_delegates", ["/tmp/x.so"]), ("model_path", "/etc/passwd")],
    "tensorrt": [
        ("workspace_mb", 10**9),
        ("workspace_mb", "1024"),
        ("workspace_mb", True),
        ("dla", 7),
        ("dla", False),
        ("plugins", ["/tmp/x.so"]),
        ("timing_cache", "/tmp/x"),
    ],
    "tensorrt_rtx": [("workspace_mb", 1024), ("engine", "/tmp/x")],
    "cann": [("soc", "x; rm -rf /"), ("insert_op_conf", "/etc/passwd")],
    "aipp": [("optimized_model_filepath", "/tmp/x"), ("config", "/etc/passwd")],
}


@pytest.fixture(autouse=True)
def no_library(monkeypatch: pytest.MonkeyPatch) -> None:
    """No library may be imported: what is refused is refused before."""
    for name in ("onnxruntime", "openvino", "ncnn", "tensorrt", "tensorrt_rtx", "tensorrt_rtx_bindings", "acl"):
        monkeypatch.setitem(sys.modules, name, None)


def test_every_backend_declares_what_it_takes() -> None:
    assert sorted(REFUSED) == BUILT_IN
    for kind in BUILT_IN:
        backend = find_backend(kind)
        assert backend.distributions
        assert all(hasattr(option, "faults") for option in backend.options.values())


def bundle_that_asks(folder: Path, kind: str, option: str, value: Any) -> Path:
    bundle = folder / "x.bundle.zip"
    distribution = find_backend(kind).distributions[0]
    bundle.write_bytes(bundled({}, tiny_manifest(kind, options={option: value}, runtime=[distribution, ">=1"])))
    return bundle


@pytest.mark.parametrize(("kind", "option", "value"), [(kind, *one) for kind in REFUSED for one in REFUSED[kind]])
def test_what_is_not_declared_is_refused_before_a_library_is_imported(
    kind: str, option: str, value: Any, tmp_path: Path
) -> None:
    with pytest.raises(BundleError, match=r"target\.options") as caught:
        rt.load(bundle_that_asks(tmp_path, kind, option, value))
    assert len(str(caught.value).splitlines()) == 1
    with pytest.raises(BundleError, match="options"):
        open_backend(kind, {}, {}, 1, {option: value})


@pytest.mark.slow
@pytest.mark.parametrize("kind", REFUSED)
def test_verbs_refuse_it_too(kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """They open a bundle as above, in a process of their own."""
    bundle = bundle_that_asks(tmp_path, kind, *REFUSED[kind][0])
    for verb in ("verify", "bench", "finalize"):
        assert cli.main([verb, str(bundle)]) == 7
        assert "target.options" in capsys.readouterr().err


def test_what_every_target_asks_for_is_declared() -> None:
    """The other side of the same declaration: no shipped target asks for what the runtime refuses."""
    import yaml

    from edgecompile.recipe.folders import options as configs

    seen = set()
    for _, path in configs("target"):
        fields = yaml.safe_load(path.read_text())
        target = target_class(fields["kind"]).model_validate(fields)
        proxy_backend = target.proxy_backend()
        for name, asked in (
            (target.backend, target.options()),
            *([(proxy_backend[0], proxy_backend[2])] if proxy_backend else []),
        ):
            assert not list(check_options(find_backend(name).options, asked)), path.name
        assert target.runtime[0] in find_backend(target.backend).distributions
        seen.add(target.kind)
    assert seen == set(target_kinds()) - {"lantern"}


@pytest.mark.parametrize("threads", [-5, 0, MOST_THREADS + 1, 20000, 10**30, True, 1.0, "2", None])
def test_threads_of_a_bundle_have_a_range(threads: Any, tmp_path: Path) -> None:
    bundle = tmp_path / "x.bundle.zip"
    bundle.write_bytes(bundled({}, tiny_manifest(threads=threads)))
    with pytest.raises(BundleError, match=r"target\.threads: found .*, expected a whole number from 1 to 1024"):
        rt.load(bundle)
    with pytest.raises(BundleError, match="threads"):
        open_backend("onnxruntime", {}, {}, threads, {})


@pytest.mark.parametrize(
    "change",
    [
        {"runtime": ["--index-url=http://127.0.0.1:9", ""]},
        {"runtime": ["git+https://127.0.0.1/x", ""]},
        {"runtime": ["onnxruntime", ">=1'; touch x; '"]},
        {"runtime": ["onnxruntime", ">=1 --extra-index-url http://127.0.0.1"]},
        {"runtime": ["numpy", ">=1"]},
        {"runtime": "onnxruntime"},
        {"runtime": ["onnxruntime"]},
        {"runtime": [["onnxruntime"], ">=1"]},
        {"finalize": "yes"},
        {"system_runtime": 1},
        {"arch": ["x86_64"]},
        {"device": None},
        {"constraints": {"sm": {"a": 1}}},
        {"constraints": {"../x": ">=1"}},
        {"constraints": ["sm"]},
    ],
)
def test_other_facts_of_a_target_have_a_form(change: dict[str, Any], tmp_path: Path) -> None:
    bundle = tmp_path / "x.bundle.zip"
    bundle.write_bytes(bundled({}, tiny_manifest(**change)))
    with pytest.raises(BundleError, match=rf"target\.{next(iter(change))}") as caught:
        rt.load(bundle)
    assert len(str(caught.value).splitlines()) == 1


def test_the_command_line_bounds_threads_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["verify", str(tmp_path / "x"), "--threads", "20000"]) == 2
    assert "from 1 to 1024" in capsys.readouterr().err


def test_kinds_of_options() -> None:
    declared = {
        "switch": Switch(),
        "count": Whole(1, 8),
        "core": Whole(0, 1, optional=True),
        "word": Choice(("a", "b")),
        "name": Matching("[a-z]+", "small letters"),
        "each": Group(Matching("[a-z]", "a letter"), {"count": Whole(1, 2)}),
    }
    good = {"switch": False, "count": 8, "core": None, "word": "b", "name": "abc", "each": {"x": {"count": 2}}}
    assert not list(check_options(declared, good))
    bad = {
        "switch": 0,
        "count": 9,
        "core": 2,
        "word": "c",
        "name": "ABC",
        "each": {"x": {"count": 3}, "yy": {}},
        "z": 1,
    }
    faults = {fault.key: fault.message for fault in check_options(declared, bad)}
    assert set(faults) == {"switch", "count", "core", "word", "name", "each.x.count", "each", ""}
    assert "expected a whole number from 1 to 2" in faults["each.x.count"]
    assert list(check_options(declared, [1]))
    for huge in (10**5000, "x" * 10**6, [[]] * 10**5):
        (fault,) = check_options(declared, {"word": huge})
        assert len(fault.message) < 200
        assert fault.message.isascii()


def test_no_backend_hands_on_options_that_were_not_checked() -> None:
    """Nobody but `open_backend` makes a backend of a class that was found by name."""
    for path in (Path(rt.__file__).parent).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            call = isinstance(node, ast.Call) and isinstance(node.func, ast.Call)
            assert not (call and getattr(node.func.func, "id", "") == "find_backend"), path
