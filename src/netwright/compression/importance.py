"""How much each channel of a coupling counts: five criteria over all its members. Higher counts more.

``l1``, ``l2``: the mean over members of the sum of |w| or of w² over a channel's weights (Li et al. 2017 for what makes
the channel; Fang et al. 2023, eq. 5, for all that is coupled). ``norm``: the size of the norms' scales (Liu et al.
2017); a coupling without a norm falls back on l1. ``taylor``: (Σ w · ∂L/∂w)² over a channel's weights, the first-order
change of the loss if it goes (Molchanov et al. 2019, eq. 8), summed over real batches. ``random``: a number from the
seed. Scores are divided by their mean within the coupling, so that couplings can be compared.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Literal

import torch
from torch import nn

from netwright.compression.cutting import entries, name_of, tensor_of
from netwright.compression.passes import MOST_NAMED, Context, call
from netwright.errors import UsageError
from netwright.graph.structure import ChannelMember, Coupling

Criterion = Literal["l1", "l2", "norm", "taylor", "random"]

TAYLOR_BATCHES = 8  # enough for the order of channels to settle


def scores(
    network: nn.Module, couplings: Sequence[Coupling], criterion: Criterion, context: Context
) -> list[torch.Tensor]:
    """One score a block of every coupling, (blocks,), mean 1."""
    if criterion == "taylor":
        raw = _saliency(network, couplings, context)
    elif criterion == "random":
        drawn = torch.Generator().manual_seed(context.seed)
        raw = [torch.rand(coupling.channels, generator=drawn) for coupling in couplings]
    elif criterion == "norm":
        raw = [_scales(network, coupling) for coupling in couplings]
    else:
        power = 1 if criterion == "l1" else 2
        raw = [_magnitude(network, coupling, power) for coupling in couplings]
    return [_by_block(score, coupling.granularity) for score, coupling in zip(raw, couplings, strict=True)]


def _by_block(score: torch.Tensor, size: int) -> torch.Tensor:
    blocks = score.detach().double().cpu().reshape(-1, size).sum(1)
    return blocks / max(float(blocks.mean()), 1e-30)


def summed(values: torch.Tensor, member: ChannelMember, channels: int) -> torch.Tensor:
    """``values`` of a member's tensor, summed for each channel: (channels,)."""
    along = values.movedim(member.axis, 0).reshape(values.shape[member.axis], -1).sum(1)
    width = member.repeat * channels
    if not member.step or member.step == member.repeat:
        return along[member.start : member.start + width].reshape(channels, member.repeat).sum(1)
    return torch.stack([along[entries(member, [channel])].sum() for channel in range(channels)])


def _weights(network: nn.Module, coupling: Coupling) -> list[tuple[ChannelMember, torch.Tensor]]:
    """What is learned of a coupling."""
    named = [(member, tensor_of(network, member.parameter)) for member in coupling.members]
    return [(member, tensor) for member, tensor in named if isinstance(tensor, nn.Parameter)]


def _magnitude(network: nn.Module, coupling: Coupling, power: int) -> torch.Tensor:
    parts = [
        summed(tensor.detach().abs() ** power, member, coupling.channels)
        for member, tensor in _weights(network, coupling)
        if tensor.dim() > 1 or member.role == "out"
    ]
    if not parts:
        parts = [
            summed(tensor.detach().abs() ** power, m, coupling.channels) for m, tensor in _weights(network, coupling)
        ]
    return torch.stack([part.double() for part in parts]).mean(0)


def norm_scales(network: nn.Module, coupling: Coupling) -> list[tuple[ChannelMember, nn.Parameter]]:
    """The scales of batch, group, instance and layer norms on a coupling's channels."""
    kinds = nn.modules.batchnorm._NormBase | nn.GroupNorm | nn.LayerNorm | nn.RMSNorm
    found = []
    for member, tensor in _weights(network, coupling):
        place, _, last = member.parameter.rpartition(".")
        if last == "weight" and isinstance(network.get_submodule(place), kinds):
            found.append((member, tensor))
    return found  # type: ignore[return-value]


def _scales(network: nn.Module, coupling: Coupling) -> torch.Tensor:
    found = norm_scales(network, coupling)
    if not found:
        return _magnitude(network, coupling, 1)
    return torch.stack([summed(scale.detach().abs(), member, coupling.channels) for member, scale in found]).mean(0)


def _saliency(network: nn.Module, couplings: Sequence[Coupling], context: Context) -> list[torch.Tensor]:
    totals = [torch.zeros(coupling.channels, dtype=torch.float64) for coupling in couplings]
    copied = copy.deepcopy(network).eval()
    for parameter in copied.parameters():
        parameter.requires_grad_(True)
    for number, batch in enumerate(context.calibration()):
        if number == TAYLOR_BATCHES:
            break
        copied.zero_grad()
        context.loss(call(copied, batch), batch.targets).backward()
        for total, coupling in zip(totals, couplings, strict=True):
            change = torch.zeros_like(total)
            for member, tensor in _weights(copied, coupling):
                if tensor.grad is not None and member.role != "in":  # who makes it and who scales it; once, not twice
                    change += summed(tensor.detach() * tensor.grad, member, coupling.channels).double().cpu()
            total += change.square()
    return totals


def require(couplings: Sequence[Coupling], where: str, reasons: Mapping[str, str] | None = None) -> None:
    """Raise ``UsageError`` where nothing may go; ``reasons``: why each layer has to stay, for the message."""
    if not couplings:
        listed = [f"{name}: {why}" for name, why in (reasons or {}).items()][:MOST_NAMED]
        got = "no channel that could go" + (f" ({'; '.join(listed)})" if listed else "")
        raise UsageError(where, got, "a network with hidden channels that can be followed", "another pass: lowrank=svd")


def named(couplings: Sequence[Coupling]) -> list[str]:
    """Names, made unique by numbers."""
    seen: dict[str, int] = {}
    found = []
    for coupling in couplings:
        name = name_of(coupling)
        seen[name] = seen.get(name, 0) + 1
        found.append(name if seen[name] == 1 else f"{name}#{seen[name]}")
    return found
