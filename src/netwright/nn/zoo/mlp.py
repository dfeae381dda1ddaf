"""Multilayer perceptrons."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import nn


class MLP(nn.Module):
    """(N, ...) → (N, outputs): flattened, then ``depth`` hidden layers of ``width`` units with batch norm and ReLU.

    Linear layers before a batch norm carry no bias: the norm would take it away again (Ioffe and Szegedy 2015, 3.2).
    """

    def __init__(
        self, input_shape: Sequence[int], outputs: int, width: int = 128, depth: int = 2, dropout: float = 0.0
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Flatten()]
        features = math.prod(input_shape)
        for _ in range(depth):
            layers += [nn.Linear(features, width, bias=False), nn.BatchNorm1d(width), nn.ReLU()]
            if dropout:
                layers.append(nn.Dropout(dropout))
            features = width
        layers.append(nn.Linear(features, outputs))
        self.layers = nn.Sequential(*layers)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layers(x)  # type: ignore[no-any-return]
