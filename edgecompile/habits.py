"""Habits of people who come from Ultralytics: `export model=my.pt format=openvino`, `--weights my.pt --source 0`.

What means one thing here simply works; all else is answered with the whole command to copy. Standard library only:
devices have it too.
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field
from typing import NoReturn

from edgecompile.arguments import WHERE
from edgecompile.errors import InputError, RecipeError

WEIGHTS = (".pt", ".onnx", ".pth")
OTHERS = (".engine", ".torchscript", ".xml", ".tflite", ".mlpackage", ".param", "_openvino_model", "_ncnn_model")
"""How names of other models end that are no bundles."""
DATA = (".yaml", ".yml", ".json")
SWITCHES = frozenset(
    (
        "half",
        "int8",
        "dynamic",
        "simplify",
        "nms",
        "save",
        "show",
        "verbose",
        "stream",
        "optimize",
        "keras",
        "plots",
        "val",
        "augment",
        "agnostic_nms",
        "retina_masks",
        "exist_ok",
        "save_txt",
        "save_conf",
        "visualize",
        "end2end",
    )
)
"""Settings of Ultralytics that are true or false: as a flag they take no value."""
SETTINGS = frozenset(
    (
        "half",
        "int8",
        "dynamic",
        "simplify",
        "nms",
        "opset",
        "batch",
        "workspace",
        "optimize",
        "keras",
        "fraction",
        "mode",
        "task",
        "format",
        "device",
        "epochs",
        "end2end",
    )
)
"""Keys of Ultralytics that no recipe has, or that mean something else in it."""
OF_BUILD = frozenset(("model", "data", "imgsz", *SETTINGS))
OF_PREDICT = frozenset(
    (
        "model",
        "source",
        "conf",
        "iou",
        "max_det",
        "save",
        "classes",
        "show",
        "vid_stride",
        "project",
    )
)
KNOWN = OF_BUILD | OF_PREDICT | SWITCHES
SAME = {
    "weights": "model",
    "img": "imgsz",
    "img-size": "imgsz",
    "conf-thres": "conf",
    "iou-thres": "iou",
    "max-det": "max_det",
    "vid-stride": "vid_stride",
}
"""Other spellings, mostly YOLOv5's, to the one that is understood."""
FORMATS = {
    "openvino": ("x86-cpu_openvino", ("fp32", "fp16", "int8")),
    "onnx": ("x86-cpu_onnxruntime", ("fp32", "int8")),
    "engine": ("jetson-orin-nano_tensorrt", ("fp16", "int8")),
    "ncnn": ("raspberry-pi-5_ncnn", ("fp32", "fp16", "int8")),
    "tflite": ("android-cpu_litert", ("fp32", "fp16", "int8")),
}
"""Ultralytics' formats to the shipped recipes that make them, and in which precisions."""
FORMATS["tensorrt"], FORMATS["onnxruntime"] = FORMATS["engine"], FORMATS["onnx"]
FORMATS["litert"] = FORMATS["tflite"]
PRECISIONS = ("fp32", "fp16", "int8")
VERBS = {
    **dict.fromkeys(("export", "convert", "compile", "quantize", "val"), "build"),
    **dict.fromkeys(("track", "infer", "run"), "predict"),
    **dict.fromkeys(("checks", "check", "settings", "cfg"), "doctor"),
    "train": "",
    "benchmark": "bench",
}
"""Words of Ultralytics and others to the verb that does the same."""
TASKS = ("detect", "segment", "classify", "pose", "obb", "yolo")
HELP = {"help": "--help", "version": "--version"}
REMARKS = {
    "device": "the device is the recipe's, see `edgecompile list recipes`; building needs no GPU",
    "dynamic": "several sizes: model.dynamic.imgsz, see docs/recipes.md",
    "nms": "suppression in the graph: the pass embed_postprocess, see docs/recipes.md",
    "batch": "several pictures at once: model.dynamic.batch",
    "val": "accuracy is part of each build, on the data set's validation pictures",
    "train": "edgecompile trains nothing: train with Ultralytics, then build",
    "track": "nothing is tracked: each frame is predicted by itself",
    "show": "no windows are opened: --save DIR writes pictures and videos",
}
OPENS_BUNDLES = ("predict", "verify", "bench", "inspect", "finalize", "deploy", "diagnose", "tune")
"""Verbs whose first word is a bundle."""
Options = Callable[[str], Collection[str]]


@dataclass
class Said:
    """What a command line of Ultralytics says.

    Attributes:
        keys: its settings, the last of each name.
        rest: all other words.
    """

    keys: dict[str, str] = field(default_factory=dict)
    rest: list[str] = field(default_factory=list)

    def true(self, key: str) -> bool:
        return self.keys.get(key, "").lower() in ("true", "1", "yes", "on")


