"""How far evaluation mode is from training mode on the same examples: dropout and norm layers. Cost: two forward passes
on a copy, and the copy."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from netwright.records import Measurement


def measure(
    network: nn.Module,
    inputs: Tensor,
    step: int,
    *,
    loss: Callable[[Any, Tensor], Tensor] | None = None,
    targets: Tensor | None = None,
    modes: Mapping[str, bool] | None = None,
) -> list[Measurement]:
    """``train-eval-difference`` and, with a loss, ``train-eval-loss``, at the weights as they are.

    ``modes``: which modules are in training mode during a training step; all by default (a frozen norm layer is not).
    Dropout draws from the global generator: call it where that is put back.
    """
    copied = copy.deepcopy(network)
    for name, module in copied.named_modules():
        module.training = True if modes is None else modes.get(name, True)
    with torch.no_grad():
        trained = copied(inputs)
        evaluated = copied_eval(network)(inputs)
        if not isinstance(trained, Tensor) or not isinstance(evaluated, Tensor) or trained.shape != evaluated.shape:
            return []
        found = {}
        spread = (
            trained.float().std(0, correction=0).square().mean().sqrt() if len(trained) > 1 else trained.new_zeros(())
        )
        if float(spread) > 0:
            difference = (trained.float() - evaluated.float()).square().mean().sqrt() / spread
            found["train-eval-difference"] = ("share", float(difference))
        if loss is not None and targets is not None:
            found["train-eval-loss"] = ("loss", float(loss(evaluated, targets)) - float(loss(trained, targets)))
    return [
        Measurement(probe=probe, step=step, unit=unit, values=(value if value == value else None,))
        for probe, (unit, value) in found.items()
    ]


def copied_eval(network: nn.Module) -> nn.Module:
    return copy.deepcopy(network).eval()
