"""Inception-v3 (Szegedy et al. 2016)."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from netwright.errors import NetworkError
from netwright.nn.zoo.blocks import Branches, ConvNorm, Pair, WithHeads, fit, named, sides


class InceptionV3(WithHeads):
    """(N, C, H, W) → (N, outputs): factorised inception modules; Szegedy et al. 2016.

    "Rethinking the inception architecture for computer vision", CVPR 2016, in the form that TF-Slim, Keras and
    torchvision share (maps of 149, 147, 73, 71, 35, 17, 8 at 299), whose names the layers have. ``auxiliary=True``: a
    classifier of Mixed_6e too.
    """

    def __init__(self, input_shape: Sequence[int], outputs: int, auxiliary: bool = False, dropout: float = 0.5) -> None:
        inputs = fit("inception_v3", input_shape, 75)
        features = named(
            ("Conv2d_1a_3x3", conv(inputs, 32, 3, 2, 0)), ("Conv2d_2a_3x3", conv(32, 32, 3, 1, 0)),
            ("Conv2d_2b_3x3", conv(32, 64, 3)), ("maxpool1", nn.MaxPool2d(3, 2)),
            ("Conv2d_3b_1x1", conv(64, 80)), ("Conv2d_4a_3x3", conv(80, 192, 3, 1, 0)),
            ("maxpool2", nn.MaxPool2d(3, 2)),
            ("Mixed_5b", figure5(192, 32)), ("Mixed_5c", figure5(256, 64)), ("Mixed_5d", figure5(288, 64)),
            ("Mixed_6a", reduce17(288)),
            ("Mixed_6b", figure6(768, 128)), ("Mixed_6c", figure6(768, 160)),
            ("Mixed_6d", figure6(768, 160)), ("Mixed_6e", figure6(768, 192)),
            ("Mixed_7a", reduce8(768)), ("Mixed_7b", figure7(1280)), ("Mixed_7c", figure7(2048)),
        )  # fmt: skip
        heads: dict[str, nn.Module] = {}
        if auxiliary:
            size = sides(features[:15], input_shape)
            if min(size) < 17:  # pooled to 5×5, which the 5×5 convolution needs
                raise NetworkError(
                    "inception_v3", f"an auxiliary output of a map of {size}", "17×17",
                    "auxiliary=False",
                )  # fmt: skip
            heads["Mixed_6e"] = named(
                ("pool", nn.AvgPool2d(5, 3)), ("conv0", conv(768, 128)), ("conv1", conv(128, 768, 5, 1, 0)),
                ("avgpool", nn.AdaptiveAvgPool2d(1)), ("flatten", nn.Flatten()), ("fc", nn.Linear(768, outputs)),
            )  # fmt: skip
        super().__init__(features, 2048, outputs, dropout, heads)


def conv(inputs: int, outputs: int, kernel: Pair = 1, stride: int = 1, padding: Pair | None = None) -> ConvNorm:
    return ConvNorm(inputs, outputs, kernel, stride, padding, eps=1e-3)


def pooled(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.AvgPool2d(3, 1, 1), conv(inputs, outputs))


def figure5(inputs: int, pool: int) -> Branches:
    """(N, inputs, 35, 35) → (N, 224 + pool, 35, 35): two 3×3 in place of a 5×5, beside a 5×5."""
    return Branches(
        branch1x1=conv(inputs, 64),
        branch5x5=nn.Sequential(conv(inputs, 48), conv(48, 64, 5)),
        branch3x3dbl=nn.Sequential(conv(inputs, 64), conv(64, 96, 3), conv(96, 96, 3)),
        branch_pool=pooled(inputs, pool),
    )


def reduce17(inputs: int) -> Branches:
    """(N, inputs, 35, 35) → (N, 480 + inputs, 17, 17): figure 10, the grid reduced without a bottleneck."""
    return Branches(
        branch3x3=conv(inputs, 384, 3, 2, 0),
        branch3x3dbl=nn.Sequential(conv(inputs, 64), conv(64, 96, 3), conv(96, 96, 3, 2, 0)),
        branch_pool=nn.MaxPool2d(3, 2),
    )


def figure6(inputs: int, inner: int) -> Branches:
    """(N, inputs, 17, 17) → (N, 768, 17, 17): 7×7 as 1×7 and 7×1."""
    return Branches(
        branch1x1=conv(inputs, 192),
        branch7x7=nn.Sequential(conv(inputs, inner), conv(inner, inner, (1, 7)), conv(inner, 192, (7, 1))),
        branch7x7dbl=nn.Sequential(
            conv(inputs, inner), conv(inner, inner, (7, 1)), conv(inner, inner, (1, 7)),
            conv(inner, inner, (7, 1)), conv(inner, 192, (1, 7)),
        ),
        branch_pool=pooled(inputs, 192),
    )  # fmt: skip


def reduce8(inputs: int) -> Branches:
    """(N, inputs, 17, 17) → (N, 512 + inputs, 8, 8)."""
    return Branches(
        branch3x3=nn.Sequential(conv(inputs, 192), conv(192, 320, 3, 2, 0)),
        branch7x7x3=nn.Sequential(
            conv(inputs, 192), conv(192, 192, (1, 7)), conv(192, 192, (7, 1)), conv(192, 192, 3, 2, 0)
        ),
        branch_pool=nn.MaxPool2d(3, 2),
    )


def figure7(inputs: int) -> Branches:
    """(N, inputs, 8, 8) → (N, 2048, 8, 8): the last factorisation side by side, for a wide map."""
    return Branches(
        branch1x1=conv(inputs, 320),
        branch3x3=nn.Sequential(conv(inputs, 384), crossed()),
        branch3x3dbl=nn.Sequential(conv(inputs, 448), conv(448, 384, 3), crossed()),
        branch_pool=pooled(inputs, 192),
    )


def crossed() -> Branches:
    """(N, 384, H, W) → (N, 768, H, W): 1×3 beside 3×1."""
    return Branches(row=conv(384, 384, (1, 3)), column=conv(384, 384, (3, 1)))
