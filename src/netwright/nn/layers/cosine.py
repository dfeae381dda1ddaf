"""Dense layers and convolutions that give cosines: the product of weights and inputs, both of length one.

Luo, Zhan, Wang and Yang 2017, "Cosine normalization", eq. 5: outputs lie in −1…1 whatever the inputs' scale.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

EPS = 1e-8  # squared length below which an input counts as nothing


class CosineLinear(nn.Linear):
    """(..., I) → (..., O): cos of the angle between the input and each row of ``weight``; no bias."""

    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__(in_features, out_features, bias=False)

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        length = input.square().sum(-1, keepdim=True).clamp_min(EPS).rsqrt()
        return functional.linear(input * length, functional.normalize(self.weight, dim=1))


class _CosineConv:
    """What the convolutions share: the length of each patch is a convolution of the squares with ones."""

    def _cosines(self, input: torch.Tensor) -> torch.Tensor:
        conv: nn.modules.conv._ConvNd = self  # type: ignore[assignment]
        weight = conv.weight / conv.weight.flatten(1).norm(dim=1).clamp_min(EPS**0.5).view(
            -1, *[1] * (conv.weight.ndim - 1)
        )
        ones = weight.new_ones(conv.groups, *weight.shape[1:])
        made = conv._conv_forward(input, weight, None)
        square = conv._conv_forward(input.square(), ones, None)
        return made * square.clamp_min(EPS).rsqrt().repeat_interleave(conv.out_channels // conv.groups, 1)


class CosineConv1d(_CosineConv, nn.Conv1d):
    """(N, I, L) → (N, O, L'): cos of the angle between each patch and each kernel; no bias."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return self._cosines(input)


class CosineConv2d(_CosineConv, nn.Conv2d):
    """(N, I, H, W) → (N, O, H', W'): cos of the angle between each patch and each kernel; no bias."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return self._cosines(input)
