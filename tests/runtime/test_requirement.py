from __future__ import annotations

import pytest

from edgecompile.runtime.requirement import satisfies


@pytest.mark.parametrize(
    ("version", "versions", "fits"),
    [
        ("1.19.2", ">=1.19,<2", True),
        ("1.18.9", ">=1.19,<2", False),
        ("2.0.0", ">=1.19,<2", False),
        ("2026.4.1", ">=2025.0,<2027", True),
        ("2024.6.0", ">=2025.0,<2027", False),
        ("1.19", "==1.19.0", True),
        ("1.9", ">=1.19", False),
        ("2.0.0rc1", ">=2", True),
        ("1.5", "!=1.5", False),
        ("1.5", "> 1.4 , <= 1.5", True),
        ("1.5", "", True),
        ("unknown", ">=1", False),
    ],
)
def test_compares_release_numbers(version: str, versions: str, fits: bool) -> None:
    assert satisfies(version, versions) is fits


def test_agrees_with_packaging() -> None:
    specifiers = pytest.importorskip("packaging.specifiers")
    numbers = ["1", "1.0", "1.19", "1.19.2", "1.2", "2", "2.0.1", "2026.4.1", "10.0"]
    for version in numbers:
        for sign in (">=", "<=", "==", "!=", ">", "<"):
            for limit in numbers:
                versions = f"{sign}{limit}"
                assert satisfies(version, versions) is specifiers.SpecifierSet(versions).contains(version), versions


def test_an_unknown_form_is_an_error() -> None:
    for versions in ("~=1.2", ">=1.*", "1.2", ">="):
        with pytest.raises(ValueError, match="not a version range"):
            satisfies("1.2", versions)
