"""The gradient noise scale: from which batch size on more examples a step no longer pay.

B_simple = tr(Σ) ÷ |G|², with G the true gradient and Σ the covariance of an example's. From squared norms of gradients
of a small and a large batch, both are estimated without bias. Source: McCandlish, Kaplan, Amodei et al. 2018, An
Empirical Model of Large-Batch Training, appendix A.1. Cost: one forward and backward pass over the large batch, on a
copy.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from netwright.records import Measurement


@dataclasses.dataclass(frozen=True)
class NoiseScale:
    """``signal``: |G|², ``noise``: tr(Σ), both estimated without bias, so ``signal`` can come out negative where the
    gradient is lost in the noise. ``examples``: how many were looked at."""

    signal: float
    noise: float
    examples: int

    @property
    def batch(self) -> float | None:
        """B_simple in examples; None where the gradient cannot be told from nothing."""
        return self.noise / self.signal if self.signal > 0 and self.noise >= 0 else None

    def measurements(self, step: int) -> list[Measurement]:
        return [Measurement(probe="gradient-noise-scale", step=step, unit="examples", values=(self.batch,))]


def estimate(small: float, large: float, small_size: int, large_size: int) -> NoiseScale:
    """From E|G_small|² and E|G_large|² of batches of the two sizes (equations A.2 and A.3)."""
    if not 0 < small_size < large_size:
        raise ValueError(f"noise scale: batches of {small_size} and {large_size}; the first must be the smaller one")
    signal = (large_size * large - small_size * small) / (large_size - small_size)
    noise = (small - large) / (1 / small_size - 1 / large_size)
    return NoiseScale(signal, noise, large_size)


def of_gradients(gradients: Sequence[Tensor], size: int) -> NoiseScale:
    """From the mean gradients (n,) of equally large batches of ``size`` examples: they are the small batches, and
    their mean is the large one's."""
    if len(gradients) < 2:
        raise ValueError("noise scale: at least two batches are needed")
    stacked = torch.stack([gradient.double() for gradient in gradients])
    small, large = float(stacked.square().sum(1).mean()), float(stacked.mean(0).square().sum())
    return estimate(small, large, size, size * len(gradients))


def measure(
    network: nn.Module,
    loss: Callable[[Any, Tensor], Tensor],
    inputs: Tensor,
    targets: Tensor,
    *,
    size: int = 16,
    training: bool = False,
) -> NoiseScale:
    """Of the mean loss at the network's weights, over ``inputs`` in batches of ``size``, on a copy. A loss that
    sums over the batch is divided by its size by the caller. In training mode batch norm ties examples of a batch
    together, so the default is the evaluation mode. Memory: one gradient a batch."""
    copied = copy.deepcopy(network).train(training)
    own = [p for p in copied.parameters() if p.requires_grad]
    found = []
    with torch.enable_grad():
        for start in range(0, len(inputs) - size + 1, size):
            rows = slice(start, start + size)
            gradients = torch.autograd.grad(loss(copied(inputs[rows]), targets[rows]), own, allow_unused=True)
            whole = [torch.zeros_like(p) if g is None else g for p, g in zip(own, gradients, strict=True)]
            found.append(torch.cat([g.reshape(-1) for g in whole]))
    return of_gradients(found, size)
