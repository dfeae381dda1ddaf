"""A copy of a training that can be run again, as it was or changed."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

Data = tuple[Any, Any]  # inputs, targets; tensors or arrays with one row an example


@dataclasses.dataclass(frozen=True)
class Replica:
    """Everything that a plain loop needs to train again from the start.

    ``network`` is the untrained network, never trained itself: every replay takes a deep copy. ``optimizer`` builds one
    of the same kind and options for a copy of the network. Changes make another replica (`dataclasses.replace`).
    """

    network: nn.Module
    optimizer: Callable[[nn.Module], torch.optim.Optimizer]
    loss: Callable[[Any, Any], torch.Tensor]
    train: Data
    validation: Data | None
    batch_size: int
    epochs: int
    task: str = "unknown"


def of(
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    loss: Callable[[Any, Any], torch.Tensor],
    train: Data,
    validation: Data | None,
    batch_size: int,
    epochs: int,
) -> Replica:
    """The training of ``network`` as it stands now, before its first step; costs one copy of the network."""
    pristine = copy.deepcopy(network)
    pristine.zero_grad()
    return Replica(pristine, same_optimizer(optimizer, network), loss, train, validation, batch_size, epochs)


def same_optimizer(
    optimizer: torch.optim.Optimizer, network: nn.Module
) -> Callable[[nn.Module], torch.optim.Optimizer]:
    """Builds an optimiser of the same kind with the same groups over the parameters of the same names.

    Parameters that the network does not have (another copy's) are left out, as they are from its training.
    """
    names = {id(parameter): name for name, parameter in network.named_parameters()}
    groups = [
        ({key: value for key, value in group.items() if key != "params"}, [names.get(id(p)) for p in group["params"]])
        for group in optimizer.param_groups
    ]
    kind: Callable[..., torch.optim.Optimizer] = type(optimizer)

    def build(copied: nn.Module) -> torch.optim.Optimizer:
        own = dict(copied.named_parameters())
        return kind([{**options, "params": [own[name] for name in kept if name in own]} for options, kept in groups])

    return build
