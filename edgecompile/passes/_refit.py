"""Refits a network to another one on pictures without labels. Deterministic: one thread, seeded, in a fixed order."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgecompile.errors import StepError
from edgecompile.passes._refit_loss import Taps, distance

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

RATE, WARM_UP, LAST_SHARE = 5e-4, 10, 0.002
"""Highest learning rate of Adam, steps until it is reached, and the share of it that is left at the end."""
LONGEST_GRADIENT = 10.0
GREY = 114 / 255
ZOOM, SHIFT, LIGHT = (0.7, 1.4), 0.125, (0.8, 1.2)
"""How pictures are varied: zoom, shift as a share of the side, and brightness."""


@dataclass(frozen=True)
class Effort:
    """How much is done.

    Attributes:
        steps: training steps.
        batch: pictures in each.
        average: share of the running mean of weights that each step keeps.
        seed: what the order and the variation of pictures are drawn from.
    """

    steps: int
    batch: int
    average: float
    seed: int


def refit(
    student: Any,
    teacher: Any,
    read: Callable[[Path], np.ndarray],
    pictures: Sequence[Path],
    effort: Effort,
    note: Callable[[int, float], None],
) -> list[float]:
    """Trains the student to put out what its teacher does; it has the running mean of its weights afterwards.

    Args:
        student: a fused network; changed in place.
        teacher: one of the same shape.
        read: returns the input tensor (1, channels, h, w) of a picture.
        note: called after each training step with its number, from 1, and its loss.

    Returns:
        the loss of each training step.

    Raises:
        StepError: the loss is no number any more.
    """
    import torch

    torch.set_num_threads(1)
    torch.manual_seed(effort.seed)
    torch.use_deterministic_algorithms(True)
    for parameter in teacher.parameters():
        parameter.requires_grad_(False)
    trained = list(_trained(student))
    optimizer = torch.optim.Adam(trained, lr=RATE)
    mean = [parameter.detach().clone() for parameter in trained]
    mine, theirs = (Taps(network.to(memory_format=torch.channels_last)) for network in (student, teacher))
    losses: list[float] = []
    for number, batch in enumerate(_batches(read, pictures, effort), 1):
        for group in optimizer.param_groups:
            group["lr"] = _rate(number, effort.steps)
        with torch.autocast("cpu", torch.bfloat16, enabled=fast_bf16()):
            with torch.no_grad():
                wanted = theirs.run(batch)
            found = mine.run(batch)
        loss = distance(found, wanted, mine.bins)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, LONGEST_GRADIENT)
        optimizer.step()
        losses.append(loss.item())
        if not math.isfinite(losses[-1]):
            raise StepError(f"the loss of the refit is no number after {number} steps")
        kept = min(effort.average, number / (number + 10))  # a short run is not held back by where it began
        torch._foreach_lerp_(mean, [parameter.detach() for parameter in trained], 1 - kept)
        note(number, losses[-1])
    with torch.no_grad():
        for parameter, value in zip(trained, mean, strict=True):
            parameter.copy_(value)
    return losses


def fast_bf16() -> bool:
    """Whether this processor computes in bfloat16 by instructions of its own; others are four times slower in it."""
    import torch

    known: Mapping[str, object] = getattr(torch.cpu, "get_capabilities", dict)()
    return any(known.get(name) for name in ("avx512_bf16", "amx_bf16"))


def _trained(student: Any) -> Iterator[Any]:
    for name, parameter in student.named_parameters():
        fixed = ".dfl." in name  # the numbers of the bins, not learned
        parameter.requires_grad_(not fixed)
        if not fixed:
            yield parameter


def _rate(number: int, steps: int) -> float:
    falling = 0.5 * (1 + math.cos(math.pi * (number - 1) / steps))
    return RATE * max(min(1.0, number / WARM_UP) * falling, LAST_SHARE)


def _batches(read: Callable[[Path], np.ndarray], pictures: Sequence[Path], effort: Effort) -> Iterator[Tensor]:
    """Yields varied pictures (n, channels, h, w), all of them once before any comes again."""
    import numpy as np
    import torch

    drawn = np.random.Generator(np.random.PCG64(effort.seed))
    waiting: list[int] = []
    for _ in range(effort.steps):
        while len(waiting) < effort.batch:
            waiting += drawn.permutation(len(pictures)).tolist()
        chosen, waiting = waiting[: effort.batch], waiting[effort.batch :]
        batch = torch.stack([_varied(torch.from_numpy(read(pictures[number]))[0], drawn) for number in chosen])
        yield batch.contiguous(memory_format=torch.channels_last)


def _varied(picture: Tensor, drawn: np.random.Generator) -> Tensor:
    """Returns a picture (channels, h, w; 0..1) mirrored, zoomed, shifted and brightened at random, grey around."""
    import torch
    from torch.nn import functional

    zoom = drawn.uniform(*ZOOM)
    signs = drawn.choice((-1.0, 1.0), 2) / zoom
    shift = drawn.uniform(-2 * SHIFT, 2 * SHIFT, 2)  # the sides are 2 long
    matrix = torch.tensor([[[signs[0], 0.0, shift[0]], [0.0, signs[1], shift[1]]]], dtype=torch.float32)
    places = functional.affine_grid(matrix, [1, *picture.shape], align_corners=False)
    moved = functional.grid_sample(picture[None] - GREY, places, align_corners=False)[0] + GREY
    return (moved * drawn.uniform(*LIGHT)).clamp(0, 1)
