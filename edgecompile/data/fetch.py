"""Downloads what is published, by name, into the cache: checkpoints, and small data sets with a data.yaml.

Only ever on request. A download lands under a temporary name and is moved into place when it is whole; beside it stands
a record of its digest. What is there already is compared with its record and never overwritten.
"""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import secrets
import shutil
import sys
import urllib.error
import urllib.request
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path, PurePosixPath

from edgecompile.data.published import COCO_CLASSES, DATASETS, EXAMPLES, FAMILIES, is_published
from edgecompile.errors import RecipeError, StepError, nearest
from edgecompile.files import hash_file
from edgecompile.places import fetched_folder, shown
from edgecompile.text import tell

BASE_VARIABLE = "EDGECOMPILE_FETCH_URL"
CHECKPOINTS = "https://github.com/ultralytics/assets/releases/download/v8.4.0"
ARCHIVES = "https://github.com/ultralytics/assets/releases/download/v0.0.0"
TIMEOUT_S = 30
CHUNK = 1 << 20
LARGEST = 2 << 30
"""Bytes of a download, and of all that an archive unpacks to."""
HELD_OUT = 4
"""Of a data set that has one set of pictures, each fourth is held out to validate on."""


def fetch(name: str, base: str | None = None, sha256: str | None = None) -> Path:
    """Downloads what `name` names, unless it is there, and returns its path.

    Args:
        base: the URL of the folder to download from; $EDGECOMPILE_FETCH_URL or the project's releases where None.
        sha256: the digest that the download must have, in hex.

    Raises:
        RecipeError: the name is not published; what is there, or what was downloaded, has another digest.
        StepError: it cannot be downloaded or written.
    """
    if not is_published(name):
        close = nearest(name, EXAMPLES)
        fix = close if close.startswith("did") else f"published are {FAMILIES}, {', '.join(DATASETS)}"
        raise RecipeError(f"'{name}' is not a published name", where="command line", fix=fix)
    target = fetched_folder() / name
    if target.exists():
        _compare(target, sha256)
        return target
    asset = f"{Path(name).stem}.zip" if name in DATASETS else name
    base = base or os.environ.get(BASE_VARIABLE) or (ARCHIVES if name in DATASETS else CHECKPOINTS)
    url = f"{base.rstrip('/')}/{asset}"
    with _staging(target.parent) as staging:
        digest, size = _download(url, staging / asset)
        if sha256 and digest != sha256.lower():
            raise RecipeError(f"{url} has the digest {digest}, expected {sha256}", where="command line")
        record = {"name": name, "url": url, "sha256": digest, "size": size, "fetched": _now()}
        if name in DATASETS:
            _unpack(staging / asset, staging / target.stem)
            (staging / name).write_text(_data_yaml(staging, target.stem), encoding="utf-8")
            _move(staging / target.stem, target.with_suffix(""))
        (staging / "record").write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
        _move(staging / "record", _record(target))
        _move(staging / name, target)
    tell(f"edgecompile: {name}: {size:,} bytes, sha256 {digest}, from {url}", file=sys.stderr)
    return target


def _record(target: Path) -> Path:
    return target.with_name(f"{target.name}.json")


def _compare(target: Path, sha256: str | None) -> None:
    """Refuses a file that is not what was fetched: the person decides which of the two is meant."""
    if target.name in DATASETS:
        return  # the record's digest is of the archive
    digest = hash_file(target)[0]
    try:
        recorded = json.loads(_record(target).read_text(encoding="utf-8"))["sha256"]
    except (OSError, ValueError, KeyError, TypeError):
        recorded = None
    for expected in (sha256 and sha256.lower(), recorded):
        if expected and digest != expected:
            fix = "move it away to fetch it again; nothing is overwritten"
            raise RecipeError(f"has the digest {digest}, expected {expected}", where=shown(target), fix=fix)


