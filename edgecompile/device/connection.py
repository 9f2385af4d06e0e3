"""One connection to a device, by the system's `ssh`. All calls share it, so that only the first call takes time.

The device runs `remote_agent.py`, sent as text with each call. Nothing is left running there: each call ends with the
connection, and a connection that falls silent ends by itself.
"""

from __future__ import annotations

import base64
import json
import os
import shlex
import shutil
import stat
import subprocess
import tempfile
import threading
import time
import zlib
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from io import TextIOWrapper
from pathlib import Path
from typing import IO, Any, TypedDict

from edgecompile.device.address import HOME_FOLDER, Address
from edgecompile.device.measurement_signature import known_keys
from edgecompile.errors import KINDS, EdgecompileError, MissingToolError, Problem, StepError
from edgecompile.json_types import JsonObject, JsonValue

OPTIONS_VARIABLE = "EDGECOMPILE_SSH_OPTIONS"
"""Environment variable with further options for ssh, such as "-F FILE" or "-o ServerAliveInterval=1"."""

OPTIONS = {
    "BatchMode": "yes",  # ask nothing: neither a password nor whether a host is known
    "ConnectTimeout": "15",
    "ServerAliveInterval": "5",
    "ServerAliveCountMax": "3",
    "ControlMaster": "auto",
    "ControlPersist": "10",  # ends by itself even where this process is killed
    "ClearAllForwardings": "yes",
    "ForwardAgent": "no",
    "ForwardX11": "no",
    "RequestTTY": "no",
    "RemoteCommand": "none",
    "LogLevel": "ERROR",
}
SCRATCH = "edgecompile-"
"""Beginning of the names of folders of temporary files."""
LONGEST_FOLDER = 103 - len(f"/{SCRATCH}ssh-12345678/") - 40 - len(".1234567890123456")
"""Bytes of a folder in which a socket may lie: of the 103 that its path may have on any system, a folder of our own,
the 40 digits of ssh's %C and what ssh appends while it makes the socket take the rest."""
STALE_S = 24 * 3600
"""Age at which such a folder counts as left by a killed call."""
HEARTBEAT = 5.0
"""Seconds between two bytes that show a call that this side is still there."""
CHUNK = 1 << 18
OURS = "edgecompile: "
LOST = 255
"""Exit code by which ssh says that it, and not the command, failed."""
NO_PYTHON, OLD_PYTHON = 40, 41

FIND_PYTHON = (
    "for python in python3 python3.13 python3.12 python3.11 python3.10; do "
    'if command -v "$python" >/dev/null 2>&1 && '
    '"$python" -c "import sys; sys.exit(sys.version_info < (3, 10))" 2>/dev/null; '
    'then command -v "$python"; exit 0; fi; done; '
    f"command -v python3 >/dev/null 2>&1 && exit {OLD_PYTHON}; exit {NO_PYTHON}"
)
BOOT = "import base64,sys,zlib;exec(zlib.decompress(base64.b64decode(sys.argv.pop(1))))"
BY_EXIT_CODE = {kind.exit_code: kind for kind in KINDS}

Listener = Callable[[str], None]


@dataclass(frozen=True)
class _Call:
    """The pipes of one call."""

    input: TextIOWrapper
    output: IO[str]
    errors: IO[str]

    @classmethod
    def of(cls, process: subprocess.Popen[str]) -> _Call:
        """Returns the pipes of a process that was started with all three."""
        assert isinstance(process.stdin, TextIOWrapper)
        assert process.stdout is not None
        assert process.stderr is not None
        return cls(process.stdin, process.stdout, process.stderr)


class DeviceFacts(TypedDict):
    """Facts of a device: JSON that `look` of `remote_agent.py` writes.

    root: the folder that takes everything.
    host, system, python: its name, its kernel and the version of its Python.
    arch: see `edgecompile.runtime.machine.architecture`.
    free_bytes: on the disk of that folder.
    """

    root: str
    host: str
    arch: str
    system: str
    python: str
    free_bytes: int


