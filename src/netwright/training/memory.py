"""What a network remembers of a running text between two batches, as a part of a checkpoint."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn


class Memory:
    """The ``memory`` of a network's modules; it has a ``state_dict`` as an optimiser has."""

    def __init__(self, network: nn.Module) -> None:
        self.modules: dict[str, Any] = {
            name: module for name, module in network.named_modules() if hasattr(module, "memory")
        }

    def state_dict(self) -> dict[str, Any]:
        return {name: None if m.memory is None else list(m.memory) for name, m in self.modules.items()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for name, module in self.modules.items():
            kept = state[name]
            place = next((p.device for p in module.parameters()), torch.device("cpu"))
            module.memory = None if kept is None else tuple(tensor.to(place) for tensor in kept)
