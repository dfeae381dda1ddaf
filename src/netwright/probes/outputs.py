"""What the network answers: range, dependence on the example, and the predicted distribution. Cost: some passes over at
most ``VALUES`` outputs."""

from __future__ import annotations

import torch
from torch import Tensor

OUTPUT = (
    ("output-mean", "value"), ("output-scale", "value"), ("output-minimum", "value"), ("output-maximum", "value"),
    ("output-spread", "value"),
)  # fmt: skip
CLASSES = (
    ("output-entropy", "nats"), ("output-confidence", "probability"), ("output-classes", "classes"),
    ("output-class-share", "share"),
)  # fmt: skip


def output(values: Tensor) -> Tensor:
    """The values of ``OUTPUT`` for outputs (E, U, P)."""
    low, high = torch.aminmax(values)
    spread = values.var(0, correction=0).mean().sqrt() if values.shape[0] > 1 else torch.full_like(low, torch.nan)
    return torch.stack((values.mean(), values.square().mean().sqrt(), low, high, spread))


def classes(values: Tensor) -> Tensor:
    """The values of ``CLASSES`` for scores (E, C). Probabilities and log-probabilities are recognised by their sum;
    anything else counts as logits."""
    total = values.sum(1, keepdim=True)
    are_probabilities = ((values >= 0).all() & ((total - 1).abs() < 1e-3).all()).to(values.dtype)
    log = torch.log_softmax(values, 1)  # of log-probabilities: themselves
    kept = torch.where(are_probabilities.bool(), values.clamp_min(1e-30).log(), log)
    probabilities = kept.exp()
    chosen = torch.zeros(values.shape[1], dtype=values.dtype, device=values.device)
    winners = values.argmax(1)
    chosen.index_add_(0, winners, torch.ones_like(winners, dtype=values.dtype))
    return torch.stack((
        -(probabilities * kept).sum(1).mean(), probabilities.amax(1).mean(),
        (chosen > 0).sum().to(values.dtype), chosen.max() / len(values),
    ))  # fmt: skip
