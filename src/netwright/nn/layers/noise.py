"""Noise that is there while a network trains, and nothing in evaluation.

On hidden units: Sietsma and Dow 1991; on weights: Graves 2011, "Practical variational inference". Small Gaussian noise
on inputs is a penalty on the squared slope of the network (Bishop 1995, "Training with noise is equivalent to Tikhonov
regularization").
"""

from __future__ import annotations

import torch
from torch import nn


class GaussianNoise(nn.Module):
    """x + N(0, ``deviation``²) in training, x in evaluation; any shape."""

    def __init__(self, deviation: float) -> None:
        super().__init__()
        self.deviation = deviation

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.deviation * torch.randn_like(x) if self.training and self.deviation else x

    def extra_repr(self) -> str:
        return f"deviation={self.deviation}"


class WeightNoise(nn.Module):
    """A parametrization: the weight plus N(0, (``deviation`` · its root mean square)²), drawn anew at every use.

    The noise is relative, so that one number serves layers of every width. Nothing flows back into the scale.
    """

    def __init__(self, deviation: float) -> None:
        super().__init__()
        self.deviation = deviation

    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        if not (self.training and self.deviation):
            return weight
        scale = weight.detach().square().mean().sqrt()
        return weight + self.deviation * scale * torch.randn_like(weight)
