"""Initial values: variances by their formulas, kept through fifty layers, and the classes' shares."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from netwright import workbench
from netwright.craft import catalogue
from netwright.errors import NetworkError, RecipeError, UsageError
from netwright.optim.initializing import CONNECTIONS, initialize, prior_bias
from netwright.recipe import from_dict, schema

DEPTH, WIDTH = 50, 128


def deep(activation: type[nn.Module]) -> nn.Sequential:
    layers = [part for _ in range(DEPTH) for part in (nn.Linear(WIDTH, WIDTH), activation())]
    return nn.Sequential(*layers, nn.Linear(WIDTH, WIDTH))


def variances(network: nn.Sequential, x: torch.Tensor) -> tuple[list[float], list[float]]:
    """Mean squares of what leaves each layer, and of the gradients that arrive there."""
    outputs = []
    for module in network:
        x = module(x)
        if isinstance(module, nn.Linear):
            x.retain_grad()
            outputs.append(x)
    (x * torch.randn_like(x)).sum().backward()
    return [float(o.detach().square().mean()) for o in outputs], [float(o.grad.square().mean()) for o in outputs]  # type: ignore[union-attr]


def test_the_names_are_the_pages() -> None:
    assert tuple(catalogue.parts("initializers")) == schema.INITIALIZERS
    with pytest.raises(UsageError, match="orthogonal"):
        initialize(nn.Linear(3, 3), "orthogonl", torch.randn(2, 3))


@pytest.mark.parametrize(
    ("how", "activation", "forward", "backward"),
    [  # by how much the mean square may grow or shrink over fifty layers
        ("he", nn.ReLU, 30.0, 30.0),
        ("he-uniform", nn.ReLU, 30.0, 30.0),
        ("lsuv", nn.ReLU, 2.0, 100.0),
        ("xavier", nn.Identity, 30.0, 30.0),
        ("xavier-normal", nn.Identity, 30.0, 30.0),
        ("orthogonal", nn.Identity, 1.001, 1.001),
        ("lsuv", nn.Tanh, 2.0, 1e6),
        ("xavier", nn.Tanh, 300.0, 300.0),  # by a power of the depth: the critical gain
    ],
)
def test_signals_and_gradients_go_through_fifty_layers(
    how: str, activation: type[nn.Module], forward: float, backward: float
) -> None:
    torch.manual_seed(0)
    network, x = deep(activation), torch.randn(64, WIDTH)
    initialize(network, how, x)
    out, back = variances(network, x.requires_grad_())
    assert 1 / forward < out[DEPTH - 1] / out[0] < forward, out
    assert 1 / backward < back[0] / back[DEPTH - 1] < backward, back


@pytest.mark.parametrize(("how", "factor"), [("default", 1 / 6), ("small", WIDTH * 0.01**2 / 2)])
def test_others_lose_them_by_their_factor_a_layer(how: str, factor: float) -> None:
    """Var(Wx) = fan-in · Var(w) · E[x²], and a ReLU halves it."""
    torch.manual_seed(0)
    network, x = deep(nn.ReLU), torch.randn(64, WIDTH)
    initialize(network, how, x)
    for module in network:
        if isinstance(module, nn.Linear):
            nn.init.zeros_(module.bias)
    out, _ = variances(network, x.requires_grad_())
    seen = (out[8] / out[0]) ** (1 / 8)
    assert seen == pytest.approx(factor, rel=0.15)


def test_shapes_of_the_draws() -> None:
    torch.manual_seed(0)
    x = torch.randn(8, 3, 9, 9)
    network = nn.Sequential(nn.Conv2d(3, 64, 3), nn.ReLU(), nn.Conv2d(64, 32, 3), nn.Flatten(), nn.Linear(800, 400))
    initialize(network, "he", x)
    assert float(network[0].weight.detach().std()) == pytest.approx(math.sqrt(2 / 27), rel=0.05)
    assert float(network[2].weight.detach().std()) == pytest.approx(math.sqrt(1 / 576), rel=0.05)
    assert all(float(network[i].bias.abs().max()) == 0 for i in (0, 2, 4))
    initialize(network, "orthogonal", x)
    flat = network[0].weight.flatten(1)
    torch.testing.assert_close(flat.T @ flat, 2 * torch.eye(27), rtol=1e-4, atol=1e-4)
    initialize(network, "sparse", x)
    assert bool(((network[4].weight != 0).sum(1) == CONNECTIONS).all())
    initialize(network, "xavier", x)
    bound = math.sqrt(6 / 1200)
    assert bound * 0.99 < float(network[4].weight.detach().abs().max()) <= bound


def test_lsuv_makes_every_layer_of_a_named_network_unit_variance_and_leaves_running_statistics() -> None:
    from netwright.nn import keeping

    torch.manual_seed(0)
    record = keeping.describe("small_vgg", (3, 8, 8), 4, width="auto", depth="auto", dropout=0.5, arguments={})
    network, x = keeping.build(record), torch.randn(64, 3, 8, 8)
    initialize(network, "lsuv", x)
    heard: dict[str, float] = {}
    for name, module in network.named_modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            module.register_forward_hook(lambda m, i, o, name=name: heard.update({name: float(o.var())}))
    for module in network.modules():
        module.training = not isinstance(module, nn.Dropout)
        if isinstance(module, nn.BatchNorm2d):
            assert float(module.running_mean.abs().max()) == 0  # type: ignore[union-attr]
    network(x)
    assert all(abs(variance - 1) < 0.11 for variance in heard.values()), heard
    with pytest.raises(NetworkError, match="variance 0"):
        initialize(nn.Sequential(nn.Linear(3, 3)), "lsuv", torch.zeros(4, 3))


@pytest.mark.parametrize("exclusive", [True, False])
def test_the_first_predictions_are_the_classes_shares(exclusive: bool) -> None:
    torch.manual_seed(0)
    network, x = nn.Sequential(nn.Linear(5, 8), nn.ReLU(), nn.Linear(8, 3)), 0.1 * torch.randn(50, 5)
    counts, total = [900.0, 90.0, 10.0], 1000.0
    prior_bias(network, x, counts, total, exclusive=exclusive)
    logits = network(x)
    shares = torch.softmax(logits, 1) if exclusive else torch.sigmoid(logits)
    np.testing.assert_allclose(shares.mean(0).detach().numpy(), [0.9, 0.09, 0.01], rtol=0.12, atol=0.002)
    with pytest.raises(RecipeError, match="no bias"):
        prior_bias(nn.Linear(5, 3, bias=False), x, counts, total, exclusive=True)


def test_from_a_recipe_and_again_after_a_kill_before_the_first_checkpoint(tmp_path: Path) -> None:
    """The same recipe gives the same first weights twice; the first loss is that of the shares."""
    settings = {
        "data.source": "digits",
        "data.limit": 200,
        "network.name": "lenet5",
        "network.init": "lsuv",
        "network.norm": "batch",
        "network.prior_bias": True,
        "watch.enabled": False,
        "train.epochs": 1,
        "train.lr": 1e-9,
        "train.average": 0,
    }
    runs = [workbench.train(from_dict({}, settings), folder=tmp_path) for _ in range(2)]
    states = [run.network.state_dict() for run in runs]
    assert all(torch.equal(a, b) for a, b in zip(states[0].values(), states[1].values()))
    assert runs[0].files.reader().series("loss")[1][0] == pytest.approx(math.log(10), rel=0.1)
    table = tmp_path / "table.csv"
    table.write_text("a,y\n" + "\n".join(f"{i},{i * 0.37 % 1}" for i in range(60)))
    other = {"data.source": str(table), "data.task": "regression", "network.name": "mlp", "network.norm": "own"}
    with pytest.raises(RecipeError, match="prior_bias"):
        workbench.train(from_dict({}, settings | other), folder=tmp_path)
