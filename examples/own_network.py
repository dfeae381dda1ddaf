"""A network of one's own by name: ``netwright train digits --network examples/own_network.py:Narrow --epochs 5``.

The class is called with ``network.arguments`` of the recipe: ``--set network.arguments.width=8``.
"""

import torch
from torch import nn


class Narrow(nn.Module):
    """(N, 1, 8, 8) → (N, 10)"""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(1, width, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(width, 2 * width, 3, padding=1), nn.ReLU(), nn.AdaptiveMaxPool2d(1),
            nn.Flatten(), nn.Linear(2 * width, 10),
        )  # fmt: skip

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layers(x)
