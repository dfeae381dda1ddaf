"""The loss at the weights as they stand, for optimisers that ask for it more than once a step."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor


class Evaluation:
    """The loss of one step: a sum of parts (the batches that one step takes), each a function without arguments.

    A call gives the sum and leaves its gradient in ``.grad``, as PyTorch's closures do; ``product`` gives Hessian times
    vector. ``fresh``: the gradient of the weights as they stand is there already, with this loss, so that the first
    call costs nothing. Every evaluation begins with the same state of the generators, ``random`` (now, if it is left
    out): dropout draws the same units, or a line search would compare different functions. ``around`` each one stands
    a context.
    """

    def __init__(
        self,
        parts: Sequence[Callable[[], Tensor]],
        parameters: Any,
        fresh: Tensor | None = None,
        random: list[Tensor] | None = None,
        around: Callable[[], contextlib.AbstractContextManager[Any]] = contextlib.nullcontext,
    ) -> None:
        self._parts, self._parameters, self._fresh, self._around = parts, list(parameters), fresh, around
        self._random = random_state() if random is None else random

    def __call__(self) -> Tensor:
        if self._fresh is not None:
            value, self._fresh = self._fresh, None
            return value
        for parameter in self._parameters:
            parameter.grad = None
        total = torch.zeros(())
        with _Again(self._random), self._around(), torch.enable_grad():
            for part in self._parts:
                loss = part()
                loss.backward()
                total = total.to(loss.device) + loss.detach()
        return total

    def product(self, vectors: Sequence[Tensor]) -> list[Tensor]:
        """Hessian times ``vectors``, one tensor a parameter: two backward passes (Pearlmutter 1994)."""
        result = [torch.zeros_like(vector) for vector in vectors]
        with _Again(self._random), self._around(), torch.enable_grad():
            for part in self._parts:
                slopes = torch.autograd.grad(part(), self._parameters, create_graph=True, allow_unused=True)
                pairs = [(slope, v) for slope, v in zip(slopes, vectors) if slope is not None and slope.requires_grad]
                if not pairs:
                    continue
                along = torch.stack([(slope * v).sum() for slope, v in pairs]).sum()
                made = torch.autograd.grad(along, self._parameters, allow_unused=True)
                for held, each in zip(result, made):
                    if each is not None:
                        held.add_(each)
        return result


def random_state() -> list[Tensor]:
    gpus = torch.cuda.get_rng_state_all() if torch.cuda.is_available() and torch.cuda.is_initialized() else []
    return [torch.get_rng_state(), *gpus]


class _Again:
    """The generators as ``state`` within, and afterwards as they were before."""

    def __init__(self, state: list[Tensor]) -> None:
        self._state = state

    def __enter__(self) -> None:
        self._before = random_state()
        self._set(self._state)

    def __exit__(self, *_: object) -> None:
        self._set(self._before)

    @staticmethod
    def _set(state: list[Tensor]) -> None:
        torch.set_rng_state(state[0])
        if len(state) > 1:
            torch.cuda.set_rng_state_all(state[1:])
