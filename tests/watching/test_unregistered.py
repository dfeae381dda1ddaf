"""Layers in plain lists: found where they take part and nobody steps them, silent where that is meant."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from netwright.diagnosis.judging import judge
from netwright.observations import Observations
from netwright.watching import networks

X = torch.randn(8, 6, generator=torch.Generator().manual_seed(0))
Y = torch.zeros(8)


class Stack(nn.Module):
    """``layers`` held by ``hold``; the end is registered."""

    def __init__(self, hold: Any, used: bool = True) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layers = hold([nn.Linear(6, 6), nn.Linear(6, 6)])
        self.used, self.end = used, nn.Linear(6, 2)

    def forward(self, x: Tensor) -> Tensor:
        held = self.layers["all"] if isinstance(self.layers, dict) else self.layers
        for layer in held if self.used else ():
            x = layer[0](x) if isinstance(layer, list) else layer(x)
        return self.end(x)


def seen(network: nn.Module, extra: list[nn.Parameter] | None = None) -> Observations:
    observations = Observations()
    optimizer = torch.optim.SGD([*network.parameters(), *(extra or [])], 0.1)
    networks.examine(observations, network, [optimizer], (X, Y))
    return observations


@pytest.mark.parametrize("hold", [list, tuple, lambda ls: {"all": ls}, lambda ls: [[layer] for layer in ls]])
def test_layers_in_plain_containers_are_told_with_their_size(hold: Any) -> None:
    observations = seen(nn.Sequential(Stack(hold), nn.ReLU()))
    assert observations.network is not None
    assert [(one.name, one.size) for one in observations.network.unregistered] == [("0.layers", 2 * 42)]
    (told,) = [f for f in judge(observations).findings if f.code == "missing-from-optimizer"]
    assert (told.severity, told.where) == ("error", "0.layers")
    again = Observations()
    again.read_facts(observations.facts_to_json())
    assert again.network == observations.network


def test_what_is_meant_so_is_silent() -> None:
    plain = Stack(list)
    frozen = Stack(list)
    for layer in frozen.layers:
        layer.requires_grad_(False)
    both = Stack(nn.ModuleList)
    both.again = list(both.layers)  # registered as well
    stepped = [p for layer in plain.layers for p in layer.parameters()]
    assert seen(plain, stepped).network.unregistered == ()  # type: ignore[union-attr]
    for network in (Stack(nn.ModuleList), Stack(list, used=False), frozen, both):
        assert seen(network).network.unregistered == ()  # type: ignore[union-attr]


def test_learned_layers_that_are_held_back_are_a_note() -> None:
    """A trunk with weights that somebody trained: here of one large direction, as training leaves it."""
    network = Stack(list)
    network.layers[0] = nn.Linear(6, 60)
    network.layers[1] = nn.Linear(60, 6)
    with torch.no_grad():
        for layer in network.layers:
            layer.weight.copy_(layer.weight + 5 * torch.outer(layer.weight[:, 0], layer.weight[0]).sign())
    (told,) = [f for f in judge(seen(network)).findings if f.code == "missing-from-optimizer"]
    assert told.severity == "note"


def test_nothing_is_changed() -> None:
    network = Stack(list)
    before = copy.deepcopy(network.layers[0].weight)
    seen(network)
    assert network.layers[0].weight.grad is None
    assert torch.equal(before, network.layers[0].weight)
