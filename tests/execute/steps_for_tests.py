"""Step functions, small and honest: real workers import and run them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from edgecompile.errors import MissingToolError, Problem, RecipeError, StepError
from edgecompile.plan.step_progress import ProgressNote
from edgecompile.runtime.machine_load import Load
from edgecompile.runtime.quality import quality_of


def write(
    out: Path,
    *,
    text: str = "text",
    size: int = 0,
    seconds: float = 0,
    tally: str = "",
    **inputs: Path | list[Path],
) -> dict[str, Any]:
    """Writes what it read, `text` and `size` further bytes. Appends a line to the file `tally` each time it runs."""
    if tally:
        with open(tally, "a") as file:
            file.write(f"{text}\n")
    time.sleep(seconds)
    parts = [text]
    for _, value in sorted(inputs.items()):
        for path in value if isinstance(value, list) else [value]:
            parts += [one.read_text() for one in files_of(path)]
    (out / "result.txt").write_text("+".join(parts))
    if size:
        (out / "below").mkdir()
        (out / "below" / "large.bin").write_bytes(bytes(index * 7 % 256 for index in range(256)) * (size // 256))
    return {"parts": len(parts)}


def files_of(path: Path) -> list[Path]:
    """Returns the file itself, or the text files of a folder."""
    return sorted(path.rglob("*.txt")) if path.is_dir() else [path] if path.exists() else []


def constant(out: Path, *, source: Path, tally: str = "") -> None:
    """Puts out the same whatever it reads: what follows it need not run again."""
    write(out, text="always the same", tally=tally)


def surroundings(out: Path) -> dict[str, Any]:
    """Returns what a step sees of its surroundings."""
    names = ("PYTHONHASHSEED", "OMP_NUM_THREADS", "TZ", "LC_ALL", "YOLO_AUTOINSTALL", "ULTRALYTICS_SAFE_LOAD")
    mask = os.umask(0)
    return {
        "environment": {name: os.environ.get(name) for name in (*names, "LANG", "OMP_PROC_BIND", "PYTHONPATH")},
        "cores": len(os.sched_getaffinity(0)),
        "folder_is_empty": not os.listdir(),
        "folder": os.getcwd(),
        "umask": mask,
        "stdin": os.read(0, 1).decode(),
        "folder_in_path": os.getcwd() in sys.path or "" in sys.path,
        "hash": hash("edgecompile") % 10**9,
    }


def two_problems(out: Path) -> None:
    raise RecipeError([Problem("first", "here:1"), Problem("second", fix="mend it")])


def missing_tool(out: Path) -> None:
    class Own(MissingToolError):
        pass

    raise Own("no such compiler", fix="install it")


def unexpected(out: Path) -> None:
    print("about to fail")
    raise ValueError("it was\n\nnot to be")


def fail_after(out: Path, *, pids: str, **needs: Path) -> None:
    """Fails once the file `pids` is there."""
    while not os.path.exists(pids):
        time.sleep(0.01)
    raise ValueError("as planned")


def leave(out: Path) -> None:
    sys.exit(3)


def vanish(out: Path) -> None:
    os._exit(7)


def die(out: Path, *, number: int = signal.SIGKILL) -> None:
    os.kill(os.getpid(), number)


def not_json(out: Path) -> dict[str, Any]:
    return {"set": {1}}


def link(out: Path) -> None:
    (out / "link").symlink_to("/etc/hostname")


def hard_link(out: Path, *, given: Path) -> None:
    os.link(given, out / "twin.txt")


def spoil(out: Path, *, given: Path) -> None:
    """Changes its input, as nobody should."""
    given.chmod(0o644)
    given.write_text("spoilt")


def spoil_once(out: Path, *, given: Path, mark: str) -> None:
    """Damages its input on the first call, as a failing disk might while a step reads."""
    if not os.path.exists(mark):
        Path(mark).touch()
        spoil(out, given=given)
    (out / "result.txt").write_text(given.read_text())


def fail_once(out: Path, *, given: Path, mark: str) -> None:
    """Fails on a damaged input on the first call, and notices it."""
    if not os.path.exists(mark):
        Path(mark).touch()
        spoil(out, given=given)
        raise ValueError("cannot parse")
    (out / "result.txt").write_text(given.read_text())


def family(out: Path, *, pids: str, seconds: float = 60, **needs: Path) -> None:
    """Starts a child and a grandchild, writes the numbers of all, and sleeps."""
    code = (
        "import subprocess, sys, time; p = subprocess.Popen(['sleep', '60']); print(p.pid, flush=True); time.sleep(60)"
    )
    child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    grandchild = child.stdout.readline().strip()
    write_whole(Path(pids), f"{os.getpid()} {child.pid} {grandchild}")
    time.sleep(seconds)


def hoard(out: Path, *, mb: int) -> None:
    """Uses memory for a moment."""
    block = bytearray(mb << 20)
    block[::4096] = b"x" * len(block[::4096])


def hoard_in_a_library(out: Path, *, mb: int) -> None:
    """Allocates as a library does that ends the process when it cannot."""
    try:
        bytearray(mb << 20)
    except MemoryError:
        os.write(2, b"terminate called after throwing an instance of 'std::bad_alloc'\n  what():  std::bad_alloc\n")
        os.abort()


def hoard_and_say_something_else(out: Path, *, mb: int, error: str, killed: bool = False) -> None:
    """Takes memory, and ends as a library does that makes anything of an allocation that fails."""
    block = bytearray(mb << 20)
    if killed:
        time.sleep(0.5)  # its starter looks ten times a second
        os.kill(os.getpid(), signal.SIGSEGV)
    if error == "StepError":
        raise StepError("a.jpg: picture is damaged", fix="take another")
    raise SystemError(f"<built-in function> returned NULL without setting an exception, {len(block)}")


def hoard_in_a_child(out: Path, *, mb: int) -> None:
    child = subprocess.run([sys.executable, "-c", f"bytearray({mb} << 20)"], capture_output=True, text=True)
    if child.returncode:
        raise RuntimeError(child.stderr.splitlines()[-1])


def interval(out: Path, *, journal: str, name: str, seconds: float = 0.2) -> None:
    """Writes down when it ran."""
    began = time.monotonic()
    time.sleep(seconds)
    with open(journal, "a") as file:
        file.write(f"{name} {began} {time.monotonic()}\n")


def write_whole(path: Path, text: str) -> None:
    path.with_suffix(".part").write_text(text)
    path.with_suffix(".part").rename(path)


def measurement(out: Path, *, tally: str, noise: str = "") -> dict[str, Any]:
    """Measures the lines of `tally`, to which it adds one; the file `noise` holds what speaks against that."""
    write(out, text="measured", tally=tally)
    against = Path(noise).read_text().splitlines() if noise else []
    quiet = Load(1.0, 0.0, 0.0, 0.01, 0.0, (None, None), (None, None), None, (None, None))
    quality = quality_of([5.0] * 10, [1.0] * 10, quiet, 0.03).to_json()
    return {"lines": len(Path(tally).read_text().splitlines()), "quality": {**quality, "noise": against}}


def tell_progress(out: Path, *, rounds: int) -> None:
    """Says how far it is, as a step that takes minutes does."""
    note = ProgressNote(rounds)
    for number in range(1, rounds + 1):
        note.tell(number, f"loss {1 / number:.2f}")
    (out / "result.txt").write_text("done")
