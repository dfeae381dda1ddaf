"""Metrics of evaluation, summed on the device batch by batch and turned into numbers once, at the end.

No update waits for a number (no ``.item()``), so that an accelerator stays busy. Sums are integers, or double
precision where the device has it: the order and size of batches change a metric by rounding at most. What cannot be
computed (no example yet, fewer than two for r²) is NaN; a quotient 0/0 is 0, as scikit-learn's ``zero_division=0``.
"""

from __future__ import annotations

import abc
import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

LARGEST_CONFUSION = 1000  # classes up to which the whole confusion matrix is kept (8 MB of counts)
Losses = Callable[[Tensor, Tensor], Tensor]


def wide(device: torch.device) -> torch.dtype:
    """The most precise float type of a device (Apple's has no double precision)."""
    return torch.float32 if device.type == "mps" else torch.float64


class Meter(abc.ABC):
    """Metrics over all batches of a split."""

    def __init__(self, losses: Losses) -> None:
        self._losses = losses
        self._count = 0
        self._loss: Tensor | None = None

    def update(self, outputs: Tensor, targets: Tensor, losses: Tensor | None = None) -> None:
        """Add a batch; ``losses`` (N,) where they are known already."""
        outputs = outputs.detach()
        losses = self._losses(outputs, targets) if losses is None else losses.detach()
        total = losses.sum(dtype=wide(losses.device))
        self._loss = total if self._loss is None else self._loss + total
        self._count += len(outputs)
        self._add(outputs, targets)

    def compute(self) -> dict[str, float]:
        """All metrics so far, as numbers."""
        if self._loss is None or not self._count:
            return {"loss": math.nan}
        return {"loss": float(self._loss) / self._count, **self._metrics()}

    def details(self) -> dict[str, Any]:
        """What is more than one number, as nested lists."""
        return {}

    @abc.abstractmethod
    def _add(self, outputs: Tensor, targets: Tensor) -> None: ...

    @abc.abstractmethod
    def _metrics(self) -> dict[str, float]: ...


class LightMeter:
    """Loss and one more metric of training batches: two sums on the device.

    ``measured``: outputs, targets → a sum (0-dim); ``per``: how many terms an example brings to it. The
    sums go to a checkpoint as plain numbers (``state_dict``) and come back to the same bits. The loss is there only
    if every update brought its ``losses`` (N,).
    """

    def __init__(self, name: str, measured: Callable[[Tensor, Tensor], Tensor], per: int = 1) -> None:
        self._name, self._measured, self._per = name, measured, per
        self._count, self._with_loss = 0, 0
        self._sum: Tensor | float = 0.0
        self._loss: Tensor | float = 0.0

    def update(self, outputs: Tensor, targets: Tensor, losses: Tensor | None = None) -> None:
        """Add a batch."""
        outputs = outputs.detach()
        self._count += len(outputs)
        self._sum = self._sum + self._measured(outputs, targets).to(wide(outputs.device))
        if losses is not None:
            self._with_loss += len(outputs)
            self._loss = self._loss + losses.detach().sum(dtype=wide(outputs.device))

    def compute(self) -> dict[str, float]:
        metrics = {self._name: ratio(float(self._sum), self._count * self._per)}
        if self._with_loss and self._with_loss == self._count:
            metrics = {"loss": float(self._loss) / self._count} | metrics
        return metrics

    def state_dict(self) -> dict[str, float]:
        return {
            "examples": float(self._count),
            "examples_with_loss": float(self._with_loss),
            self._name: float(self._sum),
            "loss": float(self._loss),
        }

    def load_state_dict(self, state: dict[str, float]) -> None:
        """Go on from ``state``; an empty one starts anew."""
        self._count = int(state.get("examples", 0))
        self._with_loss = int(state.get("examples_with_loss", 0))
        self._sum = float(state.get(self._name, 0.0))
        self._loss = float(state.get("loss", 0.0))


# ------------------------------------------------------------------------------------------------ classification


class ClassMeter(Meter):
    """Metrics of class indices.

    ``decide``: outputs → (N,), ``truth``: targets → (N,), both ``int64``; ``scores`` (N, classes) for top-k or None.
    Macro averages run over the classes that occur among truths or decisions; balanced accuracy over those among the
    truths (scikit-learn's conventions).
    """

    def __init__(
        self,
        losses: Losses,
        classes: int,
        decide: Callable[[Tensor], Tensor],
        truth: Callable[[Tensor], Tensor],
        top_k: int = 0,
    ) -> None:
        super().__init__(losses)
        self._classes, self._decide, self._truth = classes, decide, truth
        self._top_k = top_k if classes > top_k else 0
        self._counts: Tensor | None = None  # (classes, classes), or (3, classes): hits, truths, decisions
        self._in_top: Tensor | None = None
        self._whole = classes <= LARGEST_CONFUSION

    def _add(self, outputs: Tensor, targets: Tensor) -> None:
        truth, decision = self._truth(targets), self._decide(outputs)
        if self._counts is None or self._in_top is None:
            shape = (self._classes if self._whole else 3, self._classes)
            self._counts = torch.zeros(shape, dtype=torch.int64, device=outputs.device)
            self._in_top = torch.zeros((), dtype=torch.int64, device=outputs.device)
        one = torch.ones_like(truth)
        if self._whole:
            self._counts.view(-1).scatter_add_(0, truth * self._classes + decision, one)
        else:
            self._counts[0].scatter_add_(0, truth, (truth == decision).long())
            self._counts[1].scatter_add_(0, truth, one)
            self._counts[2].scatter_add_(0, decision, one)
        if self._top_k:
            best = outputs.topk(self._top_k, dim=1).indices
            self._in_top = self._in_top + (best == truth[:, None]).sum()

    def _metrics(self) -> dict[str, float]:
        assert self._counts is not None
        assert self._in_top is not None
        counts = self._counts.cpu().double()
        hits, truths, decisions = (
            (counts.diagonal(), counts.sum(1), counts.sum(0)) if self._whole else (counts[0], counts[1], counts[2])
        )
        recall, precision = _quotient(hits, truths), _quotient(hits, decisions)
        f1 = _quotient(2 * hits, truths + decisions)
        occurs, is_true = truths + decisions > 0, truths > 0
        metrics = {"accuracy": ratio(float(hits.sum()), self._count)}
        if self._top_k:
            metrics[f"top{self._top_k}_accuracy"] = ratio(float(self._in_top), self._count)
        return metrics | {
            "balanced_accuracy": _mean(recall[is_true]),
            "macro_f1": _mean(f1[occurs]),
            "macro_precision": _mean(precision[occurs]),
            "macro_recall": _mean(recall[occurs]),
        }

    def details(self) -> dict[str, Any]:
        """``confusion``: counts, a row for each true class and a column for each decision."""
        if self._counts is None or not self._whole:
            return {}
        return {"confusion": self._counts.tolist()}


