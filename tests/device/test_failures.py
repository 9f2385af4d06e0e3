"""What goes wrong between here and a device ends in one line, with the exit code of its kind, and leaves nothing."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

from .server import Proxy, Server, edgecompile, environment, free_port

PYTHON = ("--python", sys.executable)
PROGRAM = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell hands an ignored Ctrl-C down to background jobs
from edgecompile.cli import main
sys.exit(main())
"""
TOOLS = ("sh", "cat", "mkdir", "rm", "mv", "env")


def failed(*words: object, code: int, options: str, **more: str) -> str:
    """Runs the program and returns the one line with which it ended."""
    ended = edgecompile(*words, options=options, **more)
    assert ended.returncode == code, (ended.returncode, ended.stdout, ended.stderr)
    lines = ended.stderr.splitlines()
    complaints = [line for line in lines if line.startswith("edgecompile: ")]
    assert lines[-1:] == complaints, ended.stderr
    return complaints[0]


def nothing_left(device: Server, bundle: Path) -> None:
    """No process, and no file of a bundle's name that holds anything but that bundle."""
    assert not device.left()
    assert all(path.read_bytes() == bundle.read_bytes() for path in device.bundles() if path.name == bundle.name)


def test_a_connection_that_breaks_while_copying_is_resumed(devices, large_bundle):
    device = devices()
    proxy = Proxy(device.port, most=4_500_000)
    words = ["verify", large_bundle, "--on", proxy.address, *PYTHON]
    line = failed(*words, code=5, options=device.options())
    assert line.startswith(f"edgecompile: {proxy.address}: the connection broke")
    nothing_left(device, large_bundle)
    assert not [path for path in device.bundles() if path.name == large_bundle.name]
    proxy.close()
    second = Proxy(device.port)
    ended = edgecompile("verify", large_bundle, "--on", second.address, *PYTHON, options=device.options())
    second.close()
    assert ended.returncode == 0, ended.stderr
    assert second.sent < 5_000_000 < large_bundle.stat().st_size
    nothing_left(device, large_bundle)


