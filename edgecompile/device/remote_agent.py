"""The program on the device itself: sent as text to the Python there, and never imported on this machine.

Needs the standard library of Python 3.10 and nothing else. Each call is one process that does one thing and ends:
all processes that it started end with it, also where the connection breaks or falls silent. It reports an error as the
program does, by one line on stderr that begins with `edgecompile: `, and ends with the exit code of that kind.
"""

import base64
import contextlib
import errno
import fcntl
import glob
import grp
import hashlib
import json
import os
import platform
import pwd
import select
import shlex
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tarfile
import tempfile
import threading
import time

MISSING_TOOL, FAILED = 4, 5
SILENCE = 30
"""Seconds after which a connection that says nothing counts as broken; the other side speaks every five."""
PATIENCE = 5
CHUNK = 1 << 20
STALE = 24 * 3600


class Refused(Exception):
    """The error that ends a call: an exit code and one line."""


def look(root):
    """Makes the folder for everything and returns the facts of this machine."""
    root = os.path.join(os.path.expanduser("~"), root)
    os.makedirs(root, mode=0o700, exist_ok=True)
    _require_private(os.path.realpath(root))
    _sweep(root)
    return {
        "root": root,
        "host": socket.gethostname(),
        "arch": {"amd64": "x86_64", "arm64": "aarch64"}.get(platform.machine().lower(), platform.machine().lower()),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "free_bytes": shutil.disk_usage(root).free,
    }


def _require_private(root):
    """Makes sure that nobody else can change what lies in a folder: programs are run from it.

    A folder above that everyone may write to must keep users from renaming files of other users (as /tmp does).
    """
    for path in [root, *_parents(root)]:
        facts = os.stat(path)
        where = f"others can change what is in {root}"
        if facts.st_uid not in (0, os.geteuid()):
            raise Refused(FAILED, f"{where}: {path} belongs to user {facts.st_uid}; choose a folder of yours")
        shared = facts.st_mode & stat.S_IWOTH or (facts.st_mode & stat.S_IWGRP and not _alone_in_group(facts.st_gid))
        if shared and (path == root or not facts.st_mode & stat.S_ISVTX):
            fix = f"there: chmod go-w {shlex.quote(path)}, or choose another folder"
            raise Refused(FAILED, f"{where}: {path} has the mode {facts.st_mode & 0o7777:o}; {fix}")


def _parents(path):
    while path != os.path.dirname(path):
        path = os.path.dirname(path)
        yield path


def _alone_in_group(number):
    """Returns whether only this user is in a group, as many systems make for each user."""
    try:
        me, group = pwd.getpwuid(os.geteuid()), grp.getgrgid(number)
    except KeyError:
        return False
    own = number == 0 or (number == me.pw_gid and group.gr_name == me.pw_name)
    return own and not set(group.gr_mem) - {me.pw_name, "root"}


def _sweep(root):
    """Removes files that interrupted calls have left, after a day: until then a copy is resumed from them. Also removes
    those in the folder of temporary files that belong to this program and this user alone."""
    places = ("*.part", "*/*.part", "*/*/*.part", "environments/.environment-*")
    for path in [path for place in places for path in glob.glob(os.path.join(glob.escape(root), place))]:
        with contextlib.suppress(OSError):
            if time.time() - os.lstat(path).st_mtime > STALE:
                remove([path])
    for path in glob.glob(os.path.join(glob.escape(tempfile.gettempdir()), "edgecompile-*")):
        with contextlib.suppress(OSError):
            facts = os.lstat(path)
            own = stat.S_ISDIR(facts.st_mode) and facts.st_uid == os.geteuid() and not facts.st_mode & 0o077
            if own and time.time() - facts.st_mtime > STALE:
                remove([path])


def receive(path, sha256, size):
    """Takes a file from stdin, from the byte on at which an earlier copy ended; it appears whole or not at all."""
    part = f"{path}.{sha256[:16]}.part"
    os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
    if os.path.isfile(path) and os.path.getsize(path) == size and _digest(path) == sha256:
        print(json.dumps({"offset": size}), flush=True)
        return {"copied": 0}
    offset = os.path.getsize(part) if os.path.exists(part) else 0
    if offset >= size:
        os.unlink(part)
        offset = 0
    free = shutil.disk_usage(os.path.dirname(path)).free
    if free < size - offset:
        with contextlib.suppress(OSError):
            os.unlink(part)
        raise _no_space(path, size)
    print(json.dumps({"offset": offset}), flush=True)
    try:
        with open(part, "ab") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            left = size - offset
            while left:
                chunk = os.read(0, min(CHUNK, left)) if select.select([0], [], [], SILENCE)[0] else b""
                if not chunk:
                    raise Refused(FAILED, "the connection broke before the whole file was there")
                file.write(chunk)
                left -= len(chunk)
            file.flush()
            os.fsync(file.fileno())
    except BlockingIOError:
        raise Refused(FAILED, "the same file is being copied to this device already") from None
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            with contextlib.suppress(OSError):
                os.unlink(part)
            raise _no_space(path, size) from None
        raise
    if _digest(part) != sha256:
        os.unlink(part)
        raise Refused(FAILED, "what arrived differs from what was sent; run it again")
    os.chmod(part, 0o644)
    os.replace(part, path)
    return {"copied": size - offset}


