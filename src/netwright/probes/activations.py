"""Outputs of layers, and the gradients that come back to them. Cost: some ten passes over at most ``VALUES``."""

from __future__ import annotations

import math

import torch
from torch import Tensor

SATURATED = 0.025  # share of the range next to a bound: |tanh| > 0.95, sigmoid beyond 0.025 and 0.975
ACTIVATION = (
    ("activation-mean", "value"), ("activation-scale", "value"), ("activation-zeros", "share"),
    ("activation-non-finite", "share"), ("activation-spread", "share of the scale"),
)  # fmt: skip
OUTPUT_GRADIENT = (
    ("output-gradient-scale", "gradient"), ("output-gradient-zeros", "share"), ("output-gradient-non-finite", "share"),
)  # fmt: skip
SATURATION = (("activation-saturated", "share"),)
DEAD = (("dead-units", "share"),)


def activation(values: Tensor) -> Tensor:
    """The values of ``ACTIVATION`` for outputs (E, U, P)."""
    variance, mean = torch.var_mean(values, 0, correction=0)
    varied = variance.mean() if len(values) > 1 else variance.new_full((), torch.nan)
    square = torch.addcmul(variance, mean, mean).mean()  # E[x²] = Var[x] + E[x]², at every place
    return torch.stack((mean.mean(), square.sqrt(), _zeros(values), _not_finite(values), (varied / square).sqrt()))


def saturation(values: Tensor, lower: float, upper: float) -> Tensor:
    """The share next to a bound of an elementwise function, (1,)."""
    margin = SATURATED * (upper - lower)
    inside = (values > lower + margin) & (values < upper - margin)
    return 1 - inside.to(values.dtype).mean().reshape(1)


def softmax_saturation(values: Tensor) -> Tensor:
    """The share of rows (E, U, P), probabilities over U, that are all but decided, (1,)."""
    return (values.amax(1) > 1 - SATURATED).to(values.dtype).mean().reshape(1)


def alive(values: Tensor) -> Tensor:
    """(U,): which units have a positive output for some example and position."""
    return (values > 0).any(2).any(0) if values.shape[2] > 1 else (values > 0).any(0).squeeze(-1)


def output_gradient(values: Tensor) -> Tensor:
    """The values of ``OUTPUT_GRADIENT`` for a gradient (E, U, P)."""
    return torch.stack((values.square().mean().sqrt(), _zeros(values), _not_finite(values)))


def _zeros(values: Tensor) -> Tensor:
    return 1 - torch.count_nonzero(values) / values.numel()


def _not_finite(values: Tensor) -> Tensor:
    if values.device.type == "cpu" and math.isfinite(float(values.sum())):  # nothing to wait for, and nothing to count
        return values.new_zeros(())
    return 1 - torch.isfinite(values).to(values.dtype).mean()
