"""The wheel that a device gets: the runtime and its program, of the package that runs here. No compiler is in it.

Packed from the installed files, so it takes no build tool, no source tree and no network; equal files give equal bytes.
"""

from __future__ import annotations

import base64
import hashlib
import zipfile
from pathlib import Path

from edgecompile import __version__
from edgecompile.runtime.requirement import NEEDS

PACKAGE = Path(__file__).resolve().parents[1]
PROGRAM = (
    "__init__.py", "__main__.py", "arguments.py", "cli.py", "entry_points.py", "environment.py", "errors.py",
    "files.py", "habits.py", "json_types.py", "text.py",
)  # fmt: skip
FOLDERS = ("runtime", "verbs")
"""Files that a device needs. Verbs of the compiler report there which packages they lack."""
LONG_AGO = (1980, 1, 1, 0, 0, 0)


def runtime_wheel(folder: Path) -> Path:
    """Writes the wheel into `folder` and returns its path."""
    info = f"edgecompile-{__version__}.dist-info"
    members = {f"edgecompile/{path.relative_to(PACKAGE).as_posix()}": path.read_bytes() for path in _files()}
    members[f"{info}/METADATA"] = _metadata()
    members[f"{info}/WHEEL"] = b"Wheel-Version: 1.0\nGenerator: edgecompile\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    members[f"{info}/entry_points.txt"] = b"[console_scripts]\nedgecompile = edgecompile.cli:main\n"
    record = [f"{name},sha256={_hash(content)},{len(content)}" for name, content in sorted(members.items())]
    members[f"{info}/RECORD"] = "".join(f"{line}\n" for line in [*record, f"{info}/RECORD,,"]).encode()
    wheel = folder / f"edgecompile-{__version__}-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w", zipfile.ZIP_STORED) as archive:
        for name, content in sorted(members.items()):
            entry = zipfile.ZipInfo(name, LONG_AGO)
            entry.create_system = 3
            entry.external_attr = 0o100644 << 16
            archive.writestr(entry, content)
    return wheel


def _files() -> list[Path]:
    below = [path for name in FOLDERS for path in (PACKAGE / name).rglob("*")]
    return [
        *(PACKAGE / name for name in PROGRAM),
        *(path for path in below if path.is_file() and path.suffix != ".pyc"),
    ]


def _metadata() -> bytes:
    lines = ["Metadata-Version: 2.1", "Name: edgecompile", f"Version: {__version__}", "Requires-Python: >=3.10"]
    return "".join(f"{line}\n" for line in [*lines, *(f"Requires-Dist: {need}" for need in NEEDS)]).encode()


def _hash(content: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
