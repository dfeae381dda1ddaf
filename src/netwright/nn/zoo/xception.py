"""Xception (Chollet 2017)."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import nn

from netwright.nn.zoo.blocks import ConvNorm, fit, he, named, scaled


class Block(nn.Module):
    """Separable convolutions, ReLU before each, beside a shortcut; ``pool`` halves the map on both ways."""

    def __init__(self, channels: Sequence[int], pool: bool, relu_first: bool = True) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for inputs, outputs in pairwise(channels):
            layers += [nn.ReLU(), separable(inputs, outputs), nn.BatchNorm2d(outputs)]
        if pool:
            layers.append(nn.MaxPool2d(3, 2, 1))
        self.body = nn.Sequential(*layers if relu_first else layers[1:])
        self.shortcut = ConvNorm(channels[0], channels[-1], 1, 2, activation=None) if pool else nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.body(x) + self.shortcut(x)  # type: ignore[no-any-return]


class Xception(nn.Module):
    """(N, C, H, W) → (N, outputs): 36 convolutions, all but two of them separable; Chollet 2017, figure 5.

    "Xception: deep learning with depthwise separable convolutions", CVPR 2017. There is nothing between the depthwise
    and the pointwise convolution. ``depth``: blocks of the middle flow. Poolings pad by 1, as TensorFlow's "same" does
    on odd maps; at 299 every size is equal (147, 74, 37, 19, 10).
    """

    def __init__(self, input_shape: Sequence[int], outputs: int, width: float = 1.0, depth: int = 8) -> None:
        super().__init__()
        inputs = fit("xception", input_shape, 7, width)
        a, b, c, d, e, f, g, h = (scaled(channels, width) for channels in (32, 64, 128, 256, 728, 1024, 1536, 2048))
        self.entry = named(
            ("conv1", ConvNorm(inputs, a, 3, 2, 0)), ("conv2", ConvNorm(a, b, 3, 1, 0)),
            ("block1", Block((b, c, c), True, relu_first=False)), ("block2", Block((c, d, d), True)),
            ("block3", Block((d, e, e), True)),
        )  # fmt: skip
        self.middle = nn.Sequential(*[Block((e, e, e, e), False) for _ in range(depth)])
        self.exit = named(
            ("block", Block((e, e, f), True)),
            ("conv3", separable(f, g)), ("bn3", nn.BatchNorm2d(g)), ("relu3", nn.ReLU()),
            ("conv4", separable(g, h)), ("bn4", nn.BatchNorm2d(h)), ("relu4", nn.ReLU()),
        )  # fmt: skip
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.fc = nn.Linear(h, outputs)
        he(self)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.exit(self.middle(self.entry(x)))
        return self.fc(self.flatten(self.avgpool(x)))  # type: ignore[no-any-return]


def separable(inputs: int, outputs: int) -> nn.Sequential:
    """(N, inputs, H, W) → (N, outputs, H, W)."""
    return named(
        ("depthwise", nn.Conv2d(inputs, inputs, 3, padding=1, groups=inputs, bias=False)),
        ("pointwise", nn.Conv2d(inputs, outputs, 1, bias=False)),
    )
