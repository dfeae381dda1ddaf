"""Network slimming: training with an L1 penalty on norm scales, then channels whose scale has gone (Liu et al. 2017).

The penalty is a proximal step after each optimiser's step: γ ← sign γ · max(|γ| - rate · strength, 0). It makes exact
zeros, which a subgradient does not, and no optimiser's moments see it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Protocol

import msgspec
import torch
from torch import nn

from netwright.compression import cutting, importance
from netwright.compression.cutting import Removed
from netwright.compression.passes import At, Changed, Context, Epochs, PassOptions
from netwright.compression.prune import prunable, step_of
from netwright.errors import UsageError
from netwright.graph.structure import Coupling, Graph

# How far all steps together pull, in the mean of the scales at the start. Liu et al.: 1e-4 times rates of 0.1, 0.01 and
# 0.001 over 80, 40 and 40 epochs of 782 steps, 0.66 in all, for scales that began at 0.5.
PULL = 1.3
# No stronger: an adaptive optimiser moves a scale whose gradient keeps its sign by about the rate at a step, and such a
# scale must be able to hold its own in a short training too.
STRONGEST = 0.3


class Options(PassOptions, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``slim=1e-4:epochs=10``

    ``strength``: without one, that which pulls a scale that nothing holds by 1.3 times the mean scale in all, whatever
    the epochs, the rate and its schedule; at most 0.3.
    ``threshold``: scales up to it, as a share of the largest of their coupling, are gone. ``multiple``: of what stays;
    ``least``: at least this share of every coupling's channels stays.
    """

    strength: Annotated[float, msgspec.Meta(gt=0)] | None = None
    epochs: Epochs = 1
    threshold: Annotated[float, msgspec.Meta(ge=0, lt=1)] = 0.01
    multiple: Annotated[int, msgspec.Meta(ge=1)] = 8
    least: Annotated[float, msgspec.Meta(ge=0, lt=1)] = 0.1


def apply(network: nn.Module, options: Options, context: Context) -> Changed:
    """Train under the penalty, then cut. Raises ``UsageError`` where no norm has channels that could go."""
    free, graph = prunable(network, context, where="slim")
    scaled = [coupling for coupling in free if importance.norm_scales(network, coupling)]
    if not scaled:
        raise UsageError(
            "compress: slim", "no norm with channels that could go", "a network with batch norms",
            "group",
        )  # fmt: skip
    scales = {id(scale): scale for coupling in scaled for _, scale in importance.norm_scales(network, coupling)}

    by = paced(options.strength, torch.cat([scale.detach().abs() for scale in scales.values()]))

    def shrink(at: At) -> None:
        soft_threshold(list(scales.values()), by(at))

    context.heal(network, options.epochs, hook=shrink)
    sizes = [
        torch.stack([importance.summed(s.detach().abs(), m, c.channels) for m, s in importance.norm_scales(network, c)])
        for c in scaled
    ]
    return without(network, graph, scaled, [size.amax(0) for size in sizes], options, context, "scales")


def paced(strength: float | None, sizes: torch.Tensor) -> Callable[[At], float]:
    """How far a step pulls: its rate times the strength, or its part of ``PULL`` times the mean of ``sizes``."""
    pull = PULL * float(sizes.mean())
    return lambda at: at.rate * (min(pull / at.total, STRONGEST) if strength is None else strength)


@torch.no_grad()
def soft_threshold(tensors: list[nn.Parameter], by: float) -> None:
    """The proximal operator of by · ‖x‖₁, in place."""
    for tensor in tensors:
        tensor.copy_(tensor.sign() * (tensor.abs() - by).clamp_(min=0))


class Limits(Protocol):
    """What ``without`` needs of a pass's options."""

    @property
    def threshold(self) -> float: ...
    @property
    def multiple(self) -> int: ...
    @property
    def least(self) -> float: ...


def without(
    network: nn.Module, graph: Graph, couplings: list[Coupling], sizes: list[torch.Tensor], options: Limits,
    context: Context, what: str,
) -> Changed:  # fmt: skip
    """The channels whose size, (channels,), is at most the threshold times the largest of its coupling are cut."""
    chosen: Removed = []
    small = 0
    for coupling, size in zip(couplings, sizes, strict=True):
        blocks = size.detach().double().cpu().reshape(-1, coupling.granularity).amax(1)
        order = torch.argsort(blocks, stable=True).tolist()
        under = int((blocks <= options.threshold * float(blocks.max())).sum())
        small += under * coupling.granularity
        step = step_of(coupling, options.multiple)
        floor = max(1, step, -(-int(options.least * len(order)) // step) * step)
        stay = min(len(order), max(floor, -(-(len(order) - under) // step) * step))
        width = coupling.granularity
        gone = [block * width + place for block in sorted(order[: len(order) - stay]) for place in range(width)]
        if gone:
            chosen.append((coupling, gone))
    borne, refused = cutting.checked(network, graph, chosen, context.first_batch()) if chosen else ([], {})
    surgeries = cutting.cut(network, graph, borne)
    cut, total = sum(len(channels) for _, channels in borne), sum(coupling.channels for coupling in couplings)
    note = f"{small:,} of {total:,} {what} under the threshold, {cut:,} channels gone"
    if refused:
        note += "; left whole: " + ", ".join(f"{name} ({why})" for name, why in refused.items())
    names = dict(zip(map(id, couplings), importance.named(couplings), strict=True))
    widths = {names[id(c)]: [c.channels, c.channels - len(gone)] for c, gone in borne}
    return Changed(surgeries, note, {"channels": widths, "left_whole": refused, "under": small, "of": total})
