"""One class an example: losses over logits (N, classes), or over one logit (N, 1) where there are two classes.

Targets are class indices ``int64`` (N,) or soft labels (N, classes) that sum to 1; one-hot labels give the same loss
as their indices. Class weights multiply an example's loss by its class's weight (a soft label's by the weighted mean),
and the batch's loss is the plain mean of that: it is linear in the examples, so that accumulated batches and several
processes get the gradient of the whole batch. (PyTorch divides by the batch's sum of weights instead, for indices.)
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from netwright.objectives.metrics import ClassMeter, LightMeter
from netwright.objectives.objective import HALF, Constant, Loss, Objective, loss_of

NOTHING_IGNORED = torch.iinfo(torch.int64).min  # PyTorch would silently skip examples with the label -100


class Classification(Objective):
    """``outputs`` is the number of classes; 1 and 2 both mean two classes when the loss takes one logit."""

    task = "classification"

    def __init__(self, name: str, outputs: int, loss: Loss, *, one_logit: bool = False, top_k: int = 0) -> None:
        super().__init__(name, max(outputs, 2) if one_logit else outputs, loss)
        self._one_logit, self._top_k = one_logit and outputs <= 2, top_k
        self._independent = name == "binary-cross-entropy"

    def check(self, outputs: Tensor, targets: Tensor) -> None:
        shape: tuple[int, ...] = getattr(outputs, "shape", ())
        if len(shape) == 2 and (shape[1] == self.outputs or (shape[1] == 1 and self._one_logit)):
            wanted: tuple[int, ...] = targets.shape
            if len(wanted) == 1 and wanted[0] == shape[0] and not targets.is_floating_point():
                return
            if len(wanted) == 2 and wanted[0] == shape[0] and wanted[1] == self.outputs:
                return
        expected = f"(N, {self.outputs}) against whole numbers (N,) or soft labels (N, {self.outputs})"
        raise self._mismatch(outputs, targets, expected)

    def prepared(self, outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        if outputs.dtype in HALF:
            outputs = outputs.float()
        wanted = torch.int64 if targets.ndim == 1 else outputs.dtype
        return outputs, targets if targets.dtype == wanted else targets.to(wanted)

    def probabilities(self, outputs: Tensor) -> Tensor:
        """(N, classes) ``float32`` or wider. After hinge they are a softmax of margins, a ranking only.

        After binary cross-entropy over several logits each is its own probability, and a row need not sum to 1.
        """
        outputs = outputs if outputs.dtype == torch.float64 else outputs.float()
        if outputs.shape[1] == 1:
            return torch.cat([torch.sigmoid(-outputs), torch.sigmoid(outputs)], dim=1)
        return torch.sigmoid(outputs) if self._independent else torch.softmax(outputs, dim=1)

    def decide(self, outputs: Tensor) -> Tensor:
        """Class indices (N,) ``int64``."""
        if outputs.shape[1] == 1:
            return (outputs[:, 0] > 0).long()
        return outputs.argmax(1)

    def meter(self) -> ClassMeter:
        return ClassMeter(self.losses, self.outputs, self.decide, indices, self._top_k)

    def light_meter(self) -> LightMeter:
        return LightMeter("accuracy", self._correct)

    def _correct(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return (self.decide(outputs) == indices(targets)).sum()


def indices(targets: Tensor) -> Tensor:
    """Class indices (N,) of targets of either form; of a soft label the class with the largest share."""
    return targets.long() if targets.ndim == 1 else targets.argmax(1)


def soft(targets: Tensor, classes: int, dtype: torch.dtype) -> Tensor:
    """Soft labels (N, classes) of targets of either form."""
    return (F.one_hot(targets, classes) if targets.ndim == 1 else targets).to(dtype)


def _smooth(targets: Tensor, classes: int, smoothing: float) -> Tensor:
    return targets * (1 - smoothing) + smoothing / classes if smoothing else targets


# ------------------------------------------------------------------------------------------------ losses


def cross_entropy(smoothing: float = 0.0, weights: Constant | None = None) -> Loss:
    """−Σ tᵢ log softmax(x)ᵢ, with label smoothing t ← (1 − s) t + s / classes (Szegedy et al. 2016, section 7)."""

    def each(outputs: Tensor, targets: Tensor) -> Tensor:
        return F.cross_entropy(
            outputs, targets, None if weights is None else weights.like(outputs), ignore_index=NOTHING_IGNORED,
            label_smoothing=smoothing, reduction="none",
        )  # fmt: skip

    def mean(outputs: Tensor, targets: Tensor) -> Tensor:
        if weights is None:
            return F.cross_entropy(outputs, targets, ignore_index=NOTHING_IGNORED, label_smoothing=smoothing)
        total = F.cross_entropy(
            outputs, targets, weights.like(outputs), ignore_index=NOTHING_IGNORED, label_smoothing=smoothing,
            reduction="sum",
        )  # fmt: skip
        return total / len(outputs)

    return Loss(each, mean)


def focal(classes: int, gamma: float, smoothing: float = 0.0, weights: Constant | None = None) -> Loss:
    """−Σ tᵢ (1 − pᵢ)^γ log pᵢ with p = softmax(x) (Lin et al. 2017, equation 4); γ = 0 is cross-entropy."""

    def each(outputs: Tensor, targets: Tensor) -> Tensor:
        log_p = F.log_softmax(outputs, 1)
        hard = targets.ndim == 1 and not smoothing
        if hard:
            log_p = log_p.gather(1, targets[:, None])
        if gamma:  # 1 - p without cancellation; the floor keeps the gradient of a power below 1 finite at p = 1
            rest = (-torch.expm1(log_p)).clamp_min(torch.finfo(log_p.dtype).eps)
            terms = -rest.pow(gamma) * log_p
        else:
            terms = -log_p
        if hard:
            return terms[:, 0] if weights is None else terms[:, 0] * weights.like(outputs)[targets]
        shares = _smooth(soft(targets, classes, outputs.dtype), classes, smoothing)
        return (terms * (shares if weights is None else shares * weights.like(outputs))).sum(1)

    return loss_of(each)


def hinge(weights: Constant | None = None) -> Loss:
    """Σ over the other classes of max(0, 1 − x_true + x_other) / classes (Weston & Watkins 1999).

    Soft labels take the expected loss under them, at N · classes² numbers of memory.
    """

    def each(outputs: Tensor, targets: Tensor) -> Tensor:
        weight = None if weights is None else weights.like(outputs)
        if targets.ndim == 1:
            return F.multi_margin_loss(outputs, targets, weight=weight, reduction="none")
        margins = (1 - outputs[:, :, None] + outputs[:, None, :]).clamp_min(0)  # [n, true, other]
        per_class = (margins.sum(2) - 1) / outputs.shape[1]  # the true class beside itself is 1 too much
        return (per_class * (targets if weight is None else targets * weight)).sum(1)

    return loss_of(each)


def binary_cross_entropy(classes: int, smoothing: float = 0.0, weights: Constant | None = None) -> Loss:
    """−t log σ(x) − (1 − t) log(1 − σ(x)): of one logit (N, 1) for two classes, else the mean over all classes."""

    def each(outputs: Tensor, targets: Tensor) -> Tensor:
        if outputs.shape[1] == 1:
            wanted = targets if targets.ndim == 1 else targets[:, 1]
            losses = F.binary_cross_entropy_with_logits(
                outputs[:, 0], _smooth(wanted.to(outputs.dtype), 2, smoothing), reduction="none"
            )
        else:
            wanted = _smooth(soft(targets, classes, outputs.dtype), classes, smoothing)
            losses = F.binary_cross_entropy_with_logits(outputs, wanted, reduction="none").mean(1)
        if weights is None:
            return losses
        weight = weights.like(outputs)
        return losses * (weight[targets] if targets.ndim == 1 else targets @ weight)

    return loss_of(each)


def kl(classes: int, smoothing: float = 0.0) -> Loss:
    """Σ tᵢ (log tᵢ − log softmax(x)ᵢ): cross-entropy less the targets' own entropy, 0 where they are met."""

    def each(outputs: Tensor, targets: Tensor) -> Tensor:
        wanted = _smooth(soft(targets, classes, outputs.dtype), classes, smoothing)
        return F.kl_div(F.log_softmax(outputs, 1), wanted, reduction="none").sum(1)

    return loss_of(each)


def squared(classes: int, smoothing: float = 0.0) -> Loss:
    """Σ (softmax(x)ᵢ − tᵢ)², Brier's score (1950): squared error for classes, to compare with cross-entropy."""

    def each(outputs: Tensor, targets: Tensor) -> Tensor:
        wanted = _smooth(soft(targets, classes, outputs.dtype), classes, smoothing)
        return (torch.softmax(outputs, 1) - wanted).square().sum(1)

    return loss_of(each)
