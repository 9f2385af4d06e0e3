"""Masks as COCO writes them (RLE): lengths of runs down the columns of a picture, in printable characters.

The first run is of zeros, runs of zeros and ones take turns. From the third run on, the difference to the run before
the last is written. A number is written in groups of five bits, the lowest first, the last of which carries the sign;
a group is the character 48 + bits, plus 32 where another group follows. `pycocotools.mask` and `faster_coco_eval` read
this.
"""

from __future__ import annotations

import numpy as np

FIRST = 48
"""Code of the character for the group of five zeros."""
MORE, SIGN, BITS = 32, 16, 31


def encode(window: np.ndarray, top: int, left: int, size: tuple[int, int]) -> str:
    """Returns the runs of a mask that is zero outside of a window.

    Args:
        window: bool (h, w).
        top, left: where the window stands in the picture, which holds it.
        size: height and width of the picture.
    """
    return _written(run_lengths(window, top, left, size))


def run_lengths(window: np.ndarray, top: int, left: int, size: tuple[int, int]) -> list[int]:
    """Returns the lengths of runs, zeros first; arguments as for `encode`."""
    height, width = size
    rows, columns = window.shape
    framed = np.zeros((columns, rows + 2), np.int8)  # each column between two zeros: a run begins and ends in it
    framed[:, 1:-1] = window.T
    changes = np.diff(framed, axis=1)
    column, begin = np.nonzero(changes == 1)
    _, end = np.nonzero(changes == -1)
    offset = (left + column) * height + top
    begin, end = begin + offset, end + offset
    if len(begin):  # a run that goes on at the top of the next column is one run
        apart = begin[1:] != end[:-1]
        begin, end = np.concatenate((begin[:1], begin[1:][apart])), np.concatenate((end[:-1][apart], end[-1:]))
    bounds = np.stack((begin, end), axis=1).ravel()
    lengths = np.diff(np.concatenate(([0], bounds, [height * width])))
    return (lengths[:-1] if len(bounds) and lengths[-1] == 0 else lengths).tolist()


def _written(lengths: list[int]) -> str:
    text = bytearray()
    for index, length in enumerate(lengths):
        value = length - lengths[index - 2] if index > 2 else length
        more = True
        while more:
            group, value = value & BITS, value >> 5
            more = value != (-1 if group & SIGN else 0)
            text.append(FIRST + group + (MORE if more else 0))
    return text.decode("ascii")


def decode(text: str, size: tuple[int, int]) -> np.ndarray:
    """Returns the mask of a text of `encode`, bool (height, width).

    Raises:
        ValueError: the text is no mask of that size.
    """
    height, width = size
    lengths = _read(text)
    if any(length < 0 for length in lengths) or sum(lengths) != height * width:
        raise ValueError(f"the runs of a mask do not fill {height}x{width} pixels")
    ones = np.arange(len(lengths)) % 2 == 1
    return np.repeat(ones, lengths).reshape(width, height).T


def _read(text: str) -> list[int]:
    lengths: list[int] = []
    value = shift = 0
    for code in text.encode("ascii"):
        group = code - FIRST
        if not 0 <= group < 2 * MORE or shift > 60:
            raise ValueError(f"the runs of a mask hold the character {chr(code)!r}")
        value |= (group & BITS) << shift
        shift += 5
        if group & MORE:
            continue
        if group & SIGN:
            value -= 1 << shift
        lengths.append(value + lengths[-2] if len(lengths) > 2 else value)
        value = shift = 0
    if shift:
        raise ValueError("the runs of a mask end in the middle of a number")
    return lengths
