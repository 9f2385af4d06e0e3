"""The trust policy of a machine: what it opens, and that everything else is one line and exit code 7 (4 where a
library is missing). Each attack is made of real keys and a real bundle."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import signatures as forge
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from edgecompile import runtime
from edgecompile.errors import BundleError, MissingToolError
from edgecompile.runtime.archive import Archive
from edgecompile.runtime.signatures import MOST_BYTES, SUFFIX

from .tiny import bundled, tiny_manifest, tiny_onnx, tiny_spec

POLICY = '[[signer]]\nname = "release"\nkey = "release.pub"\n'


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A folder with a bundle, a key that the policy trusts, and a key of a stranger."""
    members = {"artifact/model.onnx": tiny_onnx(), "spec.json": json.dumps(tiny_spec()).encode()}
    bundle = tmp_path / "tiny.bundle.zip"
    bundle.write_bytes(bundled(members, tiny_manifest()))
    policy = tmp_path / "trust.toml"
    policy.write_text(POLICY)
    monkeypatch.setenv("EDGECOMPILE_TRUST", str(policy))
    key, stranger = forge.make_key(tmp_path, "release"), forge.make_key(tmp_path, "stranger")
    return SimpleNamespace(
        folder=tmp_path, bundle=bundle, digest=forge.sha256(bundle), policy=policy, key=key, stranger=stranger
    )


def signed(place: SimpleNamespace, key=None) -> None:
    forge.sign(place.bundle, *both(key or place.key, place.digest))


def both(key, digest: str) -> tuple[str, str]:
    lines = (forge.signature_statement(digest), forge.provenance_statement(digest))
    return forge.line_of(key, lines[0]), forge.line_of(key, lines[1])


def refused(place: SimpleNamespace, match: str) -> None:
    """Makes sure that no way leads into the bundle, and that the reason is one line."""
    with pytest.raises(BundleError, match=match) as caught:
        Archive(place.bundle)
    assert len(str(caught.value).splitlines()) == 1
    with pytest.raises(BundleError, match=match):
        runtime.load(place.bundle)


def test_a_bundle_of_a_trusted_key_is_opened(place):
    signed(place)
    with Archive(place.bundle) as archive:
        assert archive.signed.by == ("release",)
        assert archive.signed.builders == ("release",)
    assert runtime.load(place.bundle).digest == place.digest


@pytest.mark.parametrize("curve", [ec.SECP384R1(), ec.SECP521R1()], ids=["P-384", "P-521"])
def test_all_curves_of_the_library_are_read(place, curve):
    key = forge.make_key(place.folder, "release", curve)
    signed(place, key)
    Archive(place.bundle).close()


def test_without_a_policy_everything_is_opened_as_before(place, monkeypatch):
    monkeypatch.delenv("EDGECOMPILE_TRUST")
    monkeypatch.setenv("HOME", str(place.folder))
    forge.sign(place.bundle, "garbage")
    with Archive(place.bundle) as archive:
        assert archive.signed is None


def test_the_policy_of_the_user_counts(place, monkeypatch):
    monkeypatch.delenv("EDGECOMPILE_TRUST")
    monkeypatch.setenv("HOME", str(place.folder))
    own = place.folder / ".config/edgecompile"
    own.mkdir(parents=True)
    (own / "trust.toml").write_text(POLICY.replace("release.pub", "../../release.pub"))
    refused(place, "is not signed, and .*trust.toml refuses")
    signed(place)
    Archive(place.bundle).close()


@pytest.mark.slow
def test_every_verb_keeps_to_it(place, run):
    forge.sign(place.bundle, *both(place.stranger, place.digest))
    for words in (["inspect"], ["verify"], ["predict"], ["bench"], ["finalize"], ["deploy"], ["diff"], ["reproduce"]):
        verb, bundle = words[0], str(place.bundle)
        more = {"deploy": ["ssh://nobody@localhost:1"], "diff": [bundle], "predict": [bundle]}.get(verb, [])
        ran = run(verb, bundle, *more)
        assert ran.code == 7, (verb, ran)
        assert len(ran.lines) == 1, (verb, ran)
        assert "signed by nobody whom" in ran.err


