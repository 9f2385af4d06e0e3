"""Checkpoints as a stranger could make them: each is a change to the embedded sample, or bytes of its own.

A case is a function that writes `m.pt`, and what belongs to it, into a folder. Whatever would run makes the file `ran`
there. The pickles are written by hand, instruction by instruction: nothing here is what `torch.save` would write.
"""

from __future__ import annotations

import io
import os
import pickle
import struct
import tarfile
import zipfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from exported import CHECKPOINT

from .attack import SECRET, Hostile
from .hostile_onnx import LINES, good

FILE = "m.pt"
RUN = "touch ran"
Make = Callable[[Path], object]


# instructions of a pickle


def text(value: str) -> bytes:
    data = value.encode("utf-8", "surrogatepass")
    return b"X" + struct.pack("<I", len(data)) + data


def number(value: int) -> bytes:
    return b"J" + struct.pack("<i", value)


def name(module: str, attribute: str) -> bytes:
    return f"c{module}\n{attribute}\n".encode()


def tuple_of(*values: bytes) -> bytes:
    return b"(" + b"".join(values) + b"t"


def call(function: bytes, *arguments: bytes) -> bytes:
    return function + tuple_of(*arguments) + b"R"


def pickled(value: bytes, protocol: int = 2) -> bytes:
    return b"\x80" + bytes([protocol]) + value + b"."


def root(model: bytes) -> bytes:
    """Returns the pickle of a checkpoint whose model is a value."""
    return pickled(b"}(" + text("model") + model + text("train_args") + b"}" + b"u")


# files


def archive(*members: tuple[str | zipfile.ZipInfo, bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", compression) as file:
        for named, data in members:
            file.writestr(named, data)
    return stream.getvalue()


def torch_zip(content: bytes, *members: tuple[str, bytes], **how: Any) -> bytes:
    """Returns a checkpoint as torch writes it since 1.6."""
    return archive(("archive/data.pkl", content), ("archive/version", b"3\n"), ("archive/byteorder", b"little"),
                   *members, **how)  # fmt: skip


def content(data: bytes) -> Make:
    return lambda folder: (folder / FILE).write_bytes(data)


def loads(value: bytes) -> Make:
    """A checkpoint whose model is a value."""
    return content(torch_zip(root(value)))


@cache
def sample() -> tuple[tuple[str, bytes], ...]:
    with zipfile.ZipFile(CHECKPOINT) as file:
        return tuple((one, file.read(one)) for one in file.namelist())


def changed(*changes: tuple[bytes, bytes], front: bytes = b"", members: tuple[tuple[str, bytes], ...] = ()) -> Make:
    """The sample with bytes of its pickle replaced.

    Args:
        changes: what stands there, and what stands in its place.
        front: instructions of a value that is made before all others.
        members: of the archive, further ones or others.
    """

    def make(folder: Path) -> None:
        found = dict(sample())
        inner = found["parts/data.pkl"]
        for before, after in changes:
            assert before in inner
            inner = inner.replace(before, after)
        if front:
            begin = b"\x80\x02}q\x00("
            assert inner.startswith(begin)
            inner = begin + text("more") + front + inner[len(begin) :]
        found |= {"parts/data.pkl": inner, **dict(members)}
        (folder / FILE).write_bytes(archive(*found.items()))

    return make


def unread(front: bytes) -> bytes:
    """Instructions after so many that `plan` stops to follow them: only the export tells."""
    return b"](" + b"N" * 600_000 + b"e" + text("after") + front


def legacy(value: bytes) -> bytes:
    """Returns a checkpoint as torch wrote it before 1.6: pickles in a row."""
    head = [pickle.dumps(one, 2) for one in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True})]
    return b"".join(head) + root(value) + pickle.dumps([], 2)


