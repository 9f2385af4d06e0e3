from __future__ import annotations

import pytest

from edgecompile.errors import BundleError
from edgecompile.runtime.bundle_summary import summarize

from .tiny import tiny_manifest


def test_says_what_a_bundle_is_and_how_it_was_judged() -> None:
    text = "\n".join(summarize(tiny_manifest(), "ab" * 32, 3_412_000))
    for part in ("tiny, 3.4 MB", "96 x 64", "0.6100", "map_drop 0.01: met (0.0000)", "fps 30: met (measured", "a desk"):
        assert part in text
    assert "onnxruntime>=1.19,<3000" in text
    assert "SQNR none" in text


def test_says_in_which_precision_the_layers_are_where_the_bundle_does() -> None:
    shares = {"fp32": {"layers": 2, "macs": 1}, "int8": {"layers": 86, "macs": 3}}
    manifest = tiny_manifest()
    assert "with weights" not in "\n".join(summarize(manifest, "", 0))
    manifest["figures"]["coverage"] = {"layers": 88, "macs": 4, "by_precision": shares}
    assert "86 of 88 with weights in int8, 75.0 % of their operations" in "\n".join(summarize(manifest, "", 0))


def test_no_gates_are_said_too_and_an_unmet_one_loudly() -> None:
    assert "none" in "\n".join(summarize({**tiny_manifest(), "gates": []}, "", 0)).split("gates")[1]
    gate = {"gate": "fps", "limit": 30, "figure": 3.0, "met": False, "measured": False}
    assert "NOT met" in "\n".join(summarize({**tiny_manifest(), "gates": [gate]}, "", 0))


def test_a_manifest_that_lacks_something_is_invalid() -> None:
    for key in ("figures", "gates", "target", "model", "steps", "tools"):
        manifest = tiny_manifest()
        del manifest[key]
        with pytest.raises(BundleError, match=key):
            summarize(manifest, "", 0)
    with pytest.raises(BundleError):
        summarize({**tiny_manifest(), "figures": None}, "", 0)
