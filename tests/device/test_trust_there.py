"""Signatures travel with a bundle, and the policy of the device counts there."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import signatures as forge
from runtime.test_trust import both

from .server import edgecompile

PYTHON = ("--python", sys.executable)


def test_a_device_with_a_policy_takes_what_is_signed_and_nothing_else(device, bundle, tmp_path):
    mine = Path(shutil.copy(bundle, tmp_path / "signed.bundle.zip"))
    key = forge.make_key(tmp_path, "release")
    forge.make_key(tmp_path, "other")
    policy = device.home / ".config/edgecompile/trust.toml"
    policy.parent.mkdir(parents=True, exist_ok=True)
    policy.write_text(f'[[signer]]\nname = "maker"\nkey = "{tmp_path / "release.pub"}"\n')
    words = ["deploy", mine, device.address, *PYTHON, "--no-bench"]
    try:
        unsigned = edgecompile(*words, options=device.options())
        assert unsigned.returncode == 7, unsigned.stderr
        assert "is not signed, and" in unsigned.stderr.splitlines()[-1]
        forge.sign(mine, *both(key, forge.sha256(mine)))
        wrong = edgecompile(*words, "--key", tmp_path / "other.pub", options=device.options())
        assert wrong.returncode == 7
        assert "is signed by nobody whom the command line trusts" in wrong.stderr
        ended = edgecompile(*words, "--key", tmp_path / "release.pub", options=device.options())
        assert ended.returncode == 0, ended.stderr
        assert "signature    ok: by release.pub" in ended.stdout
        there = ended.stdout.splitlines()[-1]
        told = edgecompile("deploy", mine, device.address, *PYTHON, "--no-bench", "--json", options=device.options())
        assert told.returncode == 0, told.stderr
        said = json.loads(told.stdout)
        assert said.keys() == {"device", "path", "sha256", "verified", "bench"}
        assert (said["path"], said["sha256"], said["bench"]) == (there, forge.sha256(mine), None)
        assert "signature    ok: by maker" in said["verified"]
        policed = edgecompile("verify", mine, f"--on={device.address}", *PYTHON, options=device.options())
        assert policed.returncode == 0, policed.stderr
        assert "signature    ok: by maker" in policed.stdout
        resolved = Path(there).resolve()
        assert resolved.with_name(resolved.name + ".sigstore.jsonl").is_file()
    finally:
        policy.unlink()