def unpack(archive, folder):
    """Unpacks a tar of plain files into a folder, and removes the tar."""
    remove([folder])
    os.makedirs(folder, mode=0o700)
    with tarfile.open(archive) as tar:
        for member in tar:
            if member.isfile() and os.path.basename(member.name) == member.name:
                content = tar.extractfile(member)
                assert content is not None
                with open(os.path.join(folder, member.name), "wb") as file:
                    shutil.copyfileobj(content, file)
    remove([archive])
    return {}


def prepared(folder):
    """Returns the Python of a virtual environment that was made before; None where there is none."""
    python = os.path.join(folder, "bin", "python")
    return {"python": python if os.path.exists(python) else None}


def environment(folder, runtime, requirements, wheels, offline, system):
    """Makes the virtual environment `folder`, which appears whole or not at all, and returns its Python.

    Args:
        folder: of the environment; an environment there that no longer works is replaced.
        runtime: the wheel of the runtime.
        requirements: further packages to install.
        wheels: folder of the wheels that were copied here; removed in the end.
        offline: whether only those are used; otherwise the package index that pip knows here.
        system: whether the packages of the system are seen, as where a vendor's image brings its runtime.
    """
    os.makedirs(os.path.dirname(folder), mode=0o700, exist_ok=True)
    part = tempfile.mkdtemp(prefix=".environment-", dir=os.path.dirname(folder))
    try:
        _say("making a virtual environment")
        _make([sys.executable, "-m", "venv", *(["--system-site-packages"] if system else []), part], _no_venv)
        _say(f"installing {', '.join(requirements)}")
        source = ["--no-index", "--find-links", wheels, "--no-cache-dir"] if offline else []
        pip = [os.path.join(part, "bin", "python"), "-m", "pip", "--disable-pip-version-check", "--no-input"]
        # Modules are compiled when they are first imported: most of them never are.
        _make([*pip, "install", "--quiet", "--no-compile", *source, runtime, *requirements], _no_packages)
        if not prepared(folder)["python"]:  # else it was made meanwhile by another call
            remove([folder])
            os.rename(part, folder)
        return prepared(folder)
    finally:
        remove([part, wheels])


def _make(command, explained):
    """Runs a command quietly; where it fails, raises the error that `explained` makes of its output."""
    with tempfile.TemporaryFile("w+") as output:
        code = _watched(command, stdout=output, stderr=output)
        output.seek(0)
        text = output.read()
    if code:
        raise _no_space(command[-1], 0) if "No space left on device" in text else explained(text)


def _no_venv(text):
    if "ensurepip" in text or "No module named venv" in text:
        return Refused(MISSING_TOOL, "the device has no python3-venv; there: sudo apt install python3-venv")
    return Refused(FAILED, f"the virtual environment cannot be made: {_last(text)}")


def _no_packages(text):
    errors = [line.removeprefix("ERROR:").strip() for line in text.splitlines() if line.startswith("ERROR:")]
    message = errors[-1] if errors else _last(text)
    if "No matching distribution" in text:
        machine = f"Python {platform.python_version()}, {platform.machine()}"
        return Refused(MISSING_TOOL, f"{message} ({machine}); --wheels DIR installs from wheels of yours")
    return Refused(FAILED, f"the packages cannot be installed: {message}")


def importable(python, modules, path):
    """Makes sure that a Python of the device's owner has the packages that the runtime needs."""
    program = shutil.which(os.path.expanduser(python))
    if not program:
        raise Refused(MISSING_TOOL, f"the device has no '{python}'")
    for module in modules:
        settings = _environment({"PYTHONPATH": path})
        ended = subprocess.run([program, "-c", f"import {module}"], env=settings, capture_output=True, text=True)
        if ended.returncode:
            raise Refused(MISSING_TOOL, f"'{python}' there cannot import {module}: {_last(ended.stderr)}")
    return {"python": program}


