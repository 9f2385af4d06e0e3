"""The lock: everything comes back, equal locks have equal bytes, and whatever is odd is refused in one line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from built import build
from hypothesis import given, settings
from hypothesis import strategies as st

from edgecompile.bundle import lock as locks
from edgecompile.bundle.lock import Lock, lock_from, read_lock, write_yaml
from edgecompile.errors import RecipeError


@pytest.fixture(scope="module")
def document(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return build(tmp_path_factory.mktemp("built")).lock


@pytest.fixture(scope="module")
def content(document) -> bytes:
    return lock_from(document).to_bytes()


def test_round_trip(document, content, tmp_path: Path):
    path = tmp_path / "recipe.lock.yaml"
    path.write_bytes(content)
    lock = read_lock(path)
    assert isinstance(lock, Lock)
    assert lock == read_lock(content) == lock_from(document)
    assert lock.to_bytes() == content
    assert lock.model_dump(mode="json", by_alias=True) == document


def test_any_yaml_reader_reads_it(document, content):
    assert yaml.safe_load(content) == document


def test_equal_locks_have_equal_bytes(document, content):
    def backwards(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: backwards(inner) for key, inner in reversed(value.items())}
        return [backwards(inner) for inner in value] if isinstance(value, list) else value

    assert lock_from(backwards(document)).to_bytes() == content


def test_people_find_the_recipe_first(content):
    text = content.decode()
    assert text.startswith("# ")
    sections = [line.split(":")[0] for line in text.splitlines() if line[0].isalpha()]
    assert sections == [
        "schema",
        "recipe",
        "weights",
        "external_data",
        "data",
        "tools",
        "isa_class",
        "result",
        "steps",
        "repair",
    ]
    assert "&" not in text


words = st.text(max_size=12) | st.sampled_from(
    ["012", "1:30", "yes", "null", "1e5", "0x1F", "2020-01-01", "~", "=", "<<"]
)
plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53) + 1, 2**53 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | words,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(words, inner, max_size=4),
    max_leaves=12,
)


@settings(max_examples=100, deadline=None)
@given(params=st.dictionaries(words, plain, max_size=4))
def test_any_parameter_comes_back(params):
    """What YAML could misread (numbers in words, colons, dates, control characters) is written so that it is not."""
    assert yaml.load(write_yaml({"params": params}), Loader=yaml.SafeLoader) == {"params": params}


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("isa_class:", "surprise: 1\nisa_class:", "surprise"),
        ("schema: 1", "schema: 2", "schema 2 where this version reads schema 1"),
        ("schema: 1", "schema: one", "is it a recipe.lock.yaml"),
        ("isa_class:", "isa_class: x\nisa_class:", "'isa_class' stands twice"),
        ("weights: {", "weights: &a {", "anchors"),
        ("weights: {name: ", "weights: {name: ../../", r"weights\.name.*without a folder"),
        ("weights: {name: ", "weights: {name: /etc/", r"weights\.name.*without a folder"),
        ("weights: {name: ", "weights: {name: .. # ", "not the YAML of a lock"),
        ("weights: {", "weights: !!python/name:os.system {", "not the YAML of a lock"),
        ("isa_class: ", "isa_class: 2020-01-01 # ", "cannot say exactly"),
        ("isa_class: ", "isa_class: 2020-77-01 # ", "not the YAML of a lock"),
        ("isa_class: ", "isa_class: 12 # ", "isa_class"),
        ("isa_class: ", "isa_class: \xff ", "not the YAML of a lock"),
        ("isa_class: ", "12: ", "not a plain name"),
        ("isa_class: ", "? [a, b]\n: ", "not a plain name"),
        ("isa_class: ", "isa_class: {", "not the YAML of a lock"),
        ("isa_class: ", f"isa_class: {'[' * 80} ", "nested deeper than 64"),
        ("isa_class: ", f"other: 0x{'f' * 5000}\nisa_class: ", "a number of 5002 digits"),
    ],
)
def test_what_is_odd_is_refused_in_one_line(content, tmp_path: Path, old, new, message):
    path = tmp_path / "recipe.lock.yaml"
    path.write_bytes(content.replace(old.encode(), new.encode("latin-1"), 1))
    with pytest.raises(RecipeError, match=message) as raised:
        read_lock(path)
    assert str(path) in str(raised.value)
    assert len(str(raised.value).splitlines()) == len(raised.value.problems)


def test_a_line_is_named(content, tmp_path: Path):
    path = tmp_path / "recipe.lock.yaml"
    path.write_bytes(b"schema: 1\nschema: 1\n" + content)
    with pytest.raises(RecipeError, match=r"recipe\.lock\.yaml:2"):
        read_lock(path)


@pytest.mark.parametrize("content", [b"", b"[]", b"1", b"# nothing\n", bytes(64), b"\x89PNG"])
def test_what_is_no_lock_is_refused(content):
    with pytest.raises(RecipeError):
        read_lock(content)


def test_a_bomb_of_aliases_is_refused_before_it_unfolds():
    bomb = "a: &a [x,x]\n" + "".join(
        f"{chr(98 + n)}: &{chr(98 + n)} [*{chr(97 + n)},*{chr(97 + n)}]\n" for n in range(20)
    )
    with pytest.raises(RecipeError, match=r"recipe\.lock\.yaml:1: anchors"):
        read_lock(bomb.encode())


def test_files_that_cannot_be_read(tmp_path: Path, monkeypatch):
    with pytest.raises(RecipeError, match="cannot be read"):
        read_lock(tmp_path / "absent.yaml")
    with pytest.raises(RecipeError, match="cannot be read"):
        read_lock(tmp_path)
    monkeypatch.setattr(locks, "LARGEST", 10)
    (tmp_path / "large.yaml").write_bytes(bytes(11))
    with pytest.raises(RecipeError, match="larger than"):
        read_lock(tmp_path / "large.yaml")


def test_schema_describes_every_section(document):
    schema = Lock.model_json_schema(by_alias=True)
    assert set(schema["properties"]) == set(document)
    assert schema["additionalProperties"] is False


def test_the_report_of_a_build_is_no_lock(tmp_path: Path):
    (tmp_path / "report.json").write_text('{"schema": 1, "figures": {}, "gates": [], "created_by": "edgecompile"}')
    with pytest.raises(RecipeError, match="is the report of a build, not its lock; name the folder that holds it"):
        read_lock(tmp_path / "report.json")
