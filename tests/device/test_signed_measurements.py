"""Measurements that a device signs: by its own key, known here or not, and what was changed afterwards."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from edgecompile.device.measurement_signature import UNSIGNED, evidence_of
from edgecompile.errors import BundleError, MissingToolError
from edgecompile.runtime.device_key import SIGNATURE, key_of_device, signed

from .server import edgecompile

DOCUMENT = {"sha256": "ab" * 32, "measurement": {"fps": 31.25, "tiny": 1e-7, "none": None}}
KEYGEN = shutil.which("ssh-keygen")
needs_keygen = pytest.mark.skipif(not KEYGEN, reason="ssh-keygen is not installed")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home without a key; the host keys of this machine do not count."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr("edgecompile.runtime.device_key.HOST_KEYS", ())
    return tmp_path


def make_key(path: Path, kind: str = "ed25519", password: str = "") -> str:
    """Returns the public key, base64."""
    path.parent.mkdir(parents=True, exist_ok=True)
    subprocess.run([str(KEYGEN), "-q", "-t", kind, "-N", password, "-f", str(path)], check=True)
    return path.with_suffix(f"{path.suffix}.pub").read_text().split()[1]


@needs_keygen
@pytest.mark.parametrize("kind", ["ed25519", "ecdsa"])
def test_a_measurement_is_signed_and_its_signer_named(home, kind):
    public = make_key(home / ".config/edgecompile/device.key", kind)
    answer = json.loads(json.dumps(signed(DOCUMENT)))
    evidence = evidence_of(answer, {public: "bench-board"})
    assert evidence["signed_by"].startswith("measurement signed by bench-board (SHA256:")
    assert evidence_of(answer, {})["signed_by"].endswith(", not known here")


@needs_keygen
def test_a_changed_measurement_is_refused(home):
    make_key(home / ".config/edgecompile/device.key")
    answer = signed(DOCUMENT)
    with pytest.raises(BundleError, match="is not what its signature is over"):
        evidence_of({**answer, "measurement": {"fps": 62.5}}, {})
    for wrong in ("garbage", "", 3, "-----BEGIN SSH SIGNATURE-----\nAAAA\n-----END SSH SIGNATURE-----"):
        with pytest.raises(BundleError, match="signature is none"):
            evidence_of({**DOCUMENT, SIGNATURE: wrong}, {})


def test_without_a_key_it_is_said_to_be_unsigned(home):
    assert key_of_device() is None
    assert evidence_of(signed(DOCUMENT), {})["signed_by"] == UNSIGNED


def test_a_key_that_others_may_change_signs_nothing(home):
    key = home / ".config/edgecompile/device.key"
    key.parent.mkdir(parents=True)
    key.write_text("x")
    key.chmod(0o666)
    with pytest.raises(BundleError, match="others may write to it"):
        signed(DOCUMENT)
    key.unlink()
    key.mkdir()
    with pytest.raises(BundleError, match="is a folder"):
        signed(DOCUMENT)


@needs_keygen
def test_a_key_that_cannot_sign_is_one_line(home, monkeypatch):
    key = home / ".config/edgecompile/device.key"
    key.parent.mkdir(parents=True)
    key.write_text("no key\n")
    key.chmod(0o600)
    with pytest.raises(BundleError, match="ssh-keygen did not sign"):
        signed(DOCUMENT)
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(MissingToolError, match="no ssh-keygen"):
        signed(DOCUMENT)


@needs_keygen
def test_a_device_signs_with_the_key_that_ssh_knows_it_by(device, bundle):
    """Its host key, which a user other than the administrator may not read, lies here as the device's own key."""
    own = device.home / ".config/edgecompile/device.key"
    own.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(device.folder / "host", own)
    own.chmod(0o600)
    words = ["bench", bundle, f"--on={device.address}", "--python", sys.executable, "--rounds", 4, "--json"]
    try:
        ended = edgecompile(*words, options=device.options())
    finally:
        own.unlink()
    assert ended.returncode == 0, ended.stderr
    assert "measurement signed by the host key of 127.0.0.1 (SHA256:" in ended.stderr