def test_unsigned_is_refused_unless_the_policy_allows_it(place):
    refused(place, "is not signed, and .* refuses such bundles; copy its signature")
    place.policy.write_text('unsigned = "allow"\n' + POLICY)
    with Archive(place.bundle) as archive:
        assert archive.signed.by == ()
    forge.sign(place.bundle, *both(place.stranger, place.digest))
    refused(place, "is signed by nobody whom")


def test_a_stripped_signature_is_a_refusal(place):
    signed(place)
    place.bundle.with_name(place.bundle.name + SUFFIX).unlink()
    refused(place, "is not signed")


def test_provenance_alone_is_no_signature(place):
    forge.sign(place.bundle, both(place.key, place.digest)[1])
    refused(place, "is not signed")


def test_the_signature_of_another_bundle_is_refused(place):
    other = place.folder / "other.bundle.zip"
    members = {"artifact/model.onnx": tiny_onnx(), "spec.json": json.dumps(tiny_spec()).encode(), "more": b"1"}
    other.write_bytes(bundled(members, tiny_manifest()))
    forge.sign(place.bundle, *both(place.key, forge.sha256(other)))
    refused(place, f"{SUFFIX}:1: is the signature of another bundle")


def test_provenance_of_another_bundle_is_refused(place):
    good, _ = both(place.key, place.digest)
    _, bad = both(place.key, "0" * 64)
    forge.sign(place.bundle, good, bad)
    refused(place, f"{SUFFIX}:2: is the provenance of another bundle")


def test_provenance_by_a_stranger_proves_nothing(place):
    good, bad = both(place.key, place.digest)[0], both(place.stranger, place.digest)[1]
    forge.sign(place.bundle, good, bad)
    with Archive(place.bundle) as archive:
        assert archive.signed.provenance == ()
    place.policy.write_text("builders = 1\n" + POLICY)
    refused(place, "is proven by 0 of the 1 builders")


def test_a_changed_bundle_that_is_sealed_again_is_refused(place):
    """The seal alone says nothing about who made the bytes."""
    signed(place)
    members = {"artifact/model.onnx": tiny_onnx() + b"\0", "spec.json": json.dumps(tiny_spec()).encode()}
    place.bundle.write_bytes(bundled(members, tiny_manifest()))
    refused(place, "is the signature of another bundle")


def test_a_statement_is_bound_to_what_was_signed(place):
    """The payload of a stranger's file, with the signature value of the trusted key."""
    good = json.loads(both(place.key, "1" * 64)[0])
    mine = json.loads(both(place.stranger, place.digest)[0])
    mine["dsseEnvelope"]["signatures"] = good["dsseEnvelope"]["signatures"]
    forge.sign(place.bundle, json.dumps(mine))
    refused(place, "is signed by nobody")


def test_a_signature_contradicting_itself_is_refused(place):
    subject = [{"name": "x", "digest": {"sha256": "0" * 64}}]
    forge.sign(place.bundle, forge.line_of(place.key, forge.signature_statement(place.digest, subject=subject)))
    refused(place, "contradicts itself")


def test_another_kind_of_statement_does_not_count(place):
    """A trusted key signs other things too."""
    statement = forge.signature_statement(place.digest, predicateType="https://example.com/looked-at/v1")
    forge.sign(place.bundle, forge.line_of(place.key, statement))
    refused(place, "is not signed")


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (b"garbage\n", "is not a JSON document|'a signature' is not a JSON document"),
        (b"", "holds 0 signatures"),
        (b"{}\n", "is no Sigstore bundle"),
        (b"[" * 5000 + b"]" * 5000, "is not a JSON document|no Sigstore bundle"),
        (b"\x80\xff\n", "is not a JSON document"),
        (b"{}\n" * 65, "holds 65 signatures"),
        (b" " * (MOST_BYTES + 1), "is larger than"),
        (b'{"dsseEnvelope": {"payload": "*", "payloadType": "text/plain", "signatures": [{"sig": ""}]},'
         b' "verificationMaterial": {}}', "signs 'text/plain'"),
    ],
    ids=["garbage", "empty", "no bundle", "deep", "no text", "many", "huge", "another payload"],
)  # fmt: skip
def test_what_is_no_signature_file_is_refused(place, content, match):
    place.bundle.with_name(place.bundle.name + SUFFIX).write_bytes(content)
    refused(place, match)