def tar() -> bytes:
    """Returns a checkpoint as torch wrote it before 0.1.10, with a member that leads out."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as file:
        for named, data in (("sys_info", b"\x80\x02}."), ("pickle", root(SYSTEM)), ("storages", b""), ("tensors", b"")):
            member = tarfile.TarInfo(named)
            member.size = len(data)
            file.addfile(member, io.BytesIO(data))
        member = tarfile.TarInfo("../../secret/secret.txt")
        file.addfile(member)
    return stream.getvalue()


def bomb(folder: Path) -> None:
    """A tensor of 4 GB, of which the archive says that it holds them in a megabyte."""
    size = 0xFFFFFFF0
    changed(front=tensor("bomb", size), members=(("parts/data/bomb", bytes(1 << 20)),))(folder)
    data = bytearray((folder / FILE).read_bytes())
    first, last = data.index(b"parts/data/bomb"), data.rindex(b"parts/data/bomb")
    for place in (first - 30 + 22, last - 46 + 24):  # of the member, and of its entry in the directory
        data[place : place + 4] = struct.pack("<I", size)
    (folder / FILE).write_bytes(bytes(data))


def pickle_bomb(folder: Path) -> None:
    """200 MB of instructions in an archive of some hundred kB."""
    pickle_of_200_mb = b"\x80\x02" + b"N0" * (100 << 20) + b"N."
    content(torch_zip(pickle_of_200_mb, compression=zipfile.ZIP_DEFLATED))(folder)


def tensor(key: str, size: int) -> bytes:
    """Returns a tensor of bytes whose storage is a member of the archive."""
    long = b"\x8a\x08" + size.to_bytes(8, "little")
    storage = tuple_of(text("storage"), name("torch", "ByteStorage"), text(key), text("cpu"), long) + b"Q"
    one, hooks = tuple_of(number(1)), call(name("collections", "OrderedDict"))
    return call(name("torch._utils", "_rebuild_tensor_v2"), storage, number(0), one, one, b"\x89", hooks)


def with_mode(named: str, mode: int, data: bytes) -> tuple[zipfile.ZipInfo, bytes]:
    member = zipfile.ZipInfo(named)
    member.create_system, member.external_attr = 3, mode << 16
    return member, data


def torchscript(folder: Path) -> None:
    code = b"class Module(Module):\n  __parameters__ = []\n  def forward(self, x):\n    return x\n"
    members = [("m/data.pkl", pickled(name("__torch__", "Module") + b")\x81")), ("m/version", b"3\n"),
               ("m/constants.pkl", pickled(b")")), ("m/code/__torch__.py", code)]  # fmt: skip
    (folder / FILE).write_bytes(archive(*members))


def safetensors() -> bytes:
    head = b'{"a":{"dtype":"F32","shape":[4611686018427387904],"data_offsets":[0,18446744073709551615]}}'
    return struct.pack("<Q", len(head)) + head


def laughs(levels: int) -> bytes:
    """A tuple of two that are a tuple of two that are ...: 2^levels in some instructions."""
    return b")" + b"q\x00h\x00\x86" * levels


SYSTEM = call(name("posix", "system"), text(RUN))
DETECTOR = name("ultralytics.nn.tasks", "DetectionModel")
CONV_CLASS = b"cultralytics.nn.modules.conv\nConv\n"
CALLS = "would call '{}' when loaded; refusing to load it"
DAMAGED = "is damaged or is no Ultralytics checkpoint"
NOT_OURS = "not an Ultralytics model"
REFERS = "refers to '{}', which is no part of a model"
LAYER = b"[" + number(-1) + b"a" + number(1) + b"a"


def architecture(layer: str, *arguments: bytes) -> bytes:
    """A dictionary as of a model's yaml, of one layer."""
    inner = b"](" + b"".join(arguments) + b"e"
    row = b"](" + number(-1) + number(1) + text(layer) + inner + b"e"
    return b"}(" + text("nc") + number(2) + text("backbone") + b"]" + row + b"a" + text("head") + b"]" + b"u"


