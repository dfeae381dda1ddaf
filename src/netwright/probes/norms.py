"""Running statistics of batch norm against those of the batch. Cost: two passes over at most ``VALUES`` inputs."""

from __future__ import annotations

import torch
from torch import Tensor

NORM = (("norm-mean-gap", "deviations"), ("norm-variance-gap", "log ratio"))


def norm(values: Tensor, running_mean: Tensor, running_variance: Tensor, eps: float) -> Tensor:
    """The values of ``NORM`` for inputs (E, C, P) with all their channels."""
    mean, variance = values.mean((0, 2)), values.var((0, 2), correction=0) + eps
    gap = (running_mean.to(mean) - mean).square() / variance
    ratio = ((running_variance.to(mean) + eps) / variance).log().square()
    return torch.stack((gap.mean().sqrt(), ratio.mean().sqrt()))