def run(command, folder, settings, alone):
    """Runs a verb; its output is this call's output, its exit code this call's. Alone where it measures."""
    with open(os.path.join(folder, ".measuring"), "w") if alone else contextlib.nullcontext() as lock:
        if alone:
            _take_turn(lock)
        code = _watched(command, cwd=folder, env=_environment(settings))
    _leave(code if code >= 0 else 128 - code)


def _environment(settings):
    """Returns the environment of a program; a PYTHONPATH that is set here, as by a vendor's image, is kept behind."""
    merged = {**os.environ, **settings}
    if "PYTHONPATH" in settings and os.environ.get("PYTHONPATH"):
        merged["PYTHONPATH"] = f"{settings['PYTHONPATH']}{os.pathsep}{os.environ['PYTHONPATH']}"
    return merged


def _take_turn(lock):
    """Waits until no other measurement runs on this device."""
    reported = False
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if not reported:
                _say("waiting for another measurement on this device")
            reported = True
            if select.select([0], [], [], 0.5)[0] and not os.read(0, 4096):
                _leave(FAILED)


def publish(bundle, link, launcher, command, settings):
    """Gives a bundle its lasting name, by a link that is exchanged at once, and writes a script that runs the verbs."""
    new = f"{link}.{os.getpid()}.part"
    if os.path.isdir(link) or (os.path.exists(link) and not os.path.islink(link)):
        raise Refused(FAILED, f"{link} is there and is not a link that this program made; move it away")
    os.symlink(os.path.relpath(bundle, os.path.dirname(link)), new)
    os.replace(new, link)
    path = settings.get("PYTHONPATH")
    exported = f"export PYTHONPATH={shlex.quote(path)}${{PYTHONPATH:+:$PYTHONPATH}}\n" if path else ""
    new = f"{launcher}.{os.getpid()}.part"
    with open(new, "w") as script:
        script.write(f'#!/bin/sh\n{exported}exec {shlex.join(command)} "$@"\n')
    os.chmod(new, 0o755)
    os.replace(new, launcher)
    return {}


def remove(paths):
    """Removes files and folders; harmless where they are not there."""
    for path in paths:
        if os.path.isdir(path) and not os.path.islink(path):
            shutil.rmtree(path, ignore_errors=True)
        else:
            with contextlib.suppress(OSError):
                os.unlink(path)
    return {}


def _watched(command, **settings):
    """Runs a command in a group of its own, which ends when the connection does; returns its exit code."""
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True, **settings)
    threading.Thread(target=_end_when_silent, args=(child.pid,), daemon=True).start()
    try:
        return child.wait()
    finally:
        _kill(child.pid, signal.SIGKILL)


def _end_when_silent(group):
    while select.select([0], [], [], SILENCE)[0] and os.read(0, 4096):
        pass
    _kill(group, signal.SIGINT)  # a Python program tidies up after itself
    time.sleep(PATIENCE)
    _kill(group, signal.SIGKILL)


def _kill(group, number):
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)


def _digest(path):
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def _no_space(path, size):
    folder = os.path.dirname(path)
    while not os.path.isdir(folder):
        folder = os.path.dirname(folder)
    need = f", {size / 1e6:.1f} MB are needed" if size else ""
    free = shutil.disk_usage(folder).free / 1e6
    return Refused(FAILED, f"no space left on the disk of {folder}: {free:.1f} MB free{need}")


def _last(text):
    return ([line.strip() for line in text.splitlines() if line.strip()] or ["no message"])[-1]


def _say(text):
    with contextlib.suppress(OSError):
        print(text, file=sys.stderr, flush=True)


def _leave(code):
    with contextlib.suppress(OSError):
        sys.stdout.flush()
    os._exit(code)  # a thread may still wait for stdin


def _stop(*_):
    raise Refused(FAILED, "was stopped by a signal")


def main():
    for number in (signal.SIGHUP, signal.SIGTERM):
        signal.signal(number, _stop)
    os.umask(0o022)
    request = json.loads(base64.b64decode(sys.argv[1]))
    actions = (look, receive, unpack, prepared, environment, importable, run, publish, remove)
    action = {function.__name__: function for function in actions}[request.pop("do")]
    try:
        print(json.dumps(action(**request)), flush=True)
        _leave(0)
    except Refused as refusal:
        code, message = refusal.args
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        path = error.filename or request.get("path") or request.get("root") or "the device"
        code, message = FAILED, f"no space left for {path}" if full else f"{error.strerror}: {path}"
    _say(f"edgecompile: {message}")
    _leave(code)


main()
