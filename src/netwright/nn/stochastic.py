"""Networks whose dropout stays on when they predict: many draws of one answer (Gal and Ghahramani 2016)."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
from torch import nn


def drops(module: nn.Module) -> bool:
    """Whether a module by itself leaves units out at random in training mode, and changes nothing else by that mode."""
    if isinstance(module, nn.RNNBase):
        return module.dropout > 0 and module.num_layers > 1
    return isinstance(module, nn.modules.dropout._DropoutNd) and module.p > 0


@contextlib.contextmanager
def dropping(network: nn.Module, seed: int) -> Iterator[None]:
    """Dropout is on and all else in evaluation mode for a while, so norms use what they learned; draws follow ``seed``.
    Modes and the random state come back."""
    modes = [(module, module.training) for module in network.modules()]
    devices = {p.device for p in network.parameters() if p.device.type == "cuda"}
    try:
        with torch.random.fork_rng(devices=[device.index or 0 for device in devices]):
            torch.manual_seed(seed)
            for module, _ in modes:
                module.training = drops(module)
            yield
    finally:
        for module, mode in modes:
            module.training = mode