def answer_unknown_verb(word: str, words: Sequence[str]) -> None:
    """Raises RecipeError with the command that does the same, where a word is one of Ultralytics' and no verb here.

    Args:
        words: behind it.
    """
    while word in TASKS:
        word, words = (words[0], words[1:]) if words else ("predict", [])
    key = word.partition("=")[0]
    if "=" in word and (key in OF_BUILD or key == "source"):
        verb = next(
            (one for one in words if one in VERBS or one == "predict"), "predict" if key == "source" else "export"
        )
        words = [word, *(one for one in words if one != verb)]
        word = verb
    if word not in VERBS and word not in ("predict", "build"):
        return
    verb = VERBS.get(word, word)
    said = read(words)
    if verb == "build" or not verb:
        command, remarks = build_command("build", said, exported=word == "export"), remarks_of(said)
    elif verb == "predict":
        command, remarks = predict_command(said), remarks_of(said)
    else:
        command, remarks = shlex.join(["edgecompile", verb, *(["BUNDLE"] if verb == "bench" else [])]), []
    remarks = [*([REMARKS[word]] if word in REMARKS else []), *remarks]
    _answer(f"'{word}' is no verb here", command, remarks)


def taken(
    verb: str, words: Sequence[str], names: Callable[[], Collection[str]], options: Options
) -> tuple[list[str], list[str]]:
    """Returns the words of a verb that composes recipes as these say it, and a note for each that was another.

    Args:
        names: returns the names of recipes.
        options: returns the names of a config group's choices.

    Raises:
        RecipeError: with the command to copy, where a word says nothing of a recipe, or no recipe is chosen.
    """
    changed: list[str] = []
    notes: list[str] = []
    strange = False
    for word in words:
        new = _in_a_recipe(word, options)
        strange = strange or new is None
        if new is not None and new != word:
            notes.append(f"'{word}' is taken as {new}")
        changed.append(word if new is None else new)
    if strange or (notes and not any(_chooses(word, names) for word in words)):
        said = read(words)
        what = "no recipe has these words" if strange else "a recipe says for which device, and none is chosen"
        _answer(what, build_command(verb, said, exported=False), remarks_of(said))
    return changed, notes


def require_bundle(verb: str, words: Sequence[str]) -> None:
    """Raises InputError with the command to copy, where the words of a verb that opens a bundle are Ultralytics'."""
    ours = [key for word in words if (key := word.partition("=")[0]) in KNOWN and "=" in word]
    first = next((word for word in words if not word.startswith("-")), "")
    if first.endswith((*WEIGHTS, *OTHERS)):
        build = build_command("build", read([first] if first.endswith(WEIGHTS) else []), exported=False)
        _answer(f"'{first}' is a model and no bundle: `{verb}` opens what was built", build, [])
    if ours and not any(os.path.exists(word) for word in words if "=" in word):
        said = read(words)
        command = predict_command(said) if verb == "predict" else shlex.join(["edgecompile", verb, _bundle(said)])
        _answer(f"'{ours[0]}=' is not how `{verb}` is asked", command, remarks_of(said))


def read(words: Iterable[str]) -> Said:
    """Returns what words say: `key=value`, `--key value`, `--key=value`, and for switches `--key`."""
    said, waiting = Said(), ""
    for word in words:
        if waiting:
            said.keys[waiting], waiting = word, ""
            continue
        flag = word.startswith("--")
        name, equals, value = word.removeprefix("--").partition("=")
        key = SAME.get(name, name).removeprefix("model.") if name == "weights" else SAME.get(name, name)
        key = "model" if key == "weights" else key
        known = (
            key in OF_BUILD
            or key in SWITCHES
            or key
            in (
                "source",
                "conf",
                "iou",
                "max_det",
                "classes",
                "vid_stride",
                "project",
            )
        )
        if equals and known:
            said.keys[key] = value
        elif flag and key in SWITCHES:
            said.keys[key] = "True"
        elif flag and known:
            waiting = key
        elif word.lower().endswith(WEIGHTS) and "=" not in word:
            said.keys.setdefault("model", word)
        else:
            said.rest.append(word)
    return said


def build_command(verb: str, said: Said, *, exported: bool) -> str:
    """Returns the command that builds what was asked for."""
    words = ["edgecompile", verb]
    chosen = [word for word in said.rest if word.startswith("recipe=") or word.endswith((".yaml", ".yml"))]
    words += [_with_precision(word, said) for word in chosen] or [f"recipe={recipe_of(said, exported=exported)}"]
    known = {word.partition("=")[0] for word in said.rest}
    if "model.weights" not in known:
        words.append(f"model.weights={said.keys.get('model', 'MODEL.pt')}")
    if "imgsz" in said.keys:
        words.append(f"model.imgsz={_size(said.keys['imgsz'])}")
    if not chosen and "data.path" not in known:
        words.append(f"data.path={said.keys.get('data', 'DATA.yaml')}")
    if said.keys.get("opset", "").isdigit():
        words.append(f"passes.onnx_export.opset={said.keys['opset']}")
    if said.keys.get("simplify", "").lower() == "false":
        words.append("passes.simplify=null")
    return shlex.join([*words, *(word for word in said.rest if word not in chosen)])


