"""Layers that compute several affine pieces for each output and give the largest (Goodfellow et al. 2013)."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn


class MaxoutLinear(nn.Linear):
    """(..., I) → (..., O): the largest of ``pieces`` affine functions for each output; ``weight`` (O · pieces, I)."""

    def __init__(self, in_features: int, out_features: int, pieces: int = 2, bias: bool = True) -> None:
        super().__init__(in_features, out_features * pieces, bias)
        self.pieces = pieces

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        made: torch.Tensor = super().forward(input).unflatten(-1, (-1, self.pieces)).amax(-1)
        return made


class _MaxoutConv(nn.modules.conv._ConvNd):
    def __init__(self, in_channels: int, out_channels: int, kernel_size: Any, pieces: int = 2, **options: Any) -> None:
        super().__init__(in_channels, out_channels * pieces, kernel_size, **options)
        self.pieces = pieces

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        made: torch.Tensor = super().forward(input).unflatten(1, (-1, self.pieces)).amax(2)
        return made


class MaxoutConv1d(_MaxoutConv, nn.Conv1d):
    """(N, I, L) → (N, O, L'): the largest of ``pieces`` convolutions for each output channel."""


class MaxoutConv2d(_MaxoutConv, nn.Conv2d):
    """(N, I, H, W) → (N, O, H', W'): the largest of ``pieces`` convolutions for each output channel."""
