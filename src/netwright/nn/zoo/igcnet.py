"""Interleaved group convolutions (Zhang et al. 2017)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from netwright.errors import NetworkError
from netwright.nn.zoo.blocks import ConvNorm, Shuffle, fit, he, named


class IGCV1(nn.Module):
    """(N, C, H, W) → (N, outputs): interleaved group convolutions for small pictures; Zhang et al. 2017.

    "Interleaved group convolutions for deep neural networks", ICCV 2017. A block is a 3×3 convolution in L =
    ``primary`` groups of M = ``secondary`` channels and a 1×1 convolution in M groups of L, each taking one channel of
    every primary group: 9 · L · M² + M · L² weights where a plain 3×3 one has 9 · (L · M)². Three stages of ``depth``
    blocks; between them the map is halved and M doubled. Without arguments IGC-L24M2 of depth 20, 48 channels.
    """

    def __init__(
        self, input_shape: Sequence[int], outputs: int, primary: int = 24, secondary: int = 2, depth: int = 6
    ) -> None:
        super().__init__()
        inputs, channels = fit("igcv1", input_shape), primary * secondary
        if min(primary, secondary, depth) < 1:
            raise NetworkError(
                "igcv1", f"primary={primary}, secondary={secondary}, depth={depth}", "whole numbers above 0"
            )
        self.conv1 = ConvNorm(inputs, channels, 3)
        stages = []
        for stage in range(3):
            many, blocks = secondary * 2**stage, []
            for block in range(depth):
                blocks.append(interleaved(channels, primary, many, 2 if stage and not block else 1))
                channels = primary * many
            stages.append(nn.Sequential(*blocks))
        self.stages = nn.Sequential(*stages)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.fc = nn.Linear(channels, outputs)
        he(self)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(self.flatten(self.avgpool(self.stages(self.conv1(x)))))  # type: ignore[no-any-return]


def interleaved(inputs: int, primary: int, secondary: int, stride: int) -> nn.Sequential:
    """(N, inputs, H, W) → (N, primary · secondary, H / stride, W / stride)."""
    channels = primary * secondary
    return named(
        ("primary", nn.Conv2d(inputs, channels, 3, stride, 1, groups=primary, bias=False)),
        ("permute", Shuffle(primary)),
        ("secondary", nn.Conv2d(channels, channels, 1, groups=secondary, bias=False)),
        ("permute_back", Shuffle(secondary)), ("bn", nn.BatchNorm2d(channels)), ("relu", nn.ReLU()),
    )  # fmt: skip
