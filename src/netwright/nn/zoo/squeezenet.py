"""SqueezeNet (Iandola et al. 2016)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from netwright.nn.zoo.blocks import Branches, fit, he, named, scaled

FIRES = ((16, 64), (16, 64), (32, 128), (32, 128), (48, 192), (48, 192), (64, 256), (64, 256))


class SqueezeNet(nn.Module):
    """(N, C, H, W) → (N, outputs): fire modules, and a 1×1 convolution that is averaged in place of a dense layer.

    "SqueezeNet: AlexNet-level accuracy with 50x fewer parameters", arXiv 1602.07360. A fire module squeezes by 1×1 and
    expands by 1×1 beside 3×3. ``pools``: the numbers of the fire modules that a pooling goes before.
    """

    def __init__(
        self, input_shape: Sequence[int], outputs: int, channels: int, kernel: int, pools: Sequence[int],
        width: float = 1.0, dropout: float = 0.5, name: str = "squeezenet1_0", smallest: int = 21,
    ) -> None:  # fmt: skip
        super().__init__()
        inputs, first = fit(name, input_shape, smallest, width), scaled(channels, width)
        layers: list[nn.Module] = [nn.Conv2d(inputs, first, kernel, 2), nn.ReLU()]
        for number, (squeeze, expand) in enumerate(FIRES):
            if number in pools:
                layers.append(nn.MaxPool2d(3, 2, ceil_mode=True))
            squeeze, expand = scaled(squeeze, width), scaled(expand, width)
            layers.append(fire(first, squeeze, expand))
            first = 2 * expand
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Sequential(
            nn.Dropout(dropout), nn.Conv2d(first, outputs, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1)
        )
        self.flatten = nn.Flatten()
        he(self)
        nn.init.normal_(self.classifier[1].weight, std=0.01)  # type: ignore[arg-type]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.flatten(self.classifier(self.features(x)))  # type: ignore[no-any-return]


def fire(inputs: int, squeeze: int, expand: int) -> nn.Sequential:
    """(N, inputs, H, W) → (N, 2 · expand, H, W)."""
    return named(
        ("squeeze", nn.Conv2d(inputs, squeeze, 1)), ("squeeze_relu", nn.ReLU()),
        ("expand", Branches(
            expand1x1=nn.Conv2d(squeeze, expand, 1), expand3x3=nn.Conv2d(squeeze, expand, 3, padding=1)
        )),
        ("expand_relu", nn.ReLU()),
    )  # fmt: skip


def squeezenet1_0(input_shape: Sequence[int], outputs: int, width: float = 1.0, dropout: float = 0.5) -> SqueezeNet:
    """(N, C, H, W) → (N, outputs): SqueezeNet 1.0 of the paper, Iandola et al. 2016."""
    return SqueezeNet(input_shape, outputs, 96, 7, (0, 3, 7), width, dropout, "squeezenet1_0", 21)


def squeezenet1_1(input_shape: Sequence[int], outputs: int, width: float = 1.0, dropout: float = 0.5) -> SqueezeNet:
    """(N, C, H, W) → (N, outputs): SqueezeNet 1.1, by its authors: a smaller first layer and earlier poolings."""
    return SqueezeNet(input_shape, outputs, 64, 3, (0, 2, 4), width, dropout, "squeezenet1_1", 17)
