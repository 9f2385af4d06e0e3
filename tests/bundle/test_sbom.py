"""The bill of materials: valid by CycloneDX's own schema, complete, and the same every time."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from edgecompile.bundle.provenance import package_url
from edgecompile.runtime.archive import Archive
from edgecompile.runtime.requirement import NEEDS, split_requirement

from .test_package import Built, built, pack  # noqa: F401 - a fixture

PAGE = Path(__file__).parents[2] / "docs" / "bundle-format.md"
GOLDEN = Path(__file__).parents[1] / "golden" / "schema-1.bundle.zip"


@pytest.fixture
def bundle(built: Built, tmp_path: Path) -> Path:  # noqa: F811
    return pack(built, tmp_path / "out")[1]


def test_it_is_valid_cyclonedx(bundle: Path):
    """Every object of the schema is closed: an unknown key is an error too."""
    validation = pytest.importorskip("cyclonedx.validation.json")
    from cyclonedx.schema import SchemaVersion

    with Archive(bundle) as archive:
        document = archive.read_json("sbom.cdx.json")
    validator = validation.JsonStrictValidator(SchemaVersion.V1_6)
    assert validator.validate_str(json.dumps(document)) is None
    wrong = {**document, "components": [{**document["components"][0], "type": "wrong"}]}
    assert validator.validate_str(json.dumps(wrong)) is not None


def test_it_names_model_data_and_libraries(bundle: Path):
    with Archive(bundle) as archive:
        document, manifest = archive.read_json("sbom.cdx.json"), archive.manifest
    components = {component["bom-ref"]: component for component in document["components"]}
    for name, file in manifest["files"].items():
        if name.startswith("artifact/"):
            assert components[f"artifact:{name}"]["hashes"][0]["content"] == file["sha256"]
    weights = manifest["model"]["weights"]
    assert components[f"weights:{weights['name']}"]["hashes"][0]["content"] == weights["sha256"]
    assert components["data:validation pictures"]["properties"][0]["value"].isdigit()
    libraries = {name.removeprefix("device:") for name in components if name.startswith("device:")}
    assert libraries == {manifest["target"]["runtime"][0], *(split_requirement(need)[0] for need in NEEDS)}
    for name, version in manifest["tools"].items():
        assert components[f"build:{name}"]["purl"] == package_url(name, version)
    references = {entry["ref"] for entry in document["dependencies"]}
    assert references == {"bundle", *components}
    assert "timestamp" not in json.dumps(document)
    assert "serialNumber" not in document


def test_the_page_on_the_format_explains_each_kind_of_component(bundle: Path):
    with Archive(bundle) as archive:
        document = archive.read_json("sbom.cdx.json")
    written = {component["bom-ref"].partition(":")[0] for component in document["components"]} | {"bundle"}
    text = PAGE.read_text(encoding="utf-8").split("## sbom.cdx.json")[1].split("## ")[0]
    assert set(re.findall(r"^\| `(\w+)(?::NAME)?` \|", text, re.MULTILINE)) == written


def test_equal_builds_have_equal_bills(built: Built, bundle: Path, tmp_path: Path):  # noqa: F811
    assert pack(built, tmp_path / "again")[1].read_bytes() == bundle.read_bytes()


def test_package_urls_are_normal():
    assert package_url("ruamel.yaml_Clib", "1.0+cu13") == "pkg:pypi/ruamel-yaml-clib@1.0%2Bcu13"


def test_inspect_prints_it_and_says_where_there_is_none(bundle: Path, run):
    assert json.loads(run("inspect", str(bundle), "--sbom").out)["specVersion"] == "1.6"
    older = run("inspect", str(GOLDEN), "--sbom")
    assert (older.code, len(older.lines)) == (7, 1)
    assert "holds no bill of materials" in older.err
