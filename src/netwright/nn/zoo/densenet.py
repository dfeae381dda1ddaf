"""DenseNet (Huang et al. 2017)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from netwright.nn.zoo.blocks import Stem, fit, he, named, scaled


class DenseLayer(nn.Module):
    """(N, C, H, W) → (N, C + growth, H, W): the input beside what a 1×1 and a 3×3 convolution make of all of it."""

    def __init__(self, inputs: int, growth: int) -> None:
        super().__init__()
        self.norm1 = nn.BatchNorm2d(inputs)
        self.relu1 = nn.ReLU()
        self.conv1 = nn.Conv2d(inputs, 4 * growth, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(4 * growth)
        self.relu2 = nn.ReLU()
        self.conv2 = nn.Conv2d(4 * growth, growth, 3, padding=1, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        new = self.conv1(self.relu1(self.norm1(x)))
        return torch.cat([x, self.conv2(self.relu2(self.norm2(new)))], 1)


class DenseNet(nn.Module):
    """(N, C, H, W) → (N, outputs): DenseNet-BC for ImageNet, Table 1; every layer reads all before it in its block.

    "Densely connected convolutional networks", CVPR 2017: bottlenecks of 4 · growth, transitions that halve channels
    and map. ``stem="small"``: a 3×3 convolution at stride 1 and no pooling.
    """

    def __init__(
        self, input_shape: Sequence[int], outputs: int, layers: Sequence[int], growth: int = 32, width: float = 1.0,
        stem: Stem = "published", name: str = "densenet121",
    ) -> None:  # fmt: skip
        super().__init__()
        small = stem == "small"
        inputs, growth = fit(name, input_shape, 8 if small else 29, width, stem), scaled(growth, width)
        channels = 2 * growth
        kernel, stride = (3, 1) if small else (7, 2)
        features: list[tuple[str, nn.Module]] = [
            ("conv0", nn.Conv2d(inputs, channels, kernel, stride, kernel // 2, bias=False)),
            ("norm0", nn.BatchNorm2d(channels)), ("relu0", nn.ReLU()),
        ]  # fmt: skip
        if not small:
            features.append(("pool0", nn.MaxPool2d(3, 2, 1)))
        for number, depth in enumerate(layers, 1):
            block = [(f"denselayer{i + 1}", DenseLayer(channels + i * growth, growth)) for i in range(depth)]
            features.append((f"denseblock{number}", named(*block)))
            channels += depth * growth
            if number < len(layers):
                features.append((f"transition{number}", transition(channels)))
                channels //= 2
        features += [("norm5", nn.BatchNorm2d(channels)), ("relu5", nn.ReLU())]
        self.features = named(*features)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.classifier = nn.Linear(channels, outputs)
        he(self)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.classifier(self.flatten(self.avgpool(self.features(x))))  # type: ignore[no-any-return]


def transition(channels: int) -> nn.Sequential:
    """(N, channels, H, W) → (N, channels / 2, H / 2, W / 2)."""
    return named(
        ("norm", nn.BatchNorm2d(channels)), ("relu", nn.ReLU()),
        ("conv", nn.Conv2d(channels, channels // 2, 1, bias=False)), ("pool", nn.AvgPool2d(2)),
    )  # fmt: skip


def densenet121(input_shape: Sequence[int], outputs: int, width: float = 1.0, stem: Stem = "published") -> DenseNet:
    """(N, C, H, W) → (N, outputs): DenseNet-121 with growth 32, Huang et al. 2017."""
    return DenseNet(input_shape, outputs, (6, 12, 24, 16), 32, width, stem)