def predict_command(said: Said) -> str:
    """Returns the command that predicts what was asked for."""
    words = ["edgecompile", "predict", _bundle(said), said.keys.get("source", "")]
    rest = [word for word in said.rest if word != words[2]]
    if not words[3]:
        words[3:] = [] if any(not word.startswith("-") for word in rest) else ["SOURCE"]
    flags = {"conf": "--conf", "iou": "--iou", "max_det": "--max-det", "vid_stride": "--show-every"}
    for key, flag in flags.items():
        words += [flag, said.keys[key]] if key in said.keys else []
    if "imgsz" in said.keys:
        words += ["--imgsz", re.sub(r"[^0-9]+", "x", said.keys["imgsz"]).strip("x")]
    if "classes" in said.keys:
        words += ["--classes", said.keys["classes"].strip("[]()").replace(" ", "")]
    if said.true("save") or said.true("show") or "project" in said.keys:
        words += ["--save", said.keys.get("project", "drawn")]
    if said.true("save_txt") or said.true("stream"):
        words += ["--format", "jsonl"]
    return shlex.join([*words, *rest])


def remarks_of(said: Said) -> list[str]:
    """Returns what to know beside a command."""
    remarks = [REMARKS[key] for key in said.keys if key in REMARKS and said.keys[key].lower() != "false"]
    form = said.keys.get("format", "").lower()
    if form and form not in FORMATS:
        remarks.append(f"no target here is of the format '{form}': see `edgecompile list targets`")
    if said.true("half") and form in ("onnx", "onnxruntime"):
        remarks.append("ONNX Runtime gains nothing from FP16 on a CPU")
    if said.true("half") and said.true("int8"):
        remarks.append("of half and int8, INT8 is the smaller")
    return remarks


def recipe_of(said: Said, *, exported: bool) -> str:
    """Returns the name of the shipped recipe that is nearest to what was asked for."""
    device, there = FORMATS.get(said.keys.get("format", "openvino").lower(), FORMATS["openvino"])
    wanted = "int8" if said.true("int8") else "fp16" if said.true("half") else "fp32" if exported else "int8"
    return f"{device}_{wanted if wanted in there else there[0]}"


def _with_precision(word: str, said: Said) -> str:
    """Returns a chosen recipe of a shipped name in the precision that is asked for beside it."""
    wanted = "int8" if said.true("int8") else "fp16" if said.true("half") else ""
    name, _, precision = word.rpartition("_")
    return f"{name}_{wanted}" if wanted and name and precision in PRECISIONS else word


def _bundle(said: Said) -> str:
    model = said.keys.get("model", "")
    if model.endswith(".zip"):
        return model
    return next((word for word in said.rest if word.endswith(".zip")), "BUNDLE")


def _size(text: str) -> str:
    sides = re.findall(r"[0-9]+", text)
    return f"[{','.join(sides)}]" if len(sides) > 1 else text


def _chooses(word: str, names: Callable[[], Collection[str]]) -> bool:
    """Returns whether a word chooses a recipe."""
    return word.startswith("recipe=") or ("=" not in word and (word.endswith((".yaml", ".yml")) or word in names()))


def _in_a_recipe(word: str, options: Options) -> str | None:
    """Returns a word as a recipe says it; None where no recipe says it."""
    key, equals, value = word.partition("=")
    if not equals:
        return f"model.weights={word}" if word.lower().endswith(WEIGHTS) and not word.startswith("-") else word
    stem, suffix = os.path.splitext(value)
    if key == "weights" or (key == "model" and suffix.lower() in WEIGHTS):
        own = key == "model" and not os.path.exists(value) and stem in options("model")
        return f"model={stem}" if own else f"model.weights={value}"
    if key == "data" and (suffix.lower() in DATA or os.path.isdir(value)):
        return f"data={stem}" if not os.path.exists(value) and stem in options("data") else f"data.path={value}"
    if key == "imgsz":
        return f"model.imgsz={_size(value)}"
    if key in SETTINGS and not value.startswith("{"):
        return None
    return word


def _answer(what: str, command: str, remarks: Sequence[str]) -> NoReturn:
    names = [
        name for name in ("MODEL.pt", "DATA.yaml", "BUNDLE", "SOURCE") if name in shlex.split(command.replace("=", " "))
    ]
    said = {
        "DATA.yaml": "the data set that the model was trained for",
        "MODEL.pt": "the checkpoint, or an ONNX file",
        "BUNDLE": "what `edgecompile build` prints last",
        "SOURCE": "a picture, folder, video, camera or address",
    }
    beside = [*dict.fromkeys(remarks), *(f"{name} is {said[name]}" for name in names)]
    kind = InputError if command.startswith("edgecompile predict") else RecipeError
    raise kind(what, where=WHERE, fix=f"the same here: {command}{''.join(f' ({one})' for one in beside)}")
