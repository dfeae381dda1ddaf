"""Stacked 3×3 convolutions (Simonyan and Zisserman 2014): VGG, its form for 32×32 pictures, and a small relative."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from netwright.errors import NetworkError
from netwright.nn.zoo.blocks import fit, he, scaled

# 3×3 convolutions in each of the five stages: Table 1 of the paper, columns A, B, D and E.
STAGES = {11: (1, 1, 2, 2, 2), 13: (2, 2, 2, 2, 2), 16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}


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


class VGG(nn.Module):
    """(N, C, H, W) → (N, outputs): stacked 3×3 convolutions and three dense layers; Simonyan and Zisserman 2015.

    "Very deep convolutional networks for large-scale image recognition", ICLR 2015, Table 1. ``batch_norm`` puts a norm
    behind every convolution, which keeps its bias, as torchvision distributes it. The map is averaged to 7×7, which it
    is already at 224, so that other sizes from 32 fit as well.
    """

    def __init__(
        self, input_shape: Sequence[int], outputs: int, layers: int, batch_norm: bool = False, width: float = 1.0,
        dropout: float = 0.5,
    ) -> None:  # fmt: skip
        super().__init__()
        inputs, units = fit(f"vgg{layers}", input_shape, 32, width), scaled(4096, width)
        stacked, channels = convolutions(inputs, STAGES[layers], width, batch_norm, bias=True)
        self.features = nn.Sequential(*stacked, nn.MaxPool2d(2))
        self.avgpool = nn.AdaptiveAvgPool2d(7)
        self.flatten = nn.Flatten()
        self.classifier = nn.Sequential(
            nn.Linear(49 * channels, units), nn.ReLU(), nn.Dropout(dropout),
            nn.Linear(units, units), nn.ReLU(), nn.Dropout(dropout), nn.Linear(units, outputs),
        )  # fmt: skip
        he(self)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.classifier(self.flatten(self.avgpool(self.features(x))))  # type: ignore[no-any-return]


class CifarVGG(nn.Module):
    """(N, C, H, W) → (N, outputs): VGG with batch norm for 32×32 pictures, and one dense layer.

    The form that pruning is measured on (Li et al. 2017, "Pruning filters for efficient ConvNets"; Liu et al. 2017,
    "Network slimming"): four poolings, a mean over the last 2×2 map, no bias before a norm.
    """

    def __init__(self, input_shape: Sequence[int], outputs: int, layers: int, width: float = 1.0) -> None:
        super().__init__()
        inputs = fit(f"vgg{layers}_cifar", input_shape, 16, width)
        stacked, channels = convolutions(inputs, STAGES[layers], width, batch_norm=True, bias=False)
        self.features = nn.Sequential(*stacked)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.classifier = nn.Linear(channels, outputs)
        he(self)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.classifier(self.flatten(self.avgpool(self.features(x))))  # type: ignore[no-any-return]


def convolutions(
    inputs: int, stages: Sequence[int], width: float, batch_norm: bool, bias: bool
) -> tuple[list[nn.Module], int]:
    """The 3×3 convolutions of all stages with a pooling between two stages, and the channels they end with."""
    layers: list[nn.Module] = []
    for stage, repeat in enumerate(stages):
        if stage:
            layers.append(nn.MaxPool2d(2))
        outputs = scaled(64 * 2 ** min(stage, 3), width)
        for _ in range(repeat):
            layers.append(nn.Conv2d(inputs, outputs, 3, padding=1, bias=bias))
            layers += [nn.BatchNorm2d(outputs), nn.ReLU()] if batch_norm else [nn.ReLU()]
            inputs = outputs
    return layers, inputs


def vgg11(
    input_shape: Sequence[int], outputs: int, batch_norm: bool = False, width: float = 1.0, dropout: float = 0.5
) -> VGG:
    """(N, C, H, W) → (N, outputs): VGG-11, column A of Simonyan and Zisserman 2015."""
    return VGG(input_shape, outputs, 11, batch_norm, width, dropout)


def vgg13(
    input_shape: Sequence[int], outputs: int, batch_norm: bool = False, width: float = 1.0, dropout: float = 0.5
) -> VGG:
    """(N, C, H, W) → (N, outputs): VGG-13, column B of Simonyan and Zisserman 2015."""
    return VGG(input_shape, outputs, 13, batch_norm, width, dropout)


def vgg16(
    input_shape: Sequence[int], outputs: int, batch_norm: bool = False, width: float = 1.0, dropout: float = 0.5
) -> VGG:
    """(N, C, H, W) → (N, outputs): VGG-16, column D of Simonyan and Zisserman 2015."""
    return VGG(input_shape, outputs, 16, batch_norm, width, dropout)


def vgg19(
    input_shape: Sequence[int], outputs: int, batch_norm: bool = False, width: float = 1.0, dropout: float = 0.5
) -> VGG:
    """(N, C, H, W) → (N, outputs): VGG-19, column E of Simonyan and Zisserman 2015."""
    return VGG(input_shape, outputs, 19, batch_norm, width, dropout)


def vgg16_cifar(input_shape: Sequence[int], outputs: int, width: float = 1.0) -> CifarVGG:
    """(N, C, H, W) → (N, outputs): VGG-16 with batch norm for 32×32 pictures, as pruning papers use it."""
    return CifarVGG(input_shape, outputs, 16, width)


def vgg19_cifar(input_shape: Sequence[int], outputs: int, width: float = 1.0) -> CifarVGG:
    """(N, C, H, W) → (N, outputs): VGG-19 with batch norm for 32×32 pictures, as pruning papers use it."""
    return CifarVGG(input_shape, outputs, 19, width)
