"""Signing with the model-signing library: what it signs is what a device checks, and the bundle stays as it was."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest
import signatures as forge
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, NoEncryption, PrivateFormat

from edgecompile.runtime.archive import Archive
from edgecompile.runtime.signatures import SUFFIX, read_signatures

GOLDEN = Path(__file__).parent / "golden" / "schema-1.bundle.zip"
pytest.importorskip("model_signing", reason="signing takes edgecompile[sign]")


@pytest.fixture
def bundle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    forge.make_key(tmp_path, "release")
    forge.make_key(tmp_path, "second")
    return Path(shutil.copy(GOLDEN, tmp_path / "parts.bundle.zip"))


@pytest.mark.slow
def test_a_signed_bundle_is_verified_and_unchanged(bundle, run):
    signed = run("sign", str(bundle), "--key", "release.pem", "--builder", "https://example.com/ci")
    assert signed.code == 0, signed.err
    assert signed.out.splitlines()[-1] == str(bundle) + SUFFIX
    assert bundle.read_bytes() == GOLDEN.read_bytes()
    ran = run("verify", str(bundle), "--key", "second.pub", "--key", "release.pub")
    assert ran.code == 0, ran.err
    assert "signature    ok: by release.pub\nbuilders     1 got these bytes: release.pub\n" in ran.out
    assert "release.pub: built by https://example.com/ci (urn:edgecompile:bundle:1)\n" in ran.out
    assert "parts.pt, sha256 79d26a392c43" in ran.out
    wrong = run("verify", str(bundle), "--key", "second.pub")
    assert (wrong.code, len(wrong.lines)) == (7, 1)
    assert "is signed by nobody whom the command line trusts" in wrong.err


def test_the_library_itself_takes_the_first_line(bundle, run, tmp_path):
    from model_signing import verifying

    assert run("sign", str(bundle), "--key", "release.pem").code == 0
    first = tmp_path / "first.sig"
    first.write_text(Path(str(bundle) + SUFFIX).read_text().splitlines()[0])
    verifying.Config().use_elliptic_key_verifier(public_key=tmp_path / "release.pub").verify(bundle, first)


@pytest.mark.slow
def test_signatures_of_others_stay_and_ones_own_are_replaced(bundle, run):
    for key in ("release.pem", "second.pem", "release.pem"):
        assert run("sign", str(bundle), "--key", key).code == 0
    assert len(read_signatures(Path(str(bundle) + SUFFIX))) == 4
    ran = run("verify", str(bundle), "--key", "release.pub", "--key", "second.pub", "--builders", "2")
    assert ran.code == 0, ran.err
    assert "builders     2 got these bytes: second.pub, release.pub\n" in ran.out


@pytest.mark.slow
def test_lines_about_another_bundle_are_removed_and_told(bundle, run):
    forge.sign(bundle, forge.line_of(ec.generate_private_key(ec.SECP256R1()), forge.signature_statement("0" * 64)))
    signed = run("sign", str(bundle), "--key", "release.pem")
    assert "1 lines about another bundle removed" in signed.out
    assert run("verify", str(bundle), "--key", "release.pub").code == 0


def test_provenance_states_recipe_inputs_and_packages(bundle, run):
    run("sign", str(bundle), "--key", "release.pem")
    _, provenance = read_signatures(Path(str(bundle) + SUFFIX))
    predicate = provenance.statement["predicate"]
    with Archive(bundle) as archive:
        manifest = archive.manifest
    definition = predicate["buildDefinition"]
    assert definition["externalParameters"]["recipe"]["name"] == manifest["name"]
    inputs = {part["name"]: part for part in definition["resolvedDependencies"]}
    assert inputs[manifest["model"]["weights"]["name"]]["digest"]["sha256"] == manifest["model"]["weights"]["sha256"]
    assert inputs["onnx"]["uri"] == f"pkg:pypi/onnx@{manifest['tools']['onnx']}"
    assert str(bundle.parent) not in json.dumps(provenance.statement)


@pytest.mark.slow
def test_certificates_sign_offline(bundle, run, tmp_path):
    root_key, key = ec.generate_private_key(ec.SECP256R1()), forge.make_key(tmp_path, "ci")
    root = forge.make_certificate(root_key, "root", authority=True)
    leaf = forge.make_certificate(key, "ci@example.com", (root_key, root))
    Path("root.crt").write_bytes(forge.pem_of(root))
    Path("ci.crt").write_bytes(forge.pem_of(leaf))
    signed = run("sign", str(bundle), "--key", "ci.pem", "--certificate", "ci.crt", "--chain", "root.crt")
    assert signed.code == 0, signed.err
    ran = run("verify", str(bundle), "--certificate", "root.crt", "--identity", "ci@example.com")
    assert "signature    ok: by ci@example.com" in ran.out, ran.err
    assert run("verify", str(bundle), "--certificate", "root.crt", "--identity", "me@example.com").code == 7
    wrong = run("sign", str(bundle), "--key", "release.pem", "--certificate", "ci.crt")
    assert (wrong.code, len(wrong.lines)) == (7, 1)


def test_an_encrypted_key_takes_its_password(bundle, run, monkeypatch):
    key = ec.generate_private_key(ec.SECP256R1())
    encrypted = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"open"))
    Path("locked.pem").write_bytes(encrypted)
    for password, code in ((None, 7), ("shut", 7), ("open", 0)):
        if password:
            monkeypatch.setenv("EDGECOMPILE_KEY_PASSWORD", password)
        ran = run("sign", str(bundle), "--key", "locked.pem")
        assert (ran.code, len(ran.lines)) == (code, bool(code)), ran.err
    plain = run("sign", str(bundle), "--key", "release.pem")
    assert "is not encrypted; unset EDGECOMPILE_KEY_PASSWORD" in plain.err


@pytest.mark.parametrize(
    ("words", "code", "match"),
    [
        ((), 2, "one of --key and --keyless"),
        (("--key", "release.pem", "--keyless"), 2, "one of --key and --keyless"),
        (("--key", "release.pem", "--chain", "x"), 2, "--chain goes with --certificate"),
        (("--key", "release.pem", "--builder", "no uri"), 2, "expected a URI"),
        (("--key", "lost.pem"), 7, "lost.pem: cannot be read: No such file"),
        (("--key", "."), 7, "is a folder, expected a private key"),
        (("--key", "release.pub"), 7, "holds no private key in PEM form"),
        (("--key", "rsa.pem"), 7, "a key of another kind"),
        (("--key", "release.pem", "--certificate", "lost.crt"), 7, "lost.crt"),
    ],
)
def test_what_cannot_sign_is_one_line(bundle, run, words, code, match):
    key = rsa.generate_private_key(65537, 2048)
    Path("rsa.pem").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    ran = run("sign", str(bundle), *words)
    assert (ran.code, len(ran.lines)) == (code, 1), ran.err
    assert match in ran.err
    assert not Path(str(bundle) + SUFFIX).exists()


def test_garbage_beside_the_bundle_is_not_signed_over(bundle, run):
    Path(str(bundle) + SUFFIX).write_text("garbage")
    assert run("sign", str(bundle), "--key", "release.pem").code == 7
    assert Path(str(bundle) + SUFFIX).read_text() == "garbage"


def test_a_damaged_bundle_is_not_signed(bundle, run):
    content = bytearray(bundle.read_bytes())
    content[len(content) // 2] ^= 1
    bundle.write_bytes(content)
    assert run("sign", str(bundle), "--key", "release.pem").code == 7


def test_a_missing_library_is_named(bundle, run, monkeypatch):
    monkeypatch.setitem(sys.modules, "model_signing", None)
    ran = run("sign", str(bundle), "--key", "release.pem")
    assert (ran.code, len(ran.lines)) == (4, 1)
    assert "pip install 'edgecompile[sign]'" in ran.err


@pytest.mark.slow
def test_flags_of_verify_go_together(bundle, run):
    for words in (("--identity", "x"), ("--issuer", "https://x"), ("--builders", "2"), ("--certificate", "x")):
        assert run("verify", str(bundle), *words).code == 2


def test_unsigned_is_said_where_nobody_asks(bundle, run):
    assert "signature    unsigned: nothing says who made this bundle" in run("inspect", str(bundle)).out
    assert run("sign", str(bundle), "--key", "release.pem").code == 0
    assert "signature    not checked: 1 in" in run("inspect", str(bundle)).out
