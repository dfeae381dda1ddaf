"""The optimiser that a recipe names: its rule, what decays, and the same bits again."""

from __future__ import annotations

import copy
import io

import pytest
import torch
from torch import nn

from netwright.errors import RecipeError
from netwright.optim import optimizers
from netwright.recipe.schema import FULL_BATCH, OPTIMIZERS, Train

BY_GRADIENT = [name for name in OPTIMIZERS if name not in FULL_BATCH]  # the others: tests/optim/test_whole.py


def options(name, **keys):
    return Train(optimizer=name, **({"lr": 0.05, "weight_decay": 0.0} | keys))


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 9, bias=False), nn.BatchNorm1d(9), nn.ReLU(), nn.Linear(9, 3))


def train(net, optimizer, steps=6, first=0):
    for step in range(first, first + steps):
        generator = torch.Generator().manual_seed(step)
        x, y = torch.randn(8, 6, generator=generator), torch.randint(3, (8,), generator=generator)
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(x), y).backward()
        optimizer.step()
    return [parameter.detach().clone() for parameter in net.parameters()]


def by_hand(name, values, gradients, lr, momentum, beta2):
    """The weights after the gradients, by the papers' formulas in Python floats (one weight)."""
    x, v, s, d = values, 0.0, 0.0, 0.0
    products = 1.0  # of NAdam's momenta
    for t, g in enumerate(gradients, 1):
        match name:
            case "sgd":
                x -= lr * g
            case "momentum":
                v = momentum * v + g
                x -= lr * v
            case "nesterov":
                v = momentum * v + g
                x -= lr * (g + momentum * v)
            case "adagrad":
                s += g * g
                x -= lr * g / (s**0.5 + 1e-10)
            case "rmsprop":
                s = 0.99 * s + 0.01 * g * g
                x -= lr * g / (s**0.5 + 1e-8)
            case "adam" | "adamw":
                v = momentum * v + (1 - momentum) * g
                s = beta2 * s + (1 - beta2) * g * g
                x -= lr * (v / (1 - momentum**t)) / ((s / (1 - beta2**t)) ** 0.5 + 1e-8)
            case "nadam":
                now, after = (momentum * (1 - 0.5 * 0.96 ** (0.004 * step)) for step in (t, t + 1))
                products *= now
                v = momentum * v + (1 - momentum) * g
                s = beta2 * s + (1 - beta2) * g * g
                ahead = after * v / (1 - products * after) + (1 - now) * g / (1 - products)
                x -= lr * ahead / ((s / (1 - beta2**t)) ** 0.5 + 1e-8)
            case "radam":
                v = momentum * v + (1 - momentum) * g
                s = beta2 * s + (1 - beta2) * g * g
                most = 2 / (1 - beta2) - 1
                length = most - 2 * t * beta2**t / (1 - beta2**t)
                scale = 1.0
                if length > 5:
                    scale = ((length - 4) * (length - 2) * most / ((most - 4) * (most - 2) * length)) ** 0.5
                    scale *= (1 - beta2**t) ** 0.5 / (s**0.5 + 1e-8)
                x -= lr * scale * v / (1 - momentum**t)
            case "adamax":
                v = momentum * v + (1 - momentum) * g
                s = max(beta2 * s, abs(g) + 1e-8)
                x -= lr / (1 - momentum**t) * v / s
            case "adadelta":
                s = 0.9 * s + 0.1 * g * g
                step = ((d + 1e-6) ** 0.5) / ((s + 1e-6) ** 0.5) * g
                d = 0.9 * d + 0.1 * step * step
                x -= lr * step
    return x


@pytest.mark.parametrize("name", BY_GRADIENT)
def test_the_rule_is_the_papers(name):
    parameter = nn.Parameter(torch.tensor([[0.3]], dtype=torch.float64))
    holder = nn.Module()
    holder.weight = parameter
    optimizer = optimizers.build(holder, options(name, momentum=0.8, beta2=0.95))
    gradients = [0.5, -1.0, 0.25, 2.0, -0.1]
    for gradient in gradients:
        parameter.grad = torch.full_like(parameter, gradient)
        optimizer.step()
    close = 1e-7 if name in ("nadam", "radam") else 1e-9  # PyTorch keeps NAdam's product of momenta in float32
    assert parameter.item() == pytest.approx(by_hand(name, 0.3, gradients, 0.05, 0.8, 0.95), rel=close)