def test_a_signature_file_that_is_no_file_is_refused(place):
    beside = place.bundle.with_name(place.bundle.name + SUFFIX)
    os.mkfifo(beside)
    refused(place, "is no plain file")
    beside.unlink()
    beside.mkdir()
    refused(place, "is a folder")
    beside.rmdir()
    beside.symlink_to("nowhere")
    refused(place, "cannot be read: No such file")


def test_a_renamed_bundle_needs_its_signature_renamed_too(place):
    signed(place)
    moved = place.folder / "moved.bundle.zip"
    place.bundle.rename(moved)
    with pytest.raises(BundleError, match="is not signed"):
        Archive(moved)
    place.bundle.with_name(place.bundle.name + SUFFIX).rename(moved.with_name(moved.name + SUFFIX))
    Archive(moved).close()


def test_a_link_to_a_bundle_finds_the_signature_beside_the_bundle(place):
    signed(place)
    link = place.folder / "links/current.bundle.zip"
    link.parent.mkdir()
    link.symlink_to(place.bundle)
    Archive(link).close()


def test_a_bundle_that_changes_while_it_is_opened_is_refused(place, monkeypatch):
    """An attacker who may write to the file exchanges it between the check of the signature and the parsing."""
    from edgecompile.runtime import archive as module

    signed(place)
    members = {"artifact/model.onnx": tiny_onnx(), "spec.json": json.dumps(tiny_spec()).encode()}
    other = bundled(members, {**tiny_manifest(), "description": "boxes that move, still"})
    good, read = place.bundle.read_bytes(), module._read_directory
    assert len(other) == len(good)

    def swap(file, end):
        place.bundle.write_bytes(other)
        file.seek(0, os.SEEK_END)  # what was read ahead is forgotten
        return read(file, end)

    def swap_back(file, digest, parts):
        place.bundle.write_bytes(good)
        file.seek(0, os.SEEK_END)
        return confirm(file, digest, parts)

    confirm = module._require_hashed
    monkeypatch.setattr(module, "_read_directory", swap)
    with pytest.raises(BundleError, match="changed while it was read"):
        Archive(place.bundle)
    place.bundle.write_bytes(good)
    monkeypatch.setattr(module, "_require_hashed", swap_back)
    with pytest.raises(BundleError, match="changed while it was read"):
        Archive(place.bundle)
    monkeypatch.setattr(module, "_require_hashed", lambda *parts: None)  # the control: without it, another is opened
    with Archive(place.bundle) as opened:
        assert opened.manifest["description"] == "boxes that move, still"


def test_a_key_that_expired_is_named(place):
    signed(place)
    place.policy.write_text(POLICY + "expires = 2020-01-01\n")
    refused(place, "the key of 'release' expired on 2020-01-01")
    place.policy.write_text(POLICY + "expires = 2999-01-01\n")
    Archive(place.bundle).close()


