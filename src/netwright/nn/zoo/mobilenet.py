"""MobileNet v1 (Howard et al. 2017) and v2 (Sandler et al. 2018)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from netwright.nn.zoo.blocks import Averaged, ConvNorm, Stem, fit, he, scaled

# channels and stride of the thirteen separable convolutions: Table 1 of the first paper.
SEPARABLE = (
    (64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2),
    (512, 1), (512, 1), (512, 1), (512, 1), (512, 1), (1024, 2), (1024, 1),
)  # fmt: skip
# expansion, channels, blocks, stride of the first: Table 2 of the second paper.
INVERTED = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))


class MobileNetV1(Averaged):
    """(N, C, H, W) → (N, outputs): depthwise 3×3 and pointwise 1×1 convolutions in turns; Howard et al. 2017.

    "MobileNets: efficient convolutional neural networks for mobile vision applications", arXiv 1704.04861. ``width`` is
    the paper's α (1, 0.75, 0.5, 0.25). ``stem="small"``: the first convolution keeps the size.
    """

    def __init__(self, input_shape: Sequence[int], outputs: int, width: float = 1.0, stem: Stem = "published") -> None:
        inputs, channels = fit("mobilenet_v1", input_shape, 1, width, stem), scaled(32, width)
        layers: list[nn.Module] = [ConvNorm(inputs, channels, 3, 1 if stem == "small" else 2)]
        for published, stride in SEPARABLE:
            wide = scaled(published, width)
            layers.append(
                nn.Sequential(ConvNorm(channels, channels, 3, stride, groups=channels), ConvNorm(channels, wide))
            )
            channels = wide
        super().__init__(nn.Sequential(*layers), channels, outputs)


class InvertedResidual(nn.Module):
    """(N, inputs, H, W) → (N, outputs, H / stride, W / stride): widened, filtered by channel, narrowed linearly."""

    def __init__(self, inputs: int, outputs: int, stride: int, expansion: int) -> None:
        super().__init__()
        inner = inputs * expansion
        layers = [ConvNorm(inputs, inner, activation=nn.ReLU6)] if expansion != 1 else []
        layers.append(ConvNorm(inner, inner, 3, stride, groups=inner, activation=nn.ReLU6))
        layers.append(ConvNorm(inner, outputs, activation=None))
        self.conv = nn.Sequential(*layers)
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.conv(x) if self.residual else self.conv(x)  # type: ignore[no-any-return]


class MobileNetV2(nn.Module):
    """(N, C, H, W) → (N, outputs): inverted residuals with linear bottlenecks; Sandler et al. 2018.

    "MobileNetV2: inverted residuals and linear bottlenecks", CVPR 2018. ``width`` leaves the last 1,280 channels unless
    it is above 1, as the paper does. ``stem="small"``: the first convolution and the second stage keep the size.
    """

    def __init__(
        self, input_shape: Sequence[int], outputs: int, width: float = 1.0, stem: Stem = "published",
        dropout: float = 0.2,
    ) -> None:  # fmt: skip
        super().__init__()
        small = stem == "small"
        inputs, channels = fit("mobilenet_v2", input_shape, 1, width, stem), scaled(32, width)
        layers: list[nn.Module] = [ConvNorm(inputs, channels, 3, 1 if small else 2, activation=nn.ReLU6)]
        for stage, (expansion, published, blocks, stride) in enumerate(INVERTED):
            for block in range(blocks):
                step = 1 if block or (small and stage == 1) else stride
                layers.append(InvertedResidual(channels, scaled(published, width), step, expansion))
                channels = scaled(published, width)
        last = scaled(1280, max(1.0, width))
        layers.append(ConvNorm(channels, last, activation=nn.ReLU6))
        self.features = nn.Sequential(*layers)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.classifier = nn.Sequential(nn.Dropout(dropout), nn.Linear(last, outputs))
        he(self)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.classifier(self.flatten(self.avgpool(self.features(x))))  # type: ignore[no-any-return]
