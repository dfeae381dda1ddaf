"""U-Net (Ronneberger et al. 2015), a network for every pixel's class."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from netwright.errors import NetworkError
from netwright.nn.zoo.blocks import fit, he, named, scaled


class UNet(nn.Module):
    """(N, C, H, W) → (N, outputs, H - 184, W - 184): down four times and up again, joined across; Ronneberger 2015.

    "U-Net: convolutional networks for biomedical image segmentation", MICCAI 2015, figure 1. The paper's convolutions
    pad nothing, so that an output sees only real pixels: 572 gives 388, and sides are 188 + 16 · n. ``same=True``
    pads: the output has the input's size, and sides are multiples of 16.
    """

    def __init__(self, input_shape: Sequence[int], outputs: int, width: float = 1.0, same: bool = False) -> None:
        super().__init__()
        smallest, padding = (16, 1) if same else (188, 0)
        inputs = fit("unet", input_shape, smallest, width)
        if any((side - smallest) % 16 for side in input_shape[1:]):
            near = [smallest + (side - smallest) // 16 * 16 for side in input_shape[1:]]
            raise NetworkError(
                "unet",
                f"an input of shape {tuple(input_shape)}",
                f"sides of {smallest} + 16 · n",
                f"{near[0]}×{near[1]}",
            )
        a, b, c, d, e = (scaled(64 * 2**stage, width) for stage in range(5))
        self.down1, self.pool1 = double(inputs, a, padding), nn.MaxPool2d(2)
        self.down2, self.pool2 = double(a, b, padding), nn.MaxPool2d(2)
        self.down3, self.pool3 = double(b, c, padding), nn.MaxPool2d(2)
        self.down4, self.pool4 = double(c, d, padding), nn.MaxPool2d(2)
        self.bottom = double(d, e, padding)
        self.upconv4, self.up4 = nn.ConvTranspose2d(e, d, 2, 2), double(2 * d, d, padding)
        self.upconv3, self.up3 = nn.ConvTranspose2d(d, c, 2, 2), double(2 * c, c, padding)
        self.upconv2, self.up2 = nn.ConvTranspose2d(c, b, 2, 2), double(2 * b, b, padding)
        self.upconv1, self.up1 = nn.ConvTranspose2d(b, a, 2, 2), double(2 * a, a, padding)
        self.out = nn.Conv2d(a, outputs, 1)
        he(self)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        one = self.down1(x)
        two = self.down2(self.pool1(one))
        three = self.down3(self.pool2(two))
        four = self.down4(self.pool3(three))
        x = self.bottom(self.pool4(four))
        x = self.up4(joined(four, self.upconv4(x)))
        x = self.up3(joined(three, self.upconv3(x)))
        x = self.up2(joined(two, self.upconv2(x)))
        x = self.up1(joined(one, self.upconv1(x)))
        return self.out(x)  # type: ignore[no-any-return]


def double(inputs: int, outputs: int, padding: int) -> nn.Sequential:
    """Two 3×3 convolutions with ReLU."""
    return named(
        ("conv1", nn.Conv2d(inputs, outputs, 3, padding=padding)), ("relu1", nn.ReLU()),
        ("conv2", nn.Conv2d(outputs, outputs, 3, padding=padding)), ("relu2", nn.ReLU()),
    )  # fmt: skip


def joined(skip: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """The middle of ``skip``, as large as ``x``, before ``x``."""
    top, left = (skip.shape[2] - x.shape[2]) // 2, (skip.shape[3] - x.shape[3]) // 2
    return torch.cat([skip[:, :, top : top + x.shape[2], left : left + x.shape[3]], x], 1)
