"""Values: losses between outputs (N, K) and targets (N, K), or (N,) and (N,), never one against the other.

The network learns targets of mean 0 and deviation 1: ``loss`` normalises the targets with the training part's
statistics, ``decide`` undoes it on the outputs, and the metrics are in the targets' own unit.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from netwright.objectives.metrics import LightMeter, ValueMeter
from netwright.objectives.objective import HALF, Constant, Loss, Objective


class Regression(Objective):
    """``outputs`` is the number of target values; empty ``mean`` and ``std``: targets are taken as they are."""

    task = "regression"

    def __init__(
        self, name: str, outputs: int, loss: Loss, *, mean: Sequence[float] = (), std: Sequence[float] = ()
    ) -> None:
        super().__init__(name, outputs, loss)
        self._widths = tuple(float(value) for value in std)
        self._mean = Constant(mean) if len(mean) else None
        self._inverse = Constant([1 / width for width in self._widths]) if len(mean) else None

    def prepared(self, outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Outputs as they are and targets in deviations from the mean, both ``float32`` or wider."""
        if outputs.dtype in HALF:
            outputs = outputs.float()
        if self._mean is not None and self._inverse is not None:
            targets = (targets - self._mean.like(outputs)).mul_(self._inverse.like(outputs))
        return outputs, targets if targets.dtype == outputs.dtype else targets.to(outputs.dtype)

    def check(self, outputs: Tensor, targets: Tensor) -> None:
        shape: tuple[int, ...] = getattr(outputs, "shape", ())
        if shape == targets.shape and (
            (len(shape) == 2 and shape[1] == self.outputs) or (len(shape) == 1 and self.outputs == 1)
        ):
            return
        raise self._mismatch(outputs, targets, f"both (N, {self.outputs})")

    def probabilities(self, outputs: Tensor) -> Tensor:
        """Values have none: the same as ``decide``."""
        return self.decide(outputs)

    def decide(self, outputs: Tensor) -> Tensor:
        """The values in their own unit, of the outputs' shape."""
        if outputs.dtype in HALF:
            outputs = outputs.float()
        if self._mean is None or self._inverse is None:
            return outputs
        return outputs / self._inverse.like(outputs) + self._mean.like(outputs)

    def meter(self) -> ValueMeter:
        return ValueMeter(self.losses, self.prepared, self._widths)

    def light_meter(self) -> LightMeter:
        return LightMeter("mae", self._absolute, per=self.outputs)

    def _absolute(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return (self.decide(outputs) - targets).abs().sum(dtype=torch.float64 if targets.device.type != "mps" else None)


def _rows(terms: Tensor) -> Tensor:
    return terms if terms.ndim == 1 else terms.mean(1)


# ------------------------------------------------------------------------------------------------ losses


def squared() -> Loss:
    """(x − t)², mean over the values."""
    return Loss(lambda outputs, targets: _rows(F.mse_loss(outputs, targets, reduction="none")), F.mse_loss)


def absolute() -> Loss:
    """|x − t|, mean over the values."""
    return Loss(lambda outputs, targets: _rows(F.l1_loss(outputs, targets, reduction="none")), F.l1_loss)


def huber(delta: float) -> Loss:
    """½ e² up to |e| = δ, δ (|e| − ½ δ) beyond (Huber 1964); δ in the targets' deviations."""
    return Loss(
        lambda outputs, targets: _rows(F.huber_loss(outputs, targets, reduction="none", delta=delta)),
        lambda outputs, targets: F.huber_loss(outputs, targets, delta=delta),
    )
