"""Layers whose weight is a product of small tensors, and the sequences of plain layers that a factorised one becomes.

Convolutions become plain convolutions in a row, which every runtime knows; a dense layer becomes two of them, or one
of the modules here, which never build their matrix.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn


class TTLinear(nn.Module):
    """A dense layer whose matrix is a tensor train (Novikov et al. 2015): (…, Π n) → (…, Π m).

    Core k is (r_{k−1}, m_k, n_k, r_k); parameters Σ r_{k−1} m_k n_k r_k.
    """

    def __init__(
        self, in_sizes: Sequence[int], out_sizes: Sequence[int], ranks: Sequence[int], bias: bool = True
    ) -> None:
        super().__init__()
        self.in_sizes, self.out_sizes = tuple(in_sizes), tuple(out_sizes)
        edges = (1, *ranks, 1)
        self.cores = nn.ParameterList(
            torch.empty(edges[k], m, n, edges[k + 1])
            for k, (m, n) in enumerate(zip(self.out_sizes, self.in_sizes, strict=True))
        )
        self.in_features, self.out_features = math.prod(self.in_sizes), math.prod(self.out_sizes)
        self.bias = nn.Parameter(torch.zeros(self.out_features)) if bias else None
        # The matrix's variance 1 / (3 n), as a dense layer's: each entry sums Π r products of d core entries.
        deviation = (1 / (3 * self.in_features * math.prod(ranks))) ** (0.5 / len(self.in_sizes))
        for core in self.cores:
            nn.init.normal_(core, std=deviation)

    def forward(self, x: Tensor) -> Tensor:
        lead = x.shape[:-1]
        state = x.reshape(-1, 1, self.in_features)  # (batch · outputs so far, r, inputs to come)
        for core, size in zip(self.cores, self.in_sizes, strict=True):
            before, out, _, after = core.shape
            rest = state.shape[2] // size
            # (…, r n, rest) → (…, m r', rest): one matrix product a core
            matrix = core.permute(1, 3, 0, 2).reshape(out * after, before * size)
            state = torch.matmul(matrix, state.reshape(-1, before * size, rest))
            state = state.reshape(-1, after, rest)
        found: Tensor = state.reshape(*lead, self.out_features)
        return found if self.bias is None else found + self.bias

    def matrix(self) -> Tensor:
        """The dense matrix (out, in) that the cores stand for."""
        found: Tensor = self.cores[0]
        for core in self.cores[1:]:
            found = torch.tensordot(found, core, dims=([-1], [0]))
        many = len(self.in_sizes)
        found = found.squeeze(0).squeeze(-1)
        order = [*range(0, 2 * many, 2), *range(1, 2 * many, 2)]
        return found.permute(order).reshape(self.out_features, self.in_features)

    def extra_repr(self) -> str:
        return f"{self.in_sizes} → {self.out_sizes}, ranks {[core.shape[-1] for core in self.cores][:-1]}"


class BTLinear(nn.Module):
    """A dense layer whose matrix, seen as a tensor (m₁, m₂, n₁, n₂), is a sum of Tucker terms over its output and input
    pairs (Ye et al. 2018): block b is (B₁ ⊗ …) with core (r, s): y = Σ_b B_b C_b A_b x with A and B Kronecker products.

    Parameters: blocks · (m₁ r₁ + m₂ r₂ + n₁ s₁ + n₂ s₂ + r₁ r₂ s₁ s₂).
    """

    def __init__(
        self, in_sizes: Sequence[int], out_sizes: Sequence[int], ranks: Sequence[int], blocks: int, bias: bool = True
    ) -> None:
        super().__init__()
        (n1, n2), (m1, m2), (r1, r2, s1, s2) = in_sizes, out_sizes, ranks
        self.in_features, self.out_features = n1 * n2, m1 * m2
        self.out_first = nn.Parameter(torch.empty(blocks, m1, r1))
        self.out_second = nn.Parameter(torch.empty(blocks, m2, r2))
        self.in_first = nn.Parameter(torch.empty(blocks, n1, s1))
        self.in_second = nn.Parameter(torch.empty(blocks, n2, s2))
        self.core = nn.Parameter(torch.empty(blocks, r1, r2, s1, s2))
        self.bias = nn.Parameter(torch.zeros(self.out_features)) if bias else None
        for factor in (self.out_first, self.out_second, self.in_first, self.in_second):
            nn.init.orthogonal_(factor.data.view(-1, factor.shape[-1])) if not factor.is_meta else None
        nn.init.normal_(self.core, std=(3 * self.in_features) ** -0.5)

    def forward(self, x: Tensor) -> Tensor:
        lead = x.shape[:-1]
        blocks, _, s1 = self.in_first.shape
        _, r1, r2, _, s2 = self.core.shape
        n2, m1, m2 = self.in_second.shape[1], self.out_first.shape[1], self.out_second.shape[1]
        x = x.reshape(-1, 1, self.in_features // n2, n2)
        x = torch.matmul(torch.matmul(self.in_first.transpose(1, 2), x), self.in_second)  # (N, b, s₁, s₂)
        x = x.reshape(-1, blocks, s1 * s2).transpose(0, 1)  # (b, N, s₁ s₂)
        x = torch.matmul(x, self.core.reshape(blocks, r1 * r2, s1 * s2).transpose(1, 2))
        x = x.transpose(0, 1).reshape(-1, blocks, r1, r2)
        x = torch.matmul(torch.matmul(self.out_first, x), self.out_second.transpose(1, 2)).sum(1)
        found = x.reshape(*lead, m1 * m2)
        return found if self.bias is None else found + self.bias

    def matrix(self) -> Tensor:
        """The dense matrix (out, in) that the blocks stand for."""
        found = torch.einsum(
            "zar,zbs,zrstu,zct,zdu->abcd", self.out_first, self.out_second, self.core, self.in_first, self.in_second
        )
        return found.reshape(self.out_features, self.in_features)

    def extra_repr(self) -> str:
        return f"{self.in_features} → {self.out_features}, {self.core.shape[0]} blocks of {tuple(self.core.shape[1:])}"


# --------------------------------------------------------------------------------------------------------------
# A convolution as a row of plain ones: what ``replace`` takes as its ``sequence``


def convolution(channels: tuple[int, int], kernel: tuple[int, int], **more: Any) -> dict[str, Any]:
    """A 2-D convolution (inputs, outputs) as one step of a ``sequence``."""
    arguments = {"in_channels": channels[0], "out_channels": channels[1], "kernel_size": list(kernel)}
    plain = {key: list(value) if isinstance(value, tuple) else value for key, value in more.items()}
    return {"kind": "Conv2d", "arguments": arguments | plain}


def tucker2_layers(layer: nn.Conv2d, out_rank: int, in_rank: int, groups: int = 1) -> list[dict[str, Any]]:
    """1×1 to ``in_rank``, k×k, 1×1 from ``out_rank``; with ``groups`` blocks of those ranks beside each other."""
    geometry = {"stride": layer.stride, "padding": layer.padding, "dilation": layer.dilation}
    inner, outer = groups * in_rank, groups * out_rank
    return [
        convolution((layer.in_channels, inner), (1, 1), bias=False),
        convolution((inner, outer), pair(layer.kernel_size), bias=False, groups=groups, **geometry),
        convolution((outer, layer.out_channels), (1, 1), bias=layer.bias is not None),
    ]


def separable_layers(layer: nn.Conv2d, ranks: tuple[int, int, int], *, depthwise: bool) -> list[dict[str, Any]]:
    """1×1, kh×1, 1×kw, 1×1: CP (``depthwise``, all three ranks equal) or a tensor train over (I, kh, kw, O)."""
    (high, wide), (first, second, third) = pair(layer.kernel_size), ranks
    down, right = halves(layer)
    return [
        convolution((layer.in_channels, first), (1, 1), bias=False),
        convolution((first, second), (high, 1), bias=False, groups=first if depthwise else 1, **down),
        convolution((second, third), (1, wide), bias=False, groups=second if depthwise else 1, **right),
        convolution((third, layer.out_channels), (1, 1), bias=layer.bias is not None),
    ]


def halves(layer: nn.Conv2d) -> tuple[dict[str, Any], dict[str, Any]]:
    """Stride, padding and dilation of a convolution down the rows, and along the columns."""
    stride, dilation = pair(layer.stride), pair(layer.dilation)
    padding: Any = layer.padding if isinstance(layer.padding, str) else pair(layer.padding)
    down = {"stride": (stride[0], 1), "dilation": (dilation[0], 1)}
    right = {"stride": (1, stride[1]), "dilation": (1, dilation[1])}
    if isinstance(padding, str):
        return down | {"padding": padding}, right | {"padding": padding}
    return down | {"padding": (padding[0], 0)}, right | {"padding": (0, padding[1])}


def pair(value: Sequence[int]) -> tuple[int, int]:
    first, second = value
    return int(first), int(second)
