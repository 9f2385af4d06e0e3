"""Who vouches for a measurement: checks the signature that a device put on it, against the keys that are known here.

Known is what ssh knows the device by (its known hosts), and each key in `~/.config/edgecompile/devices/NAME.pub`.
"""

from __future__ import annotations

import base64
import hashlib
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypedDict

from edgecompile.errors import BundleError, MissingToolError
from edgecompile.runtime.device_key import NAMESPACE, SIGNATURE, message_of
from edgecompile.runtime.guarded_files import read_guarded

LARGEST = 64 << 10
MAGIC = b"SSHSIG"
UNSIGNED = "unsigned measurement: the device has no key of its own"


class Evidence(TypedDict):
    """What stands in a report of a measurement on a device.

    signed_by: a sentence.
    document: the whole answer of the device, with its signature where it has one.
    """

    signed_by: str
    document: Mapping[str, Any]


def evidence_of(document: Mapping[str, Any], known: Mapping[str, str]) -> Evidence:
    """Checks the signature of a measurement.

    Args:
        document: as the device printed it.
        known: public keys, base64 as in known_hosts, to what they are called here.

    Raises:
        BundleError: there is a signature, and it is not one of this document.
        MissingToolError: there is a signature and no ssh-keygen here.
    """
    if SIGNATURE not in document:
        return {"signed_by": UNSIGNED, "document": document}
    armored = document[SIGNATURE]
    key = _key_in(armored)
    _require_valid(armored, message_of(document))
    encoded = base64.b64encode(key).decode()
    shown = f"SHA256:{base64.b64encode(hashlib.sha256(key).digest()).decode().rstrip('=')}"
    name = known.get(encoded)
    whose = f"measurement signed by {name} ({shown})" if name else f"measurement signed by {shown}, not known here"
    return {"signed_by": whose, "document": document}


def known_keys(ssh: Sequence[str], host: str) -> dict[str, str]:
    """Returns the keys that a device may be known by here, to what they are called.

    Args:
        ssh: the words of the ssh command, with its options.
        host: of the device, as ssh is given it.
    """
    found = dict(_host_keys(ssh, host))
    try:
        folder = Path.home() / ".config" / "edgecompile" / "devices"
    except RuntimeError:  # no home
        return found
    for path in sorted(folder.glob("*.pub")):
        words = read_guarded(path, LARGEST, "a public key of a device").decode("utf-8", "replace").split()
        if len(words) < 2:
            raise BundleError("holds no public key of ssh", where=str(path))
        found[words[1]] = path.stem
    return found


def _host_keys(ssh: Sequence[str], host: str) -> Iterator[tuple[str, str]]:
    """Yields the keys of a host in the files of known hosts that ssh reads for it."""
    program = shutil.which("ssh-keygen")
    asked = subprocess.run([*ssh, "-G", "--", host], stdin=subprocess.DEVNULL, capture_output=True, text=True)
    settings = dict(line.partition(" ")[::2] for line in asked.stdout.splitlines())
    name, port = settings.get("hostname", host), settings.get("port", "22")
    name = settings.get("hostkeyalias") or (name if port == "22" else f"[{name}]:{port}")
    files = f"{settings.get('userknownhostsfile', '')} {settings.get('globalknownhostsfile', '')}".split()
    for file in files if program else ():
        path = Path(file).expanduser()
        if not path.is_file():
            continue
        done = subprocess.run(
            [str(program), "-F", name, "-f", str(path)], stdin=subprocess.DEVNULL, capture_output=True, text=True
        )
        for line in done.stdout.splitlines():
            words = line.split()
            if len(words) >= 3 and not line.startswith(("#", "@")):  # a revoked key is marked
                yield words[2], f"the host key of {host}"


def _key_in(armored: object) -> bytes:
    """Returns the public key that a signature of SSHSIG states: the magic, a version, then the key as a string."""
    try:
        if not isinstance(armored, str) or len(armored) > LARGEST:
            raise ValueError
        body = re.fullmatch(r"-----BEGIN SSH SIGNATURE-----\s(.*)-----END SSH SIGNATURE-----\s*", armored, re.S)
        content = base64.b64decode("".join(body[1].split()), validate=True) if body else b""
        size = int.from_bytes(content[10:14], "big")
        if not content.startswith(MAGIC) or len(content) < 14 + size:
            raise ValueError
        return content[14 : 14 + size]
    except ValueError:
        raise BundleError("the measurement's signature is none") from None


def _require_valid(armored: str, message: bytes) -> None:
    program = shutil.which("ssh-keygen")
    if not program:
        fix = "sudo apt install openssh-client"
        raise MissingToolError("the signature of a measurement is checked by ssh-keygen", fix=fix)
    with tempfile.TemporaryDirectory(prefix="edgecompile-") as scratch:
        path = Path(scratch) / "signature"
        path.write_text(armored, encoding="ascii")
        command = [program, "-Y", "check-novalidate", "-n", NAMESPACE, "-s", str(path)]
        done = subprocess.run(command, input=message, capture_output=True)
    if done.returncode:
        raise BundleError("the measurement is not what its signature is over", fix="measure it again")
