"""Any number of labels an example: losses over logits (N, labels) against 0/1 (or soft) labels (N, labels).

An example's loss is the mean over its labels. Weights multiply the loss of each label.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from netwright.objectives.metrics import LabelMeter, LightMeter
from netwright.objectives.objective import HALF, Constant, Loss, Objective, loss_of


class MultiLabel(Objective):
    """``outputs`` is the number of labels."""

    task = "multi-label"

    def check(self, outputs: Tensor, targets: Tensor) -> None:
        shape: tuple[int, ...] = getattr(outputs, "shape", ())
        if shape != targets.shape or len(shape) != 2 or shape[1] != self.outputs:
            raise self._mismatch(outputs, targets, f"(N, {self.outputs}) against 0/1 labels (N, {self.outputs})")

    def prepared(self, outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        if outputs.dtype in HALF:
            outputs = outputs.float()
        return outputs, targets if targets.dtype == outputs.dtype else targets.to(outputs.dtype)

    def probabilities(self, outputs: Tensor) -> Tensor:
        """(N, labels), each by itself. After hinge they are a sigmoid of margins, a ranking only."""
        return torch.sigmoid(outputs if outputs.dtype == torch.float64 else outputs.float())

    def decide(self, outputs: Tensor) -> Tensor:
        """0/1 (N, labels) ``int64``: which labels are more likely than not."""
        return (outputs > 0).long()

    def meter(self) -> LabelMeter:
        return LabelMeter(self.losses, self.outputs, self.decide)

    def light_meter(self) -> LightMeter:
        return LightMeter("hamming_loss", _wrong, per=self.outputs)


def _wrong(outputs: Tensor, targets: Tensor) -> Tensor:
    return ((outputs > 0) != (targets > 0.5)).sum()


def _smooth(targets: Tensor, smoothing: float) -> Tensor:
    return targets * (1 - smoothing) + smoothing / 2 if smoothing else targets


# ------------------------------------------------------------------------------------------------ losses


def _mean_over_labels(terms: Tensor, weights: Constant | None) -> Tensor:
    return terms.mean(1) if weights is None else (terms * weights.like(terms)).mean(1)


def binary_cross_entropy(smoothing: float = 0.0, weights: Constant | None = None) -> Loss:
    """−t log σ(x) − (1 − t) log(1 − σ(x)), computed from logits without overflow."""

    def each(outputs: Tensor, targets: Tensor) -> Tensor:
        terms = F.binary_cross_entropy_with_logits(outputs, _smooth(targets, smoothing), reduction="none")
        return _mean_over_labels(terms, weights)

    def mean(outputs: Tensor, targets: Tensor) -> Tensor:
        weight = None if weights is None else weights.like(outputs)
        return F.binary_cross_entropy_with_logits(outputs, _smooth(targets, smoothing), weight)

    return Loss(each, mean)


def focal(gamma: float, smoothing: float = 0.0, weights: Constant | None = None) -> Loss:
    """Binary cross-entropy with each term times (1 − p of what is true)^γ (Lin et al. 2017, equation 4)."""

    def each(outputs: Tensor, targets: Tensor) -> Tensor:
        targets = _smooth(targets, smoothing)
        floor = torch.finfo(outputs.dtype).eps  # keeps the gradient of a power below 1 finite
        terms = torch.zeros_like(outputs)
        for share, logit in ((targets, outputs), (1 - targets, -outputs)):
            lost = F.softplus(-logit)  # −log σ(logit)
            terms = terms + share * lost * (torch.sigmoid(-logit).clamp_min(floor).pow(gamma) if gamma else 1.0)
        return _mean_over_labels(terms, weights)

    return loss_of(each)


def hinge(weights: Constant | None = None) -> Loss:
    """max(0, 1 − y x) with y = ±1 for a label that is there or not; soft labels take the expected loss."""

    def each(outputs: Tensor, targets: Tensor) -> Tensor:
        terms = targets * (1 - outputs).clamp_min(0) + (1 - targets) * (1 + outputs).clamp_min(0)
        return _mean_over_labels(terms, weights)

    return loss_of(each)
