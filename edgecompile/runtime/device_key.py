"""Signs what a device measured with the device's own key, so that a verdict can be laid to it later.

The key is `~/.config/edgecompile/device.key`, made by `ssh-keygen`, or a host key of the device's ssh server where this
user may read it, as the administrator does. `ssh-keygen -Y sign` makes the signature (the format SSHSIG), so a device
needs no further package. A device without a key measures as before, and its measurement is unsigned.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgecompile.errors import BundleError, MissingToolError
from edgecompile.runtime.guarded_files import read_guarded
from edgecompile.text import to_json

NAMESPACE = "edgecompile-measurement"
SIGNATURE = "signature"
"""Key of a document under which its signature stands."""
HOST_KEYS = tuple(Path(f"/etc/ssh/ssh_host_{kind}_key") for kind in ("ed25519", "ecdsa", "rsa"))
LARGEST = 64 << 10
SECONDS = 30


def key_of_device() -> Path | None:
    """Returns the file of the key that this user may sign with; None where there is none.

    Raises:
        BundleError: others may change the device's key, or it is no file.
    """
    try:
        own = Path.home() / ".config" / "edgecompile" / "device.key"
    except RuntimeError:  # no home
        own = None
    if own and (own.exists() or own.is_symlink()):
        read_guarded(own, LARGEST, "a key of the device")
        return own
    return next((path for path in HOST_KEYS if _is_readable(path)), None)


def signed(document: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a document of JSON with its signature by the device's key; as it is where the device has none.

    Raises:
        BundleError: the device's key cannot sign.
        MissingToolError: there is a key and no ssh-keygen.
    """
    key = key_of_device()
    if key is None:
        return dict(document)
    program = shutil.which("ssh-keygen")
    if not program:
        fix = "sudo apt install openssh-client, or remove the key"
        raise MissingToolError("the device has a key to sign with and no ssh-keygen", where=str(key), fix=fix)
    plain = json.loads(to_json(document))  # as it is read again
    command = [program, "-Y", "sign", "-q", "-f", str(key), "-n", NAMESPACE]
    try:
        done = subprocess.run(command, input=message_of(plain), capture_output=True, timeout=SECONDS)
    except subprocess.TimeoutExpired:
        raise BundleError("ssh-keygen did not sign in time", where=str(key), fix="use a key without password") from None
    if done.returncode:
        why = done.stderr.decode("utf-8", "replace").strip().splitlines() or ["no message"]
        raise BundleError(f"ssh-keygen did not sign: {why[-1]}", where=str(key), fix="use a key without password")
    return {**plain, SIGNATURE: done.stdout.decode("ascii")}


def message_of(document: Mapping[str, Any]) -> bytes:
    """Returns the bytes that are signed: the document without its signature, as JSON in ASCII with sorted keys and
    without spaces."""
    plain = {key: value for key, value in document.items() if key != SIGNATURE}
    return json.dumps(plain, sort_keys=True, separators=(",", ":"), allow_nan=False).encode("ascii")


def _is_readable(path: Path) -> bool:
    try:
        with path.open("rb"):
            return True
    except OSError:
        return False
