"""A residual network along one axis: sounds and other series as they are."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from netwright.errors import NetworkError
from netwright.nn.zoo.blocks import he

LONG = 2048  # samples from which a series is a sound: its first filters are as wide as a pitch
LAST = 16  # positions below which nothing is halved any more


class Residual1d(nn.Module):
    """(N, inputs, L) → (N, outputs, L / stride): two convolutions of 3 with batch norm beside a shortcut."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv1d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm1d(outputs), nn.ReLU(),
            nn.Conv1d(outputs, outputs, 3, 1, 1, bias=False), nn.BatchNorm1d(outputs),
        )  # fmt: skip
        self.shortcut = nn.Sequential(
            nn.AvgPool1d(stride, ceil_mode=True, count_include_pad=False),
            nn.Conv1d(inputs, outputs, 1, bias=False), nn.BatchNorm1d(outputs),
        )  # fmt: skip
        self.activation = nn.ReLU()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.activation(self.body(x) + self.shortcut(x))  # type: ignore[no-any-return]


class SmallResNet1d(nn.Module):
    """(N, C, L) → (N, outputs): wide first filters, residual blocks that take every fourth position, global average.

    A sound (from 2,048 samples) is first read by filters of 79 samples at a stride of 4, which learn to be a bank of
    band filters (Dai et al. 2017, "Very deep convolutional neural networks for raw waveforms"); a shorter series by
    filters of 7. Blocks follow until 16 positions are left; channels double up to 4 · ``width``. The last norm of a
    block begins at zero.
    """

    def __init__(
        self, input_shape: Sequence[int], outputs: int, width: int = 32, depth: int = 1, dropout: float = 0.0
    ) -> None:
        super().__init__()
        if len(input_shape) != 2:
            raise NetworkError(
                "small_resnet1d", f"an input of shape {tuple(input_shape)}", "(channels, length)",
                "small_resnet" if len(input_shape) == 3 else "mlp",
            )  # fmt: skip
        inputs, length = input_shape
        kernel, stride = (79, 4) if length >= LONG else (7, 1)
        self.stem = nn.Sequential(
            nn.Conv1d(inputs, width, kernel, stride, kernel // 2, bias=False), nn.BatchNorm1d(width), nn.ReLU()
        )
        blocks: list[nn.Module] = []
        channels, left = width, -(-length // stride)
        while left > LAST or not blocks:
            wide = min(2 * channels, 4 * width)
            step = 4 if left > LAST else 1
            blocks.append(Residual1d(channels, wide, step))
            blocks += [Residual1d(wide, wide, 1) for _ in range(depth - 1)]
            channels, left = wide, -(-left // step)
        self.blocks = nn.Sequential(*blocks)
        self.head = nn.Sequential(
            nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Dropout(dropout), nn.Linear(channels, outputs)
        )
        he(self)
        for module in self.modules():
            if isinstance(module, Residual1d):
                nn.init.zeros_(module.body[-1].weight)  # type: ignore[arg-type]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.blocks(self.stem(x)))  # type: ignore[no-any-return]
