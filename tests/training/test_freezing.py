"""Frozen means frozen: no weight, no running statistic, no random unit; and it comes back one by one."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from netwright import building
from netwright.errors import RecipeError
from netwright.nn.depth import blocks
from netwright.nn.zoo.resnet import SmallResNet
from netwright.recipe import Recipe, override
from netwright.training.freezing import Freezing


def _network() -> nn.Module:
    torch.manual_seed(0)
    return SmallResNet((1, 16, 16), 3, width=8, dropout=0.2)


def _options(**changes: object):
    return override(
        Recipe(), {"train.lr": 0.1, "train.optimizer": "adamw", "train.weight_decay": 0.1}
        | {f"train.{key}": value for key, value in changes.items()},
    )  # fmt: skip


@pytest.mark.parametrize("optimizer", ["momentum", "adamw", "rmsprop"])
@pytest.mark.parametrize("freeze", [1, 2, "all", "stem", "stages"])
def test_what_is_frozen_does_not_drift(freeze: int | str, optimizer: str) -> None:
    network, recipe = _network(), _options(freeze=freeze, optimizer=optimizer)
    freezing = Freezing(network, recipe.train)
    frozen = [name for name, _ in network.named_modules() if name in str(freeze).split(",")] or [
        name for name, module in network.named_modules()
        if any(module is part
               for block in blocks(network)[: len(blocks(network)) - 1 if freeze == "all" else int(freeze)]
               for part in block.modules)
    ]  # fmt: skip
    network.train()
    freezing(0)
    step = building.optimizer(recipe, network)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    for _ in range(3):
        network(torch.randn(8, 1, 16, 16)).square().sum().backward()
        step.step()
        step.zero_grad()
    for name, tensor in network.state_dict().items():
        inside = any(name.startswith(f"{prefix}.") for prefix in frozen)
        if inside:
            assert torch.equal(tensor, before[name]), name
    assert not torch.equal(network.head[3].weight, before["head.3.weight"])


def test_blocks_come_back_from_the_output_one_an_epoch() -> None:
    network = _network()
    count = len(blocks(network)) - 1
    freezing = Freezing(network, _options(freeze="all", unfreeze_every=2).train)
    network.train()
    for epoch in range(2 * count + 3):
        freezing(epoch)
        learning = [all(p.requires_grad for p in block.parameters()) for block in blocks(network)]
        modes = [all(m.training for part in block.modules for m in part.modules()) for block in blocks(network)]
        still = max(0, count - epoch // 2)
        assert learning == modes == [False] * still + [True] * (count + 1 - still)


@pytest.mark.parametrize(
    ("changes", "key"),
    [({"freeze": 99}, "train.freeze"), ({"freeze": "nothing"}, "train.freeze"),
     ({"unfreeze_every": 2}, "unfreeze_every"),
     ({"freeze": "stem,stages,head"}, "train.freeze")],
)  # fmt: skip
def test_what_cannot_be_frozen_stops(changes: dict[str, object], key: str) -> None:
    with pytest.raises(RecipeError, match=key):
        Freezing(_network(), _options(**changes).train)


@pytest.mark.parametrize("factor", [0.5, 0.9])
def test_every_block_towards_the_input_has_the_factor_of_the_rate_behind_it(factor: float) -> None:
    network = _network()
    step = building.optimizer(_options(depth_rate=factor), network)
    rates = {id(p): group["lr"] for group in step.param_groups for p in group["params"]}
    assert set(rates) == {id(p) for p in network.parameters()}
    for distance, block in enumerate(reversed(blocks(network))):
        assert [rates[id(p)] for p in block.parameters()] == pytest.approx(
            [0.1 * factor**distance] * len(block.parameters())
        )
    assert step.param_groups[0]["lr"] == 0.1  # whose rate the recorder shows
    decays = {id(p): group.get("weight_decay") for group in step.param_groups for p in group["params"]}
    assert all((decays[id(p)] == 0) == (p.ndim <= 1) for p in network.parameters())
