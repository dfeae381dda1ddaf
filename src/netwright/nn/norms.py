"""Norms by name, as they fit a tensor: PyTorch's, norms over tokens, and what is normalised in the weights instead.

``batch`` (Ioffe and Szegedy 2015), ``layer`` (Ba et al. 2016), ``group`` (Wu and He 2018), ``instance`` (Ulyanov et al.
2016), ``weight`` (Salimans and Kingma 2016), ``cosine`` (Luo et al. 2017).
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn

from netwright.errors import NetworkError

NORMS = ("batch", "layer", "group", "instance", "weight", "cosine")
GROUPS = 32  # of group norm, where nothing else is said (Wu and He 2018)


class TokenNorm(nn.Module):
    """(N, T, C) → the same, by a norm that PyTorch has for channels in the second place only.

    ``batch``: each channel over all examples and tokens; ``group``: groups of channels of each token; ``instance``:
    each channel over the tokens of its example. ``weight`` and ``bias`` (C,).
    """

    def __init__(self, kind: str, channels: int, groups: int = 1, eps: float = 1e-5) -> None:
        super().__init__()
        self.kind = kind
        match kind:
            case "batch":
                self.norm: nn.Module = nn.BatchNorm1d(channels, eps)
            case "group":
                self.norm = nn.GroupNorm(groups, channels, eps)
            case "instance":
                self.norm = nn.InstanceNorm1d(channels, eps, affine=True)
            case _:
                raise NetworkError("token norm", repr(kind), "batch, group or instance")

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.kind == "instance":
            return self.norm(x.flatten(1, -2).transpose(1, 2)).transpose(1, 2).reshape(x.shape)  # type: ignore[no-any-return]
        return self.norm(x.flatten(0, -2)).reshape(x.shape)  # type: ignore[no-any-return]


# Modules that count as a norm in a network that exists.
KINDS: tuple[type[nn.Module], ...] = (
    nn.modules.batchnorm._NormBase, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm, TokenNorm
)  # fmt: skip


def groups_for(channels: int, groups: int, where: str) -> int:
    """Groups that divide ``channels``; 0 takes up to 32, of two channels at least. Raises ``NetworkError``."""
    if not groups:
        return math.gcd(channels, max(1, min(GROUPS, channels // 2)))
    if channels % groups:
        fits = math.gcd(channels, groups)
        raise NetworkError(
            where, f"{groups} groups over {channels} channels", "a number of groups that divides them",
            f"--set network.norm_groups={fits}",
        )  # fmt: skip
    return groups


def fitting(
    kind: str, shape: tuple[int, ...], *, tokens: bool = False, groups: int = 0, eps: float = 1e-5, where: str = "norm"
) -> tuple[str, dict[str, Any]]:
    """The module's class and arguments for a tensor of ``shape`` (N, C, ...), or (N, ..., C) with ``tokens``.

    ``layer`` of a map is over channels and positions, as one group. Raises ``NetworkError`` where the norm would see a
    single value: instance norm of a vector or of one position.
    """
    channels, dimensions = shape[-1] if tokens else shape[1], len(shape) - 2
    positions = math.prod(shape[1:]) // channels
    if kind == "instance" and positions == 1:
        raise NetworkError(
            where, f"instance norm over one value a channel (shape {('N', *shape[1:])})".replace("'", ""),
            "maps or series with several positions", "--set network.norm=layer",
        )  # fmt: skip
    if not 0 <= dimensions <= 3:
        raise NetworkError(
            where, f"a tensor of {len(shape)} axes", "(N, C), (N, C, L), (N, C, H, W) or (N, C, D, H, W)"
        )
    match kind:
        case "layer" if tokens or not dimensions:
            return "LayerNorm", {"normalized_shape": channels, "eps": eps}
        case "layer":
            return "GroupNorm", {"num_groups": 1, "num_channels": channels, "eps": eps}
        case "group" if not (tokens and dimensions):
            return "GroupNorm", {
                "num_groups": groups_for(channels, groups, where),
                "num_channels": channels,
                "eps": eps,
            }
        case "group" | "batch" | "instance" if tokens and dimensions:
            number = groups_for(channels, groups, where) if kind == "group" else 1
            return "TokenNorm", {"kind": kind, "channels": channels, "groups": number, "eps": eps}
        case "batch":
            return f"BatchNorm{max(1, dimensions)}d", {"num_features": channels, "eps": eps}
        case "instance":
            return f"InstanceNorm{dimensions}d", {"num_features": channels, "eps": eps, "affine": True}
    raise NetworkError(where, repr(kind), f"one of {', '.join(NORMS[:4])}")


def name_of(module: nn.Module) -> str:
    """The short name of a norm in a network that exists; empty for none that has one."""
    match module:
        case TokenNorm():
            return module.kind
        case nn.GroupNorm():
            return "layer" if module.num_groups == 1 else "group"
        case nn.modules.batchnorm._BatchNorm():
            return "batch"
        case nn.modules.instancenorm._InstanceNorm():
            return "instance"
        case nn.LayerNorm():
            return "layer"
    return ""
