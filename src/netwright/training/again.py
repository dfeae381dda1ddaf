"""The batches of a step once more, for optimisers that ask for the loss several times (L-BFGS, conjugate gradients)."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from netwright.data.loading import Batch
from netwright.optim.closures import Evaluation, random_state
from netwright.optim.optimizers import needs_closure
from netwright.training.evaluating import call


class Again:
    """Hears the batches of a step before their forward, and makes the optimiser's closure of them; else nothing.

    Evaluations draw what the loop's own forward drew (dropout), and leave running statistics alone, which have seen
    these batches already.
    """

    def __init__(self, network: nn.Module, objective: Any, optimizer: torch.optim.Optimizer) -> None:
        self._network, self._objective, self._wanted = network, objective, needs_closure(optimizer)
        self._parameters = [p for group in optimizer.param_groups for p in group["params"]]
        self._held: list[Batch] = []
        self._random: list[Tensor] = []

    def hear(self, batch: Batch) -> None:
        if self._wanted:
            if not self._held:
                self._random = random_state()
            self._held.append(batch)

    def closure(self, loss: Tensor) -> Evaluation | None:
        """For the batches heard since the last one; ``loss``: what they gave, whose gradient is there."""
        if not self._wanted:
            return None
        held, self._held = self._held, []
        parts = [self._part(batch, len(held)) for batch in held]
        return Evaluation(parts, self._parameters, loss, self._random, lambda: quiet_norms(self._network))

    def _part(self, batch: Batch, count: int) -> Callable[[], Tensor]:
        return lambda: self._objective.loss(call(self._network, batch), batch.targets) / count


@contextlib.contextmanager
def quiet_norms(network: nn.Module) -> Iterator[None]:
    """Within, norms take the batch's statistics as in training, but note nothing down."""
    noting: list[Any] = [module for module in network.modules() if getattr(module, "track_running_stats", False)]
    for module in noting:
        module.track_running_stats = False
    try:
        yield
    finally:
        for module in noting:
            module.track_running_stats = True
