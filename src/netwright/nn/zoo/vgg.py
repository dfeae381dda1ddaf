"""Small networks in the manner of VGG: stacked 3×3 convolutions (Simonyan and Zisserman 2014)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from netwright.errors import NetworkError


class SmallVGG(nn.Module):
    """(N, C, H, W) → (N, outputs): stages of ``depth`` 3×3 convolutions with batch norm, pooled, doubled in width.

    A stage ends with a 2×2 pooling while the map is larger than 4; a global average and one dense layer follow.
    """

    def __init__(
        self, input_shape: Sequence[int], outputs: int, width: int = 32, depth: int = 2, dropout: float = 0.0
    ) -> None:
        super().__init__()
        if len(input_shape) != 3 or min(input_shape[1:]) < 4:
            raise NetworkError(
                "small_vgg", f"an input of shape {tuple(input_shape)}", "(channels, height ≥ 4, width ≥ 4)", "mlp"
            )
        channels, size = input_shape[0], min(input_shape[1:])
        layers: list[nn.Module] = []
        stage = 0
        while True:
            wide = width * 2 ** min(stage, 3)
            for _ in range(depth):
                layers += [nn.Conv2d(channels, wide, 3, padding=1, bias=False), nn.BatchNorm2d(wide), nn.ReLU()]
                channels = wide
            if size <= 4:
                break
            layers.append(nn.MaxPool2d(2))
            size //= 2
            stage += 1
        self.features = nn.Sequential(*layers)
        self.head = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(dropout), nn.Linear(channels, outputs)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.features(x))  # type: ignore[no-any-return]
