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
    """(N, C, H, W) → (N, outputs): stem, two or three stages of ``depth`` residual blocks, global average, dense layer.

    Below 16 pixels the map keeps its size until the last stage; larger pictures are halved in the stem already, which
    is what makes a step cheap on a processor. One plane: two stages of 2 and 4 times ``width`` (the stem's channels);
    several planes from 16 pixels: three stages of 1, 2 and 4 times. From 48 pixels the stem pools as well. The last
    norm of a block begins at zero, so that every block begins as its shortcut (Goyal et al. 2017, 5.1).
    """

    def __init__(
        self, input_shape: Sequence[int], outputs: int, width: int = 16, depth: int = 1, dropout: float = 0.0
    ) -> None:
        super().__init__()
        if len(input_shape) != 3:
            raise NetworkError(
                "small_resnet", f"an input of shape {tuple(input_shape)}", "(channels, height, width)", "mlp"
            )
        size = min(input_shape[1:])
        stem: list[nn.Module] = [
            nn.Conv2d(input_shape[0], width, 3, 2 if size >= 16 else 1, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU()
        ]  # fmt: skip
        if size >= 48:
            stem.append(nn.MaxPool2d(2))
        self.stem = nn.Sequential(*stem)
        strides = (1, 2) if size < 16 else (2, 2) if input_shape[0] == 1 else (1, 2, 2)
        first = 2 if len(strides) == 2 else 1
        channels, blocks = width, []
        for stage, stride in enumerate(strides):
            for block in range(depth):
                blocks.append(Residual(channels, first * width * 2**stage, 1 if block else stride))
                channels = first * width * 2**stage
        self.stages = nn.Sequential(*blocks)
        self.head = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(dropout), nn.Linear(channels, outputs)
        )
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            if isinstance(module, Residual):
                nn.init.zeros_(module.body[-1].weight)  # type: ignore[arg-type]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.stages(self.stem(x)))  # type: ignore[no-any-return]
