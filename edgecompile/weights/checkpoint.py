"""Metadata of a checkpoint: task, head, classes, training settings. Unpickles nothing.

A checkpoint is a pickle, a program that may call anything. This module follows its instructions by hand: a class
becomes its name, a call becomes a record of the function to call, and nothing is imported. A file that is larger than
any model of the family, or uses instructions that torch does not write, is left to the export, which has a process of
its own.
"""

from __future__ import annotations

import struct
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

LARGEST = 8 << 20
"""Most bytes of a pickle that are read. The largest YOLO checkpoints have a pickle of 1 MB."""

MOST_INSTRUCTIONS = 500_000
"""Most instructions of a pickle that are followed: a second of work. YOLO11n has 52,000."""

LONGEST_NUMBER = 255
"""Most bytes of a whole number: torch reads no longer numbers."""

LARGEST_DIRECTORY = 8 << 20
"""Most bytes of a zip's directory that are read: 80,000 members."""

SCALARS = (str, int, float, bytes, type(None))
"""Types of dictionary keys that are kept. Keys of other types may be nested so that hashing them takes for ever."""

TASK_OF_CLASS = {
    "DetectionModel": "detect",
    "SegmentationModel": "segment",
    "SemanticSegmentationModel": "semantic",
    "ClassificationModel": "classify",
    "PoseModel": "pose",
    "OBBModel": "obb",
    "RTDETRDetectionModel": "detect",
    "WorldModel": "detect",
    "YOLOEModel": "detect",
    "YOLOESegModel": "segment",
}
"""Class of an Ultralytics model -> its task, for checkpoints that do not state it."""


@dataclass(frozen=True)
class Checkpoint:
    """Metadata of an Ultralytics checkpoint; None for values that it does not state.

    Attributes:
        model_class: name of the model's class, with its module.
        task: "detect", "segment", ...
        head: name of the class of the model's last layer.
        head_parts: names of the layers in that.
        channels: of the pictures.
        key_points: number of key points of an object that the model puts out.
        names: class names, in the order of their numbers; None where they are not numbered from 0.
        train_args: settings of the training, as `imgsz`.
        calls: names of the functions and classes that loading it calls.
    """

    model_class: str = ""
    task: str | None = None
    head: str | None = None
    head_parts: frozenset[str] = frozenset()
    channels: int | None = None
    key_points: int | None = None
    names: tuple[str, ...] | None = None
    train_args: dict[str, object] = field(default_factory=dict)
    calls: frozenset[str] = frozenset()


@dataclass
class Instance:
    """A class or function that a pickle names, or an object that unpickling would make of it: the name, the arguments,
    the state."""

    made_by: str
    arguments: Any = ()
    state: Any = None
    is_made: bool = False


class Unreadable(ValueError):
    """The pickle uses instructions that torch does not write, or is cut."""


def read_checkpoint(path: Path) -> Checkpoint | None:
    """Returns the metadata of a checkpoint, or None where it cannot be read without loading the checkpoint.

    Args:
        path: any file.
    """
    content = _pickle_of(path)
    return None if content is None else _metadata(content)


@lru_cache(maxsize=8)
def _metadata(content: bytes) -> Checkpoint | None:
    """Returns what a pickle states. A plan asks for it six times: following YOLO11n takes a tenth of a second."""
    try:
        reading = _Pickle(content)
        root = reading.follow()
    except (ValueError, LookupError, TypeError, struct.error):
        return None
    return _described(root, reading.calls) if isinstance(root, dict) else None


def _described(root: dict[Any, Any], calls: set[str]) -> Checkpoint | None:
    model = root.get("ema") or root.get("model")
    if not isinstance(model, Instance):
        return None
    state = model.state if isinstance(model.state, dict) else {}
    stated = state.get("yaml")
    architecture = stated if isinstance(stated, dict) else {}
    head = _last_layer(state)
    task, channels = state.get("task"), architecture.get("channels", architecture.get("ch"))
    train_args = root.get("train_args")
    return Checkpoint(
        model_class=model.made_by,
        task=task if isinstance(task, str) else TASK_OF_CLASS.get(model.made_by.rpartition(".")[2]),
        head=head.made_by.rpartition(".")[2] if head else None,
        head_parts=_layers_in(head) if head else frozenset(),
        channels=channels if isinstance(channels, int) else None,
        key_points=_key_points(architecture.get("kpt_shape")),
        names=_class_names(state.get("names")),
        train_args={key: value for key, value in train_args.items() if isinstance(key, str)}
        if isinstance(train_args, dict)
        else {},
        calls=frozenset(calls),
    )


def _key_points(shape: object) -> int | None:
    if not isinstance(shape, list | tuple) or len(shape) != 2 or not isinstance(shape[0], int):
        return None
    return shape[0]