def test_two_builders_are_counted_once_each(place):
    second = forge.make_key(place.folder, "second")
    two = POLICY + '[[signer]]\nkey = "second.pub"\n[[signer]]\nname = "again"\nkey = "release.pub"\n'
    place.policy.write_text("builders = 2\n" + two)
    forge.sign(place.bundle, *both(place.key, place.digest), *both(place.key, place.digest))
    refused(place, "is proven by 1 of the 2 builders")
    forge.sign(place.bundle, *both(place.key, place.digest), *both(second, place.digest))
    with Archive(place.bundle) as archive:
        assert archive.signed.builders == ("release", "second.pub")
    place.policy.write_text("builders = 3\n" + two)
    refused(place, "expected no more than there are different signers")


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("", "names nobody who may sign"),
        ('unsigned = "allow"\n', "names nobody who may sign"),
        ("signer = [", "is no TOML"),
        ("a = 1\na = 2\n", "is no TOML"),
        ("signers = []\n", "unknown key 'signers'; did you mean 'signer'"),
        ("signer = 1\n", "expected tables"),
        ('unsigned = "maybe"\n' + POLICY, 'expected "refuse" or "allow"'),
        ("unsigned = true\n" + POLICY, 'expected "refuse" or "allow"'),
        ("builders = -1\n" + POLICY, "expected a whole number"),
        ("builders = true\n" + POLICY, "expected a whole number"),
        ('[[signer]]\nname = "x"\n', "expected `key`, or"),
        ('[[signer]]\nkey = "release.pub"\nidentity = "x"\n', "expected `key`, or"),
        ("[[signer]]\nkey = 3\n", "expected text"),
        ('[[signer]]\nkey = "lost.pub"\n', "lost.pub: cannot be read: No such file"),
        ('[[signer]]\nkey = "."\n', "is a folder"),
        ('[[signer]]\nkey = "pipe"\n', "is no plain file"),
        ('[[signer]]\nkey = "trust.toml"\n', "holds no public key"),
        ('[[signer]]\nkey = "release.pem"\n', "is a private key"),
        ('[[signer]]\nkey = "ed25519.pub"\n', "a key of another kind"),
        ('[[signer]]\nkey = "p224.pub"\n', "a key of another kind"),
        ('[[signer]]\ncertificate = "release.pub"\nidentity = "x"\n', "holds no certificate"),
        (POLICY + 'expires = "2027-01-01"\n', "expected a day"),
        (POLICY + 'expirse = "2027-01-01"\n', "did you mean 'signer.0.expires'|unknown key 'signer.0.expirse'"),
        ("#" * (300 << 10), "is larger than"),
    ],
)
def test_a_policy_that_is_not_understood_opens_nothing(place, text, match):
    signed(place)
    os.mkfifo(place.folder / "pipe")
    forge.make_key(place.folder, "p224", ec.SECP224R1())
    public = ed25519.Ed25519PrivateKey.generate().public_key()
    (place.folder / "ed25519.pub").write_bytes(public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    place.policy.write_text(text)
    refused(place, match)


def test_a_policy_or_key_that_others_may_change_opens_nothing(place):
    signed(place)
    for path, back in ((place.policy, 0o644), (place.folder / "release.pub", 0o644), (place.folder, 0o700)):
        path.chmod(0o777)
        refused(place, "others may write to it .mode 777.*; chmod go-w")
        path.chmod(back)
    Archive(place.bundle).close()


def test_a_policy_that_cannot_be_read_opens_nothing(place, monkeypatch):
    signed(place)
    monkeypatch.setenv("EDGECOMPILE_TRUST", str(place.folder / "nowhere.toml"))
    refused(place, "cannot be read: No such file")
    monkeypatch.setenv("EDGECOMPILE_TRUST", str(place.folder))
    refused(place, "is a folder, expected a trust policy")
    link = place.folder / "link.toml"
    link.symlink_to(place.policy)
    monkeypatch.setenv("EDGECOMPILE_TRUST", str(link))
    Archive(place.bundle).close()


@pytest.mark.skipif(os.geteuid() == 0, reason="the administrator reads every file")
def test_a_policy_without_the_right_to_read_it_opens_nothing(place):
    place.policy.chmod(0)
    refused(place, "cannot be read: Permission denied")


@pytest.mark.skipif(os.geteuid() != 0, reason="only the administrator gives files away")
def test_a_policy_of_another_user_opens_nothing(place):
    signed(place)
    os.chown(place.policy, 12345, -1)
    refused(place, "belongs to user 12345")


def test_a_missing_library_is_no_pass(place, monkeypatch):
    signed(place)
    monkeypatch.setitem(sys.modules, "cryptography.hazmat.primitives.asymmetric.ec", None)
    with pytest.raises(MissingToolError, match=r"without .*; pip install 'edgecompile\[trust\]'"):
        Archive(place.bundle)


def test_python_without_toml_is_no_pass(place, monkeypatch):
    signed(place)
    monkeypatch.setitem(sys.modules, "tomllib", None)
    monkeypatch.setitem(sys.modules, "tomli", None)
    with pytest.raises(MissingToolError, match="a trust policy is TOML"):
        Archive(place.bundle)


class TestCertificates:
    """An authority, one below it, and a signer: keys of the test's own."""

    @pytest.fixture
    def chain(self, place):
        keys = [ec.generate_private_key(ec.SECP256R1()) for _ in range(2)]
        root = forge.make_certificate(keys[0], "root", authority=True)
        between = forge.make_certificate(keys[1], "between", (keys[0], root), authority=True)
        (place.folder / "root.pem").write_bytes(forge.pem_of(root))
        place.policy.write_text('[[signer]]\ncertificate = "root.pem"\nidentity = "ci@example.com"\n')
        return SimpleNamespace(root=root, between=between, issuer=(keys[1], between))

    def signed(self, place, chain, name="ci@example.com", issuer=None, key=None, send=True, **facts) -> None:
        leaf = forge.make_certificate(place.key, name, issuer or chain.issuer, **facts)
        certificates = (leaf, chain.between) if send else (leaf,)
        statement = forge.signature_statement(place.digest)
        forge.sign(place.bundle, forge.line_of(key or place.key, statement, certificates))

    def test_a_certificate_below_the_authority_counts(self, place, chain):
        self.signed(place, chain)
        with Archive(place.bundle) as archive:
            assert archive.signed.by == ("ci@example.com",)

    def test_another_name_does_not(self, place, chain):
        self.signed(place, chain, name="me@example.com")
        refused(place, "is signed by nobody")

    def test_another_authority_does_not(self, place, chain):
        key = ec.generate_private_key(ec.SECP256R1())
        impostor = forge.make_certificate(key, "between", authority=True)
        self.signed(place, chain, issuer=(key, impostor))
        refused(place, "is signed by nobody")

    def test_a_signer_is_no_authority(self, place, chain):
        key = ec.generate_private_key(ec.SECP256R1())
        leaf = forge.make_certificate(key, "other@example.com", chain.issuer)
        below = forge.make_certificate(place.key, "ci@example.com", (key, leaf))
        line = forge.line_of(place.key, forge.signature_statement(place.digest), (below, leaf, chain.between))
        forge.sign(place.bundle, line)
        refused(place, "is signed by nobody")

    def test_a_certificate_without_its_way_to_the_authority_does_not(self, place, chain):
        self.signed(place, chain, send=False)
        refused(place, "is signed by nobody")

    def test_a_certificate_that_is_not_for_signatures_does_not(self, place, chain):
        self.signed(place, chain, may_sign=False)
        refused(place, "is signed by nobody")

    def test_the_certificate_of_another_key_does_not(self, place, chain):
        self.signed(place, chain, key=place.stranger)
        refused(place, "is signed by nobody")

    @pytest.mark.parametrize("days", [{"begins": -9, "ends": -1}, {"begins": 3, "ends": 30}], ids=["past", "future"])
    def test_one_that_is_not_valid_today_is_named(self, place, chain, days):
        self.signed(place, chain, **days)
        refused(place, "the certificate of 'ci@example.com' is valid from")


def test_an_identity_takes_the_library_of_sigstore(place, monkeypatch):
    """What Sigstore's services sign cannot be made here: a line that claims to stand in the log is judged by the
    library alone, and is refused where that is missing."""
    place.policy.write_text('[[signer]]\nidentity = "me@example.com"\nissuer = "https://accounts.example.com"\n')
    line = json.loads(both(place.key, place.digest)[0])
    line["verificationMaterial"]["tlogEntries"] = [{"logIndex": "1"}]
    forge.sign(place.bundle, json.dumps(line))
    monkeypatch.setitem(sys.modules, "sigstore.models", None)
    with pytest.raises(MissingToolError, match="by the sigstore library alone"):
        Archive(place.bundle)
