"""The initial state of a network that somebody is about to train, from a copy and a sample of the data."""

from __future__ import annotations

import copy
import math
import warnings
from collections.abc import Callable
from typing import Any

from torch import Tensor

from netwright.observations import Observations
from netwright.probes import initial_state
from netwright.watching.calls import layers_of, unwrapped
from netwright.watching.given import Given

EXAMPLES = 128  # a share of 1 % over the units of a layer is still seen, and a pass takes a fraction of a second
ELEMENTS = 2_000_000  # of the inputs: fewer examples of large pictures


def fill(
    observations: Observations, model: Any, loss: Callable[[Any, Any], Tensor] | None, train: Given
) -> dict[str, Tensor]:
    """Set ``observations.initial``; model and data are left as found. Raises whatever a user's forward or copy raises.
    Returns a part of the gradient by parameter, empty where the loss does not fit the outputs.

    Call it `undisturbed`: it draws random numbers. A loss that does not fit the outputs is left out.
    """
    network = unwrapped(model)
    copied = copy.deepcopy(network)
    copied.__dict__.pop("_compiled_call_impl", None)
    inputs, targets = train.batch(max(2, min(EXAMPLES, ELEMENTS // max(1, math.prod(train.inputs.shape[1:])))), copied)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # whatever PyTorch warns of, it says in the training as well
        gradient: dict[str, Tensor] = {}
        observations.initial = initial_state.measure(copied, layers_of(copied), inputs, targets, loss, gradient)
    return gradient