@contextmanager
def _staging(folder: Path) -> Iterator[Path]:
    """Yields an empty folder on the disk of `folder`, removed in the end."""
    staging = folder / f".fetching-{os.getpid()}-{secrets.token_hex(4)}"
    try:
        staging.mkdir(parents=True)
    except OSError as error:
        raise StepError(f"cannot write to {folder}: {error.strerror}") from error
    try:
        yield staging
    except zipfile.BadZipFile as error:
        raise StepError(f"the archive is damaged: {error}") from error
    except OSError as error:
        raise StepError(f"cannot write to {folder}: {error.strerror or error}") from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _download(url: str, file: Path) -> tuple[str, int]:
    """Writes what `url` gives into `file`; returns its sha256 and its size in bytes.

    Raises:
        StepError: it cannot be reached, ends early, or is larger than anything published.
    """
    digest, size = hashlib.sha256(), 0
    if not url.startswith(("https://", "http://")):
        raise RecipeError(f"'{url}' is no http(s) address", where="command line")
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT_S) as answer, file.open("wb") as out:
            expected = answer.headers.get("Content-Length")
            while chunk := answer.read(CHUNK):
                digest.update(chunk)
                size += len(chunk)
                out.write(chunk)
                if size > LARGEST:
                    raise StepError(f"{url} is larger than {LARGEST >> 30} GiB")
    except urllib.error.HTTPError as error:
        raise StepError(f"{url} cannot be downloaded: {error.code} {error.reason}") from error
    except (urllib.error.URLError, http.client.HTTPException, TimeoutError, ConnectionError) as error:
        reason = getattr(error, "reason", error)
        reason = getattr(reason, "strerror", None) or reason
        raise StepError(f"{url} cannot be reached: {reason}", fix=f"copy the file to {fetched_folder()}") from error
    if expected is not None and size != int(expected):
        raise StepError(f"{url} ended after {size} of {expected} bytes", fix="run it again")
    return digest.hexdigest(), size


def _unpack(archive: Path, folder: Path) -> None:
    """Unpacks the pictures and labels of an archive; refuses names that leave the folder.

    Raises:
        StepError: a member has an absolute name or a name with '..', or is a link; all members together are too large.
    """
    with zipfile.ZipFile(archive) as content:
        if sum(member.file_size for member in content.infolist()) > LARGEST:
            raise StepError(f"{archive.name} unpacks to more than {LARGEST >> 30} GiB")
        for member in content.infolist():
            path = PurePosixPath(member.filename)
            link = (member.external_attr >> 16) & 0o170000 == 0o120000
            if path.is_absolute() or ".." in path.parts or "\\" in member.filename or link:
                raise StepError(f"{archive.name} holds '{member.filename}', which leaves its folder")
            if member.is_dir() or path.suffix not in (".jpg", ".png", ".txt") or "__MACOSX" in path.parts:
                continue
            inner = Path(*path.parts[1:]) if path.parts[0] == folder.name else Path(*path.parts)
            (folder / inner).parent.mkdir(parents=True, exist_ok=True)
            with content.open(member) as source, (folder / inner).open("wb") as out:
                shutil.copyfileobj(source, out, CHUNK)


def _data_yaml(staging: Path, name: str) -> str:
    """Returns the data.yaml of an unpacked set. A data set with one set of pictures is split, since calibrating and
    validating on the same pictures proves nothing."""
    pictures = sorted(path for path in (staging / name / "images").rglob("*") if path.suffix in (".jpg", ".png"))
    if not pictures:
        raise StepError(f"{name}.zip holds no pictures in a folder named images")
    classes = [name.strip() for name in COCO_CLASSES.replace("\n", " ").split(",")]
    names = "".join(f"  {number}: {name}\n" for number, name in enumerate(classes))
    folders = sorted({path.parent.relative_to(staging / name).as_posix() for path in pictures})
    splits = {"train": next((folder for folder in folders if "train" in folder), folders[0])}
    splits["val"] = next((folder for folder in folders if "val" in folder), splits["train"])
    if splits["train"] == splits["val"]:
        held_out = pictures[HELD_OUT - 1 :: HELD_OUT]
        rest = [picture for picture in pictures if picture not in held_out]
        for split, chosen in (("train", rest), ("val", held_out)):
            listed = "".join(f"{path.relative_to(staging / name).as_posix()}\n" for path in chosen)
            (staging / name / f"{split}.txt").write_text(listed, encoding="utf-8")
            splits[split] = f"{split}.txt"
    return f"path: {name}\ntrain: {splits['train']}\nval: {splits['val']}\nnames:\n{names}"


def _move(source: Path, target: Path) -> None:
    """Moves a finished file or folder into place, unless another process was quicker."""
    if not target.exists():
        os.replace(source, target)


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")