def _last_layer(state: dict[Any, Any]) -> Instance | None:
    """Returns the last of `model.model`."""
    layers = _submodules(state).get("model")
    inner = list(_submodules(layers.state).values()) if isinstance(layers, Instance) else []
    return inner[-1] if inner and isinstance(inner[-1], Instance) else None


def _layers_in(layer: Instance) -> frozenset[str]:
    inner = _submodules(layer.state).items()
    return frozenset(name for name, part in inner if isinstance(name, str) and isinstance(part, Instance))


def _submodules(state: Any) -> dict[Any, Any]:
    modules = state.get("_modules") if isinstance(state, dict) else None
    return modules if isinstance(modules, dict) else {}


def _class_names(names: Any) -> tuple[str, ...] | None:
    if isinstance(names, dict) and list(names) == list(range(len(names))):
        names = list(names.values())
    return tuple(map(str, names)) if isinstance(names, list) and all(isinstance(name, str) for name in names) else None


def _pickle_of(path: Path) -> bytes | None:
    """Returns the pickle inside a checkpoint as torch writes it since 1.6, a zip with `<name>/data.pkl`."""
    try:
        if not _has_small_directory(path):
            return None
        with zipfile.ZipFile(path) as archive:
            members = [member for member in archive.infolist() if member.filename.endswith("/data.pkl")]
            if len(members) != 1 or members[0].file_size > LARGEST:
                return None
            with archive.open(members[0]) as stream:
                content = stream.read(LARGEST + 1)
    except (OSError, ValueError, zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError):
        return None
    return content if len(content) <= LARGEST else None


def _has_small_directory(path: Path) -> bool:
    """Whether a file ends as a zip does, with a directory that can be read in no time: `zipfile` reads it in whole."""
    with path.open("rb") as stream:
        stream.seek(max(0, path.stat().st_size - (1 << 16) - 22))
        end = stream.read()
    at = end.rfind(b"PK\x05\x06")
    if at < 0 or len(end) < at + 22:
        return False
    (size,) = struct.unpack_from("<L", end, at + 12)
    wide = at - 20 - 56  # the end record of zip64 stands before its locator, which stands before the end record
    if wide >= 0 and end[at - 20 : at - 16] == b"PK\x06\x07":
        (size,) = struct.unpack_from("<Q", end, wide + 40)
    return size <= LARGEST_DIRECTORY


class _Pickle:
    """Follows the instructions of a pickle of protocol 2 to 5, as a list of values and a memory of earlier values."""

    def __init__(self, content: bytes) -> None:
        self._content = content
        self._at = 0
        self._stack: list[Any] = []
        self._marks: list[int] = []
        self._memory: dict[int, Any] = {}
        self.calls: set[str] = set()

    def follow(self) -> Any:
        """Returns the value that the pickle describes."""
        for _ in range(MOST_INSTRUCTIONS):
            code = self._content[self._at]
            self._at += 1
            if code == STOP:
                return self._stack.pop()
            action = ACTIONS.get(code)
            if action is None:
                raise Unreadable(f"instruction {code}")
            action(self)
        raise Unreadable("too many instructions")

    def number(self, format: str, size: int) -> int:
        (value,) = struct.unpack_from(format, self._content, self._at)
        self._at += size
        return value

    def take(self, size: int) -> bytes:
        if size < 0 or self._at + size > len(self._content):
            raise Unreadable("cut")
        self._at += size
        return self._content[self._at - size : self._at]

    def line(self) -> str:
        end = self._content.index(b"\n", self._at)
        return self.take(end + 1 - self._at)[:-1].decode()

    def push(self, value: Any) -> None:
        self._stack.append(value)

    def mark(self) -> None:
        self._marks.append(len(self._stack))

    def since_mark(self) -> list[Any]:
        start = self._marks.pop()
        values = self._stack[start:]
        del self._stack[start:]
        return values

    def frozen_set(self) -> None:
        self.since_mark()
        self.push(Instance("frozenset"))

    def pop(self) -> Any:
        return self._stack.pop()

    def last(self) -> Any:
        return self._stack[-1]

    def remember(self, number: int | None = None) -> None:
        self._memory[len(self._memory) if number is None else number] = self._stack[-1]

    def recall(self, number: int) -> None:
        self._stack.append(self._memory[number])

    def tuple_of(self, count: int) -> None:
        values = tuple(self._stack[-count:])
        del self._stack[-count:]
        self._stack.append(values)

    def call(self) -> None:
        arguments, function = self.pop(), self.pop()
        name = function.made_by if isinstance(function, Instance) else ""
        self.calls.add("what another call returns" if not name or function.is_made else name)
        empty = name == "collections.OrderedDict" and not arguments
        self.push({} if empty else Instance(name, arguments, is_made=True))

    def new(self) -> None:
        """Makes an object without calling its constructor."""
        arguments, made = self.pop(), self.pop()
        self.push(Instance(made.made_by if isinstance(made, Instance) else "", arguments, is_made=True))

    def build(self) -> None:
        state = self.pop()
        if isinstance(self.last(), Instance):
            self.last().state = state

    def set_items(self, pairs: list[Any]) -> None:
        target = self.last()
        if isinstance(target, dict):
            for key, value in zip(pairs[::2], pairs[1::2], strict=True):
                if isinstance(key, SCALARS):
                    target[key] = value

    def append(self, values: list[Any]) -> None:
        if isinstance(self.last(), list):
            self.last().extend(values)

    def global_of(self, module: Any, name: Any) -> None:
        if not (isinstance(module, str) and isinstance(name, str)):
            raise Unreadable("a class without a name")
        self.push(Instance(f"{module}.{name}"))

    def stacked_global(self) -> None:
        name, module = self.pop(), self.pop()
        self.global_of(module, name)

    def new_with_keywords(self) -> None:
        self.pop()
        self.new()

    def text(self, size: int) -> None:
        self.push(self.take(size).decode("utf-8", "surrogatepass"))

    def whole(self, size: int) -> None:
        if size > LONGEST_NUMBER:
            raise Unreadable("a number of too many digits to be written")
        self.push(int.from_bytes(self.take(size), "little", signed=True))


