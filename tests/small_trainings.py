"""Small trainings for the tests of experiments and repairs: healthy ones, and the same with one fault planted."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from netwright.observations import NetworkFacts, Observations, OptimizerFacts, Plan
from netwright.observations.data import ArrayFacts, DataAudit
from netwright.observations.network import LayerFacts
from netwright.repair import replica as replicas
from netwright.repair.replica import Replica

Data = tuple[torch.Tensor, torch.Tensor]


def spirals(count: int = 600, seed: int = 0) -> tuple[Data, Data]:
    """Three noisy arms in the plane, classes by index; two thirds to train."""
    drawn = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, 3, (count,), generator=drawn)
    radius = torch.rand(count, generator=drawn)
    angle = 2.1 * labels + 2.5 * radius + 0.15 * torch.randn(count, generator=drawn)
    inputs = 2 * torch.stack([radius * angle.cos(), radius * angle.sin()], 1)
    cut = 2 * count // 3
    return (inputs[:cut], labels[:cut]), (inputs[cut:], labels[cut:])


def waves(count: int = 600, seed: int = 0) -> tuple[Data, Data]:
    """A smooth function of five variables, standard deviation about 1."""
    drawn = torch.Generator().manual_seed(seed)
    inputs = torch.randn(count, 5, generator=drawn)
    values = (
        torch.sin(2 * inputs[:, :1]) + inputs[:, 1:2] * inputs[:, 2:3] + 0.05 * torch.randn(count, 1, generator=drawn)
    )
    cut = 2 * count // 3
    return (inputs[:cut], values[:cut]), (inputs[cut:], values[cut:])


def mlp(inputs: int, outputs: int, width: int = 32, act: type[nn.Module] = nn.ReLU, hidden: int = 2) -> nn.Sequential:
    layers: list[nn.Module] = []
    for _ in range(hidden):
        layers += [nn.Linear(inputs, width), act()]
        inputs = width
    return nn.Sequential(*layers, nn.Linear(inputs, outputs))


def training(
    make: Callable[[], nn.Module],
    data: tuple[Data, Data | None],
    loss: Callable[[Any, Any], torch.Tensor],
    optimizer: Callable[[Any], torch.optim.Optimizer],
    batch_size: int = 32,
    epochs: int = 30,
    seed: int = 0,
) -> Replica:
    torch.manual_seed(seed)
    network = make()
    return replicas.of(network, optimizer(network.parameters()), loss, data[0], data[1], batch_size, epochs)


def facts_of(replica: Replica) -> Observations:
    """The facts that the rules about settings read, without the watch that finds them."""
    optimizer = replica.optimizer(replica.network)
    groups = tuple(
        {key: value for key, value in group.items() if isinstance(value, int | float)}
        for group in optimizer.param_groups
    )
    layers = tuple(
        LayerFacts(
            name=name, kind=type(module).__name__, options={"p": module.p} if isinstance(module, nn.Dropout) else {},
            parameters={key: tuple(value.shape) for key, value in module.named_parameters(recurse=False)},
        )
        for name, module in replica.network.named_modules()
        if name and not list(module.children())
    )  # fmt: skip
    return Observations(
        data=DataAudit(
            task="regression" if replica.train[1].is_floating_point() else "classification",
            inputs=_array(replica.train[0]), targets=_array(replica.train[1]),
        ),
        network=NetworkFacts(layers=layers),
        optimizer=OptimizerFacts(kind=type(optimizer).__name__, groups=groups),
        plan=Plan(batch_size=replica.batch_size, epochs=replica.epochs, examples=len(replica.train[0])),
    )  # fmt: skip


def _array(values: torch.Tensor) -> ArrayFacts:
    numbers = values.float()
    return ArrayFacts(
        examples=len(values), sampled=len(values), shape=tuple(values.shape[1:]), dtype=str(values.dtype),
        mean=float(numbers.mean()), deviation=float(numbers.std()),
    )  # fmt: skip
