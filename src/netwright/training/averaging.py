"""A running average of the weights: what is validated and kept, where the recipe asks for it.

An exponential average over some hundred steps removes much of the noise that a high learning rate leaves in the
weights, so that a network is good long before the rate has come down (Polyak and Juditsky 1992; Izmailov et al. 2018).
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import nn

from netwright.recipe.defaults import AVERAGE_EVERY as EVERY


class Average:
    """A copy of the network whose weights and running statistics follow the trained ones.

    ``decay`` is per update; it begins small, as (1 + n) / (10 + n) after n updates, so that the random first weights
    are forgotten. Costs one pass over the weights every ``EVERY`` steps, and their memory once more; at every step it
    would be the same within rounding.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.network = copy.deepcopy(network)
        for parameter in self.network.parameters():
            parameter.requires_grad_(False)
        self._decay = decay
        pairs = list(zip(self.network.state_dict().values(), network.state_dict().values(), strict=True))
        self._floats = [(mine, theirs) for mine, theirs in pairs if mine.is_floating_point()]
        self._others = [(mine, theirs) for mine, theirs in pairs if not mine.is_floating_point()]

    @torch.no_grad()
    def after_step(self, step: int) -> None:
        """Follow the network; ``step`` counts optimiser steps from 1."""
        if step % EVERY:
            return
        updates = step // EVERY
        decay = min(self._decay, (1 + updates) / (10 + updates))
        if self._floats:
            mine, theirs = zip(*self._floats, strict=True)
            torch._foreach_lerp_(mine, theirs, 1 - decay)
        for own, other in self._others:
            own.copy_(other)

    def state_dict(self) -> dict[str, Any]:
        return dict(self.network.state_dict())

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.network.load_state_dict(state)
