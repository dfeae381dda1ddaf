"""Newton's method whose equation is solved by conjugate gradients on Hessian-vector products (truncated Newton).

Nocedal and Wright 2006, algorithm 7.1; Steihaug 1983; the product: Pearlmutter 1994.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from netwright.errors import UsageError
from netwright.optim.closures import Evaluation
from netwright.optim.line_search import strong_wolfe
from netwright.optim.whole import WholeOptimizer, require_closure

MOST_LEFT = 0.01  # of the gradient, in an inner solution; with ½, as in the book, flat valleys are left out of it


class NewtonCG(WholeOptimizer):
    """w ← w + t p, H p ≈ −g. One direction a step: up to ``inner`` products of the Hessian, then a line search.

    The equation is solved to ‖r‖ ≤ min(0.01, √‖g‖) ‖g‖, so that the method converges faster than linearly; a direction
    of no or negative curvature ends it, and what was found so far is followed. ``step`` takes an `Evaluation`, whose
    ``product`` the method needs. For twice differentiable losses of the whole training part; behind ReLUs the Hessian
    is that of the pieces. ``lr`` scales the first trial of the line search.
    """

    def __init__(self, params: Any, lr: float = 1.0, inner: int = 50) -> None:
        super().__init__(params, {"lr": lr, "inner": inner})

    @torch.no_grad()
    def step(self, closure: Callable[[], Tensor] | None = None) -> Tensor:  # type: ignore[override]
        closure = require_closure("NewtonCG", closure)
        if not isinstance(closure, Evaluation):
            raise UsageError(
                "NewtonCG.step", f"a {type(closure).__name__}", "an Evaluation, which has products of the Hessian",
                "netwright.optim.closures.Evaluation([lambda: loss_fn(network(x), y)], parameters)",
            )  # fmt: skip
        group = self.param_groups[0]
        with torch.enable_grad():
            loss = closure()
        gradient = self._gradient()
        if not float(gradient @ gradient):
            return loss
        direction = self._solve(closure, gradient, group["inner"])
        slope = float(gradient @ direction)
        if not slope < 0:
            direction, slope = -gradient, -float(gradient @ gradient)
        weights = self._weights()
        found = strong_wolfe(self._along(closure, weights, direction), float(loss), slope, group["lr"], 1e-4, 0.9)
        self._move(weights, direction, found.step)
        return loss

    def _solve(self, closure: Evaluation, gradient: Tensor, most: int) -> Tensor:
        size = float(gradient.norm())
        enough = min(MOST_LEFT, math.sqrt(size)) * size
        found, residual = torch.zeros_like(gradient), gradient.clone()
        direction = -residual
        squared = float(residual @ residual)
        for number in range(most):
            product = torch.cat([piece.reshape(-1) for piece in closure.product(self._pieces(direction))])
            curvature = float(direction @ product)
            if curvature <= 1e-12 * float(direction @ direction):
                return -gradient if not number else found
            length = squared / curvature
            found += length * direction
            residual += length * product
            before, squared = squared, float(residual @ residual)
            if math.sqrt(squared) <= enough:
                break
            direction = -residual + (squared / before) * direction
        return found
