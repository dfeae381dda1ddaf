"""AlexNet in its two published forms."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import nn

from netwright.nn.zoo.blocks import fit, he, named, scaled, sides


class AlexNet(nn.Module):
    """(N, C, H, W) → (N, outputs): the one-column AlexNet of Krizhevsky 2014, as torchvision distributes it.

    "One weird trick for parallelizing convolutional neural networks", arXiv 1404.5997: no groups, no response norm.
    The map is averaged to 6×6, which it is already at 224, so that other sizes from 63 fit as well.
    """

    def __init__(self, input_shape: Sequence[int], outputs: int, width: float = 1.0, dropout: float = 0.5) -> None:
        super().__init__()
        inputs = fit("alexnet", input_shape, 63, width)
        first, second, third, fourth, units = (scaled(channels, width) for channels in (64, 192, 384, 256, 4096))
        self.features = nn.Sequential(
            nn.Conv2d(inputs, first, 11, 4, 2), nn.ReLU(), nn.MaxPool2d(3, 2),
            nn.Conv2d(first, second, 5, padding=2), nn.ReLU(), nn.MaxPool2d(3, 2),
            nn.Conv2d(second, third, 3, padding=1), nn.ReLU(),
            nn.Conv2d(third, fourth, 3, padding=1), nn.ReLU(),
            nn.Conv2d(fourth, fourth, 3, padding=1), nn.ReLU(), nn.MaxPool2d(3, 2),
        )  # fmt: skip
        self.avgpool = nn.AdaptiveAvgPool2d(6)
        self.flatten = nn.Flatten()
        self.classifier = nn.Sequential(
            nn.Dropout(dropout), nn.Linear(36 * fourth, units), nn.ReLU(),
            nn.Dropout(dropout), nn.Linear(units, units), nn.ReLU(), nn.Linear(units, outputs),
        )  # fmt: skip
        he(self)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.classifier(self.flatten(self.avgpool(self.features(x))))  # type: ignore[no-any-return]


class BVLCAlexNet(nn.Module):
    """(N, C, H, W) → (N, outputs): AlexNet of Krizhevsky et al. 2012, as Caffe distributes it for 227×227.

    "ImageNet classification with deep convolutional neural networks", NIPS 2012. Two groups in the second, fourth and
    fifth convolution, response norms, poolings that round up; ``groups=1`` joins the two halves. The first dense layer
    takes what the last pooling leaves, so that its size, and the count of parameters, depends on the input.
    """

    def __init__(
        self, input_shape: Sequence[int], outputs: int, width: float = 1.0, groups: int = 2, dropout: float = 0.5
    ) -> None:
        super().__init__()
        inputs = fit("bvlc_alexnet", input_shape, 39, width)
        first, second, third, units = (scaled(channels, width, 8 * groups) for channels in (96, 256, 384, 4096))
        self.features = named(
            ("conv1", nn.Conv2d(inputs, first, 11, 4)), ("relu1", nn.ReLU()),
            ("norm1", nn.LocalResponseNorm(5)), ("pool1", nn.MaxPool2d(3, 2, ceil_mode=True)),
            ("conv2", nn.Conv2d(first, second, 5, padding=2, groups=groups)), ("relu2", nn.ReLU()),
            ("norm2", nn.LocalResponseNorm(5)), ("pool2", nn.MaxPool2d(3, 2, ceil_mode=True)),
            ("conv3", nn.Conv2d(second, third, 3, padding=1)), ("relu3", nn.ReLU()),
            ("conv4", nn.Conv2d(third, third, 3, padding=1, groups=groups)), ("relu4", nn.ReLU()),
            ("conv5", nn.Conv2d(third, second, 3, padding=1, groups=groups)), ("relu5", nn.ReLU()),
            ("pool5", nn.MaxPool2d(3, 2, ceil_mode=True)),
        )  # fmt: skip
        self.classifier = dense(second * math.prod(sides(self.features, input_shape)), units, outputs, dropout)
        he(self)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.classifier(self.features(x))  # type: ignore[no-any-return]


def dense(inputs: int, units: int, outputs: int, dropout: float) -> nn.Sequential:
    """The dense part of AlexNet and ZFNet."""
    return named(
        ("flatten", nn.Flatten()),
        ("fc6", nn.Linear(inputs, units)), ("relu6", nn.ReLU()), ("drop6", nn.Dropout(dropout)),
        ("fc7", nn.Linear(units, units)), ("relu7", nn.ReLU()), ("drop7", nn.Dropout(dropout)),
        ("fc8", nn.Linear(units, outputs)),
    )  # fmt: skip
