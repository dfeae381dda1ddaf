"""Non-linear conjugate gradients with a strong-Wolfe line search.

Polak–Ribière+ (Gilbert and Nocedal 1992) and Hestenes–Stiefel, both with β ≥ 0; Nocedal and Wright 2006, 5.2.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from netwright.errors import UsageError
from netwright.optim.line_search import strong_wolfe
from netwright.optim.whole import WholeOptimizer, require_closure

BETAS = ("polak-ribiere", "hestenes-stiefel")
ORTHOGONAL = 0.2  # |g · g₋| / |g|² from which the directions have lost their conjugacy: begin again (Powell 1977)


class ConjugateGradient(WholeOptimizer):
    """w ← w + t d, d = −g + max(0, β) d₋. One direction a step, some two evaluations of the closure.

    ``lr`` scales the first trial of the line search; the search itself decides. c₁ = 10⁻⁴, c₂ = 0.1. For one
    function, the whole training part: on mini-batches d is conjugate to nothing. After ``step`` the gradients in
    ``.grad`` are those of the last point that the search looked at.
    """

    def __init__(self, params: Any, lr: float = 1.0, beta: str = "polak-ribiere") -> None:
        if beta not in BETAS:
            raise UsageError("ConjugateGradient: beta", repr(beta), f"one of {', '.join(BETAS)}")
        super().__init__(params, {"lr": lr, "beta": beta})

    @torch.no_grad()
    def step(self, closure: Callable[[], Tensor] | None = None) -> Tensor:  # type: ignore[override]
        closure = require_closure("ConjugateGradient", closure)
        group, memory = self.param_groups[0], self._memory
        with torch.enable_grad():
            loss = closure()
        gradient = self._gradient()
        direction = -gradient
        if "direction" in memory:
            old_gradient, old = memory["gradient"], memory["direction"]
            change = gradient - old_gradient
            above = gradient @ change
            below = old @ change if group["beta"] == "hestenes-stiefel" else old_gradient @ old_gradient
            lost = abs(float(gradient @ old_gradient)) >= ORTHOGONAL * float(gradient @ gradient)
            beta = 0.0 if lost or not float(below) > 0 else max(0.0, float(above) / float(below))
            direction = direction + beta * old
        slope = float(gradient @ direction)
        if slope >= 0:  # not downhill: the steepest descent is
            direction, slope = -gradient, -float(gradient @ gradient)
        if slope == 0:
            return loss
        # As long as the last step's gain at this slope (3.60); at the very start, a step of length one.
        first = memory["gain"] / slope if memory.get("gain") else 1.0 / float(direction.norm())
        weights = self._weights()
        first = group["lr"] * min(1.0, 1.01 * first) if memory.get("gain") else group["lr"] * first
        found = strong_wolfe(self._along(closure, weights, direction), float(loss), slope, first, 1e-4, 0.1)
        self._move(weights, direction, found.step)
        if found.step:
            memory.update(direction=direction, gradient=gradient, gain=2 * (found.loss - float(loss)))
        else:
            memory.clear()  # nothing lower along it: the next step begins with the gradient
        return loss
