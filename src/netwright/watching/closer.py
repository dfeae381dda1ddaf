"""Looks that need passes of their own, on copies of the network and a piece of the training data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from netwright.observations import Observations
from netwright.probes import curvature, modes, noise_scale
from netwright.watching.given import UnseenError, open_data
from netwright.watching.undisturbed import undisturbed

COMPARED = 256  # examples in training and in evaluation mode
CURVED = 512  # examples whose mean loss is looked at for its curvature and noise
STEPS = 160  # training steps that a look costs as much as, of so many examples: 40 products of two passes, noise
SMALL_BATCH = 16
LARGEST = 100_000_000  # parameters of a network that is copied for a look


def compare_modes(
    observations: Observations,
    network: nn.Module,
    loss: Any,
    train_data: Any,
    step: int,
    training: Mapping[str, bool] | None = None,
) -> None:
    """``train-eval-difference`` and ``train-eval-loss`` at the weights of now, where a layer has two modes; what cannot
    be seen is said. ``training``: the modes of a training step."""
    two = (nn.modules.dropout._DropoutNd, nn.AlphaDropout, nn.modules.batchnorm._BatchNorm, nn.RNNBase)
    own = [m for m in network.modules() if isinstance(m, two) or not type(m).__module__.startswith("torch.")]
    if not own or train_data is None or sum(p.numel() for p in network.parameters()) > LARGEST:
        return
    try:
        with undisturbed():
            inputs, targets = open_data(train_data).batch(COMPARED, network)
            found = modes.measure(network, inputs, step, loss=loss, targets=targets, modes=training or None)
    except (UnseenError, RuntimeError, TypeError, ValueError, IndexError, AttributeError) as error:
        observations.unseen["train-eval"] = f"{type(error).__name__}: {error}"
        return
    for measurement in found:
        observations.series.add(measurement)


def look(observations: Observations, network: nn.Module, loss: Any, train_data: Any, step: int) -> None:
    """Curvature of the loss and noise of its gradient, over up to ``CURVED`` examples; seconds. Raises what the network
    raises, and ``UnseenError`` for data that cannot be looked at."""
    rate = observations.series.get("learning-rate").last
    with undisturbed():
        inputs, targets = open_data(train_data).batch(CURVED, network)
        found = curvature.measure(network, loss, inputs, targets).measurements(step, rate)
        size = min(SMALL_BATCH, len(inputs) // 2)
        if size:
            shuffled = torch.randperm(len(inputs), generator=torch.Generator().manual_seed(0)).to(inputs.device)
            scale = noise_scale.measure(network, loss, inputs[shuffled], targets[shuffled], size=size)
            found += scale.measurements(step)
    for measurement in found:
        observations.series.add(measurement)
