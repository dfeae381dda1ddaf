"""ZFNet and the five convolutions of it that detectors use (Zeiler and Fergus 2014)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import nn

from netwright.nn.zoo.alexnet import dense
from netwright.nn.zoo.blocks import fit, he, named, scaled, sides


class ZFNet(nn.Module):
    """(N, C, H, W) → (N, outputs): AlexNet with a finer first layer, Zeiler and Fergus 2014, figure 3.

    "Visualizing and understanding convolutional networks", ECCV 2014. The figure's maps (110, 55, 26, 13, 6 at 224) ask
    for padding 1 in the first convolution, none in the second, and poolings that round up. The first dense layer takes
    what the last pooling leaves.
    """

    def __init__(self, input_shape: Sequence[int], outputs: int, width: float = 1.0, dropout: float = 0.5) -> None:
        super().__init__()
        inputs = fit("zfnet", input_shape, 47, width)
        first, second, third, units = (scaled(channels, width) for channels in (96, 256, 384, 4096))
        self.features = named(
            ("conv1", nn.Conv2d(inputs, first, 7, 2, 1)), ("relu1", nn.ReLU()),
            ("pool1", nn.MaxPool2d(3, 2, ceil_mode=True)),
            ("conv2", nn.Conv2d(first, second, 5, 2)), ("relu2", nn.ReLU()),
            ("pool2", nn.MaxPool2d(3, 2, ceil_mode=True)),
            ("conv3", nn.Conv2d(second, third, 3, padding=1)), ("relu3", nn.ReLU()),
            ("conv4", nn.Conv2d(third, third, 3, padding=1)), ("relu4", nn.ReLU()),
            ("conv5", nn.Conv2d(third, second, 3, padding=1)), ("relu5", nn.ReLU()),
            ("pool5", nn.MaxPool2d(3, 2, ceil_mode=True)),
        )  # fmt: skip
        self.classifier = dense(second * math.prod(sides(self.features, input_shape)), units, outputs, dropout)
        he(self)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.classifier(self.features(x))  # type: ignore[no-any-return]


class ZF5(nn.Module):
    """(N, C, H, W) → (N, outputs, H / 16, W / 16), about: conv1 to conv5 of ZFNet, the map that detectors read.

    He et al. 2014 ("Spatial pyramid pooling", ZF-5) and Ren et al. 2015 (Faster R-CNN): every layer padded by half its
    kernel, response norms over 3 channels, poolings that round up. ``outputs``: the map's channels, 256 published.
    """

    def __init__(self, input_shape: Sequence[int], outputs: int = 256, width: float = 1.0) -> None:
        super().__init__()
        inputs = fit("zf5", input_shape, 1, width)
        first, second, third = (scaled(channels, width) for channels in (96, 256, 384))
        self.features = named(
            ("conv1", nn.Conv2d(inputs, first, 7, 2, 3)), ("relu1", nn.ReLU()),
            ("norm1", nn.LocalResponseNorm(3, alpha=5e-5)), ("pool1", nn.MaxPool2d(3, 2, 1, ceil_mode=True)),
            ("conv2", nn.Conv2d(first, second, 5, 2, 2)), ("relu2", nn.ReLU()),
            ("norm2", nn.LocalResponseNorm(3, alpha=5e-5)), ("pool2", nn.MaxPool2d(3, 2, 1, ceil_mode=True)),
            ("conv3", nn.Conv2d(second, third, 3, padding=1)), ("relu3", nn.ReLU()),
            ("conv4", nn.Conv2d(third, third, 3, padding=1)), ("relu4", nn.ReLU()),
            ("conv5", nn.Conv2d(third, outputs, 3, padding=1)), ("relu5", nn.ReLU()),
        )  # fmt: skip
        he(self)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.features(x)  # type: ignore[no-any-return]
