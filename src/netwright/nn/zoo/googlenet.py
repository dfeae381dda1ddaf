"""GoogLeNet (Szegedy et al. 2015) as Caffe and as torchvision distribute it."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from netwright.errors import NetworkError
from netwright.nn.zoo.blocks import Branches, ConvNorm, WithHeads, fit, named, scaled, sides

# 1×1, 3×3 reduce, 3×3, 5×5 reduce, 5×5, pool projection: Table 1 of the paper.
MODULES = {
    "inception3a": (64, 96, 128, 16, 32, 32), "inception3b": (128, 128, 192, 32, 96, 64),
    "inception4a": (192, 96, 208, 16, 48, 64), "inception4b": (160, 112, 224, 24, 64, 64),
    "inception4c": (128, 128, 256, 24, 64, 64), "inception4d": (112, 144, 288, 32, 64, 64),
    "inception4e": (256, 160, 320, 32, 128, 128), "inception5a": (256, 160, 320, 32, 128, 128),
    "inception5b": (384, 192, 384, 48, 128, 128),
}  # fmt: skip


class GoogLeNet(WithHeads):
    """(N, C, H, W) → (N, outputs): nine inception modules; Szegedy et al. 2015, Table 1.

    "Going deeper with convolutions", CVPR 2015. ``batch_norm=False``: as Caffe distributes it, with response norms and
    5×5 convolutions. ``batch_norm=True``: as torchvision does, where 3×3 stand in place of the 5×5 (pytorch/vision#906)
    and the last pooling is 2×2. ``auxiliary=True``: classifiers of 4a and 4d too, whose losses the paper adds with 0.3.
    """

    def __init__(
        self, input_shape: Sequence[int], outputs: int, batch_norm: bool = False, auxiliary: bool = False,
        width: float = 1.0, dropout: float = 0.4,
    ) -> None:  # fmt: skip
        inputs = fit("googlenet_bn", input_shape, 15, width) if batch_norm else fit("googlenet", input_shape, 31, width)
        first, second = scaled(64, width), scaled(192, width)
        layers: list[tuple[str, nn.Module]] = [
            ("conv1", conv(inputs, first, 7, 2, batch_norm)), ("pool1", nn.MaxPool2d(3, 2, ceil_mode=True)),
            ("norm1", nn.LocalResponseNorm(5)), ("conv2", conv(first, first, 1, 1, batch_norm)),
            ("conv3", conv(first, second, 3, 1, batch_norm)), ("norm2", nn.LocalResponseNorm(5)),
            ("pool2", nn.MaxPool2d(3, 2, ceil_mode=True)),
        ]  # fmt: skip
        if batch_norm:
            layers = [(name, layer) for name, layer in layers if not name.startswith("norm")]
        taps, channels = {}, second
        for name, published in MODULES.items():
            if name == "inception4a":
                layers.append(("pool3", nn.MaxPool2d(3, 2, ceil_mode=True)))
            if name == "inception5a":
                layers.append(("pool4", nn.MaxPool2d(2 if batch_norm else 3, 2, ceil_mode=True)))
            sizes = [scaled(size, width) for size in published]
            layers.append((name, inception(channels, *sizes, batch_norm=batch_norm)))
            channels = sizes[0] + sizes[2] + sizes[4] + sizes[5]
            taps[name] = len(layers), channels
        features, heads = named(*layers), {}
        for name in ("inception4a", "inception4d") if auxiliary else ():
            upto, wide = taps[name]
            size = sides(features[:upto], input_shape)
            if min(size) < 5:
                raise NetworkError("googlenet", f"auxiliary outputs of a map of {size}", "5×5", "auxiliary=False")
            heads[name] = early(wide, size, outputs, batch_norm, width)
        super().__init__(features, channels, outputs, dropout, dict(heads))


def conv(inputs: int, outputs: int, kernel: int, stride: int, batch_norm: bool) -> ConvNorm:
    return ConvNorm(inputs, outputs, kernel, stride, norm=batch_norm, eps=1e-3)


def inception(
    inputs: int, one: int, reduce3: int, three: int, reduce5: int, five: int, pool: int, *, batch_norm: bool
) -> Branches:
    """(N, inputs, H, W) → (N, one + three + five + pool, H, W): figure 2 (b) of the paper."""
    return Branches(
        branch1=conv(inputs, one, 1, 1, batch_norm),
        branch2=nn.Sequential(conv(inputs, reduce3, 1, 1, batch_norm), conv(reduce3, three, 3, 1, batch_norm)),
        branch3=nn.Sequential(
            conv(inputs, reduce5, 1, 1, batch_norm), conv(reduce5, five, 3 if batch_norm else 5, 1, batch_norm)
        ),
        branch4=nn.Sequential(
            nn.MaxPool2d(3, 1, 1, ceil_mode=True), conv(inputs, pool, 1, 1, batch_norm)
        ),
    )  # fmt: skip


def early(inputs: int, size: tuple[int, int], outputs: int, batch_norm: bool, width: float) -> nn.Sequential:
    """An auxiliary classifier on a map of ``inputs`` channels and ``size`` (section 5 of the paper)."""
    squeezed, units = scaled(128, width), scaled(1024, width)
    pooled = ((size[0] - 5) // 3 + 1) * ((size[1] - 5) // 3 + 1)
    return named(
        ("pool", nn.AvgPool2d(5, 3)), ("conv", conv(inputs, squeezed, 1, 1, batch_norm)), ("flatten", nn.Flatten()),
        ("fc1", nn.Linear(squeezed * pooled, units)), ("relu", nn.ReLU()), ("dropout", nn.Dropout(0.7)),
        ("fc2", nn.Linear(units, outputs)),
    )  # fmt: skip


def googlenet(
    input_shape: Sequence[int], outputs: int, auxiliary: bool = False, width: float = 1.0, dropout: float = 0.4
) -> GoogLeNet:
    """(N, C, H, W) → (N, outputs): GoogLeNet of Szegedy et al. 2015 with 5×5 branches and response norms."""
    return GoogLeNet(input_shape, outputs, False, auxiliary, width, dropout)


def googlenet_bn(
    input_shape: Sequence[int], outputs: int, auxiliary: bool = False, width: float = 1.0, dropout: float = 0.2
) -> GoogLeNet:
    """(N, C, H, W) → (N, outputs): GoogLeNet as torchvision distributes it: batch norm, 3×3 for 5×5."""
    return GoogLeNet(input_shape, outputs, True, auxiliary, width, dropout)