def constructs(named: str, *arguments: bytes) -> bytes:
    module, _, attribute = named.rpartition(".")
    return call(name(module, attribute), *arguments)


PAYLOADS: dict[str, bytes] = {
    "posix.system": SYSTEM,
    "subprocess.Popen": call(name("subprocess", "Popen"), tuple_of(text("touch"), text("ran"))),
    "builtins.eval": call(name("builtins", "eval"), text("open('ran', 'w')")),
    "builtins.exec": call(name("builtins", "exec"), text("open('ran', 'w')")),
    "__builtin__.open": call(name("__builtin__", "open"), text("ran"), text("w")),
    "__builtin__.apply": call(name("__builtin__", "apply"), name("posix", "system"), tuple_of(text(RUN))),
    "runpy.run_path": call(name("runpy", "run_path"), text("evil.py")),
    "ctypes.CDLL": call(name("ctypes", "CDLL"), text("./evil.so")),
    "functools.partial": call(name("functools", "partial"), name("posix", "system"), text(RUN)),
    "importlib.import_module": call(name("importlib", "import_module"), text("evil")),
    "shutil.copy": call(name("shutil", "copy"), text("../secret/secret.txt"), text("ran")),
    "webbrowser.open": call(name("webbrowser", "open"), text("https://example.invalid")),
    "pickle.loads": call(name("pickle", "loads"), b"C" + bytes([len(pickled(SYSTEM))]) + pickled(SYSTEM)),
    "types.CodeType": call(name("types", "CodeType"), number(0)),
    "operator.attrgetter": call(name("operator", "attrgetter"), text("__class__.__bases__")),
    "logging.config.dictConfig": call(name("logging.config", "dictConfig"), b"}"),
    "edgecompile.cli.main": call(name("edgecompile.cli", "main"), text("build")),
}
"""Calls that run code, by what is called."""

RESTRICTED: dict[str, bytes] = {
    "torch.hub.load": call(name("torch.hub", "load"), text("somebody/evil"), text("model")),
    "torch.load": call(name("torch", "load"), text("evil.pt")),
    "torch.ops.load_library": call(name("torch", "ops.load_library"), text("./evil.so")),
    "numpy.load": call(name("numpy", "load"), text("../secret/secret.txt")),
    "numpy.f2py.compile": call(name("numpy.f2py", "compile"), text("evil")),
    "torch.serialization.os.system": call(name("torch.serialization", "os.system"), text(RUN)),
}
"""Calls into packages of which a checkpoint may call something."""

CONSTRUCTED: dict[str, bytes] = {
    "ultralytics.nn.tasks.DetectionModel": constructs(
        "ultralytics.nn.tasks.DetectionModel", text("../secret/secret.txt")
    ),
    "ultralytics.nn.tasks.PoseModel": constructs("ultralytics.nn.tasks.PoseModel", text("../secret/secret.yaml")),
    "ultralytics.nn.modules.block.TorchVision": constructs(
        "ultralytics.nn.modules.block.TorchVision", text("alexnet"), text("DEFAULT")
    ),
    "torch.nn.modules.linear.Linear": constructs(
        "torch.nn.modules.linear.Linear", number(2**31 - 1), number(2**31 - 1)
    ),
}
"""Constructors of classes that the restricted loading knows: they read any file, download, allocate."""

