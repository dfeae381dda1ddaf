"""How much of the loss' gradient arrives at the first steps of a recurrence, in one backward pass.

A layer over a sequence (`torch.nn.RNNBase`) is asked at its input, step by step; a module that is called again and
again (a cell, a layer of a loop of one's own) at its output, call by call. Unit: a ratio. Cost: one norm a step.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from netwright.observations.initial import RecurrentStart

SHORTEST = 8  # steps: fewer are a matter of depth


class Recurrences:
    """Hooks for one pass; `found` when its backward pass is over."""

    def __init__(self, network: nn.Module, layers: Mapping[str, nn.Module]) -> None:
        self._steps: dict[str, list[float]] = {}  # of sequences: by position
        self._calls: dict[str, dict[int, float]] = {}  # of repeated calls: by number
        self._count: dict[str, int] = {}
        self.handles: list[Any] = []
        for name, module in network.named_modules():
            if isinstance(module, nn.RNNBase):
                self.handles.append(module.register_forward_pre_hook(functools.partial(self._before, name)))
        for name, module in layers.items():
            if not isinstance(module, nn.RNNBase):
                self.handles.append(module.register_forward_hook(functools.partial(self._after, name)))

    def _before(self, name: str, module: nn.RNNBase, given: tuple[Any, ...]) -> tuple[Any, ...] | None:
        if not given or not isinstance(given[0], Tensor) or name in self._steps or not given[0].is_floating_point():
            return None
        sequence = given[0]
        if not sequence.requires_grad:  # the network's own input: here it may be asked, and nowhere before
            sequence = sequence.detach().requires_grad_(True)
        axis = 1 if module.batch_first and sequence.dim() == 3 else 0
        self._steps[name] = []

        def keep(gradient: Tensor) -> None:
            rows = gradient.detach().double().movedim(axis, 0)
            self._steps[name] = rows.reshape(len(rows), -1).norm(dim=1).tolist()

        sequence.register_hook(keep)
        return (sequence, *given[1:])

    def _after(self, name: str, module: nn.Module, given: Any, result: Any) -> None:
        output = result[0] if isinstance(result, tuple) and result else result
        number = self._count[name] = self._count.get(name, 0) + 1
        if isinstance(output, Tensor) and output.is_floating_point() and output.requires_grad:

            def keep(gradient: Tensor) -> None:
                self._calls.setdefault(name, {})[number] = float(gradient.detach().double().norm())

            output.register_hook(keep)

    @property
    def found(self) -> tuple[RecurrentStart, ...]:
        """Of every recurrence of `SHORTEST` steps or more, in the order of the network."""
        calls = {name: [norms[number] for number in sorted(norms)] for name, norms in self._calls.items()}
        told = []
        for name, norms in {**self._steps, **calls}.items():
            largest = max(norms, default=0.0)
            if len(norms) >= SHORTEST and math.isfinite(largest) and largest > 0 and math.isfinite(norms[0]):
                told.append(RecurrentStart(name=name, steps=len(norms), first=norms[0] / largest))
        return tuple(told)
