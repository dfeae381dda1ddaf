"""Residual networks: He et al. 2016 for ImageNet and for CIFAR, ResNeXt (Xie et al. 2017), and a small relative."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import nn

from netwright.errors import NetworkError
from netwright.nn.zoo.blocks import Stem, fit, he, scaled

Shortcut = Literal["A", "B"]


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


class PaddedShortcut(nn.Module):
    """(N, inputs, H, W) → (N, outputs, H / stride, W / stride): every ``stride``-th pixel, the new channels zero.

    Option A of He et al. 2016, 3.3: a shortcut where the shape changes, without parameters.
    """

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.stride, self.more = stride, outputs - inputs

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return nn.functional.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, 0, self.more))

    def extra_repr(self) -> str:
        return f"stride={self.stride}, more={self.more}"


class BasicBlock(nn.Module):
    """(N, inputs, H, W) → (N, channels, H / stride, W / stride): two 3×3 convolutions beside a shortcut."""

    expansion = 1

    def __init__(self, inputs: int, channels: int, stride: int, inner: int, groups: int, shortcut: Shortcut) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, channels, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.relu1 = nn.ReLU()
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.downsample = changed(inputs, channels, stride, shortcut)
        self.relu2 = nn.ReLU()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out = self.relu1(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        return self.relu2(out + (x if self.downsample is None else self.downsample(x)))  # type: ignore[no-any-return]


class Bottleneck(nn.Module):
    """(N, inputs, H, W) → (N, 4 · channels, H / stride, W / stride): 1×1, 3×3 and 1×1 beside a shortcut.

    The stride is in the 3×3 convolution ("v1.5"), where it drops no pixel; the paper had it in the first 1×1.
    ``inner`` and ``groups`` are ResNeXt's (Xie et al. 2017, figure 3 c).
    """

    expansion = 4

    def __init__(self, inputs: int, channels: int, stride: int, inner: int, groups: int, shortcut: Shortcut) -> None:
        super().__init__()
        outputs = self.expansion * channels
        self.conv1 = nn.Conv2d(inputs, inner, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(inner)
        self.relu1 = nn.ReLU()
        self.conv2 = nn.Conv2d(inner, inner, 3, stride, 1, groups=groups, bias=False)
        self.bn2 = nn.BatchNorm2d(inner)
        self.relu2 = nn.ReLU()
        self.conv3 = nn.Conv2d(inner, outputs, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(outputs)
        self.downsample = changed(inputs, outputs, stride, shortcut)
        self.relu3 = nn.ReLU()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out = self.relu1(self.bn1(self.conv1(x)))
        out = self.relu2(self.bn2(self.conv2(out)))
        out = self.bn3(self.conv3(out))
        return self.relu3(out + (x if self.downsample is None else self.downsample(x)))  # type: ignore[no-any-return]


def changed(inputs: int, outputs: int, stride: int, shortcut: Shortcut) -> nn.Module | None:
    """The shortcut of a block; None where it is the input itself."""
    if stride == 1 and inputs == outputs:
        return None
    if shortcut == "A":
        return PaddedShortcut(inputs, outputs, stride)
    return nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))


def stage(
    block: type[BasicBlock] | type[Bottleneck], inputs: int, channels: int, repeat: int, stride: int,
    inner: int = 0, groups: int = 1, shortcut: Shortcut = "B",
) -> nn.Sequential:  # fmt: skip
    """``repeat`` blocks, the first with ``stride``."""
    blocks = [block(inputs, channels, stride, inner or channels, groups, shortcut)]
    wide = block.expansion * channels
    blocks += [block(wide, channels, 1, inner or channels, groups, shortcut) for _ in range(repeat - 1)]
    return nn.Sequential(*blocks)


class ResNet(nn.Module):
    """(N, C, H, W) → (N, outputs): residual network for ImageNet; He et al. 2016, Table 1.

    "Deep residual learning for image recognition", CVPR 2016. With ``groups`` of ``group_width`` channels in the first
    stage it is ResNeXt. ``stem="small"``: a 3×3 convolution at stride 1 and no pooling, for pictures of about 32×32.
    """

    def __init__(
        self, name: str, input_shape: Sequence[int], outputs: int, block: type[BasicBlock] | type[Bottleneck],
        repeats: Sequence[int], groups: int = 1, group_width: int = 64, width: float = 1.0, stem: Stem = "published",
    ) -> None:  # fmt: skip
        super().__init__()
        inputs, channels = fit(name, input_shape, 1, width, stem), scaled(64, width)
        small = stem == "small"
        self.conv1 = nn.Conv2d(inputs, channels, 3 if small else 7, 1 if small else 2, 1 if small else 3, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.relu = nn.ReLU()
        self.maxpool = nn.Identity() if small else nn.MaxPool2d(3, 2, 1)
        stages: list[nn.Sequential] = []
        for number, repeat in enumerate(repeats):
            wide = scaled(64, width) * 2**number
            inner = wide * groups * group_width // 64
            stages.append(stage(block, channels, wide, repeat, 2 if number else 1, inner, groups))
            channels = block.expansion * wide
        self.layer1, self.layer2, self.layer3, self.layer4 = stages
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.fc = nn.Linear(channels, outputs)
        he(self)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(self.flatten(self.avgpool(x)))  # type: ignore[no-any-return]


class CifarResNet(nn.Module):
    """(N, C, H, W) → (N, outputs): residual network of 6 n + 2 layers for CIFAR; He et al. 2016, 4.2.

    Three stages of ``repeat`` = n basic blocks with 16, 32 and 64 channels. ``shortcut``: A, the paper's, adds no
    parameter where the shape changes; B projects by a 1×1 convolution.
    """

    def __init__(
        self, name: str, input_shape: Sequence[int], outputs: int, repeat: int, shortcut: Shortcut = "A",
        width: float = 1.0,
    ) -> None:  # fmt: skip
        super().__init__()
        inputs, channels = fit(name, input_shape, 1, width), scaled(16, width)
        if shortcut not in ("A", "B"):
            raise NetworkError(f"{name}: shortcut", f"{shortcut!r}", "A (padded) or B (projected)")
        self.conv1 = nn.Conv2d(inputs, channels, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.relu = nn.ReLU()
        self.layer1 = stage(BasicBlock, channels, channels, repeat, 1, shortcut=shortcut)
        self.layer2 = stage(BasicBlock, channels, 2 * channels, repeat, 2, shortcut=shortcut)
        self.layer3 = stage(BasicBlock, 2 * channels, 4 * channels, repeat, 2, shortcut=shortcut)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.fc = nn.Linear(4 * channels, outputs)
        he(self)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.layer3(self.layer2(self.layer1(self.relu(self.bn1(self.conv1(x))))))
        return self.fc(self.flatten(self.avgpool(x)))  # type: ignore[no-any-return]


def resnet18(input_shape: Sequence[int], outputs: int, width: float = 1.0, stem: Stem = "published") -> ResNet:
    """(N, C, H, W) → (N, outputs): ResNet-18 of basic blocks, He et al. 2016."""
    return ResNet("resnet18", input_shape, outputs, BasicBlock, (2, 2, 2, 2), width=width, stem=stem)


def resnet34(input_shape: Sequence[int], outputs: int, width: float = 1.0, stem: Stem = "published") -> ResNet:
    """(N, C, H, W) → (N, outputs): ResNet-34 of basic blocks, He et al. 2016."""
    return ResNet("resnet34", input_shape, outputs, BasicBlock, (3, 4, 6, 3), width=width, stem=stem)


def resnet50(input_shape: Sequence[int], outputs: int, width: float = 1.0, stem: Stem = "published") -> ResNet:
    """(N, C, H, W) → (N, outputs): ResNet-50 of bottlenecks, the stride in the 3×3, He et al. 2016."""
    return ResNet("resnet50", input_shape, outputs, Bottleneck, (3, 4, 6, 3), width=width, stem=stem)


def resnet101(input_shape: Sequence[int], outputs: int, width: float = 1.0, stem: Stem = "published") -> ResNet:
    """(N, C, H, W) → (N, outputs): ResNet-101 of bottlenecks, the stride in the 3×3, He et al. 2016."""
    return ResNet("resnet101", input_shape, outputs, Bottleneck, (3, 4, 23, 3), width=width, stem=stem)


def resnet152(input_shape: Sequence[int], outputs: int, width: float = 1.0, stem: Stem = "published") -> ResNet:
    """(N, C, H, W) → (N, outputs): ResNet-152 of bottlenecks, the stride in the 3×3, He et al. 2016."""
    return ResNet("resnet152", input_shape, outputs, Bottleneck, (3, 8, 36, 3), width=width, stem=stem)


def resnext50_32x4d(input_shape: Sequence[int], outputs: int, width: float = 1.0, stem: Stem = "published") -> ResNet:
    """(N, C, H, W) → (N, outputs): ResNeXt-50 with 32 groups of 4 channels, Xie et al. 2017.

    "Aggregated residual transformations for deep neural networks", CVPR 2017.
    """
    return ResNet("resnext50_32x4d", input_shape, outputs, Bottleneck, (3, 4, 6, 3), 32, 4, width, stem)


def resnet20_cifar(
    input_shape: Sequence[int], outputs: int, width: float = 1.0, shortcut: Shortcut = "A"
) -> CifarResNet:
    """(N, C, H, W) → (N, outputs): ResNet-20 for 32×32 pictures, He et al. 2016, 4.2."""
    return CifarResNet("resnet20_cifar", input_shape, outputs, 3, shortcut, width)


def resnet56_cifar(
    input_shape: Sequence[int], outputs: int, width: float = 1.0, shortcut: Shortcut = "A"
) -> CifarResNet:
    """(N, C, H, W) → (N, outputs): ResNet-56 for 32×32 pictures, He et al. 2016, 4.2."""
    return CifarResNet("resnet56_cifar", input_shape, outputs, 9, shortcut, width)


def resnet110_cifar(
    input_shape: Sequence[int], outputs: int, width: float = 1.0, shortcut: Shortcut = "A"
) -> CifarResNet:
    """(N, C, H, W) → (N, outputs): ResNet-110 for 32×32 pictures, He et al. 2016, 4.2."""
    return CifarResNet("resnet110_cifar", input_shape, outputs, 18, shortcut, width)
