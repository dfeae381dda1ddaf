"""The range test finds a rate that works, and leaves everything as it was."""

from __future__ import annotations

import dataclasses
import math
import random

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional as F

from netwright.errors import RecipeError
from netwright.optim import optimizers, range_test
from netwright.recipe.schema import Train


def network():
    torch.manual_seed(3)
    return nn.Sequential(nn.Linear(64, 32), nn.BatchNorm1d(32), nn.Dropout(0.2), nn.ReLU(), nn.Linear(32, 10))


def digits(size=64):
    x, y = load_digits(return_X_y=True)
    x = torch.tensor((x - x.mean()) / x.std(), dtype=torch.float32)
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(1))
    return [(x[rows], torch.tensor(y)[rows]) for rows in order[:1200].split(size)]


def make(name="sgd", **keys):
    return lambda probe: optimizers.build(probe, Train(optimizer=name, lr=1.0, weight_decay=0.0, **keys))


@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_the_suggested_rate_learns_and_ten_times_less_learns_worse(name):
    tested = range_test.range_test(network(), F.cross_entropy, digits(), make(name))
    assert tested.rates[0] == pytest.approx(1e-6)
    assert tested.steepest <= tested.lowest
    assert 1e-4 < tested.suggestion <= tested.lowest / 3

    def loss_after(rate):
        net = network()
        optimizer = optimizers.build(net, Train(optimizer=name, lr=rate, weight_decay=0.0))
        for x, y in digits():
            optimizer.zero_grad()
            loss = F.cross_entropy(net(x), y)
            loss.backward()
            optimizer.step()
        return loss.item()

    assert loss_after(tested.suggestion) < 0.8
    assert loss_after(tested.suggestion) < loss_after(tested.suggestion / 10)


def test_nothing_is_changed_not_even_after_an_error():
    net = network()
    net[1].eval()
    net(torch.randn(4, 64)).sum().backward()
    net[0].bias.grad = None
    forward = []
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    gradients = [None if p.grad is None else p.grad.clone() for p in net.parameters()]
    modes = [module.training for module in net.modules()]
    state = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()  # noqa: NPY002

    def loss(outputs, targets, calls=forward):
        calls.append(random.random() + np.random.rand())  # noqa: NPY002 - what a user's loss may do
        if len(calls) == 130:
            raise ValueError("the user's own")
        return F.cross_entropy(outputs, targets)

    def check():
        assert all(torch.equal(tensor, before[name]) for name, tensor in net.state_dict().items())
        for parameter, gradient in zip(net.parameters(), gradients, strict=True):
            assert (parameter.grad is None) == (gradient is None)
            assert gradient is None or torch.equal(parameter.grad, gradient)
        assert [module.training for module in net.modules()] == modes
        assert torch.equal(torch.get_rng_state(), state[0])
        assert np.array_equal(np.random.get_state()[1], state[1])  # noqa: NPY002
        assert random.getstate() == state[2]

    range_test.range_test(net, loss, digits(), make())
    assert 50 < len(forward) < 130
    check()
    with pytest.raises(ValueError, match="the user's own"):
        range_test.range_test(net, loss, digits(), make())
    check()


def test_the_same_again():
    first, second = (range_test.range_test(network(), F.cross_entropy, digits(), make("adamw")) for _ in range(2))
    assert first == second


def test_it_stops_where_the_loss_diverges():
    tested = range_test.range_test(
        network()[:1], lambda o, t: (o.mean(1) - t).square().mean(), digits(), make(), high=1e4
    )
    assert tested.diverged
    assert len(tested.losses) == len(tested.rates) < 100
    assert all(math.isfinite(loss) for loss in tested.losses)
    assert tested.suggestion < tested.rates[-1] / 3


def test_a_loss_that_never_falls_is_said():
    with pytest.raises(RecipeError, match="never fell"):
        range_test.range_test(network(), lambda o, t: o.sum() * 0 + 1, digits(), make())
    with pytest.raises(RecipeError, match="never fell"):
        range_test.range_test(network(), lambda o, t: o.sum() * math.nan, digits(), make())


def test_few_batches_come_again_and_groups_keep_their_ratio():
    rates = []

    def two_groups(probe):
        optimizer = torch.optim.SGD(
            [{"params": probe[0].parameters(), "lr": 0.1}, {"params": probe[4].parameters()}], 1.0
        )
        optimizer.register_step_pre_hook(lambda *_: rates.append([group["lr"] for group in optimizer.param_groups]))
        return optimizer

    tested = range_test.range_test(
        network(), F.cross_entropy, iter(digits()[:3]), two_groups, low=1e-3, high=1.0, steps=20
    )
    assert len(tested.rates) == len(rates) == 20
    assert [slow / fast for slow, fast in rates] == pytest.approx([0.1] * 20)
    assert [fast for _, fast in rates] == pytest.approx(list(tested.rates))
    ratios = np.array(tested.rates[1:]) / np.array(tested.rates[:-1])
    assert ratios == pytest.approx(1e3 ** (1 / 19))


def test_batches_as_the_loop_has_them():
    @dataclasses.dataclass
    class Batch:
        inputs: tuple
        targets: torch.Tensor
        names: tuple = ()

    pairs = digits()
    plain = range_test.range_test(network(), F.cross_entropy, pairs, make(), steps=40)
    named = [Batch((x,), y, ("input",)) for x, y in pairs]
    assert (
        range_test.range_test(network(), F.cross_entropy, [Batch((x,), y) for x, y in pairs], make(), steps=40) == plain
    )
    assert range_test.range_test(network(), F.cross_entropy, named, make(), steps=40) == plain


def test_it_is_a_record():
    tested = range_test.range_test(network(), F.cross_entropy, digits(), make(), steps=40)
    assert range_test.RangeTest.from_json(tested.to_json()) == tested


@pytest.mark.parametrize("keys", [{"low": 0.0}, {"low": 1.0, "high": 0.1}, {"steps": 1}])
def test_wrong_bounds(keys):
    with pytest.raises(RecipeError, match="range test"):
        range_test.range_test(network(), F.cross_entropy, digits(), make(), **keys)


def test_no_batch():
    with pytest.raises(RecipeError, match="no batch"):
        range_test.range_test(network(), F.cross_entropy, [], make())


def test_smoothing_keeps_constants_and_has_no_lag():
    assert range_test.smooth([2.0] * 9, 2.0) == pytest.approx([2.0] * 9)
    line = [float(value) for value in range(41)]
    assert range_test.smooth(line, 2.0)[10:31] == pytest.approx(line[10:31])
