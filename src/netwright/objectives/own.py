"""A loss of the user's own: a function of (outputs, targets) that returns the batch's mean loss."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn


class OwnObjective:
    """What the loop asks of an objective, for a loss it knows nothing of.

    Accuracy is counted where targets are class indices and outputs (N, classes). ``losses`` repeats the batch's mean
    for every example unless the loss has a ``reduction`` that can be set to ``none``.
    """

    def __init__(self, loss: Callable[..., torch.Tensor], task: str) -> None:
        self.name = getattr(loss, "__name__", type(loss).__name__)
        self.loss, self.task = loss, task

    def losses(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """(N,)"""
        reduction = getattr(self.loss, "reduction", None)
        if isinstance(self.loss, nn.Module) and reduction in ("mean", "sum"):
            setattr(self.loss, "reduction", "none")  # noqa: B010 - a module's attribute that is not declared
            try:
                each: torch.Tensor = self.loss(outputs, targets)
            finally:
                setattr(self.loss, "reduction", reduction)  # noqa: B010
            if each.ndim and len(each) == len(targets):
                return each.reshape(len(targets), -1).mean(1)
        return self.loss(outputs, targets).detach().expand(len(targets))

    def decide(self, outputs: torch.Tensor) -> torch.Tensor:
        return outputs.argmax(1) if self._classifies(outputs) else outputs

    def probabilities(self, outputs: torch.Tensor) -> torch.Tensor:
        """The outputs as they are: only the loss knows whether they are logits."""
        return outputs

    def meter(self) -> OwnMeter:
        return OwnMeter(self)

    def light_meter(self) -> OwnMeter:
        return OwnMeter(self, with_loss=False)

    def _classifies(self, outputs: Any) -> bool:
        return (
            self.task == "classification"
            and isinstance(outputs, torch.Tensor)
            and outputs.ndim == 2
            and outputs.shape[1] > 1
        )


class OwnMeter:
    """Sums of losses and of right decisions, kept as tensors until they are asked for."""

    def __init__(self, objective: OwnObjective, with_loss: bool = True) -> None:
        self._objective, self._with_loss = objective, with_loss
        self._loss: torch.Tensor | float = 0.0
        self._right: torch.Tensor | float = 0.0
        self._count = self._judged = 0

    def update(self, outputs: torch.Tensor, targets: torch.Tensor, losses: torch.Tensor | None = None) -> None:
        if self._with_loss:
            batch = self._objective.loss(outputs, targets).detach() if losses is None else losses.mean()
            self._loss = self._loss + batch * len(targets)
        self._count += len(targets)
        if self._objective._classifies(outputs) and targets.ndim == 1 and not targets.is_floating_point():
            self._right = self._right + (outputs.argmax(1) == targets).sum()
            self._judged += len(targets)

    def compute(self) -> dict[str, float]:
        metrics = {"loss": float(self._loss) / self._count} if self._with_loss and self._count else {}
        if self._judged:
            metrics["accuracy"] = float(self._right) / self._judged
        return metrics

    def details(self) -> dict[str, Any]:
        return {}

    def state_dict(self) -> dict[str, float]:
        return {"loss": float(self._loss), "right": float(self._right), "count": self._count, "judged": self._judged}

    def load_state_dict(self, state: dict[str, float]) -> None:
        if state:
            self._loss, self._right = state["loss"], state["right"]
            self._count, self._judged = int(state["count"]), int(state["judged"])
