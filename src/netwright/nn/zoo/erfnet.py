"""ERFNet (Romera et al. 2018), a network for every pixel's class."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from netwright.errors import NetworkError
from netwright.nn.zoo.blocks import fit, he, named


class Downsampler(nn.Module):
    """(N, inputs, H, W) → (N, outputs, H / 2, W / 2): a convolution beside a pooling (from ENet)."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs - inputs, 3, 2, 1)
        self.pool = nn.MaxPool2d(2)
        self.bn = nn.BatchNorm2d(outputs, eps=1e-3)
        self.relu = nn.ReLU()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.relu(self.bn(torch.cat([self.conv(x), self.pool(x)], 1)))  # type: ignore[no-any-return]


class NonBottleneck1D(nn.Module):
    """(N, C, H, W) → the same shape: two 3×3 convolutions, each as 3×1 and 1×3, beside the input (figure 2 c)."""

    def __init__(self, channels: int, dropout: float, dilation: int = 1) -> None:
        super().__init__()
        self.body = named(
            ("conv1", nn.Conv2d(channels, channels, (3, 1), padding=(1, 0))), ("relu1", nn.ReLU()),
            ("conv2", nn.Conv2d(channels, channels, (1, 3), padding=(0, 1))),
            ("bn2", nn.BatchNorm2d(channels, eps=1e-3)), ("relu2", nn.ReLU()),
            ("conv3", nn.Conv2d(channels, channels, (3, 1), padding=(dilation, 0), dilation=(dilation, 1))),
            ("relu3", nn.ReLU()),
            ("conv4", nn.Conv2d(channels, channels, (1, 3), padding=(0, dilation), dilation=(1, dilation))),
            ("bn4", nn.BatchNorm2d(channels, eps=1e-3)), ("dropout", nn.Dropout2d(dropout)),
        )  # fmt: skip
        self.relu = nn.ReLU()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.relu(x + self.body(x))  # type: ignore[no-any-return]


class ERFNet(nn.Module):
    """(N, C, H, W) → (N, outputs, H, W): factorised residual convolutions for segmentation; Romera et al. 2018.

    "ERFNet: efficient residual factorized ConvNet for real-time semantic segmentation", IEEE T-ITS 19(1), Table I.
    Height and width are multiples of 8. ``encoder_head`` is the 1×1 classifier that the encoder is trained with first;
    the published count includes it, ``forward`` does not read it, ``encode`` gives its (N, outputs, H / 8, W / 8).
    """

    def __init__(self, input_shape: Sequence[int], outputs: int, encoder_head: bool = True) -> None:
        super().__init__()
        inputs = fit("erfnet", input_shape, 8)
        if input_shape[1] % 8 or input_shape[2] % 8 or inputs >= 16:
            raise NetworkError(
                "erfnet", f"an input of shape {tuple(input_shape)}", "fewer than 16 channels, multiples of 8 pixels"
            )
        self.encoder = nn.Sequential(
            Downsampler(inputs, 16), Downsampler(16, 64), *(NonBottleneck1D(64, 0.03) for _ in range(5)),
            Downsampler(64, 128), *(NonBottleneck1D(128, 0.3, dilation) for dilation in (2, 4, 8, 16, 2, 4, 8, 16)),
        )  # fmt: skip
        self.decoder = nn.Sequential(
            *upsampler(128, 64), NonBottleneck1D(64, 0.0), NonBottleneck1D(64, 0.0),
            *upsampler(64, 16), NonBottleneck1D(16, 0.0), NonBottleneck1D(16, 0.0),
            nn.ConvTranspose2d(16, outputs, 2, 2),
        )  # fmt: skip
        self.encoder_head = nn.Conv2d(128, outputs, 1) if encoder_head else None
        he(self)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.decoder(self.encoder(x))  # type: ignore[no-any-return]

    def encode(self, x: torch.Tensor) -> torch.Tensor:
        """(N, C, H, W) → (N, outputs, H / 8, W / 8): what the encoder is trained with before there is a decoder."""
        if self.encoder_head is None:
            raise NetworkError("erfnet", "no encoder head", "a network built with it", "encoder_head=True")
        return self.encoder_head(self.encoder(x))  # type: ignore[no-any-return]


def upsampler(inputs: int, outputs: int) -> tuple[nn.Module, ...]:
    """(N, inputs, H, W) → (N, outputs, 2 · H, 2 · W)."""
    transposed = nn.ConvTranspose2d(inputs, outputs, 3, 2, 1, output_padding=1)
    return transposed, nn.BatchNorm2d(outputs, eps=1e-3), nn.ReLU()
