"""A network over a split: metrics, and for every example its loss, decision and probability."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from netwright.data.loading import Batch, Batches
from netwright.objectives.classification import indices


def call(network: nn.Module, batch: Batch) -> Any:
    """The network on a batch: its inputs by position, or by keyword where they have names."""
    if batch.names:
        return network(**dict(zip(batch.names, batch.inputs, strict=True)))
    return network(*batch.inputs)


@contextlib.contextmanager
def evaluation_mode(network: nn.Module) -> Iterator[None]:
    """``eval()`` for a while; every sub-module gets its own mode back, and what it remembers of a running text."""
    modes = [(module, module.training) for module in network.modules()]
    remembered = forgotten(network)
    network.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode
        for module, memory in remembered:
            module.memory = memory


def forgotten(network: nn.Module) -> list[tuple[Any, Any]]:
    """Modules that carry a state from batch to batch (``memory``), with what they remembered, which is nothing now."""
    found: list[tuple[Any, Any]] = [
        (module, module.memory) for module in network.modules() if hasattr(module, "memory")
    ]
    for module, _ in found:
        module.memory = None
    return found


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """``losses`` (N,), ``decisions`` and ``probabilities`` as the objective gives them, on the processor."""

    metrics: dict[str, float]
    details: dict[str, Any]
    losses: torch.Tensor
    decisions: torch.Tensor
    probabilities: torch.Tensor


def evaluate(network: nn.Module, objective: Any, batches: Batches, precision: Any) -> dict[str, float]:
    """Metrics over all batches. Costs one forward pass; the network's modes and random state stay."""
    meter = objective.meter()
    with evaluation_mode(network), torch.inference_mode(), precision.cast():
        for batch in batches.epoch(0):
            meter.update(call(network, batch), batch.targets)
    return dict(meter.compute())


def by_example(
    network: nn.Module, objective: Any, batches: Batches, precision: Any
) -> tuple[dict[str, float], torch.Tensor]:  # fmt: skip
    """``evaluate``, and (N,) of each example, on the processor: whether it is right where there is an accuracy, else
    its loss."""
    meter, each = objective.meter(), []
    with evaluation_mode(network), torch.inference_mode(), precision.cast():
        for batch in batches.epoch(0):
            outputs = call(network, batch)
            losses = objective.losses(outputs, batch.targets)
            meter.update(outputs, batch.targets, losses)
            decided = objective.decide(outputs) if objective.task == "classification" else outputs
            judged = isinstance(decided, torch.Tensor) and decided.ndim == 1 and not decided.is_floating_point()
            each.append((decided == indices(batch.targets) if judged else losses.float()).cpu())
    return dict(meter.compute()), torch.cat(each)


def examine(
    network: nn.Module, objective: Any, batches: Batches, precision: Any, *, each_one: bool = True
) -> Evaluation:
    """``evaluate``, and what it says of each example, unless ``each_one`` is False: of the first batch's then."""
    meter = objective.meter()
    losses: list[torch.Tensor] = []
    decisions: list[torch.Tensor] = []
    probabilities: list[torch.Tensor] = []
    with evaluation_mode(network), torch.inference_mode(), precision.cast():
        for batch in batches.epoch(0):
            outputs = call(network, batch)
            each = objective.losses(outputs, batch.targets).float()
            meter.update(outputs, batch.targets, each)
            if losses and not each_one:
                continue
            losses.append(each.cpu())
            decisions.append(objective.decide(outputs).cpu())
            probabilities.append(objective.probabilities(outputs).float().cpu())
    return Evaluation(
        dict(meter.compute()), dict(meter.details()), torch.cat(losses), torch.cat(decisions), torch.cat(probabilities)
    )