@contextmanager
def measuring(device: Server, bundle: Path, address: str, *more: str):
    """Yields the program once it measures on the device; the measurement would take minutes."""
    words = ["bench", bundle, "--on", address, *PYTHON, "--rounds", "9999999"]
    command = [sys.executable, "-c", PROGRAM, *words]
    settings = environment(device.options(*more))
    process = subprocess.Popen(command, env=settings, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        while "measuring" not in process.stderr.readline():
            assert process.poll() is None
        wait_for(device, "bench")
        yield process
    finally:
        process.kill()
        process.communicate()


def wait_for(device: Server, verb: str) -> None:
    import psutil

    for _ in range(200):
        lines = [" ".join(one.info["cmdline"] or ()) for one in psutil.process_iter(["cmdline"])]
        if any(f"-m edgecompile {verb} {device.home}" in line for line in lines):
            return
        time.sleep(0.05)
    raise AssertionError(f"{verb} does not run on the device")


def test_a_connection_that_breaks_while_measuring_ends_the_measurement(device, bundle):
    proxy = Proxy(device.port)
    with measuring(device, bundle, proxy.address) as process:
        proxy.cut()
        out, err = process.communicate(timeout=60)
    proxy.close()
    assert (process.returncode, out) == (5, "")
    assert err.startswith(f"edgecompile: {proxy.address}: the connection broke")
    assert err.count("\n") == 1
    nothing_left(device, bundle)


def test_a_connection_that_falls_silent_ends(device, bundle):
    proxy = Proxy(device.port)
    options = ("-o", "ServerAliveInterval=1", "-o", "ServerAliveCountMax=1")
    with measuring(device, bundle, proxy.address, *options) as process:
        proxy.freeze()
        out, err = process.communicate(timeout=60)
    proxy.close()
    assert (process.returncode, out, err.count("\n")) == (5, "", 1), err
    nothing_left(device, bundle)


def test_interrupting_here_ends_it_there(device, bundle):
    with measuring(device, bundle, device.address) as process:
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (130, "edgecompile: interrupted\n")
    nothing_left(device, bundle)


def test_killing_the_program_here_ends_it_there(device, bundle):
    with measuring(device, bundle, device.address) as process:
        process.kill()
    nothing_left(device, bundle)


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 1 MB: room for the runtime, and for no large bundle."""
    place = tmp_path / "small"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1m,mode=700", "tmpfs", str(place)]
    if os.getuid() or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("needs the right to mount a file system")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def test_a_full_disk(device, large_bundle, small_disk):
    words = ["deploy", large_bundle, f"{device.address}{small_disk}", *PYTHON]
    line = failed(*words, code=5, options=device.options())
    assert "no space left on the disk of" in line
    assert "6.0 MB are needed" in line
    assert not list(small_disk.rglob("*.bundle.zip*"))
    assert not device.left()


def test_a_disk_that_fills_while_copying(devices, large_bundle, tmp_path):
    """A limit on the size of a file, which strikes in the middle of writing as a disk does that others fill."""
    tools = tools_without("python3", tmp_path / "bin")
    (tools / "python3").write_text(f'#!/bin/sh\nulimit -f 2000\nexec {sys.executable} "$@"\n')
    (tools / "python3").chmod(0o755)
    device = devices(path=str(tools))
    line = failed("deploy", large_bundle, device.address, *PYTHON, code=5, options=device.options())
    assert "no space left on the disk of" in line
    assert not list(device.home.rglob("*.bundle.zip*"))
    assert not device.left()


@pytest.mark.parametrize(
    ("trust", "line"),
    [
        ({"known": "changed"}, "the device shows another host key than its known key"),
        ({"known": "empty"}, "the host key of the device is not known here"),
        ({"key": "stranger"}, "the device refuses this user and key"),
    ],
)
def test_a_device_or_a_person_that_is_not_known(device, bundle, trust, line):
    for verb in (["deploy", bundle, device.address], ["bench", bundle, "--on", device.address]):
        assert line in failed(*verb, *PYTHON, code=5, options=device.options(**trust))
    assert not device.left()


def test_a_wrong_user(device, bundle):
    address = f"ssh://nobody-of-this-name@127.0.0.1:{device.port}"
    line = failed("verify", bundle, "--on", address, code=5, options=device.options())
    assert "refuses this user and key" in line
    assert line.endswith("ssh-copy-id nobody-of-this-name@127.0.0.1")


@pytest.mark.parametrize(
    ("address", "line"),
    [
        ("ssh://no-such-host.invalid", "there is no such host"),
        ("ssh://127.0.0.1:{port}", "no ssh server answers"),
    ],
)
def test_a_device_that_is_not_there(device, bundle, address, line):
    assert line in failed("deploy", bundle, address.format(port=free_port()), code=5, options=device.options())


def tools_without(program: str, folder: Path) -> Path:
    """Returns a folder for PATH with the usual programs but one."""
    folder.mkdir()
    for name in TOOLS:
        if name != program:
            (folder / name).symlink_to(shutil.which(name))
    return folder


def test_a_device_without_python(devices, bundle, tmp_path):
    device = devices(path=str(tools_without("python3", tmp_path / "bin")))
    line = failed("deploy", bundle, device.address, code=4, options=device.options())
    assert line == f"edgecompile: {device.address}: the device has no python3; there: sudo apt install python3"


def test_a_device_with_an_old_python(devices, bundle, tmp_path):
    """A program of that name that says no to the question for 3.10: no such interpreter is at hand."""
    tools = tools_without("python3", tmp_path / "bin")
    (tools / "python3").write_text("#!/bin/sh\nexit 1\n")
    (tools / "python3").chmod(0o755)
    device = devices(path=str(tools))
    assert "older than 3.10" in failed("deploy", bundle, device.address, code=4, options=device.options())


def test_a_python_there_that_lacks_something(device, bundle, tmp_path):
    bare = tmp_path / "bare"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", bare], check=True)
    words = ["deploy", bundle, device.address, "--python"]
    line = failed(*words, bare / "bin/python", code=4, options=device.options())
    assert "cannot import numpy" in line
    assert "the device has no 'python9'" in failed(*words, "python9", code=4, options=device.options())


def test_no_ssh_here(device, bundle, tmp_path):
    line = failed("deploy", bundle, device.address, code=4, options=device.options(), PATH=str(tmp_path))
    assert line == "edgecompile: ssh is not installed; sudo apt install openssh-client"


def test_options_that_ssh_does_not_know(device, bundle):
    line = failed("deploy", bundle, device.address, code=5, options=device.options("-o", "Frobnicate=yes"))
    assert "ssh refuses its configuration" in line


def test_a_bundle_of_another_architecture(device, make_bundle):
    bundle = make_bundle("foreign", arch="riscv64")
    assert "(riscv64)" in failed("deploy", bundle, device.address, *PYTHON, code=7, options=device.options())
    assert not [path for path in device.bundles() if path.name == bundle.name]


def test_a_damaged_bundle_never_leaves(bundle, tmp_path):
    damaged = tmp_path / "damaged.bundle.zip"
    damaged.write_bytes(bundle.read_bytes()[:-300] + bytes(300))
    assert failed("deploy", damaged, "ssh://no-such-host.invalid", code=7, options="")


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["deploy", "x.bundle.zip"], "the following arguments are required: DEVICE"),
        (["deploy", "x.bundle.zip", "pi5"], "'pi5' is no address of a device"),
        (["bench", "x.bundle.zip", "--on", "ssh://-oProxyCommand=x"], "is no address of a device"),
        (["deploy", "x.bundle.zip", "ssh://pi5"], "there is no such bundle"),
        (["predict", "x.bundle.zip", "x.jpg", "--on", "ssh://pi5"], "unknown flag '--on'"),
    ],
)
def test_a_wrong_line(words, line):
    assert line in failed(*words, code=2, options="")


def test_a_folder_without_wheels(bundle, tmp_path):
    words = ["deploy", bundle, "ssh://no-such-host.invalid", "--wheels"]
    assert "holds no wheels" in failed(*words, tmp_path, code=2, options="")
    assert "there is no such folder" in failed(*words, tmp_path / "x", code=2, options="")
