"""A real OpenSSH server on loopback, with keys and configuration of its own, that is "the device" of these tests.

The device is this machine under another home folder: what runs there runs here, in the person's name.
"""

from __future__ import annotations

import getpass
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

ROOT = Path(__file__).parent.parent.parent
SSHD = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}{os.pathsep}/usr/sbin{os.pathsep}/usr/local/sbin")


@dataclass
class Server:
    """A running server.

    Attributes:
        folder: its keys, its configuration, and `home`.
        port: where it listens.
    """

    folder: Path
    port: int
    process: subprocess.Popen[bytes]

    @property
    def home(self) -> Path:
        return self.folder / "home"

    @property
    def address(self) -> str:
        return f"ssh://127.0.0.1:{self.port}"

    def options(self, *more: str, known: str = "known", key: str = "user") -> str:
        """Returns EDGECOMPILE_SSH_OPTIONS with which this server is known and lets in."""
        config = self.folder / f"config-{known}-{key}"
        config.write_text(
            f"Host *\n  IdentityFile {self.folder / key}\n  IdentitiesOnly yes\n  IdentityAgent none\n"
            f"  UserKnownHostsFile {self.folder / known}\n  GlobalKnownHostsFile /dev/null\n  HostKeyAlias device\n"
            f"Host bench-board\n  HostName 127.0.0.1\n  Port {self.port}\n"
        )
        return " ".join(["-F", str(config), *more])

    def left(self) -> list[str]:
        """Returns the command lines of what still runs on the device, after a moment to end."""
        for _ in range(250):
            found = [" ".join(one.info["cmdline"] or ()) for one in psutil.process_iter(["cmdline"])]
            found = [line for line in found if str(self.home) in line and "sshd" not in line.split()[0]]
            found += [str(one) for one in psutil.Process(self.process.pid).children(recursive=True)]
            if not found:
                return []
            time.sleep(0.1)
        return found

    def bundles(self) -> list[Path]:
        return sorted(self.home.rglob("*.bundle.zip"))

    def end(self) -> None:
        with suppress(psutil.NoSuchProcess):
            for child in psutil.Process(self.process.pid).children(recursive=True):
                with suppress(psutil.NoSuchProcess):
                    child.kill()
        self.process.kill()
        self.process.wait()


def start(folder: Path, *, path: str | None = None, pythonpath: str = "") -> Server:
    """Starts a server; `path` and `pythonpath` are what its sessions find as PATH and PYTHONPATH."""
    (folder / "home").mkdir(parents=True, exist_ok=True)
    for name in ("host", "user", "stranger"):
        if not (folder / name).exists():
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / name], check=True)
    shutil.copy(folder / "user.pub", folder / "authorized")
    key, other = ((folder / name).read_text().split()[:2] for name in ("host.pub", "stranger.pub"))
    (folder / "known").write_text(f"device {' '.join(key)}\n")
    (folder / "changed").write_text(f"device {' '.join(other)}\n")
    (folder / "empty").write_text("")
    port = free_port()
    settings = f"HOME={folder / 'home'} PATH={path or os.environ['PATH']}"
    settings += f" PYTHONPATH={pythonpath}" if pythonpath else ""
    (folder / "sshd_config").write_text(
        f"Port {port}\nListenAddress 127.0.0.1\nHostKey {folder / 'host'}\nPidFile none\n"
        f"AuthorizedKeysFile {folder / 'authorized'}\nUsePAM no\nStrictModes no\nPasswordAuthentication no\n"
        f"KbdInteractiveAuthentication no\nMaxStartups 100\nSetEnv {settings}\n"
    )
    if os.getuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)  # its folder for privilege separation, as a system's start makes it
    log = folder / "sshd.log"
    with log.open("wb") as stream:
        process = subprocess.Popen(
            [SSHD, "-D", "-e", "-f", folder / "sshd_config"], stderr=stream, stdin=subprocess.DEVNULL
        )
    server = Server(folder, port, process)
    for _ in range(100):
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return server
        if process.poll() is not None:
            break
        time.sleep(0.05)
    server.end()
    raise RuntimeError(f"sshd did not start: {log.read_text()}")


def why_not() -> str:
    """Returns why no server can be started here; "" where one can."""
    missing = [name for name in ("ssh", "ssh-keygen") if not shutil.which(name)] + ([] if SSHD else ["sshd"])
    if missing:
        return f"needs {', '.join(missing)}: apt-get install openssh-server openssh-client"
    return "" if getpass.getuser() else "this user has no name"


class Proxy:
    """Stands between client and server, and breaks or freezes the connection.

    Args:
        port: of the server.
        most: bytes towards the server after which the connection is cut; None for never.
    """

    def __init__(self, port: int, most: int | None = None) -> None:
        self._port, self._left, self._frozen = port, most, threading.Event()
        self.sent = 0
        self._pairs: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def address(self) -> str:
        return f"ssh://127.0.0.1:{self.port}"

    def cut(self) -> None:
        """Breaks all connections."""
        for one in self._pairs:
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def freeze(self) -> None:
        """Lets nothing through any more, without breaking anything."""
        self._frozen.set()

    def close(self) -> None:
        self._listener.close()
        self.cut()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(("127.0.0.1", self._port))
                self._pairs += [client, server]
                for pair in ((client, server, True), (server, client, False)):
                    threading.Thread(target=self._pass, args=pair, daemon=True).start()

    def _pass(self, source: socket.socket, to: socket.socket, counted: bool) -> None:
        with suppress(OSError):
            while chunk := source.recv(4096):
                while self._frozen.is_set():
                    time.sleep(0.1)
                if counted and self._left is not None and self.sent + len(chunk) > self._left:
                    break
                self.sent += len(chunk) if counted else 0
                to.sendall(chunk)
        for one in (source, to):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return taken.getsockname()[1]


def environment(options: str, **more: str) -> dict[str, str]:
    """Returns the environment in which the program is run by a person of these tests."""
    return {**os.environ, "PYTHONPATH": str(ROOT), "EDGECOMPILE_SSH_OPTIONS": options, **more}


def edgecompile(*words: object, options: str, limit_s: int = 180, **more: str) -> subprocess.CompletedProcess[str]:
    """Runs the program and returns how it ended."""
    command = [sys.executable, "-m", "edgecompile", *map(str, words)]
    return subprocess.run(command, env=environment(options, **more), capture_output=True, text=True, timeout=limit_s)
