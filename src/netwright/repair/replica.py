"""A copy of a training that can be run again, as it was or changed."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn

from netwright.errors import UsageError

Scale = tuple[torch.Tensor, torch.Tensor]  # mean, deviation: (x - mean) / deviation
Data = tuple[Any, Any]  # inputs, targets; tensors or arrays with one row an example


@dataclasses.dataclass(frozen=True, eq=False)
class Replica:
    """Everything that a plain loop needs to train again from the start.

    ``network`` is the untrained network, never trained itself: every replay takes a deep copy. ``optimizer`` builds one
    of the same kind and options for a copy of the network. Changes make another replica (`dataclasses.replace`).
    The last group of fields says how the loop departs from the plain one; a copy of the user's has none of it.
    """

    network: nn.Module
    optimizer: Callable[[nn.Module], torch.optim.Optimizer]
    loss: Callable[[Any, Any], torch.Tensor]
    train: Data
    validation: Data | None
    batch_size: int
    epochs: int
    task: str = "unknown"
    shuffle: bool = True
    clears_gradients: bool = True
    clip: float = 0.0  # largest norm of the gradients; 0: not clipped
    warmup: float = 0.0  # share of the steps in which the rate rises linearly to its value
    rate: Callable[[float], float] | None = None  # share of the steps that are done → factor of every group's rate
    example_weights: torch.Tensor | None = None  # (N,): examples are drawn with replacement, in these proportions
    initializes: Callable[[nn.Module], None] | None = None  # fills a copy's weights anew, from the global generator
    input_scales: tuple[Scale, ...] = ()  # what was done to the inputs, in order
    target_scales: tuple[Scale, ...] = ()


def of(
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    loss: Callable[[Any, Any], torch.Tensor],
    train: Data,
    validation: Data | None,
    batch_size: int,
    epochs: int,
    task: str = "unknown",
) -> Replica:
    """The training of ``network`` as it stands now, before its first step; costs one copy of the network.

    Raises ``UsageError`` for what cannot be copied: several optimisers, data that are no arrays, a network that
    refuses.
    """
    where = "experiments on a copy"
    if not isinstance(network, nn.Module):
        raise UsageError(where, f"a {type(network).__name__}", "a torch.nn.Module")
    if not isinstance(optimizer, torch.optim.Optimizer):
        raise UsageError(where, f"{type(optimizer).__name__} for an optimiser", "one torch.optim.Optimizer")
    if any(isinstance(parameter, nn.UninitializedParameter) for parameter in network.parameters()):
        raise UsageError(where, "parameters without a shape", "a network that has seen a batch (lazy modules)")
    try:
        pristine = copy.deepcopy(network)
    except Exception as error:  # whatever a user's module raises
        raise UsageError(where, f"a network that cannot be copied ({error})", "one that copy.deepcopy copies") from None
    pristine.zero_grad()
    device = next(iter(pristine.parameters()), torch.zeros(0)).device
    dtype = next((p.dtype for p in pristine.parameters() if p.is_floating_point()), torch.float32)
    pair = as_tensors(train, dtype, device)
    held_out = as_tensors(validation, dtype, device) if validation is not None else None
    size = min(int(batch_size), len(pair[0]))
    return Replica(pristine, same_optimizer(optimizer, network), loss, pair, held_out, size, int(epochs), task)


def as_tensors(data: Data, dtype: torch.dtype, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Inputs and targets as tensors; tensors keep their type, arrays of other float types get the network's."""

    def one(values: Any, what: str) -> torch.Tensor:
        if not isinstance(values, torch.Tensor):
            try:
                values = torch.as_tensor(np.asarray(values))
            except (TypeError, ValueError) as error:
                raise UsageError("experiments on a copy", f"{what}: {error}", "tensors or arrays of numbers") from None
            values = values.to(dtype) if values.is_floating_point() else values
        moved: torch.Tensor = values.detach().to(device)
        return moved

    if not isinstance(data, tuple | list) or len(data) != 2:
        raise UsageError("experiments on a copy", f"data of type {type(data).__name__}", "(inputs, targets)")
    inputs, targets = one(data[0], "inputs"), one(data[1], "targets")
    if not inputs.ndim or not targets.ndim or len(inputs) != len(targets) or not len(inputs):
        raise UsageError(
            "experiments on a copy", f"inputs {tuple(inputs.shape)}, targets {tuple(targets.shape)}",
            "as many of both, at least one",
        )  # fmt: skip
    return inputs, targets


def same_optimizer(
    optimizer: torch.optim.Optimizer, network: nn.Module
) -> Callable[[nn.Module], torch.optim.Optimizer]:
    """Builds an optimiser of the same kind with the same groups over the parameters of the same names.

    Parameters that the network does not have (another copy's) are left out, as they are from its training. Parameters
    that a change added to the network join the last group.
    """
    names = {id(parameter): name for name, parameter in network.named_parameters(remove_duplicate=False)}
    known = set(dict(network.named_parameters(remove_duplicate=False)))
    groups = [
        ({key: value for key, value in group.items() if key != "params"}, [names.get(id(p)) for p in group["params"]])
        for group in optimizer.param_groups
    ]
    kind: Callable[..., torch.optim.Optimizer] = type(optimizer)

    def build(copied: nn.Module) -> torch.optim.Optimizer:
        own = dict(copied.named_parameters(remove_duplicate=False))
        made = [{**options, "params": [own[name] for name in kept if name in own]} for options, kept in groups]
        seen = {id(p) for group in made for p in group["params"]}
        for name, parameter in own.items():
            if name not in known and parameter.requires_grad and id(parameter) not in seen:
                made[-1]["params"].append(parameter)
                seen.add(id(parameter))
        return kind(made)

    return build
