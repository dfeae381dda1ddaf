"""Group lasso: training that makes whole filters, channels or kernels zero, then pruning (Wen et al. 2016).

The penalty strength · Σ √|g| · ‖w_g‖₂ is a proximal step after each optimiser's step: a group shrinks as a whole, by
1 - rate · strength · √|g| / ‖w_g‖, and is exactly zero where that is negative (Yuan and Lin 2006). ``filters``: what
makes a channel; ``channels``: what reads it; ``kernels``: each k×k slice of a convolution, which is masked, not cut.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
import torch
from torch import nn

from netwright.compression import importance, masks, slim
from netwright.compression.cutting import tensor_of
from netwright.compression.passes import At, Changed, Context, Epochs, PassOptions
from netwright.compression.prune import prunable
from netwright.errors import UsageError
from netwright.graph.structure import ChannelMember, Coupling
from netwright.nn.surgery import operate
from netwright.records import Surgery


class Options(PassOptions, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``group=1e-4:over=filters,epochs=10``

    ``threshold``: groups up to it, as a share of the largest of their layer, are gone. ``multiple`` and ``least``: as
    in pruning.
    """

    strength: Annotated[float, msgspec.Meta(gt=0)] = 1e-4
    over: Literal["filters", "channels", "kernels"] = "filters"
    epochs: Epochs = 1
    threshold: Annotated[float, msgspec.Meta(ge=0, lt=1)] = 0.01
    multiple: Annotated[int, msgspec.Meta(ge=1)] = 8
    least: Annotated[float, msgspec.Meta(ge=0, lt=1)] = 0.1


def apply(network: nn.Module, options: Options, context: Context) -> Changed:
    """Train under the penalty, then cut or mask."""
    if options.over == "kernels":
        return _kernels(network, options, context)
    free, graph = prunable(network, context, where="group")
    role = "out" if options.over == "filters" else "in"
    grouped = [coupling for coupling in free if members(network, coupling, role)]
    importance.require(grouped, "compress: group")

    def shrink(at: At) -> None:
        for coupling in grouped:
            shrink_channels(network, coupling, role, at.rate * options.strength)

    context.heal(network, options.epochs, hook=shrink)
    sizes = [squares(network, coupling, role).sqrt() for coupling in grouped]
    return slim.without(network, graph, grouped, sizes, options, context, options.over)


def members(network: nn.Module, coupling: Coupling, role: str) -> list[ChannelMember]:
    """The matrices that make (``out``) or read (``in``) a coupling's channels."""
    return [m for m in coupling.members if m.role == role and tensor_of(network, m.parameter).dim() > 1]


def squares(network: nn.Module, coupling: Coupling, role: str) -> torch.Tensor:
    """Σ w² of each channel's group, (channels,)."""
    parts = [
        importance.summed(tensor_of(network, m.parameter).detach().square(), m, coupling.channels)
        for m in members(network, coupling, role)
    ]
    return torch.stack(parts).sum(0)


@torch.no_grad()
def shrink_channels(network: nn.Module, coupling: Coupling, role: str, by: float) -> None:
    """The proximal operator of by · Σ √|g| · ‖w_g‖ over a coupling's channels, in place."""
    found = members(network, coupling, role)
    tensors = [(tensor_of(network, member.parameter), member) for member in found]
    size = sum(tensor.numel() // tensor.shape[member.axis] * member.repeat for tensor, member in tensors)
    factors = (1 - by * size**0.5 / squares(network, coupling, role).sqrt().clamp(min=1e-30)).clamp(min=0)
    for tensor, member in tensors:
        along = torch.ones(tensor.shape[member.axis], dtype=tensor.dtype, device=tensor.device)
        places = torch.tensor([list(member.entries(channel)) for channel in range(coupling.channels)])
        along[places.reshape(-1)] = factors.repeat_interleave(member.repeat)
        tensor.mul_(along.reshape([-1 if axis == member.axis else 1 for axis in range(tensor.dim())]))


def _kernels(network: nn.Module, options: Options, context: Context) -> Changed:
    layers, _ = masks.maskable(network)
    layers = {name: layer for name, layer in layers.items() if isinstance(layer, nn.modules.conv._ConvNd)}
    if not layers:
        raise UsageError("compress: group: over", "kernels, but no convolution", "filters or channels")

    @torch.no_grad()
    def shrink(at: At) -> None:
        for layer in layers.values():
            flat = masks.original(layer).flatten(2)
            norms = flat.norm(dim=2, keepdim=True).clamp(min=1e-30)
            flat.mul_((1 - at.rate * options.strength * flat.shape[2] ** 0.5 / norms).clamp(min=0))

    context.heal(network, options.epochs, hook=shrink)
    surgeries = tuple(
        Surgery(operation="mask", module=name) for name, layer in layers.items() if masks.masked(layer) is None
    )
    gone = total = 0
    for surgery in surgeries:
        operate(network, surgery)
    for layer in layers.values():
        weight = masks.original(layer).detach()
        norms = weight.flatten(2).norm(dim=2)
        keep = norms > options.threshold * norms.max()
        masks.put_mask(layer, keep.reshape([*keep.shape, *[1] * (weight.dim() - 2)]).expand_as(weight) & (weight != 0))
        gone, total = gone + int((~keep).sum()), total + keep.numel()
    return Changed(
        surgeries, f"{gone:,} of {total:,} kernels are zero; as many MACs as before", {"kernels": total, "zeros": gone}
    )
