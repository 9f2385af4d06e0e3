"""How far a network is from another one of the same shape, by their feature maps and by what their heads put out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from edgecompile.errors import StepError

if TYPE_CHECKING:
    from torch import Tensor

ONE_TO_ONE = "one2one_"
"""How the names of the layers of an NMS-free head begin."""
MAPS, BOXES, SCORES, VALUES, LOGITS = "maps", "boxes", "scores", "values", "logits"
"""Kinds of what a module puts out."""
MAP_WEIGHT = 0.3
SCORE_WEIGHT = 6.0
LEAST_WEIGHT = 0.01
"""Weight of a place where the reference finds nothing, among those where it finds objects with a score of up to 1."""


class Taps:
    """Keeps what chosen modules of a network put out in its last run.

    Attributes:
        outputs: kind, branch and place among the branch's layers, to the tensor.
        bins: of the distribution of a side of a box; 1 where the head puts out the distance itself.
    """

    def __init__(self, network: Any) -> None:
        self.network = network
        self.outputs: dict[tuple[str, str, int], Tensor] = {}
        head = network.model[-1]
        self.bins = int(getattr(head, "reg_max", 1))
        tapped = list(self._tapped(network, head))
        if not any(kind in (SCORES, LOGITS) for kind, *_ in tapped):
            raise StepError(f"nothing is known of what the head '{type(head).__name__}' puts out")
        for kind, branch, place, module in tapped:
            module.register_forward_hook(self._keeper((kind, branch, place)))

    @staticmethod
    def _tapped(network: Any, head: Any) -> Iterator[tuple[str, str, int, Any]]:
        import torch

        maps = [number for number in network.save if number < len(network.model) - 1]
        for number in maps or [len(network.model) - 2]:
            yield MAPS, "layer", number, network.model[number]
        if isinstance(getattr(head, "linear", None), torch.nn.Linear):
            yield LOGITS, "linear", 0, head.linear
        for name, part in head.named_children():
            branch = name.removeprefix(ONE_TO_ONE)
            kind = {"cv2": BOXES, "cv3": SCORES}.get(branch, VALUES)
            if isinstance(part, torch.nn.ModuleList):
                for place, layer in enumerate(part):
                    yield kind, branch, place, layer
            elif branch == "proto":
                yield MAPS, branch, 0, part

    def _keeper(self, key: tuple[str, str, int]) -> Any:
        def keep(module: Any, inputs: Any, output: Any) -> None:
            self.outputs[key] = output.float()

        return keep

    def run(self, pictures: Tensor) -> Mapping[tuple[str, str, int], Tensor]:
        """Runs the network on pictures (n, channels, h, w), and returns what the modules put out."""
        self.outputs = {}
        self.network(pictures)
        return self.outputs


def distance(
    found: Mapping[tuple[str, str, int], Tensor], wanted: Mapping[tuple[str, str, int], Tensor], bins: int
) -> Tensor:
    """Returns the loss of the outputs of a network against those of its reference; 0 where they are equal.

    Feature maps count by their squared error as a share of the reference's power. Class scores count by the binary
    cross entropy above the reference's own. Boxes count by the divergence (Kullback-Leibler) of the distribution of
    each side, whatever else a head puts out by its squared error, both most where the reference finds objects.
    """
    import torch
    from torch.nn import functional

    total = torch.zeros(())
    for key, reference in wanted.items():
        kind, _, place = key
        output = found[key]
        if kind == MAPS:
            total = total + MAP_WEIGHT * _power_share(output, reference)
        elif kind == LOGITS:
            total = total + functional.kl_div(
                output.log_softmax(1), reference.log_softmax(1), log_target=True, reduction="batchmean"
            )
        elif kind == SCORES:
            total = total + SCORE_WEIGHT * _score_divergence(output, reference)
        else:
            scores = next(value for (other, _, level), value in wanted.items() if other == SCORES and level == place)
            weight = scores.sigmoid().amax(1, keepdim=True) + LEAST_WEIGHT
            gap = (
                _box_divergence(output, reference, bins)
                if kind == BOXES and bins > 1
                else _shares(output, reference, weight)
            )
            total = total + (gap * weight).sum() / weight.sum()
    return total


def _power_share(output: Tensor, reference: Tensor) -> Tensor:
    return ((output - reference) ** 2).mean() / (reference**2).mean().clamp_min(1e-9)


def _score_divergence(output: Tensor, reference: Tensor) -> Tensor:
    from torch.nn.functional import binary_cross_entropy_with_logits as entropy

    likely = reference.sigmoid()
    gap = entropy(output, likely, reduction="none") - entropy(reference, likely, reduction="none")
    return gap.sum() / likely.sum().clamp_min(1)


def _box_divergence(output: Tensor, reference: Tensor, bins: int) -> Tensor:
    """Returns the mean divergence of the four sides at each place, (n, 1, h, w)."""
    count, _, height, width = reference.shape
    mine = output.view(count, 4, bins, height, width).log_softmax(2)
    theirs = reference.view(count, 4, bins, height, width).log_softmax(2)
    return (theirs.exp() * (theirs - mine)).sum(2).mean(1, keepdim=True)


def _shares(output: Tensor, reference: Tensor, weight: Tensor) -> Tensor:
    """Returns the squared error at each place as a share of the reference's weighted mean power, (n, 1, h, w)."""
    power = ((reference**2).mean(1, keepdim=True) * weight).sum() / weight.sum()
    return ((output - reference) ** 2).mean(1, keepdim=True) / power.clamp_min(1e-9)
