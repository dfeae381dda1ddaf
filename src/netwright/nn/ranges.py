"""The range of values that 8 bits are to cover, from what was really seen.

All rules but ``minmax`` read one histogram of ``BINS`` bins over what was seen. A range always contains 0, so that
padding and dead units stay exact.
"""

from __future__ import annotations

import dataclasses
from typing import Literal

import torch
from torch import Tensor

BINS = 2048
Rule = Literal["minmax", "percentile", "mse", "entropy"]
PERCENTILE = 0.9999
CANDIDATES = 60  # widths that ``mse`` and ``entropy`` try


@dataclasses.dataclass
class Seen:
    """What came by: first its extremes, then a histogram between them."""

    low: float = 0.0
    high: float = 0.0
    counts: Tensor | None = None

    def extend(self, x: Tensor) -> None:
        self.low, self.high = min(self.low, float(x.min())), max(self.high, float(x.max()))

    def count(self, x: Tensor) -> None:
        span = max(self.high - self.low, 1e-12)
        found = torch.histc(x.float(), BINS, self.low, self.low + span).double()
        self.counts = found if self.counts is None else self.counts + found

    def values(self) -> Tensor:
        """The bins' centres."""
        width = (self.high - self.low) / BINS
        return self.low + width * (torch.arange(BINS, dtype=torch.float64) + 0.5)


def chosen(seen: Seen, rule: Rule, levels: int = 256) -> tuple[float, float]:
    """(low, high) with low ≤ 0 ≤ high.

    ``percentile``: 0.01 % of the values lie outside, half of it on each side that has any. ``mse``: the least squared
    error of rounding and cutting. ``entropy``: the least Kullback-Leibler divergence of the histogram from its rounded
    self (Migacz 2017), over ranges of ``levels`` bins and more.
    """
    if rule == "minmax" or seen.counts is None or seen.high <= seen.low:
        return seen.low, seen.high
    counts, values = seen.counts, seen.values()
    if rule == "percentile":
        share = counts.cumsum(0) / counts.sum()
        outside = (1 - PERCENTILE) / (2 if seen.low < 0 < seen.high else 1)
        low = float(values[int((share <= outside).sum().clamp(max=BINS - 1))]) if seen.low < 0 else 0.0
        high = float(values[int((share < 1 - outside).sum().clamp(max=BINS - 1))]) if seen.high > 0 else 0.0
        return min(low, 0.0), max(high, 0.0)
    judged = _squared if rule == "mse" else _divergence
    if rule == "entropy":  # exact zeros (what a ReLU cut) cost nothing in any range, and would hide all else
        counts = counts.clone()
        zero = int(values.abs().argmin())
        counts[zero] = counts[[near for near in (zero - 1, zero + 1) if 0 <= near < BINS]].mean()
    first = 1 if rule == "mse" else -(-CANDIDATES * levels // BINS)  # with fewer bins than levels nothing is rounded
    found = min(
        (judged(counts, values, share * seen.low, share * seen.high, levels), -share)
        for share in (float(step) / CANDIDATES for step in range(first, CANDIDATES + 1))
    )
    return -found[1] * seen.low, -found[1] * seen.high


def affine(low: float, high: float, levels: int = 256) -> tuple[float, int]:
    """Scale and zero point of 0 … levels − 1 that cover the range; 0 is met exactly."""
    scale = max((high - low) / (levels - 1), 1e-12)
    return scale, max(0, min(levels - 1, round(-low / scale)))


def rounded(values: Tensor, low: float, high: float, levels: int = 256) -> Tensor:
    """The values after they went through that many levels."""
    scale, zero = affine(low, high, levels)
    return ((values / scale).round() + zero).clamp(0, levels - 1).sub(zero) * scale


def _squared(counts: Tensor, values: Tensor, low: float, high: float, levels: int) -> float:
    return float((counts * (values - rounded(values, low, high, levels)).square()).sum() / counts.sum())


def _divergence(counts: Tensor, values: Tensor, low: float, high: float, levels: int) -> float:
    """KL(p‖q): p has what is cut in its outermost bins; q is each level's mass spread over its bins that p fills."""
    scale, zero = affine(low, high, levels)
    level = ((values / scale).round() + zero).clamp(0, levels - 1).long()
    inside = (values >= low) & (values <= high)
    if not bool(inside.any()):
        return float("inf")
    first, last = int(inside.nonzero()[0]), int(inside.nonzero()[-1])
    p = counts * inside
    mass = torch.zeros(levels, dtype=torch.float64).index_add_(0, level, p)
    filled = (p > 0).double()
    many = torch.zeros(levels, dtype=torch.float64).index_add_(0, level, filled)
    q = (mass / many.clamp(min=1))[level] * filled
    p = p.clone()
    p[first] += counts[:first].sum()
    p[last] += counts[last + 1 :].sum()
    p, q = p / p.sum(), q / q.sum().clamp(min=1e-300)
    kept = p > 0
    return float((p[kept] * (p[kept] / q[kept].clamp(min=1e-12)).log()).sum())


def weight_clips(weight: Tensor, rule: Rule) -> Tensor:
    """The share of each output channel's largest |w| that int8 is to cover, (O,): 1 but for ``mse``, which tries 0.5
    to 1 for the least squared error. Few weights a channel make no histogram, so the other rules keep all."""
    rows = weight.detach().double().flatten(1)
    largest = rows.abs().amax(1, keepdim=True).clamp(min=1e-12)
    if rule != "mse":
        return torch.ones(len(rows))
    shares = torch.linspace(0.5, 1, 26, dtype=torch.float64)
    errors = []
    for share in shares:
        scale = share * largest / 127
        errors.append(((rows / scale).round().clamp(-127, 127) * scale - rows).square().sum(1))
    return shares[torch.stack(errors).argmin(0)].float()
