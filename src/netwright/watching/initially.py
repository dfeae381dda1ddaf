"""The initial state of a network that somebody is about to train, from a copy and a sample of the data."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from netwright.observations import Observations
from netwright.probes import initial_state
from netwright.watching.calls import layers_of, unwrapped

EXAMPLES = 128  # a share of 1 % over the units of a layer is still seen, and a pass takes a fraction of a second
ELEMENTS = 2_000_000  # of the inputs: fewer examples of large pictures


def fill(observations: Observations, model: Any, loss: Callable[[Any, Any], Tensor] | None, train_data: Any) -> None:
    """Set ``observations.initial``, or say in ``unseen`` why it could not be seen; model and data are left as found.

    Call it `undisturbed`: it draws random numbers.
    """
    network = unwrapped(model)
    if not isinstance(network, nn.Module):
        return
    batch = sample(train_data, network)
    if batch is None:
        observations.unseen["initial"] = "no training data was given"
        return
    try:
        copied = copy.deepcopy(network)
        copied.__dict__.pop("_compiled_call_impl", None)
        copied.zero_grad()
        observations.initial = initial_state.measure(copied, layers_of(copied), *batch, loss)
    except Exception as error:  # whatever a user's forward or copy raises
        observations.unseen["initial"] = f"{type(error).__name__}: {error}"


def sample(train_data: Any, network: nn.Module, examples: int = EXAMPLES) -> tuple[Tensor, Any] | None:
    """Inputs and targets evenly from all of the data (which may be sorted), on the network's device."""
    if not isinstance(train_data, tuple | list) or len(train_data) != 2:
        return None
    try:
        inputs, targets = train_data
        count = len(inputs)
        if not count or len(targets) != count:
            return None
        first = inputs[:1]
        size = int(np.prod(first.shape)) if hasattr(first, "shape") else 1
        rows = max(2, min(examples, ELEMENTS // max(1, size)))
        chosen = torch.linspace(0, count - 1, min(rows, count)).round().long()
        drawn = [values[chosen] if isinstance(values, Tensor) else torch.as_tensor(np.asarray(values)[chosen.numpy()])
                 for values in (inputs, targets)]  # fmt: skip
    except (TypeError, ValueError, KeyError, AttributeError, IndexError):
        return None
    place = next((p for p in network.parameters() if p.is_floating_point() and not is_lazy(p)), None)
    if place is not None:
        drawn = [values.to(place.device) for values in drawn]
        if drawn[0].is_floating_point():
            drawn[0] = drawn[0].to(place.dtype)
    return drawn[0].detach(), drawn[1].detach()
