"""Class names and strides as exporters of all kinds note them."""

from __future__ import annotations

import time

import pytest

from edgecompile.errors import StepError
from edgecompile.graphs.onnx.metadata import class_names, coarsest_stride

MANY = {str(number): f"class {number}" for number in range(12)}


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("{0: 'first', 1: 'second'}", ["first", "second"]),
        ('{"0": "first", "1": "second"}', ["first", "second"]),
        ('{"1": "second", "0": "first"}', ["first", "second"]),
        ("{1: 'second', 0: 'first'}", ["first", "second"]),
        (str(MANY), list(MANY.values())),
        (str(dict(sorted(MANY.items()))), list(MANY.values())),
        ("['first', 'second']", ["first", "second"]),
        ('["first", "second"]', ["first", "second"]),
        ("('first', 'second')", ["first", "second"]),
        ("{0: True, 1: 7}", ["True", "7"]),
        ('{"0": null, "1": true}', ["None", "True"]),
        (" {0: 'first'}\n", ["first"]),
        ("{}", None),
        ("", None),
    ],
)
def test_names_are_read_as_ultralytics_reads_them(text: str, names: list[str] | None) -> None:
    assert class_names({"names": text}, "a.onnx") == names


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{1: 'first', 2: 'second'}", "'a.onnx' numbers its classes 1, 2, expected 0 to 1, each once"),
        ('{"1": "a", "2": "b", "3": "c", "4": "d", "5": "e"}', "numbers its classes 1, 2, 3, 4, …, expected 0 to 4"),
        ("{0: 'first', 2: 'third'}", "numbers its classes 0, 2, expected 0 to 1"),
        ("{-1: 'background', 0: 'first'}", "numbers its classes -1, 0"),
        ("{0: 'first', '0': 'again'}", "numbers its classes 0, 0"),
        ("{0: 'first', False: 'again'}", "numbers its classes 0, expected"),
        ("{'first': 0, 'second': 1}", "numbers its classes first, second"),
        ("{0: ['first', 'other']}", "states its class names as {0: ['first', 'other']}, expected a list of names"),
        ("{'names': {0: 'first'}}", "states its class names as"),
        ("first, second", "states its class names as first, second, expected"),
        ("7", "states its class names as 7"),
        ("{0: __import__('os').getcwd()}", "states its class names as"),
        ("[" * 50_000, "states its class names as [[["),
        ("{0: '" + "x" * 200_000 + "'}", "states its class names as {0: 'xxx"),
    ],
)
def test_names_of_another_form_are_never_replaced(text: str, said: str) -> None:
    began = time.monotonic()
    if text.startswith("{0: 'first', False"):
        assert class_names({"names": text}, "a.onnx") == ["again"]  # one key in Python, and so to Ultralytics
        return
    with pytest.raises(StepError) as raised:
        class_names({"names": text}, "a.onnx")
    assert said in str(raised.value)
    assert str(raised.value).endswith("passes.onnx_import.class_names=data takes those of the data set")
    assert len(str(raised.value)) < 300
    assert time.monotonic() - began < 2


def test_strides() -> None:
    assert coarsest_stride({}, "a.onnx") == 32
    assert coarsest_stride({"stride": "[8, 16, 64]"}, "a.onnx") == 64
    for text in ("inf", "[8, None]", "1e9", "9" * 200_000, "-8", "8.5"):
        with pytest.raises(StepError, match=r"'a\.onnx' states the stride .* expected a whole number of pixels"):
            coarsest_stride({"stride": text}, "a.onnx")
