"""Blocks: a partition of the parameters, in order, for every network by name."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from netwright.nn import keeping
from netwright.nn.depth import blocks
from netwright.nn.zoo import PUBLISHED, SMALL
from netwright.records import NetworkFile

INPUTS = {"mlp": (8,), "small_resnet1d": (2, 64), "rnn": (2, 9), "lstm": (2, 9), "gru": (2, 9), "transformer": (2, 9)}


def _record(name: str) -> NetworkFile:
    if name in PUBLISHED:
        return NetworkFile(
            kind="zoo", name=name, input_shape=PUBLISHED[name].input_shape, outputs=PUBLISHED[name].outputs
        )
    return NetworkFile(kind="zoo", name=name, input_shape=INPUTS.get(name, (1, 28, 28)), outputs=3)


@pytest.mark.parametrize("name", [*SMALL, *PUBLISHED])
def test_every_parameter_is_in_one_block_and_in_order(name: str) -> None:
    network = keeping.build_without_values(_record(name))
    found = [id(p) for block in blocks(network) for p in block.parameters()]
    assert len(found) == len(set(found))
    assert set(found) == {id(p) for p in network.parameters()}
    assert blocks(network)
    places = {id(p): place for place, p in enumerate(network.parameters()) if p.ndim > 1}
    firsts = [min(places[id(p)] for p in block.parameters() if id(p) in places) for block in blocks(network)]
    assert firsts == sorted(firsts)


def test_norms_go_with_the_layer_before_and_dropout_with_the_layer_behind() -> None:
    network = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.ReLU(), nn.BatchNorm2d(4), nn.Dropout(), nn.Flatten(), nn.Linear(4, 2)
    )
    first, second = blocks(network)
    assert set(first.modules) == {network[0], network[1], network[2]}
    assert set(second.modules) == {network[3], network[4], network[5]}


def test_a_wrapper_is_opened_and_loose_parameters_belong_behind() -> None:
    class Tokens(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.token = nn.Parameter(torch.zeros(1, 4))
            self.layers = nn.ModuleList([nn.Linear(4, 4), nn.Linear(4, 2)])

    class Wrapper(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = Tokens()

    network = Wrapper()
    assert [block.name for block in blocks(network)] == ["inner.layers.0", "inner.layers.1"]
    assert blocks(network)[0].own == (network.inner.token,)
