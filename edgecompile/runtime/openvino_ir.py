"""Looks through OpenVINO's IR for references beyond the two files of a bundle, with the standard library alone.

The IR is XML whose constants are ranges of a `.bin`. OpenVINO adds a range's offset to its size without a look at
overflow, and keeps the notes of a model on itself (`rt_info`), such as the path of weights or options of a plugin.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from xml.etree import ElementTree
from xml.parsers import expat

from edgecompile.errors import BundleError
from edgecompile.runtime.options import show_value

DEEPEST = 100
"""Elements within elements; a loop within a loop has 20."""
LARGEST = 256 << 20
"""Bytes of the XML: a model of 10,000 layers has 20 MB."""
WHOLE_NUMBER = re.compile("[0-9]{1,18}")
MADE_UP_NAME = re.compile(r"^[A-Za-z][A-Za-z0-9]*_\d+")
"""Names that OpenVINO and NNCF make up from a counter of the process, such as "Multiply_17324/fq_weights_1"."""
NOTES_REFUSED = re.compile("__.*|runtime_options|.*(weights|cache|plugin|extension|library|config).*", re.IGNORECASE)
"""Names of notes that OpenVINO or a plugin of it acts upon. Notes on how a model was made may stay."""

KERNELS = {
    "jit": ("jit_avx512_1x1", "jit_avx512", "jit_avx2_1x1", "jit_avx2"),
    "brgconv": ("brgconv_avx512_1x1", "brgconv_avx512", "brgconv_avx2_1x1", "brgconv_avx2"),
    "gemm": ("gemm_any",),
}
"""Families of kernels of oneDNN to the names by which OpenVINO's CPU plugin knows their convolutions."""
CONVOLUTIONS = ("Convolution", "GroupConvolution")
PRIORITY = "primitives_priority"
"""Attribute of an operation that lists the kernels to be taken first. Those that a machine does not have are passed
over. It is read from the IR alone: set on a model in memory, the plugin does not see it. An internal name of OpenVINO
that may go, so nothing is taken for granted: `edgecompile tune` adopts only what was measured."""


def with_kernels(xml: bytes, family: str) -> bytes:
    """Returns an IR whose convolutions take the kernels of a family first. What the IR itself says of that goes.

    Args:
        xml: an IR that passed `require_self_contained`.
        family: of `KERNELS`.
    """
    root = ElementTree.fromstring(xml)
    listed = ",".join(f"cpu:{kernel}" for kernel in KERNELS[family])
    for layer in root.iter("layer"):
        if layer.get("type") not in CONVOLUTIONS:
            continue
        notes = layer.find("rt_info")
        if notes is None:
            notes = ElementTree.Element("rt_info")
            layer.insert(1 if layer.find("data") is not None else 0, notes)
        for note in [note for note in notes if note.get("name") == PRIORITY]:
            notes.remove(note)
        ElementTree.SubElement(notes, "attribute", {"name": PRIORITY, "version": "0", "value": listed})
    return ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)


def require_self_contained(xml: bytes, weights: int, name: str) -> None:
    """Makes sure that an IR names nothing beyond itself and its weights.

    Args:
        xml: content of the `.xml`.
        weights: bytes of the `.bin`.
        name: of the file, for the message.

    Raises:
        BundleError: it does, or it is not plain XML.
    """
    if len(xml) > LARGEST:
        raise BundleError(f"cannot open the model: '{name}' has {len(xml)} bytes, more than {LARGEST}")
    if not xml.lstrip(b" \t\r\n").startswith((b"<?xml", b"<net")):
        raise BundleError(f"cannot open the model: '{name}' is no IR of OpenVINO")
    try:
        _Walk(weights).parser.Parse(xml, True)
    except expat.ExpatError as error:
        raise BundleError(f"cannot open the model: '{name}' is no well-formed XML ({error})") from None
    except _Refused as error:
        raise BundleError(f"cannot open the model: '{name}' {error}") from None


class _Refused(Exception):
    """Ends the walk; the message names the fault."""


class _Walk:
    """A parser that refuses as it goes."""

    def __init__(self, weights: int) -> None:
        self._weights = weights
        self._path: list[str] = []
        self.parser = parser = expat.ParserCreate("utf-8")
        parser.StartElementHandler = self._begin
        parser.EndElementHandler = lambda name: self._path.pop()
        parser.XmlDeclHandler = self._declaration
        parser.StartDoctypeDeclHandler = self._doctype

    def _declaration(self, version: str, encoding: str | None, standalone: int) -> None:
        if encoding is not None and encoding.lower() not in ("utf-8", "us-ascii"):
            raise _Refused(f"is written in {show_value(encoding)}, expected utf-8")

    def _doctype(self, name: str, *_: object) -> None:
        raise _Refused("declares a document type: entities may stand for files")

    def _begin(self, name: str, attributes: Mapping[str, str]) -> None:
        if not self._path and name != "net":
            raise _Refused(f"begins with {show_value(name)}, expected 'net'")
        if len(self._path) >= DEEPEST:
            raise _Refused(f"has more than {DEEPEST} elements within each other")
        noted = "rt_info" in self._path
        self._path.append(name)
        if noted and NOTES_REFUSED.fullmatch(attributes.get("name", name) if name == "attribute" else name):
            raise _Refused(f"notes {show_value(name)}, which OpenVINO would act upon")
        if "offset" in attributes and "size" in attributes:
            self._range(attributes["offset"], attributes["size"])

    def _range(self, offset: str, size: str) -> None:
        """Refuses a range that does not lie in the weights."""
        numbers = WHOLE_NUMBER.fullmatch(offset) and WHOLE_NUMBER.fullmatch(size)
        if not numbers or int(offset) + int(size) > self._weights:
            span = f"{show_value(size)} bytes at {show_value(offset)}"
            raise _Refused(f"reads {span} of weights that have {self._weights} bytes")
