from __future__ import annotations

from pathlib import Path
from types import MappingProxyType

import pytest

from edgecompile.execute.canonical_json import Damaged, canonical_json, digest_of, seal, unseal
from edgecompile.files import hash_file, write_atomically
from edgecompile.plan.step import Stage


def test_order_spacing_and_number_forms_do_not_matter() -> None:
    assert canonical_json({"b": 1.0, "a": (1, 2)}) == b'{"a":[1,2],"b":1}'
    assert digest_of({"b": [], "a": 1}) == digest_of(MappingProxyType({"a": 1, "b": ()}))
    assert digest_of({"a": 1}) != digest_of({"a": "1"})
    assert canonical_json(Stage.EXPORT) == b'"export"'


@pytest.mark.parametrize("value", [{1: 2}, {"a": {1}}, Path("a"), b"bytes"])
def test_what_is_no_plain_json_is_refused(value: object) -> None:
    with pytest.raises(TypeError):
        canonical_json(value)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 2**60])
def test_numbers_without_an_exact_form_are_refused(value: float) -> None:
    with pytest.raises(ValueError, match=r"."):
        canonical_json([value])


def test_the_digest_of_a_file_is_its_sha256(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # FIPS 180-2, appendix B.1
    assert hash_file(tmp_path / "a", sync=True) == (expected, 3)


def test_a_seal_shows_every_flipped_bit_and_every_truncation() -> None:
    raw = seal({"a": [1, "ü", None]})
    assert unseal(raw) == {"a": [1, "ü", None]}
    for place in range(len(raw)):
        for bit in range(8):
            with pytest.raises(Damaged):
                unseal(raw[:place] + bytes([raw[place] ^ 1 << bit]) + raw[place + 1 :])
        with pytest.raises(Damaged):
            unseal(raw[:place])
    with pytest.raises(Damaged):
        unseal(raw + b"\n")


def test_a_failed_write_leaves_the_old_file_and_no_temporary_one(tmp_path: Path) -> None:
    path, via = tmp_path / "to" / "file", tmp_path / "via"
    via.mkdir()
    write_atomically(path, b"old", via=via)
    with pytest.raises(TypeError):
        write_atomically(path, "no bytes", via=via)  # type: ignore[arg-type]
    assert path.read_bytes() == b"old"
    assert list(via.iterdir()) == []
