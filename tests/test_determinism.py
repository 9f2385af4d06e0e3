"""One recipe, one digest: two cold builds of each kind, with everything around them turned the other way.

`bench/matrix.py` goes through the combinations, with other interpreters too.
"""

from __future__ import annotations

import site
import sys
from pathlib import Path

import pytest
from needed import needs
from surroundings import RECIPES, Surroundings, cold_builds, virtual_environment

needs("ultralytics")
needs("nncf")

pytestmark = pytest.mark.slow


def test_surroundings_do_not_change_a_bundle(tmp_path: Path):
    packages = [one for one in sys.path if one.endswith("site-packages")] or site.getsitepackages()
    other = virtual_environment(tmp_path / "other environment ü", packages)
    one = Surroundings("0", "UTC", "C", "plain", 0o022, 0, sys.executable)
    two = Surroundings("4711", "Asia/Kathmandu", "C.UTF-8", "mit Leerzeichen, ünïcödé 文", 0o077, 1, other)
    found = cold_builds(one, tmp_path / "one")
    assert list(found) == list(RECIPES)
    assert cold_builds(two, tmp_path / "two") == found
    assert len(set(found.values())) == len(RECIPES)  # the control: other recipes are other bundles