STOP = ord(".")
Action = Callable[[_Pickle], Any]
ACTIONS: dict[int, Action] = {
    0x80: lambda p: p.take(1),  # PROTO
    0x95: lambda p: p.take(8),  # FRAME
    ord("N"): lambda p: p.push(None),
    0x88: lambda p: p.push(True),
    0x89: lambda p: p.push(False),
    ord("J"): lambda p: p.push(p.number("<i", 4)),
    ord("K"): lambda p: p.push(p.number("<B", 1)),
    ord("M"): lambda p: p.push(p.number("<H", 2)),
    ord("G"): lambda p: p.push(p.number(">d", 8)),
    0x8A: lambda p: p.whole(p.number("<B", 1)),  # LONG1
    0x8B: lambda p: p.whole(p.number("<i", 4)),  # LONG4
    ord("X"): lambda p: p.text(p.number("<I", 4)),
    0x8C: lambda p: p.text(p.number("<B", 1)),  # SHORT_BINUNICODE
    0x8D: lambda p: p.text(p.number("<Q", 8)),  # BINUNICODE8
    ord("U"): lambda p: p.text(p.number("<B", 1)),
    ord("B"): lambda p: p.push(p.take(p.number("<I", 4))),
    ord("C"): lambda p: p.push(p.take(p.number("<B", 1))),
    0x8E: lambda p: p.push(p.take(p.number("<Q", 8))),  # BINBYTES8
    ord("}"): lambda p: p.push({}),
    ord("]"): lambda p: p.push([]),
    ord(")"): lambda p: p.push(()),
    0x8F: lambda p: p.push(Instance("set")),  # EMPTY_SET
    ord("("): lambda p: p.mark(),
    ord("t"): lambda p: p.push(tuple(p.since_mark())),
    0x85: lambda p: p.tuple_of(1),
    0x86: lambda p: p.tuple_of(2),
    0x87: lambda p: p.tuple_of(3),
    0x90: lambda p: p.since_mark(),  # ADDITEMS
    0x91: lambda p: p.frozen_set(),
    ord("s"): lambda p: p.set_items([p.pop(), p.pop()][::-1]),
    ord("u"): lambda p: p.set_items(p.since_mark()),
    ord("a"): lambda p: p.append([p.pop()]),
    ord("e"): lambda p: p.append(p.since_mark()),
    ord("q"): lambda p: p.remember(p.number("<B", 1)),
    ord("r"): lambda p: p.remember(p.number("<I", 4)),
    0x94: lambda p: p.remember(),
    ord("h"): lambda p: p.recall(p.number("<B", 1)),
    ord("j"): lambda p: p.recall(p.number("<I", 4)),
    ord("0"): lambda p: p.pop(),
    ord("1"): lambda p: p.since_mark(),
    ord("2"): lambda p: p.push(p.last()),
    ord("c"): lambda p: p.global_of(p.line(), p.line()),
    0x93: lambda p: p.stacked_global(),
    ord("R"): lambda p: p.call(),
    0x81: lambda p: p.new(),  # NEWOBJ
    0x92: lambda p: p.new_with_keywords(),
    ord("b"): lambda p: p.build(),
    ord("Q"): lambda p: p.push(Instance("storage", p.pop())),
}
"""Instruction -> its effect."""
