"""LeNet-5 and its modern form."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from netwright.errors import NetworkError


class LeNet5(nn.Module):
    """(N, C, H, W) → (N, outputs): LeCun et al. 1998 as it is built today (ReLU, max pooling, full connections).

    Two 5×5 convolutions with pooling and three dense layers; ``width`` multiplies the channels (6, 16) and units
    (120, 84) in sixths. A 1×28×28 input is padded by 2, so that 10 outputs make the well-known 61,706 parameters.
    Inputs smaller than 28 keep their size in the first convolution, and below 12 there is only one pooling.
    """

    def __init__(self, input_shape: Sequence[int], outputs: int, width: int = 6, dropout: float = 0.0) -> None:
        super().__init__()
        if len(input_shape) != 3 or min(input_shape[1:]) < 6:
            raise NetworkError(
                "lenet5", f"an input of shape {tuple(input_shape)}", "(channels, height ≥ 6, width ≥ 6)", "mlp"
            )
        channels, height, wide = input_shape
        padding = 2 if min(height, wide) <= 28 else 0
        pools = 2 if min(height, wide) >= 12 else 1
        second = max(1, round(16 * width / 6))
        small = pools == 1
        self.features = nn.Sequential(
            nn.Conv2d(channels, width, 5, padding=padding), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(width, second, 5, padding=2 if small else 0), nn.ReLU(), *([] if small else [nn.MaxPool2d(2)]),
        )  # fmt: skip
        sizes = []
        for size in (height, wide):
            size = (size + 2 * padding - 4) // 2
            sizes.append(size if small else (size - 4) // 2)
        hidden = [max(1, round(units * width / 6)) for units in (120, 84)]
        self.head = nn.Sequential(
            nn.Flatten(), nn.Linear(second * sizes[0] * sizes[1], hidden[0]), nn.ReLU(), nn.Dropout(dropout),
            nn.Linear(hidden[0], hidden[1]), nn.ReLU(), nn.Linear(hidden[1], outputs),
        )  # fmt: skip

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.features(x))  # type: ignore[no-any-return]