# ------------------------------------------------------------------------------------------------ multi-label


class LabelMeter(Meter):
    """Metrics of 0/1 labels: ``decide`` gives (N, labels) from the outputs; a target above one half is a label.

    Macro f1 runs over all labels, also those that never occur (scikit-learn's convention there, with 0).
    """

    def __init__(self, losses: Losses, labels: int, decide: Callable[[Tensor], Tensor]) -> None:
        super().__init__(losses)
        self._labels, self._decide = labels, decide
        self._sums: Tensor | None = None  # (3, labels): hits, truths, decisions
        self._exact: Tensor | float = 0.0

    def _add(self, outputs: Tensor, targets: Tensor) -> None:
        truth, decision = targets > 0.5, self._decide(outputs) > 0
        sums = torch.stack([(truth & decision).sum(0), truth.sum(0), decision.sum(0)])
        self._sums = sums if self._sums is None else self._sums + sums
        self._exact = self._exact + (truth == decision).all(1).sum()

    def _metrics(self) -> dict[str, float]:
        assert self._sums is not None
        hits, truths, decisions = self._sums.cpu().double()
        wrong = truths + decisions - 2 * hits
        return {
            "micro_f1": ratio(2 * float(hits.sum()), float((truths + decisions).sum()), 0.0),
            "macro_f1": _mean(_quotient(2 * hits, truths + decisions)),
            "subset_accuracy": ratio(float(self._exact), self._count),
            "hamming_loss": ratio(float(wrong.sum()), self._count * self._labels),
        }

    def details(self) -> dict[str, Any]:
        """``labels``: for each one how often it was hit, how often it is true, how often it was decided."""
        return {} if self._sums is None else {"labels": self._sums.T.tolist()}


# ------------------------------------------------------------------------------------------------ regression


class ValueMeter(Meter):
    """Metrics of values: errors in the targets' own unit, averaged over the values (scikit-learn's uniform average).

    ``normalized``: outputs, targets → both of the same shape, (N, K) or (N,), in units of the deviations ``widths``
    (K,). Squares are summed around the first batch's mean, where they keep their digits.
    """

    def __init__(
        self, losses: Losses, normalized: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]], widths: tuple[float, ...]
    ) -> None:
        super().__init__(losses)
        self._normalized, self._widths = normalized, widths
        self._sums: Tensor | None = None  # (4, K): |error|, error², target - centre, (target - centre)²
        self._centre: Tensor | None = None  # (K,)

    def _add(self, outputs: Tensor, targets: Tensor) -> None:
        got, wanted = (part.to(wide(outputs.device)) for part in self._normalized(outputs, targets))
        got, wanted = got.reshape(len(got), -1), wanted.reshape(len(wanted), -1)
        if self._centre is None:
            self._centre = wanted.mean(0)
        error, wanted = got - wanted, wanted - self._centre
        sums = torch.stack([error.abs().sum(0), error.square().sum(0), wanted.sum(0), wanted.square().sum(0)])
        self._sums = sums if self._sums is None else self._sums + sums

    def _metrics(self) -> dict[str, float]:
        assert self._sums is not None
        assert self._centre is not None
        absolute, squared, total, squares = self._sums.cpu().double()
        n = self._count
        width = torch.tensor(self._widths or (1.0,), dtype=torch.float64)
        spread = squares - total.square() / n
        constant = spread <= n * (1e-12 * self._centre.cpu().double()).square()
        explained = torch.where(constant, (squared == 0).double(), 1 - squared / spread.where(~constant, 1.0))
        return {
            "mae": _mean(absolute / n * width),
            "rmse": _mean((squared / n).sqrt() * width),
            "r2": _mean(explained) if n > 1 else math.nan,
        }


# ------------------------------------------------------------------------------------------------ quotients


def ratio(above: float, below: float, otherwise: float = math.nan) -> float:
    return above / below if below else otherwise


def _quotient(above: Tensor, below: Tensor) -> Tensor:
    return torch.where(below > 0, above / below.clamp_min(1), 0.0)


def _mean(values: Tensor) -> float:
    return float(values.mean()) if values.numel() else math.nan