@pytest.mark.parametrize("name", BY_GRADIENT)
def test_two_runs_and_a_resumed_one_give_the_same_bits(name):
    runs = []
    for _ in range(2):
        net = network()
        runs.append(train(net, optimizers.build(net, options(name, weight_decay=0.01))))
    net = network()
    optimizer = optimizers.build(net, options(name, weight_decay=0.01))
    train(net, optimizer, 3)
    buffer = io.BytesIO()
    torch.save({"network": net.state_dict(), "optimizer": optimizer.state_dict()}, buffer)
    kept = torch.load(io.BytesIO(buffer.getvalue()), weights_only=True)
    again = network()
    again.load_state_dict(kept["network"])
    resumed = optimizers.build(again, options(name, weight_decay=0.01))
    resumed.load_state_dict(kept["optimizer"])
    runs.append(train(again, resumed, 3, first=3))
    for other in runs[1:]:
        assert all(torch.equal(a, b) for a, b in zip(runs[0], other, strict=True))


@pytest.mark.parametrize("name", optimizers.FUSED)
def test_the_fused_kernels_follow_the_plain_ones(name):
    net = network()
    fused = optimizers.build(net, options(name, weight_decay=0.01))
    assert fused.defaults["fused"]
    plain_net = copy.deepcopy(net)
    groups = optimizers.groups(plain_net, options(name, weight_decay=0.01))
    keys = {
        key: value for key, value in fused.defaults.items() if key not in ("fused", "foreach", "decoupled_weight_decay")
    }
    plain = type(fused)(groups, **keys, foreach=False)
    for a, b in zip(train(net, fused), train(plain_net, plain), strict=True):
        assert torch.allclose(a, b, rtol=1e-4, atol=1e-6)


def test_only_weights_decay():
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.LayerNorm(8), nn.Linear(8, 3))
    optimizer = optimizers.build(net, options("adamw", weight_decay=0.1))
    decays = {id(p): group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
    expected = {name: 0.1 if name in ("0.weight", "4.weight") else 0.0 for name, _ in net.named_parameters()}
    assert {name: decays[id(p)] for name, p in net.named_parameters()} == expected


@pytest.mark.parametrize("name", BY_GRADIENT)
def test_without_a_gradient_weights_go_towards_zero_and_biases_stay(name):
    net = nn.Linear(3, 2)
    before = copy.deepcopy(net)
    optimizer = optimizers.build(net, options(name, weight_decay=0.5))
    for parameter in net.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    assert torch.equal(net.bias, before.bias)
    assert torch.equal((net.weight - before.weight).sign(), -before.weight.sign())
    if name == "adamw":
        assert torch.allclose(net.weight, before.weight * (1 - 0.05 * 0.5))


def test_everything_decays_on_request_and_one_group_is_enough_without_decay():
    net = network()
    every = optimizers.build(net, options("sgd", weight_decay=0.1, decay_all=True)).param_groups
    assert [group["weight_decay"] for group in every] == [0.1]
    assert len(every[0]["params"]) == len(list(net.parameters()))
    assert len(optimizers.build(net, options("sgd")).param_groups) == 1


def test_frozen_parameters_stay_out_and_shared_ones_are_there_once():
    net = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 4))
    net[2].weight = net[0].weight
    net[1].weight.requires_grad_(False)
    optimizer = optimizers.build(net, options("sgd", weight_decay=0.1))
    held = [id(p) for group in optimizer.param_groups for p in group["params"]]
    assert sorted(held) == sorted({id(p) for p in net.parameters() if p.requires_grad})


def test_groups_that_are_ready_keep_their_own_rates():
    net = network()
    ready = [{"params": net[0].parameters(), "lr": 0.5}, {"params": net[3].weight}]
    optimizer = optimizers.build(ready, options("momentum"))
    assert [group["lr"] for group in optimizer.param_groups] == [0.5, 0.05]
    assert [len(group["params"]) for group in optimizer.param_groups] == [1, 1]
    assert all(group["momentum"] == 0.9 for group in optimizer.param_groups)


def test_plain_sgd_has_no_momentum():
    assert optimizers.build(network(), options("sgd", momentum=0.9)).defaults["momentum"] == 0


@pytest.mark.parametrize(
    ("keys", "key"),
    [({"lr": "auto"}, "train.lr"), ({"lr": "range-test"}, "train.lr"), ({"momentum": 0.0}, "train.momentum")],
)
def test_what_cannot_be_built(keys, key):
    with pytest.raises(RecipeError, match=key):
        optimizers.build(network(), options("nesterov", **keys))


def test_a_network_without_trainable_parameters():
    with pytest.raises(RecipeError, match="no trainable parameter"):
        optimizers.build(network().requires_grad_(False), options("sgd"))
