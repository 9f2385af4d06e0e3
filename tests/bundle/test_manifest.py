"""The manifest: strict both ways, canonical, and described by a JSON schema."""

from __future__ import annotations

import copy
import json
import re
from pathlib import Path
from typing import Any

import pytest
from built import build

from edgecompile.bundle.documents import canonical_json
from edgecompile.bundle.manifest import File, Manifest, complete_manifest, read_manifest
from edgecompile.errors import BundleError, StepError

FILES = {"spec.json": File(sha256="0" * 64, size=3)}


@pytest.fixture(scope="module")
def draft(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return build(tmp_path_factory.mktemp("built")).manifest


def test_bytes_come_back_as_they_were(draft):
    content = complete_manifest(draft, FILES).to_bytes()
    assert read_manifest(content).to_bytes() == content
    assert content.endswith(b"}\n")
    assert content.count(b"\n") == 1


def test_order_of_keys_does_not_matter(draft):
    backwards = dict(reversed(draft.items()))
    assert complete_manifest(backwards, FILES).to_bytes() == complete_manifest(draft, FILES).to_bytes()


@pytest.mark.parametrize(
    ("path", "value", "where"),
    [
        (("surprise",), 1, "surprise"),
        (("figures", "latency_ms"), 4.2, "figures.latency_ms"),
        (("schema",), 2, "schema"),
        (("precision",), "int4", "precision"),
        (("target", "threads"), "2", "target.threads"),
        (("golden", "input"), "../../etc/passwd", "golden.input"),
        (("files",), {"/etc/passwd": {"sha256": "0" * 64, "size": 1}}, "files"),
        (("files",), {"a": {"sha256": "xyz", "size": 1}}, "files.a.sha256"),
    ],
)
def test_what_does_not_belong_is_refused_by_name(draft, path, value, where):
    document: dict[str, Any] = copy.deepcopy(
        {**draft, "files": {name: file.model_dump() for name, file in FILES.items()}}
    )
    inner = document
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    with pytest.raises(BundleError, match=re.escape(where)) as raised:
        read_manifest(canonical_json(document))
    assert "\n" not in str(raised.value.problems[0])


@pytest.mark.parametrize(
    ("path", "where"),
    [
        (("map_drop",), "figures.map_drop is missing"),
        (("map50",), "figures.map50 is missing"),
        (("reference", "map50_95"), "figures.reference.map50_95 is missing"),
        (("per_class", "WBC", "map50"), "figures.per_class.WBC.map50 is missing"),
        (("reference", "per_class", "WBC", "map50"), "figures.reference.per_class.WBC.map50 is missing"),
        (("titles", "map50_95"), "figures.titles.map50_95 is missing"),
        (("titles", "map50"), "figures.map50 is no metric that titles name"),
    ],
)
def test_every_metric_stands_everywhere(draft, path, where):
    document = copy.deepcopy(draft)
    inner = document["figures"]
    for key in path[:-1]:
        inner = inner[key]
    del inner[path[-1]]
    with pytest.raises(BundleError, match=re.escape(where)):
        complete_manifest(document, FILES)


def test_figures_of_before_there_were_tasks_are_those_of_detection(draft):
    document = copy.deepcopy(draft)
    for key in ("main", "drop", "titles"):
        del document["figures"][key]
    whole = complete_manifest(document, FILES)
    assert whole.figures == complete_manifest(draft, FILES).figures


def test_all_that_is_wrong_is_said_at_once(draft):
    with pytest.raises(BundleError) as raised:
        complete_manifest({**draft, "one": 1, "two": 2, "name": ""}, FILES)
    assert len(raised.value.problems) == 3


def test_a_missing_key_is_named(draft):
    without = {key: value for key, value in draft.items() if key != "isa_class"}
    with pytest.raises(BundleError, match="isa_class"):
        complete_manifest(without, FILES)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 2**60, object()])
def test_values_that_json_cannot_say_exactly_are_refused(value):
    with pytest.raises(StepError, match="cannot say exactly"):
        canonical_json({"value": value})


def test_schema_describes_every_key(draft):
    schema = Manifest.model_json_schema(by_alias=True)
    json.dumps(schema)
    assert set(schema["properties"]) == {*draft, "files"}
    assert set(schema["required"]) == set(schema["properties"]) - {"data"}  # older bundles do not state it
    assert schema["additionalProperties"] is False


def test_nothing_in_it_tells_time_host_or_place(draft, tmp_path: Path):
    text = canonical_json(draft).decode()
    assert "/" not in text.replace("golden/", "").replace('"n/a"', "")
    assert not re.search(r"20\d\d-\d\d|latency\"|wall|host", text)