HOSTILE: dict[str, Hostile] = {
    **{f"a model that is a call of {called}": Hostile(loads(value), CALLS.format(called), at_plan=True)
       for called, value in PAYLOADS.items()},
    **{f"a good model after a call of {called}": Hostile(changed(front=value), CALLS.format(called), at_plan=True)
       for called, value in list(PAYLOADS.items())[:3]},
    **{f"a call of {called}": Hostile(changed(front=value), REFERS.format(called))
       for called, value in list(RESTRICTED.items())[:4]},
    **{f"a constructed {called}": Hostile(changed(front=value), CALLS.format(called), at_plan=True)
       for called, value in CONSTRUCTED.items()},
    **{f"an unread {called}": Hostile(changed(front=unread(value)), CALLS.format(called))
       for called, value in list(CONSTRUCTED.items())[:3]},
    "an unread call of posix.system": Hostile(changed(front=unread(SYSTEM)), REFERS.format("posix.system")),
    "a nested dotted name": Hostile(
        changed(front=RESTRICTED["torch.serialization.os.system"]), REFERS.format("torch.serialization.os.system")
    ),
    "a chain of getattr": Hostile(
        changed(front=call(name("builtins", "getattr"), DETECTOR, text("__init__"))), "would run code when loaded"
    ),
    "a call of what getattr found": Hostile(
        changed(front=call(call(name("builtins", "getattr"), DETECTOR, text("load")), text("evil.pt"))),
        CALLS.format("what another call returns"), at_plan=True,
    ),
    "a layer that is another class": Hostile(
        changed((CONV_CLASS, name("subprocess", "Popen"))), REFERS.format("subprocess.Popen")
    ),
    "a layer of a package that is not here": Hostile(
        changed((CONV_CLASS, name("evil.models", "Conv"))), REFERS.format("evil.models.Conv")
    ),
    "a quantized model of modelopt": Hostile(
        changed((text("license"), text("modelopt"))), "is a model that modelopt quantized"
    ),
    "an old yolov5": Hostile(loads(name("models.yolo", "Model") + b")\x81"), "old yolov5 repository", at_plan=True),
    "a model of torch": Hostile(loads(name("torch.nn.modules.linear", "Linear") + b")\x81"), NOT_OURS, at_plan=True),
    "a name of lines": Hostile(loads("cevil\x1b[2J\u202e.x\nedgecompile: built\n".encode() + b")\x81"), NOT_OURS,
                               at_plan=True),
    "another task": Hostile(changed((text("detect"), text("segment"))), "for the task 'segment'"),
    "a task of lines": Hostile(changed((text("detect"), text(LINES))), "for the task"),
    "a hook that is no function": Hostile(
        changed((text("_forward_hooks"), text("_forward_hookz"))), "has no attribute '_forward_hooks'"
    ),
    "a storage of a strange kind": Hostile(changed((b"ctorch\nHalfStorage\n", name("torch", "Size"))), DAMAGED),
    "an unknown storage": Hostile(loads(tuple_of(text("storage"), SYSTEM, text("0"), text("cpu"), number(1)) + b"Q"),
                                  CALLS.format("posix.system"), at_plan=True),
    "a storage that lies of its size": Hostile(changed(members=(("parts/data/0", b"\0" * 4),)), DAMAGED),
    "a storage that leads out": Hostile(changed((text("0"), text("../../secret/secret.txt"))), DAMAGED),
    **{f"a size that is {named}": Hostile(changed((text("train_args"), text("more_args")),
                                                 front=b"N" + text("train_args") + b"}" + text("imgsz") + size + b"s"),
                                         "", at_plan=True, imgsz="~")
       for named, size in {"huge": b"\x8a\xff" + b"\x7f" * 255, "text": text(LINES), "a call": SYSTEM,
                           "endless": b"G" + struct.pack(">d", float("inf")), "itself": b"]q\xf0h\xf0a"}.items()},
    "channels of 5,000 digits": Hostile(
        changed((text("channels"), text("chan")),
                (text("scales"), text("channels") + b"\x8b\x30\x08\x00\x00" + b"\x7f" * 2096 + text("scales"))), DAMAGED
    ),
    # time and memory
    "a billion laughs": Hostile(content(torch_zip(pickled(laughs(200)))), DAMAGED),
    "a key of a billion laughs": Hostile(
        content(torch_zip(pickled(b"}" + laughs(200) + b"K\x01s"))), "was ended after 6 s", step_s=6
    ),
    "lists 200,000 deep": Hostile(content(torch_zip(pickled(b"]" * 200_000 + b"a" * 199_999))), ""),
    "a text of 2 GB that is not there": Hostile(content(torch_zip(b"\x80\x02X\xff\xff\xff\x7f")), DAMAGED),
    "bytes of 10^18": Hostile(content(torch_zip(b"\x80\x04\x8e" + struct.pack("<Q", 10**18))), DAMAGED),
    "a bytearray of 1 TB": Hostile(
        changed(front=call(name("builtins", "bytearray"), b"\x8a\x06" + (10**12).to_bytes(6, "little"))),
        "ran out of memory",
    ),
    "a zip bomb": Hostile(bomb, DAMAGED),
    "a pickle that is a zip bomb": Hostile(pickle_bomb, DAMAGED),
    # archives
    "a member that is a link": Hostile(
        content(archive(("archive/data.pkl", root(b"N")), with_mode("archive/version", 0o120777, b"/etc/passwd"))),
        DAMAGED,
    ),
    "a pickle that is a link": Hostile(
        content(archive(with_mode("archive/data.pkl", 0o120777, b"../../secret/secret.txt"))), DAMAGED
    ),
    "members that lead out": Hostile(changed(members=(("../../home/.bashrc", b"x"), ("/tmp/evil", b"x"))), DAMAGED),
    "two pickles": Hostile(
        content(archive(("a/data.pkl", root(b"N")), ("b/data.pkl", root(SYSTEM)), ("a/version", b"3"))), DAMAGED
    ),
    "a member twice": Hostile(
        content(archive(("a/data.pkl", root(b"N")), ("a/data.pkl", root(SYSTEM)), ("a/version", b"3"))), DAMAGED
    ),
    "40,000 members": Hostile(
        content(torch_zip(root(b"N"), *((f"archive/{one:0200}", b"") for one in range(40_000)))), DAMAGED
    ),
    "a directory of a zip that lies": Hostile(
        content(torch_zip(root(b"N"))[:-22] + b"PK\x05\x06" + b"\xff" * 18), DAMAGED
    ),
    "a torchscript": Hostile(torchscript, "TorchScript archive"),
    # other files
    "a checkpoint of old torch": Hostile(content(legacy(SYSTEM)), REFERS.format("posix.system")),
    "a checkpoint of oldest torch": Hostile(content(tar()), DAMAGED, at_plan=True),
    "a bare pickle": Hostile(content(root(SYSTEM)), REFERS.format("posix.system")),
    "a pickle of text": Hostile(content(pickle.dumps({"model": 1}, 0)), DAMAGED, at_plan=True),
    "an ONNX file": Hostile(lambda f: content(good().SerializeToString())(f), DAMAGED, at_plan=True),
    "safetensors": Hostile(content(safetensors()), DAMAGED, at_plan=True),
    "a script": Hostile(content(b"#!/bin/sh\ntouch ran\n"), DAMAGED, at_plan=True),
    "an empty file": Hostile(content(b""), "are empty", at_plan=True),
    "two bytes": Hostile(content(b"PK"), DAMAGED),
    "a half": Hostile(content(CHECKPOINT.read_bytes()[:200_000]), DAMAGED),
    "noise behind a zip's beginning": Hostile(content(b"PK\x03\x04" + os.urandom(1000) + SECRET[:0]), DAMAGED),
    "a directory": Hostile(lambda f: (f / FILE).mkdir(), "is a folder; expected a file", at_plan=True),
    "a pipe": Hostile(lambda f: os.mkfifo(f / FILE), "is a pipe; expected a file", at_plan=True),
    "a link to the system's users": Hostile(lambda f: os.symlink("/etc/passwd", f / FILE), DAMAGED, at_plan=True),
    "a device": Hostile(lambda f: os.symlink("/dev/zero", f / FILE), "is a device; expected a file", at_plan=True),
}  # fmt: skip
