"""What libraries throw, as one line with a fix. Standard library only: a library is recognised by its name."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from edgecompile.errors import EdgecompileError, StepError

EXPORT_AGAIN = "export the model again with operator set 18 and float32 weights"
LONGEST = 240

KNOWN: tuple[tuple[str, str, str], ...] = (
    (
        r"Could not find an implementation for (\w+)\((\d+)\)",
        "uses the operator {0} of operator set {1}, for which ONNX Runtime has no code",
        EXPORT_AGAIN,
    ),
    (
        r"No Op registered for (\w+) with domain_version of (\d+)",
        "uses '{0}', which is no operator of operator set {1}",
        "export the model again without plugins",
    ),
    (
        r"(?:Fatal error: )?([\w.:]+)\([-\d]*\) is not a registered function/op",
        "uses '{0}', an operator of a plugin that is not here",
        "export the model again without plugins",
    ),
    (
        r"Opset (\d+) is under development and support for this is limited",
        "uses operator set {0}, which this ONNX Runtime does not read",
        EXPORT_AGAIN,
    ),
    (
        r"Unsupported model IR version: (\d+), max supported IR version: (\d+)",
        "is of IR version {0}; ONNX Runtime reads up to {1}",
        EXPORT_AGAIN,
    ),
    (
        r"while running (\w+) node\. Name:\s?'([^']{0,80})[^']*' Status Message: (?:\S*onnxruntime\S* )?(.*)",
        "cannot be run: its operator {0} '{1}' fails: {2}",
        "",
    ),
    (
        r"Exporting the operator '([^']+)' to ONNX opset version (\d+) is not supported",
        "uses {0}, which operator set {1} cannot express",
        "set passes.onnx_export.opset to a newer operator set",
    ),
    (
        r"No conversion rule found for operations: (.{1,100}?)(?:-\d+)?(?= -- |$)",
        "uses what OpenVINO has no operation for: {0}",
        "choose an ONNX Runtime target",
    ),
)
"""Errors about a model: a pattern, the sentence that follows the model's name, and the fix."""

PLACES = re.compile(
    r"Exception from |Check '|While validating |FrontEnd API failed |Model wasn't fully converted|\[ONNX Frontend\] "
    r"|-- \S+ with a message|Summary:$|Error:?$"
)
"""Lines of OpenVINO and others that stand before the line that says what is wrong."""

SOURCE_PLACES = re.compile(
    r"\[ONNXRuntimeError\] : \d+ : \w+ : "
    r"|/\S+\.(?:cc|cpp|h|hpp|py):\d+\S*\s?(?:onnxruntime::[\w:~<>]+\([^()]*\)(?: const)? )?"
    r"|\b\w+\.(?:cc|cpp|h|hpp):\d+ \w+ "
)
"""Places in a library's own source that its messages name."""

FIXES = {
    "onnxslim": "leave the pass out: passes.simplify=null",
    "nncf": "export the model again with fixed shapes, or choose another target",
    "openvino": "choose an ONNX Runtime target",
    "onnxruntime": EXPORT_AGAIN,
    "onnx": EXPORT_AGAIN,
    "torch": "export the model with Ultralytics, and take passes.onnx_import",
    "ultralytics": "export the model with Ultralytics, and take passes.onnx_import",
}
"""Library -> what helps where nothing better is known."""


def explain(error: BaseException, subject: str) -> StepError:
    """Returns the error for a person, from what a library raised.

    Args:
        error: with its traceback, by which the library is known.
        subject: what the library worked on, such as "'model.onnx'".
    """
    text = _plain(str(error))
    for pattern, sentence, fix in KNOWN:
        if match := re.search(pattern, text):
            return StepError(f"{subject} {sentence.format(*match.groups())}"[:LONGEST], fix=fix)
    library = library_of(error)
    message = f"{library} fails on {subject}: {reason(error)}" if library else f"{subject}: {reason(error)}"
    return StepError(message, fix=FIXES.get(library, ""))


@contextmanager
def explained(subject: str) -> Iterator[None]:
    """Turns what a library raises within the block into the error for a person; leaves all other errors as they are.

    Args:
        subject: what the library works on, such as "'model.onnx'".
    """
    try:
        yield
    except (EdgecompileError, MemoryError, OSError):
        raise
    except Exception as error:
        if not library_of(error):
            raise
        raise explain(error, subject) from error


def reason(error: BaseException) -> str:
    """Returns the line of an error that says most, with the name of its class where that says something."""
    lines = [line for line in (_plain(line) for line in str(error).splitlines()) if line and not _is_place(line)]
    text = (lines[0] if lines else "")[:LONGEST]
    name = type(error).__name__
    plain = name in ("RuntimeError", "Exception", "Fail", "RuntimeException", "InvalidGraph", "OpConversionFailure")
    return (text if plain else f"{name}: {text}") if text else name


def library_of(error: BaseException) -> str:
    """Returns the name of the library of `FIXES` that an error comes from, the innermost; "" where it is none."""
    module = type(error).__module__.partition(".")[0]
    if module in FIXES:
        return module
    library, place = "", error.__traceback__
    while place is not None:
        name = str(place.tb_frame.f_globals.get("__name__", "")).partition(".")[0]
        library = name if name in FIXES else library
        place = place.tb_next
    return library


def _plain(text: str) -> str:
    """Returns a text on one line, without the places in a library's own source that it names."""
    return " ".join(SOURCE_PLACES.sub("", text).split())


def _is_place(line: str) -> bool:
    """Returns whether a line says only where in a library an error was noticed."""
    return bool(PLACES.match(line))
