"""ShuffleNet v1 (Zhang et al. 2018) and v2 (Ma et al. 2018)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import nn

from netwright.errors import NetworkError
from netwright.nn.zoo.blocks import Averaged, ConvNorm, Shuffle, Stem, fit, named

REPEATS = (4, 8, 4)
FIRST = {1: 144, 2: 200, 3: 240, 4: 272, 8: 384}  # v1: groups → channels of stage 2, doubled twice; Table 1
# v2: width → channels of stages 2 to 4 and of the last convolution; Table 5
CHANNELS = {
    0.5: (48, 96, 192, 1024),
    1.0: (116, 232, 464, 1024),
    1.5: (176, 352, 704, 1024),
    2.0: (244, 488, 976, 2048),
}


class GroupUnit(nn.Module):
    """(N, inputs, H, W) → (N, outputs, H / stride, W / stride): figure 2 (b), and (c) where ``stride`` is 2."""

    def __init__(self, inputs: int, outputs: int, stride: int, groups: int, first_groups: int) -> None:
        super().__init__()
        inner = outputs // 4
        self.body = named(
            ("reduce", ConvNorm(inputs, inner, groups=first_groups)), ("shuffle", Shuffle(groups)),
            ("depthwise", ConvNorm(inner, inner, 3, stride, groups=inner, activation=None)),
            ("expand", ConvNorm(inner, outputs - inputs if stride == 2 else outputs, groups=groups, activation=None)),
        )  # fmt: skip
        self.shortcut = nn.AvgPool2d(3, 2, 1) if stride == 2 else None
        self.relu = nn.ReLU()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        body = self.body(x)
        joined = x + body if self.shortcut is None else torch.cat([self.shortcut(x), body], 1)
        return self.relu(joined)  # type: ignore[no-any-return]


class ShuffleNetV1(Averaged):
    """(N, C, H, W) → (N, outputs): pointwise convolutions in ``groups``, channels shuffled between; Zhang et al. 2018.

    "ShuffleNet: an extremely efficient convolutional neural network for mobile devices", CVPR 2018, Table 1. The first
    pointwise convolution of stage 2 has no groups, for its input has few channels. ``stem="small"``: a first
    convolution that keeps the size and no pooling.
    """

    def __init__(
        self, input_shape: Sequence[int], outputs: int, groups: int = 3, width: float = 1.0, stem: Stem = "published"
    ) -> None:
        inputs = fit("shufflenet_v1", input_shape, 1, width, stem)
        if groups not in FIRST:
            raise NetworkError("shufflenet_v1: groups", f"{groups}", ", ".join(map(str, FIRST)))
        channels, stage2 = math.ceil(round(24 * width) / groups) * groups, round(FIRST[groups] * width)
        if stage2 % (4 * groups):
            raise NetworkError(
                "shufflenet_v1: width", f"{width}, which makes {stage2} channels in stage 2",
                f"a multiple of 4 · {groups} groups", "0.25, 0.5, 1, 1.5 or 2",
            )  # fmt: skip
        layers: list[tuple[str, nn.Module]] = [("conv1", ConvNorm(inputs, channels, 3, 1 if stem == "small" else 2))]
        if stem == "published":
            layers.append(("maxpool", nn.MaxPool2d(3, 2, 1)))
        for stage, repeat in enumerate(REPEATS):
            wide = stage2 * 2**stage
            units = []
            for unit in range(repeat):
                first_groups = 1 if stage == unit == 0 else groups
                units.append(GroupUnit(channels, wide, 1 if unit else 2, groups, first_groups))
                channels = wide
            layers.append((f"stage{stage + 2}", nn.Sequential(*units)))
        super().__init__(named(*layers), channels, outputs)


class SplitUnit(nn.Module):
    """(N, inputs, H, W) → (N, outputs, H / stride, W / stride): figure 3 (c), and (d) where ``stride`` is 2.

    At stride 1 half of the channels go by untouched.
    """

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        half = outputs // 2
        self.branch1 = None
        if stride == 2:
            self.branch1 = nn.Sequential(
                ConvNorm(inputs, inputs, 3, 2, groups=inputs, activation=None), ConvNorm(inputs, half)
            )
        self.branch2 = nn.Sequential(
            ConvNorm(inputs if stride == 2 else half, half),
            ConvNorm(half, half, 3, stride, groups=half, activation=None), ConvNorm(half, half),
        )  # fmt: skip
        self.shuffle = Shuffle(2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.branch1 is None:
            left, right = x.chunk(2, 1)
        else:
            left, right = self.branch1(x), x
        return self.shuffle(torch.cat([left, self.branch2(right)], 1))  # type: ignore[no-any-return]


class ShuffleNetV2(Averaged):
    """(N, C, H, W) → (N, outputs): split, transformed, joined and shuffled; Ma et al. 2018.

    "ShuffleNet V2: practical guidelines for efficient CNN architecture design", ECCV 2018, Table 5. ``width``: one of
    the published 0.5, 1, 1.5 and 2. ``stem="small"``: a first convolution that keeps the size and no pooling.
    """

    def __init__(self, input_shape: Sequence[int], outputs: int, width: float = 1.0, stem: Stem = "published") -> None:
        inputs = fit("shufflenet_v2", input_shape, 1, width, stem)
        if width not in CHANNELS:
            raise NetworkError("shufflenet_v2: width", f"{width}", "0.5, 1, 1.5 or 2")
        channels, (*stages, last) = 24, CHANNELS[width]
        layers: list[tuple[str, nn.Module]] = [("conv1", ConvNorm(inputs, channels, 3, 1 if stem == "small" else 2))]
        if stem == "published":
            layers.append(("maxpool", nn.MaxPool2d(3, 2, 1)))
        for number, (wide, repeat) in enumerate(zip(stages, REPEATS), 2):
            units = [SplitUnit(channels, wide, 2), *(SplitUnit(wide, wide, 1) for _ in range(repeat - 1))]
            layers.append((f"stage{number}", nn.Sequential(*units)))
            channels = wide
        layers.append(("conv5", ConvNorm(channels, last)))
        super().__init__(named(*layers), last, outputs)
