"""Residual networks (He et al. 2016)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from netwright.errors import NetworkError


class Residual(nn.Module):
    """Two 3×3 convolutions with batch norm beside a shortcut (1×1 where shape changes)."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(),
            nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False), nn.BatchNorm2d(outputs),
        )  # fmt: skip
        self.shortcut = (
            nn.Identity() if stride == 1 and inputs == outputs
            else nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))
        )  # fmt: skip
        self.activation = nn.ReLU()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.activation(self.body(x) + self.shortcut(x))  # type: ignore[no-any-return]


class SmallResNet(nn.Module):
    """(N, C, H, W) → (N, outputs): a 3×3 stem, stages of ``depth`` residual blocks, a global average, a dense layer."""

    def __init__(
        self, input_shape: Sequence[int], outputs: int, width: int = 16, depth: int = 1, dropout: float = 0.0
    ) -> None:
        super().__init__()
        if len(input_shape) != 3:
            raise NetworkError("small_resnet", f"an input of shape {tuple(input_shape)}", "(channels, height, width)", "mlp")
        size = min(input_shape[1:])
        self.stem = nn.Sequential(
            nn.Conv2d(input_shape[0], width, 3, 2 if size > 32 else 1, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU()
        )
        channels, blocks = width, []
        stages = 3 if size >= 12 else 2
        for stage in range(stages):
            for block in range(depth):
                stride = 2 if stage and not block else 1
                blocks.append(Residual(channels, width * 2**stage, stride))
                channels = width * 2**stage
        self.stages = nn.Sequential(*blocks)
        self.head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(dropout), nn.Linear(channels, outputs))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.stages(self.stem(x)))  # type: ignore[no-any-return]