class Connection:
    """A connection to one device; opened by `with`.

    Attributes:
        address: the device.

    Raises:
        MissingToolError: there is no ssh here, or no Python 3.10 there.
        StepError: the device cannot be reached, or does not know this user or key.
    """

    def __init__(self, address: Address, listener: Listener = lambda line: None) -> None:
        self.address = address
        self._facts: DeviceFacts | None = None
        self._listener = listener
        self._python = ""

    @property
    def facts(self) -> DeviceFacts:
        """The facts of the device."""
        assert self._facts is not None, "the connection is open"
        return self._facts

    def __enter__(self) -> Connection:
        program = shutil.which("ssh")
        if not program:
            raise MissingToolError("ssh is not installed", fix="sudo apt install openssh-client")
        sweep_scratch()
        self._folder = socket_folder()
        settings = {**OPTIONS, "ControlPath": f"{self._folder}/%C"}
        options = [word for name, value in settings.items() for word in ("-o", f"{name}={value}")]
        options += ["-p", str(self.address.port)] if self.address.port else []
        options += ["-l", self.address.user] if self.address.user else []
        self._ssh = [program, *shlex.split(os.environ.get(OPTIONS_VARIABLE, "")), *options]
        try:
            self._python = self._find_python()
            self._facts = self.call("look", root=self.address.path or HOME_FOLDER)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError, subprocess.TimeoutExpired):
            leave = [*self._ssh, "-O", "exit", "--", self.address.host]
            subprocess.run(leave, stdin=subprocess.DEVNULL, capture_output=True, timeout=5)
        shutil.rmtree(self._folder, ignore_errors=True)

    def known_keys(self) -> dict[str, str]:
        """Returns the public keys by which the device is known here, to what they are called."""
        return known_keys(self._ssh, self.address.host)

    def call(self, do: str, **request: JsonValue) -> Any:
        """Calls a function of `remote_agent.py` and returns its answer.

        Raises:
            EdgecompileError: of the kind that its exit code names.
        """
        answer = self._talk(do, request, lambda call: call.output.read(), beating=True)
        return json.loads(answer.splitlines()[-1])

    def output(self, do: str, *, unfinished: Listener = lambda text: None, **request: JsonValue) -> str:
        """Calls a function of `remote_agent.py` and returns all it wrote to stdout. Raises as `call`.

        Args:
            unfinished: called with the output on stdout before the call failed.
        """
        return self._talk(do, request, lambda call: call.output.read(), unfinished=unfinished, beating=True)

    def send(self, path: Path, to: str, sha256: str, report: Callable[[int], None] = lambda sent: None) -> int:
        """Copies a file to the device; returns how many bytes had to be sent. Raises as `call`.

        Bytes that are there already are not sent again: a whole file, or the beginning that an earlier attempt copied.

        Args:
            path: the file on this machine.
            to: its path on the device. It appears whole, of digest `sha256`, or not at all.
            report: called with how many bytes are there.
        """
        size = path.stat().st_size

        def feed(call: _Call) -> str:
            first = call.output.readline()
            if first:
                with path.open("rb") as file, suppress(BrokenPipeError):
                    sent = file.seek(json.loads(first)["offset"])
                    while chunk := file.read(CHUNK):
                        call.input.buffer.write(chunk)
                        call.input.flush()
                        report(sent := sent + len(chunk))
            with suppress(BrokenPipeError):
                call.input.close()
            return call.output.read()

        answer = self._talk("receive", {"path": to, "sha256": sha256, "size": size}, feed)
        return json.loads(answer)["copied"]

    def _find_python(self) -> str:
        """Returns the path of a Python on the device that can run the runtime. Opens the connection."""
        command = [*self._ssh, "--", self.address.host, f"exec sh -c {shlex.quote(FIND_PYTHON)}"]
        process = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", start_new_session=True
        )
        if process.returncode == LOST:
            raise self._lost(process.stderr.splitlines())
        if process.returncode in (NO_PYTHON, OLD_PYTHON):
            why = "has no python3" if process.returncode == NO_PYTHON else "has only a python3 older than 3.10"
            raise MissingToolError(f"the device {why}", where=str(self.address), fix="there: sudo apt install python3")
        path = (process.stdout.splitlines() or [""])[-1]
        if process.returncode or not path.startswith("/"):
            reason = (process.stderr.splitlines() or process.stdout.splitlines() or ["nothing"])[-1]
            raise StepError(f"the device runs no commands; its answer: {reason}", where=str(self.address))
        return path

    def _talk(
        self,
        do: str,
        request: JsonObject,
        talk: Callable[[_Call], str],
        *,
        unfinished: Listener = lambda text: None,
        beating: bool = False,
    ) -> str:
        """Runs one call; `talk` has its pipes and returns the output."""
        packed = base64.b64encode(json.dumps({"do": do, **request}).encode()).decode()
        command = shlex.join([self._python, "-c", BOOT, _packed_source(), packed])
        process = subprocess.Popen(
            [*self._ssh, "--", self.address.host, f"exec {command}"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            start_new_session=True,  # this process handles Ctrl-C
        )
        call = _Call.of(process)
        lines: list[str] = []
        done = threading.Event()
        threads = [threading.Thread(target=self._listen, args=(call.errors, lines), daemon=True)]
        threads += [threading.Thread(target=_beat, args=(call.input, done), daemon=True)] if beating else []
        for thread in threads:
            thread.start()
        try:
            answer = talk(call)
            code = process.wait()
        finally:
            done.set()
            process.kill()
            process.wait()
            for thread in threads:
                thread.join()
            for pipe in (call.input, call.output, call.errors):
                with suppress(OSError):
                    pipe.close()
        if code:
            unfinished(answer)
            raise self._failed(do, request, code, lines)
        return answer

    def _listen(self, stream: IO[str], lines: list[str]) -> None:
        """Collects the lines of stderr, and passes those that are no complaint to the listener."""
        for line in stream:
            lines.append(line.rstrip())
            if not line.startswith(OURS):
                self._listener(line.rstrip())

    def _failed(self, do: str, request: JsonObject, code: int, lines: list[str]) -> EdgecompileError:
        """Returns the error for a call that ended with a code other than 0."""
        problems = [Problem(line.removeprefix(OURS), str(self.address)) for line in lines if line.startswith(OURS)]
        if problems:
            return BY_EXIT_CODE.get(code, StepError)(problems)
        if code == LOST:
            return self._lost(lines)
        command = request.get("command")
        words = command if isinstance(command, list) else []
        action = words[words.index("edgecompile") + 1] if "edgecompile" in words else do
        killed = f"was killed by signal {code - 128}" if code > 128 else f"ended with exit code {code}"
        reason = "; out of memory there?" if code == 137 else f": {lines[-1]}" if lines else ""
        return StepError(f"{action} {killed} on the device{reason}", where=str(self.address))

    def _lost(self, lines: list[str]) -> StepError:
        """Returns the error for ssh's message when it cannot reach the device, or no longer."""
        text = "\n".join(lines)
        for sign, message, fix in COMPLAINTS:
            if sign in text:
                last = next(line for line in lines if sign in line)
                host, user = self.address.host, f"{self.address.user}@" if self.address.user else ""
                values = {"host": host, "login": user + host, "reason": last.removeprefix("ssh: ").rstrip(".")}
                return StepError(message.format(**values), where=str(self.address), fix=fix.format(**values))
        reason = f": {lines[-1]}" if lines else ""
        return StepError(f"the connection broke{reason}", where=str(self.address), fix="run it again; copying resumes")


COMPLAINTS = (
    (
        "IDENTIFICATION HAS CHANGED",
        "the device shows another host key than its known key: another device, or somebody in between",
        "if it was installed again: ssh-keygen -R {host}",
    ),
    (
        "Host key verification failed",
        "the host key of the device is not known here",
        "compare and accept it once: ssh {login}",
    ),
    ("Permission denied", "the device refuses this user and key: {reason}", "ssh-copy-id {login}"),
    ("Could not resolve hostname", "there is no such host: {reason}", "is it in ~/.ssh/config, and is the network up?"),
    ("Connection refused", "no ssh server answers: {reason}", "there: sudo apt install openssh-server"),
    ("timed out", "the device does not answer: {reason}", "is it switched on and in this network?"),
    ("No route to host", "the device does not answer: {reason}", "is it switched on and in this network?"),
    ("Network is unreachable", "the device does not answer: {reason}", "is the network up?"),
    ("Bad configuration option", "ssh refuses its configuration: {reason}", ""),
    ("Can't open user config file", "ssh refuses its configuration: {reason}", ""),
)
"""Part of ssh's message, in the order of precedence; the message for a person; the fix."""


def socket_folder() -> str:
    """Makes a folder of this user's own for ssh's socket: in the folder of temporary files, where the path is short
    enough for a socket, else in another folder.

    Raises:
        MissingToolError: no path is short enough.
    """
    for folder in _places():
        if len(os.fsencode(folder)) <= LONGEST_FOLDER:
            with suppress(OSError):
                return tempfile.mkdtemp(prefix=f"{SCRATCH}ssh-", dir=folder)
    longest = f"no folder for ssh's socket that can be written and whose path has at most {LONGEST_FOLDER} bytes"
    raise MissingToolError(f"{longest} (tried {', '.join(_places())})", fix="set TMPDIR to one")


def _places() -> list[str]:
    """Returns the folders in which a socket may lie."""
    runtime = os.environ.get("XDG_RUNTIME_DIR", "")
    return list(dict.fromkeys(folder for folder in (tempfile.gettempdir(), runtime, "/tmp", "/var/tmp") if folder))


def sweep_scratch() -> None:
    """Removes the folders of temporary files that killed calls have left: only this user's own, and after a day."""
    for path in (path for place in _places() for path in Path(place).glob(f"{SCRATCH}*")):
        with suppress(OSError):
            facts = path.lstat()
            own = stat.S_ISDIR(facts.st_mode) and facts.st_uid == os.geteuid() and not facts.st_mode & 0o077
            if own and time.time() - facts.st_mtime > STALE_S:
                shutil.rmtree(path, ignore_errors=True)


def _packed_source() -> str:
    source = Path(__file__).with_name("remote_agent.py").read_bytes()
    return base64.b64encode(zlib.compress(source, 9)).decode()


def _beat(stream: IO[str], done: threading.Event) -> None:
    with suppress(OSError, ValueError):
        while not done.wait(HEARTBEAT):
            stream.write("\n")
            stream.flush()
