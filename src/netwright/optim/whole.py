"""What optimisers of the whole training part share: parameters as one vector, moved along a direction."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from netwright.errors import UsageError


class WholeOptimizer(torch.optim.Optimizer):
    """One group; ``step(closure)``, the closure gives the loss and leaves its gradient, as PyTorch's do."""

    def __init__(self, params: Any, defaults: dict[str, Any]) -> None:
        super().__init__(params, defaults)
        if len(self.param_groups) != 1:
            raise UsageError(type(self).__name__, f"{len(self.param_groups)} groups of parameters", "one group")

    @property
    def _tensors(self) -> list[Tensor]:
        return self.param_groups[0]["params"]  # type: ignore[no-any-return]

    @property
    def _memory(self) -> dict[str, Any]:
        """What is remembered between steps; kept with the first parameter, so that it is saved with the state."""
        return self.state[self._tensors[0]]  # type: ignore[no-any-return]

    def _gradient(self) -> Tensor:
        return torch.cat([(torch.zeros_like(p) if p.grad is None else p.grad).reshape(-1) for p in self._tensors])

    def _weights(self) -> list[Tensor]:
        return [p.detach().clone(memory_format=torch.contiguous_format) for p in self._tensors]

    def _move(self, weights: list[Tensor], direction: Tensor, step: float) -> None:
        """The parameters become ``weights`` + ``step`` · ``direction``."""
        for parameter, old, piece in zip(self._tensors, weights, self._pieces(direction)):
            parameter.copy_(old + step * piece)

    def _pieces(self, vector: Tensor) -> list[Tensor]:
        sizes = [p.numel() for p in self._tensors]
        return [piece.view(p.shape) for piece, p in zip(vector.split(sizes), self._tensors)]

    def _along(
        self, closure: Callable[[], Tensor], weights: list[Tensor], direction: Tensor
    ) -> Callable[[float], tuple[float, float]]:
        """Step length → loss and slope along ``direction``; leaves weights and gradient there."""

        def at(step: float) -> tuple[float, float]:
            self._move(weights, direction, step)
            with torch.enable_grad():
                loss = float(closure())
            return loss, float(self._gradient() @ direction)

        return at


def require_closure(name: str, closure: Callable[[], Tensor] | None) -> Callable[[], Tensor]:
    if closure is None:
        raise UsageError(
            f"{name}.step", "no closure", "a function that gives the loss and leaves its gradient",
            "optimizer.step(closure), as for torch.optim.LBFGS",
        )  # fmt: skip
    return closure
